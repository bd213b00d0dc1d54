"""The plan as a document: the names and units that other programs rely on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.forecast.outlook import MEDIAN, Score
from pertoken.capacity.futures import Futures, PoolFutures
from pertoken.capacity.plan import Planned, ServicePlan
from pertoken.units import HOURS_PER_DAY, SECONDS_PER_HOUR

Json = dict[str, Any]
Floats = NDArray[np.float64]


def plan_document(planned: Planned) -> Json:
    """Services, pools and what was assumed; without the purchase."""
    futures = planned.futures
    plain = [service.spec.key.name for service in planned.services]
    names = {
        str(service.spec.key): service.spec.key.name
        if plain.count(service.spec.key.name) == 1
        else str(service.spec.key)
        for service in planned.services
    }
    return {
        "start_s": futures.start_s,
        "horizon_days": futures.horizon_hours // HOURS_PER_DAY,
        "confidence_percent": futures.confidence,
        "growth_per_month": planned.options.growth_per_month,
        "futures": futures.resamples,
        "services": [_service(service, names, futures) for service in planned.services],
        "pools": [_pool(pool, futures) for pool in futures.pools],
        "remarks": list(planned.remarks),
    }


def _service(service: ServicePlan, names: Mapping[str, str], futures: Futures) -> Json:
    per_request = service.demand.per_request
    return {
        "name": names[str(service.spec.key)],
        "namespace": service.spec.key.namespace,
        "model": service.spec.model.id,
        "request": {
            "input_tokens": service.demand.load.input_tokens,
            "output_tokens": service.demand.load.output_tokens,
            "assumed": list(service.demand.assumed),
        },
        "forecast": [
            {
                "time_s": futures.start_s + hour * SECONDS_PER_HOUR,
                "p50_tokens_per_s": _round(service.p50[hour]),
                "p90_tokens_per_s": _round(service.p90[hour]),
                "p50_requests_per_s": _round(service.p50[hour] / per_request),
                "p90_requests_per_s": _round(service.p90[hour] / per_request),
                "chosen_tokens_per_s": _round(service.chosen[hour]),
            }
            for hour in range(futures.horizon_hours)
        ],
        "backtest": {
            "model": service.outlook.model,
            **_score(service.outlook.score),
            "by_lead": [_score(score) for score in service.outlook.by_span],
            "wape_by_model": {name: _maybe(value) for name, value in service.outlook.by_model.items()},
        },
        "replicas": [
            {
                "variant": replica.variant.name,
                "pool": replica.pool.name,
                "requests_per_s": _round(replica.rate),
                "gpus": replica.gpus,
                "bound_by": replica.binding,
                "most": most,
            }
            for replica, most in zip(service.replicas, service.most, strict=True)
        ],
        "remarks": list(service.remarks),
    }


def _score(score: Score) -> Json:
    return {
        "lead_hours": [score.from_hour, score.to_hour],
        "wape": _maybe(score.wape),
        "seasonal_naive_wape": _maybe(score.naive_wape),
        "p90_coverage": _maybe(score.coverage),
        "p90_coverage_low": _maybe(score.low),
        "p90_coverage_high": _maybe(score.high),
        "hours": score.hours,
    }


def _pool(pool: PoolFutures, futures: Futures) -> Json:
    median, chosen = pool.quantile(MEDIAN), pool.quantile(futures.confidence)
    short = first_shortfall_s(pool, futures.confidence)
    lacking = 0 if pool.existing is None else max(0, int(chosen.max()) - pool.existing)
    return {
        "name": pool.name,
        "accelerator": pool.accelerator,
        "gpus_by_hour": {"p50": median.tolist(), "p90": chosen.tolist()},
        "peak_gpus": int(chosen.max()),
        "existing_gpus": pool.existing,
        "gpus_per_node": pool.gpus_per_node,
        "shortfall_gpus": None if pool.existing is None else lacking,
        "first_shortfall_s": short,
        "order_by_s": None if short is None else short - pool.pool.provisioning_seconds,
    }


def first_shortfall_s(pool: PoolFutures, confidence: float) -> int | None:
    """Begin of the first hour in which the plan needs more than there is; None for none, or where that is not known."""
    if pool.existing is None:
        return None
    short = np.flatnonzero(pool.quantile(confidence) > pool.existing)
    return pool.start_s + int(short[0]) * SECONDS_PER_HOUR if len(short) else None


def _round(value: float) -> float:
    return float(f"{float(value):.6g}")


def _maybe(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
