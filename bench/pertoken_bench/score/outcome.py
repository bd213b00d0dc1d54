"""Figures of one simulated run, and of several seeds together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from scipy.stats import t as student

from pertoken_bench.cluster.simulated import SimulatedCluster
from pertoken_bench.compiled_engine import layout as at
from pertoken_bench.compiled_engine.fleet import Fleet
from pertoken_bench.compiled_engine.layout import Reals
from pertoken_bench.score.windows import worst_share

QUANTILES: Final = (50, 95, 99)
CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Timeline:
    """What was seen at each scrape, for plots: times, requests per second, and replicas by ``service/variant``."""

    times: tuple[float, ...] = ()
    demand: tuple[float, ...] = ()
    ordered: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    ready: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunScore:
    """One policy, one seed.

    Attributes:
        figures: by the names of the benchmark's contract; latencies in milliseconds by ``p50`` and so on.
        services: attainment, requests and USD of each service.
        bound_usd: provable least cost at this attainment.
    """

    policy: str
    seed: int
    figures: Mapping[str, Any]
    services: Mapping[str, Mapping[str, float]]
    bound_usd: float
    timeline: Timeline = Timeline()


def measure(policy: str, fleet: Fleet, cluster: SimulatedCluster, bounds: Mapping[int, float]) -> dict[str, Any]:
    """Figures over all services; `bounds` is the least cost by service at the attainment that was reached."""
    reals = fleet.state.services_f
    totals = {column: float(reals[:, column].sum()) for column in range(at.R_REQUESTS, at.F_EDGES)}
    requests = totals[at.R_REQUESTS]
    bill = cluster.bill.values()
    usd = sum(charge.usd for charge in bill)
    tokens = totals[at.R_INPUT] + totals[at.R_OUTPUT]
    bound = sum(bounds.values())
    bins = reals[:, at.F_BINS :].reshape(len(reals), 2, at.LATENCY_BINS).sum(axis=0)
    return {
        "policy": policy,
        "usd": usd,
        "requests": requests,
        "input_tokens": totals[at.R_INPUT],
        "output_tokens": totals[at.R_OUTPUT],
        "usd_per_million_tokens": _per_million(usd, tokens),
        "usd_per_million_good_tokens": _per_million(usd, totals[at.R_GOOD_TOKENS]),
        "slo_attainment": totals[at.R_GOOD] / requests if requests else math.nan,
        "worst_ten_minutes": worst_share(fleet),
        "ttft_ms": _quantiles(bins[0]),
        "itl_ms": _quantiles(bins[1]),
        "replica_hours": sum(charge.replica_seconds for charge in bill) / 3600.0,
        "gpu_hours": sum(charge.gpu_seconds for charge in bill) / 3600.0,
        "scale_events": float(cluster.scale_events),
        "batch_changes": float(cluster.batch_changes),
        "unfinished": requests - totals[at.R_FINISHED],
        "bound_ratio": usd / bound if bound > 0 else math.nan,
    }


def _per_million(usd: float, tokens: float) -> float:
    return usd / tokens * 1e6 if tokens > 0 else math.nan


def _quantiles(bins: Reals) -> dict[str, float]:
    """Milliseconds of the finished requests' quantiles, exact to half a bin (0.25 %)."""
    total = bins.sum()
    if total <= 0:
        return {f"p{q}": math.nan for q in QUANTILES}
    cumulative = np.cumsum(bins)
    quantiles = {}
    for q in QUANTILES:
        index = int(np.searchsorted(cumulative, q / 100.0 * total))
        quantiles[f"p{q}"] = float(at.LATENCY_FIRST * at.LATENCY_RATIO ** (index - 0.5) * 1000.0)
    return quantiles


def over_seeds(outcomes: Sequence[RunScore]) -> dict[str, Any]:
    """One object of the contract: each figure as mean and interval over seeds."""
    first = outcomes[0]
    merged: dict[str, Any] = {"policy": first.policy}
    for name, value in first.figures.items():
        if isinstance(value, Mapping):
            merged[name] = {part: _interval([score.figures[name][part] for score in outcomes]) for part in value}
        else:
            merged[name] = _interval([float(score.figures[name]) for score in outcomes])
    merged["services"] = {
        service: {name: _interval([score.services[service][name] for score in outcomes]) for name in figures}
        for service, figures in first.services.items()
    }
    merged["seeds"] = [score.seed for score in outcomes]
    return merged


def _interval(values: Sequence[float]) -> dict[str, Any]:
    """Mean and the 95 % interval of Student's t; no interval for one seed. What is not a number becomes null."""
    known = [value for value in values if math.isfinite(value)]
    if len(known) < len(values) or not known:
        return {"mean": None, "interval": None}
    mean = math.fsum(known) / len(known)
    if len(known) == 1:
        return {"mean": mean, "interval": None}
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (len(known) - 1))
    half = float(student.ppf(0.5 + CONFIDENCE / 2.0, len(known) - 1)) * spread / math.sqrt(len(known))
    return {"mean": mean, "interval": [mean - half, mean + half]}
