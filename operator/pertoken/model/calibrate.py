"""Learning how a deployment deviates from the catalog: two log-gains, one equation per look.

An engine that always has something to do spends its second in steps, so

    1 / steps per second = decode gain x decode step + prefill gain x prefill work per step

An extended Kalman filter over the two log-gains takes one such equation per pod and cycle, with a Gaussian prior (so
that a poor start cannot run away), an outlier gate, slow forgetting and hard limits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

PRIOR_SIGMA: Final = 0.25
NOISE: Final = 0.06  # relative, of one observation
DRIFT: Final = 2e-5  # variance added per observation: forgetting
GATE: Final = 9.0  # squared innovation over its variance
SLOWEST: Final = math.log(2.0)


@dataclass(frozen=True, slots=True)
class Calibration:
    """State of the filter: log-gains, their covariance, and how many observations entered.

    Attributes:
        key: identity of what was observed (template, GPU); another key starts anew.
        rejected: outliers in a row; several in a row are no outliers but a change.
    """

    key: str = ""
    decode: float = 0.0
    prefill: float = 0.0
    var_decode: float = PRIOR_SIGMA**2
    var_prefill: float = PRIOR_SIGMA**2
    covariance: float = 0.0
    samples: int = 0
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at one engine.

    Attributes:
        step_seconds: mean duration of a step.
        decode_seconds: modelled decode step at the observed batch and context, without gains.
        prefill_seconds: modelled prefill work per step, without gains.
    """

    step_seconds: float
    decode_seconds: float
    prefill_seconds: float


def learn(state: Calibration, seen: Observation) -> Calibration:
    """One update of the filter; an outlier leaves the gains and widens what is thought possible."""
    by_decode = math.exp(state.decode) * seen.decode_seconds
    by_prefill = math.exp(state.prefill) * seen.prefill_seconds
    expected = by_decode + by_prefill
    if expected <= 0 or seen.step_seconds <= 0:
        return state
    # In relative terms: derivative of log(expected) by each log-gain.
    a, b = by_decode / expected, by_prefill / expected
    innovation = math.log(seen.step_seconds / expected)
    var_d, var_p, cov = state.var_decode + DRIFT, state.var_prefill + DRIFT, state.covariance
    variance = a * a * var_d + 2 * a * b * cov + b * b * var_p + NOISE**2
    if innovation**2 > GATE * variance:
        return _outlier(state)
    k_d, k_p = (a * var_d + b * cov) / variance, (a * cov + b * var_p) / variance
    return Calibration(
        key=state.key,
        decode=_clamp(state.decode + k_d * innovation),
        prefill=_clamp(state.prefill + k_p * innovation),
        var_decode=max(var_d - k_d * (a * var_d + b * cov), 1e-9),
        var_prefill=max(var_p - k_p * (a * cov + b * var_p), 1e-9),
        covariance=cov - k_d * (a * cov + b * var_p),
        samples=state.samples + 1,
        rejected=0,
    )


def _outlier(state: Calibration) -> Calibration:
    widen = 2.0 if state.rejected >= 5 else 1.0
    return Calibration(
        key=state.key,
        decode=state.decode,
        prefill=state.prefill,
        var_decode=min(state.var_decode * widen, PRIOR_SIGMA**2),
        var_prefill=min(state.var_prefill * widen, PRIOR_SIGMA**2),
        covariance=state.covariance if widen == 1.0 else 0.0,
        samples=state.samples,
        rejected=state.rejected + 1,
    )


def _clamp(log_gain: float) -> float:
    return max(-SLOWEST, min(SLOWEST, log_gain))
