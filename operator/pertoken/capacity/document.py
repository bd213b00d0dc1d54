"""The plan as a document: the names and units that other programs rely on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.answer import Answer, Bought
from pertoken.capacity.forecast.outlook import MEDIAN, P90, Score
from pertoken.capacity.futures import Futures, PoolFutures
from pertoken.capacity.plan import ServicePlan
from pertoken.capacity.purchase.document import purchase_document
from pertoken.capacity.shortfall import Shortfall
from pertoken.capacity.spec import Event
from pertoken.units import SECONDS_PER_HOUR

if TYPE_CHECKING:  # it loads scipy, an extra of the plan
    from pertoken.capacity.advice import ServiceAdvice

Json = dict[str, Any]
CENTS: Final = 2
PLACES: Final = 4  # of shares
FIGURES: Final = 6  # significant, of rates
MOST_PLACES: Final = 300  # of a double


def answer_document(answer: Answer) -> Json:
    """The whole answer."""
    bought = answer.plan
    planned = bought.planned
    futures = planned.futures
    short = {entry.pool: entry for entry in bought.shortfalls}
    return {
        "name": planned.spec.name,
        "start_s": futures.start_s,
        "history_hours": planned.history_hours,
        "horizon_days": planned.spec.horizon_days,
        "confidence_percent": futures.confidence,
        "growth_per_month": planned.spec.growth_per_month,
        "events": [_event(event) for event in planned.spec.events],
        "futures": futures.resamples,
        "services": [_service(service, name, futures) for service, name in _named(planned.services)],
        "pools": [_pool(pool, short[pool.name], bought) for pool in futures.pools],
        "purchase": purchase_document(bought.purchase, bought.budget),
        "what_ifs": [_what_if(words, other, bought) for words, other in answer.what_ifs.items()],
        "advice": [_advice(advice) for advice in answer.advice],
        "unplanned": [str(mistake) for mistake in planned.unplanned],
        "remarks": list(planned.remarks),
    }


def _advice(advice: ServiceAdvice) -> Json:
    return {
        "service": advice.service.name,
        "namespace": advice.service.namespace,
        "variant": advice.variant,
        "requests_per_s": _round(advice.rate),
        "changes": [
            {
                "change": row.change.words,
                "before": row.change.before,
                "after": row.change.after,
                "note": row.change.note,
                "saved_usd_per_month": round(row.saved_usd_per_month, CENTS),
                "how_sure": row.surety.value,
            }
            for row in advice.rows
        ],
    }


def _named(services: Sequence[ServicePlan]) -> list[tuple[ServicePlan, str]]:
    """Each service with its name, and its namespace before it where two have the same name."""
    plain = [service.spec.key.name for service in services]
    return [
        (service, name if plain.count(name) == 1 else str(service.spec.key))
        for service, name in zip(services, plain, strict=True)
    ]


def _what_if(words: str, other: Bought, bought: Bought) -> Json:
    usd = other.purchase.usd_per_month
    return {
        "what_if": words,
        "pools": [
            {
                "name": entry.pool,
                "peak_gpus": entry.peak_gpus,
                "short_gpus": entry.short_gpus,
                "first_shortfall_s": entry.first_shortfall_s,
            }
            for entry in other.shortfalls
        ],
        "usd_per_month": round(usd, CENTS),
        "change_usd_per_month": round(usd - bought.purchase.usd_per_month, CENTS),
        "unplanned": [str(mistake) for mistake in other.planned.unplanned],
        "remarks": [
            f"{name}: {remark}"
            for service, name in _named(other.planned.services)
            for remark in service.remarks
            if remark.startswith("variant")
        ],
    }


def _service(service: ServicePlan, name: str, futures: Futures) -> Json:
    return {
        "name": name,
        "namespace": service.spec.key.namespace,
        "model": service.spec.model.id,
        "request": {
            "input_tokens": service.load.input_tokens,
            "output_tokens": service.load.output_tokens,
            "assumed": list(service.demand.assumed),
        },
        "forecast": _forecast(service, futures),
        "backtest": {
            "model": service.outlook.model,
            **_score(service.outlook.score),
            "by_lead": [
                {"model": model, **_score(score)}
                for model, score in zip(service.outlook.models, service.outlook.by_span, strict=False)
            ],
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


def _forecast(service: ServicePlan, futures: Futures) -> list[Json]:
    """By the hour; at the plan's confidence too where that is not P90."""
    columns = {"p50_tokens_per_s": service.p50, "p90_tokens_per_s": service.p90}
    if futures.confidence != P90:
        columns["chosen_tokens_per_s"] = service.chosen
    per_request = service.load.input_tokens + service.load.output_tokens
    columns |= {
        "p50_requests_per_s": service.p50 / per_request,
        "p90_requests_per_s": service.p90 / per_request,
    }
    times = range(futures.start_s, futures.start_s + futures.horizon_hours * SECONDS_PER_HOUR, SECONDS_PER_HOUR)
    names = ("time_s", *columns)
    rows = zip(times, *(_rounded(column) for column in columns.values()), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _rounded(values: NDArray[np.float64]) -> list[float]:
    """To `FIGURES` significant figures."""
    with np.errstate(divide="ignore"):
        magnitude = np.floor(np.log10(np.abs(values)))
    places = np.where(np.isfinite(magnitude), np.minimum(FIGURES - 1 - magnitude, MOST_PLACES), 0.0)
    # Powers of ten are exact and are divided or multiplied by: the result is the double next to the decimal.
    finer, coarser = 10.0 ** np.maximum(places, 0.0), 10.0 ** np.maximum(-places, 0.0)
    rounded: list[float] = (np.rint(values * finer / coarser) / finer * coarser).tolist()
    return rounded


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


def _event(event: Event) -> Json:
    return {
        "name": event.name,
        "begin_s": event.begin_s,
        "end_s": event.end_s,
        "factor": event.factor,
        "services": [str(key) for key in event.services],
    }


def _pool(pool: PoolFutures, short: Shortfall, bought: Bought) -> Json:
    median, chosen = pool.quantile(MEDIAN), pool.quantile(bought.planned.spec.confidence)
    options = bought.options.of(pool)
    return {
        "name": pool.name,
        "accelerator": pool.accelerator,
        "gpus_by_hour": {"p50": median.tolist(), "p90": chosen.tolist()},
        "peak_gpus": short.peak_gpus,
        "existing_gpus": short.existing_gpus,
        "gpus_per_node": pool.gpus_per_node,
        "lead_s": short.lead_seconds,
        "on_demand_usd_per_gpu_hour": None if options is None else float(options.on_demand.usd_per_gpu_hour),
        "short_gpus": None if short.existing_gpus is None else short.short_gpus,
        "first_shortfall_s": short.first_shortfall_s,
        "order_by_s": short.order_by_s,
        "overdue": short.overdue,
    }


def _round(value: float) -> float:
    return float(f"{float(value):.{FIGURES}g}")


def _maybe(value: float | None) -> float | None:
    return None if value is None else round(value, PLACES)
