"""Calibrate one deployment from closed-loop measurements: log-gains with Gaussian priors, outliers damped.

The most probable gains given the points: minimise

    sum_i rho(ln observed_i - ln modelled_i(g)) / noise^2 + sum_j (ln g_j)^2 / prior_j^2

by Gauss-Newton, rho the Cauchy loss (a far-off point pulls no harder the further off it is). Without the prior three
points of one shape leave decode and prefill apart undetermined and the 90th percentile of the error doubles.

How large the KV cache is depends on its precision and the memory that the engine may use, which a table of
measurements seldom tells. Where points run more clients than the modelled cache holds, other sizes are tried too, and
the most probable one stays: a time to first token without a wait says that the clients did fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from typing import Any, Final

import numpy as np

from pertoken.calculators.closed_loop import AS_SERVED, Clients, ClosedGains, closed_loop, relative, sequences_that_fit
from pertoken.catalog.served import ServingFactors
from pertoken.performance.coefficients import EngineModel
from pertoken.performance.step_time import Gains
from pertoken.performance.tuning import CALIBRATING

PRIOR: Final = 0.25  # standard deviation of ln decode and prefill gain
NOISE: Final = 0.08  # of ln inter-token latency
TTFT_PRIOR: Final = 0.8
TTFT_NOISE: Final = 0.25
TTFT_BOUNDS: Final = (0.2, 5.0)
TTFT_FAR: Final = 1.0  # times to first token stray: the start of a run, bursts of prompts
SLOPE_PRIOR: Final = 0.2  # of the powers of clients and prompt length in the time to first token
SLOPE_BOUNDS: Final = (-0.5, 0.5)
CAPACITIES: Final = (0.7, 1.3, 1.7, 2.2, 3.0, 5.0, 10.0, 30.0, 100.0)  # of the KV cache, tried beside 1
CAPACITY_PRIOR: Final = 1.0  # standard deviation of its logarithm
NEARLY_FULL: Final = 0.7  # share of the cache from which on points tell of its size
FAR: Final = 2.5  # standard deviations of noise at which a point's weight has halved
OUTLIER: Final = 5.0  # standard deviations: reported
_ROUNDS: Final = 20

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Point:
    """One measured operating point; seconds, None where not measured."""

    clients: Clients
    inter_token: float | None = None
    ttft: float | None = None


@dataclass(frozen=True, slots=True)
class Fit:
    """What a deployment's points say.

    Attributes:
        gains: on the served model.
        seed: on the kernel model, as a service's own calibration starts from them.
        points: used.
        outliers: of them more than five standard deviations off.
        error_before, error_after: mean absolute error of ln inter-token latency (ln TTFT without any), at the prior and
            as fitted, over the points themselves.
        profile: of the engine that the deployment serves like, a key of the profiles it was chosen from.
        penalty: minus the logarithm of the posterior, up to a constant: the lower, the better the profile.
    """

    gains: ClosedGains
    seed: Gains
    points: int
    outliers: int
    error_before: float
    error_after: float
    profile: str = ""
    penalty: float = 0.0


def fit_best(engine: EngineModel, profiles: Mapping[str, ServingFactors], points: Sequence[Point]) -> Fit:
    """The most probable of several engines' profiles with its gains; the first one where none is better."""
    capacities = (1.0, *CAPACITIES) if _fill_cache(engine, points) else (1.0,)
    fits = [
        replace(fit(engine, served, points, capacity), profile=name)
        for name, served in profiles.items()
        for capacity in capacities
    ]
    return min(fits, key=lambda each: each.penalty)


def _fill_cache(engine: EngineModel, points: Sequence[Point]) -> bool:
    """Whether any point has enough clients to tell how many fit."""
    if engine.kv_capacity <= 0:
        return False
    return any(
        point.clients.concurrency > NEARLY_FULL * sequences_that_fit(engine, point.clients.context) for point in points
    )


def fit(engine: EngineModel, served: ServingFactors, points: Sequence[Point], capacity: float = 1.0) -> Fit:
    """Most probable gains of a deployment, given a size of its KV cache; those of the prior without points."""
    gains = _step_gains(engine, served, points, capacity)
    gains = _with_first_token(engine, served, points, gains)
    kernels = _step_gains(engine, ServingFactors(), points, capacity)
    before, after = _errors(engine, served, points, AS_SERVED), _errors(engine, served, points, gains)
    noise = NOISE if any(point.inter_token for point in points) else TTFT_NOISE
    return Fit(
        gains=gains,
        seed=Gains(kernels.decode, kernels.prefill, _offset(engine, points, kernels)),
        points=len(points),
        outliers=sum(error > OUTLIER * noise for error in after),
        error_before=_mean(before),
        error_after=_mean(after),
        penalty=_penalty(engine, served, points, gains),
    )


def _penalty(engine: EngineModel, served: ServingFactors, points: Sequence[Point], gains: ClosedGains) -> float:
    total = (log(gains.decode) ** 2 + log(gains.prefill) ** 2) / PRIOR**2 + (log(gains.ttft) / TTFT_PRIOR) ** 2
    total += (gains.ttft_clients**2 + gains.ttft_input**2) / SLOPE_PRIOR**2
    total += (log(gains.capacity) / CAPACITY_PRIOR) ** 2
    for point in points:
        loop = closed_loop(engine, served, point.clients, gains)
        if point.inter_token:
            total += _loss(log(point.inter_token / loop.inter_token) / NOISE)
        if point.ttft:
            total += _loss(log(point.ttft / loop.ttft) / TTFT_NOISE)
    return total / 2


def _loss(deviations: float) -> float:
    return FAR * FAR * log(1.0 + (deviations / FAR) ** 2)


def _step_gains(engine: EngineModel, served: ServingFactors, points: Sequence[Point], capacity: float) -> ClosedGains:
    """Decode and prefill gain from inter-token latencies."""
    start = ClosedGains(capacity=capacity)
    parts = []
    for point in points:
        if point.inter_token:
            loop = closed_loop(engine, served, point.clients, start)
            parts.append((loop.decode, loop.prompts, point.inter_token))
    decode = prefill = 0.0
    low, high = log(CALIBRATING.least_gain), log(CALIBRATING.most_gain)
    for _ in range(_ROUNDS if parts else 0):
        pull_d, pull_p = -decode / PRIOR**2, -prefill / PRIOR**2
        dd = pp = 1.0 / PRIOR**2
        dp = 0.0
        for step, prompts, observed in parts:
            decoding, joining = exp(decode) * step, exp(prefill) * prompts
            residual = log(observed / (decoding + joining))
            weight = _weight(residual, NOISE)
            a, b = decoding / (decoding + joining), joining / (decoding + joining)
            pull_d += weight * residual * a
            pull_p += weight * residual * b
            dd, dp, pp = dd + weight * a * a, dp + weight * a * b, pp + weight * b * b
        determinant = dd * pp - dp * dp
        decode = min(max(decode + (pp * pull_d - dp * pull_p) / determinant, low), high)
        prefill = min(max(prefill + (dd * pull_p - dp * pull_d) / determinant, low), high)
    return replace(start, decode=exp(decode), prefill=exp(prefill))


def _with_first_token(
    engine: EngineModel, served: ServingFactors, points: Sequence[Point], gains: ClosedGains
) -> ClosedGains:
    """The gains with those of the time to first token: a factor, and how it changes with clients and prompt length."""
    parts = [
        ((1.0, *relative(point.clients)), log(point.ttft / closed_loop(engine, served, point.clients, gains).ttft))
        for point in points
        if point.ttft
    ]
    if not parts:
        return gains
    terms, residuals = (np.array(column, np.float64) for column in zip(*parts, strict=True))
    powers: Floats = np.zeros(3)
    for _ in range(_ROUNDS):
        powers = _weighted(terms, residuals, powers)
    clients, prompt = (float(slope) for slope in np.clip(powers[1:], *SLOPE_BOUNDS))
    factor = min(max(float(powers[0]), log(TTFT_BOUNDS[0])), log(TTFT_BOUNDS[1]))
    return replace(gains, ttft=exp(factor), ttft_clients=clients, ttft_input=prompt)


def _weighted(terms: Floats, residuals: Floats, powers: Floats) -> Floats:
    """One round of iteratively reweighted least squares with Gaussian priors."""
    far = (residuals - terms @ powers) / (TTFT_FAR * TTFT_NOISE)
    weighted = terms.T / (TTFT_NOISE * TTFT_NOISE * (1.0 + far * far))
    priors = np.diag([1.0 / TTFT_PRIOR**2, 1.0 / SLOPE_PRIOR**2, 1.0 / SLOPE_PRIOR**2])
    return np.asarray(np.linalg.solve(weighted @ terms + priors, weighted @ residuals), np.float64)


def _weight(residual: float, noise: float) -> float:
    return 1.0 / (noise * noise * (1.0 + (residual / (FAR * noise)) ** 2))


def _offset(engine: EngineModel, points: Sequence[Point], gains: ClosedGains) -> float:
    """Seconds of the least loaded point's time to first token that prompt and steps do not explain."""
    measured = [point for point in points if point.ttft]
    if not measured:
        return 0.0
    quietest = min(measured, key=lambda point: point.clients.concurrency)
    loop = closed_loop(engine, ServingFactors(), quietest.clients, gains)
    return max(0.0, (quietest.ttft or 0.0) - loop.prompt - 1.5 * loop.decode)


def _errors(engine: EngineModel, served: ServingFactors, points: Sequence[Point], gains: ClosedGains) -> list[float]:
    misses = []
    for point in points:
        loop = closed_loop(engine, served, point.clients, gains)
        if point.inter_token:
            misses.append(abs(log(loop.inter_token / point.inter_token)))
        elif point.ttft:
            misses.append(abs(log(loop.ttft / point.ttft)))
    return misses


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
