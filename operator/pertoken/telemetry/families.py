"""Gauges of one plan, as Prometheus metric families."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from prometheus_client.core import GaugeMetricFamily as Family

from pertoken.control.capacity_plans import CapacityPlanFigures
from pertoken.domain.metrics import MetricsSnapshot
from pertoken.domain.plan import Decision, Plan, PoolFigures, RouteDecision, VariantDecision
from pertoken.domain.route import POINTS
from pertoken.telemetry.prices import BASES, prices_of

__all__ = ["Family", "capacity_plan_families", "plan_families", "source_families", "unreadable_families"]

LOGGER = logging.getLogger(__name__)

Subject = TypeVar("Subject")

SERVICE = ("namespace", "service")
VARIANT = (*SERVICE, "variant")

# (metric, help, value); a value of None leaves the series out: missing is not zero.
_OF_SERVICE: Sequence[tuple[str, str, Callable[[Decision], float | None]]] = (
    ("cost_index", "GPU bill / tokens at the price list; at most 1 meets the target.", lambda d: d.cost.index),
    ("cost_reachable_index", "Lowest cost index within the objectives.", lambda d: d.cost.reachable_index),
    ("spend_usd_per_hour", "Price of the GPUs held now.", lambda d: d.cost.spend_per_hour),
    ("idle_ratio", "Share of billed GPU time without work.", lambda d: d.cost.idle_share),
    ("energy_joules_per_token", "Measured GPU energy per token.", lambda d: d.cost.joules_per_token),
    ("cost_usd_per_thousand_requests", "Price of 1,000 answers.", lambda d: d.cost.per_thousand_requests),
    ("waiting_requests", "Requests that wait before or in the engines.", lambda d: d.demand.waiting),
    ("running_requests", "Requests in the engines' batches.", lambda d: d.demand.running),
    ("demand_requests_per_second", "Arriving requests.", lambda d: d.demand.requests_per_second),
    ("lead_seconds", "Horizon of the forecast: the learned start-up time.", lambda d: d.demand.lead_seconds),
    ("acting", "1 when decisions are carried out.", lambda d: float(d.acts)),
    ("missed_requests_ratio", "Share of recent requests that missed an objective.", lambda d: d.latency.missed_share),
    ("allowed_misses_ratio", "Share of requests that may miss an objective.", lambda d: d.latency.allowed_share),
)
_PRICES: Mapping[str, Callable[[Decision], float | None]] = {
    "input": lambda d: d.cost.input,
    "cached_input": lambda d: d.cost.cached_input,
    "output": lambda d: d.cost.output,
    "blended": lambda d: d.cost.blended,
    "marginal": lambda d: d.cost.marginal,
    "reachable": lambda d: d.cost.reachable,
    "good_low": lambda d: d.cost.good_low,
    "good_high": lambda d: d.cost.good_high,
}
_BILL: Mapping[str, Callable[[Decision], float | None]] = {
    "work": lambda d: None if d.cost.attribution is None else d.cost.attribution.work,
    "idle": lambda d: None if d.cost.attribution is None else d.cost.attribution.idle,
    "warming": lambda d: None if d.cost.attribution is None else d.cost.attribution.warming,
    "unallocated": lambda d: None if d.cost.attribution is None else d.cost.attribution.unallocated,
}
_TOKEN_RATES: Mapping[str, Callable[[Decision], float | None]] = {
    "input": lambda d: d.demand.input_tokens_per_second,
    "output": lambda d: d.demand.output_tokens_per_second,
    "forecast_output": lambda d: d.demand.forecast_output_tokens_per_second,
}
_LATENCIES: Mapping[str, Callable[[Decision], float | None]] = {
    "ttft": lambda d: d.latency.ttft,
    "inter_token": lambda d: d.latency.inter_token,
    "stall": lambda d: d.latency.stall,
}
_OBJECTIVES: Mapping[str, Callable[[Decision], float | None]] = {
    "ttft": lambda d: d.latency.ttft_objective,
    "inter_token": lambda d: d.latency.inter_token_objective,
    "stall": lambda d: d.latency.stall_objective,
}
_OF_VARIANT: Sequence[tuple[str, str, Callable[[VariantDecision], float | None]]] = (
    ("current_replicas", "spec.replicas as observed.", lambda v: v.current),
    ("desired_replicas", "What the plan wants.", lambda v: v.desired),
    ("ready_replicas", "Replicas that serve.", lambda v: v.ready),
    ("batch_cap_sequences", "Cap that engines start with.", lambda v: v.cap),
    ("desired_batch_cap_sequences", "Cap that the plan wants.", lambda v: v.desired_cap),
    ("batched_tokens", "Tokens per step that engines start with.", lambda v: v.chunk),
    ("desired_batched_tokens", "Tokens per step that the plan wants.", lambda v: v.desired_chunk),
    ("operating_batch_sequences", "Decoding sequences per ready replica.", lambda v: v.operating_batch),
    ("gpus_per_replica", "GPUs of one replica.", lambda v: v.gpus_per_replica or None),
    ("capacity_tokens_per_second", "Output tokens one replica sustains.", lambda v: v.capacity_per_replica),
    ("gpu_utilization_ratio", "Utilization of the GPUs in [0, 1].", lambda v: v.gpu_utilization),
    ("kv_cache_usage_ratio", "Share of the KV cache in use.", lambda v: v.kv_usage),
    ("calibration_decode_gain_ratio", "Measured / modelled decode time.", lambda v: v.calibration.decode_gain),
    ("calibration_prefill_gain_ratio", "Measured / modelled prefill time.", lambda v: v.calibration.prefill_gain),
)
_OF_POOL: Sequence[tuple[str, str, Callable[[PoolFigures], float | None]]] = (
    ("capacity_gpus", "GPUs that exist.", lambda p: p.total),
    ("used_gpus", "GPUs that bound pods hold.", lambda p: p.used),
    ("free_gpus", "GPUs that no pod holds.", lambda p: p.free),
    ("placeable_gpus", "Free GPUs that a replica of the largest size in use could get.", lambda p: p.placeable),
    ("pending_gpus", "GPUs that pods wait for.", lambda p: p.pending),
    ("spend_usd_per_hour", "Price of what is held.", lambda p: p.spend_per_hour_usd),
)


_OF_ROUTE: Sequence[tuple[str, str, Callable[[RouteDecision], float | None]]] = (
    ("quality_ratio", "Expected quality of an answer at the weights.", lambda r: r.quality),
    ("cost_usd_per_thousand_answers", "Price of 1,000 answers at the weights.", lambda r: r.usd_per_thousand),
    ("demand_requests_per_second", "Demand of the route.", lambda r: r.requests),
    ("not_carried_requests_per_second", "Demand beyond what the tiers carry.", lambda r: r.not_carried),
)


def plan_families(plan: Plan) -> tuple[Family, ...]:
    """All gauges that a plan gives."""
    return (*_service_families(plan), *_variant_families(plan), *_pool_families(plan), *_route_families(plan))


def source_families(metrics: Mapping[str, MetricsSnapshot]) -> tuple[Family, ...]:
    """Health of each metrics profile, and how old its newest sample is."""
    up = Family("pertoken_metrics_source_up", "1 when the source answered in full.", labels=("profile",))
    age = Family("pertoken_metrics_data_age_seconds", "Age of the newest sample.", labels=("profile",))
    for profile, snapshot in metrics.items():
        up.add_metric([profile], float(snapshot.health.ok))
        # Pods that are gone keep their last counters, so the oldest sample says nothing about the source.
        newest = min((pod.age_seconds for pod in snapshot.pods.values()), default=None)
        if newest is not None:
            age.add_metric([profile], newest)
    return (up, age)


def unreadable_families(counts: Mapping[str, int]) -> Iterator[Family]:
    """How many watched objects cannot be parsed, by kind."""
    family = Family("pertoken_objects_refused", "Watched objects that cannot be read, by kind.", labels=("kind",))
    for kind, count in counts.items():
        family.add_metric([kind], float(count))
    yield family


def capacity_plan_families(plans: Sequence[CapacityPlanFigures]) -> Iterator[Family]:
    """What the statuses of CapacityPlans say: dates as seconds since the epoch, GPUs by pool."""
    made = Family("pertoken_capacity_plan_made_timestamp_seconds", "When the plan was made.", labels=("plan",))
    order = Family(
        "pertoken_capacity_plan_order_by_timestamp_seconds",
        "Date by which GPUs must be ordered; no series where none must.",
        labels=("plan",),
    )
    peak = Family("pertoken_capacity_plan_peak_gpus", "Most GPUs of any planned hour.", labels=("plan", "pool"))
    short = Family("pertoken_capacity_plan_short_gpus", "GPUs missing in the worst hour.", labels=("plan", "pool"))
    for plan in plans:
        for family, value in ((made, plan.made_at), (order, plan.order_by)):
            if value is not None:
                family.add_metric([plan.name], value)
        for pool in plan.pools:
            peak.add_metric([plan.name, pool.name], pool.peak_gpus)
            if pool.short_gpus is not None:
                short.add_metric([plan.name, pool.name], pool.short_gpus)
    yield from (made, order, peak, short)


def _service_families(plan: Plan) -> Iterator[Family]:
    for name, text, read in _OF_SERVICE:
        family = Family(f"pertoken_service_{name}", text, labels=SERVICE)
        for decision in plan.decisions:
            _add(family, _service(decision), read, decision)
        yield family
    yield _by_kind("cost_usd_per_million_tokens", "Cost of a million tokens, by kind of token.", plan, _PRICES)
    prices = Family(
        "pertoken_service_price_usd_per_million_tokens",
        "Price of a million tokens: average (adds up to the bill), marginal (one more now), replica (a further one).",
        labels=(*SERVICE, "basis", "kind"),
    )
    for decision in plan.decisions:
        for basis in BASES:
            for kind, usd in prices_of(decision, basis).items():
                prices.add_metric([*_service(decision), basis, kind], usd)
    yield prices
    yield _by_kind("bill_ratio", "Shares of the bill by what it bought; they add up to 1.", plan, _BILL)
    yield _by_kind("demand_tokens_per_second", "Token demand, by kind.", plan, _TOKEN_RATES)
    yield _by_kind("latency_objective_seconds", "Latency owed at the percentile.", plan, _OBJECTIVES)
    latency = Family(
        "pertoken_service_latency_seconds", "Latency at the percentile.", labels=(*SERVICE, "kind", "percentile")
    )
    conditions = Family(
        "pertoken_service_condition", "1 for the current status of each condition.", labels=(*SERVICE, "type", "status")
    )
    for decision in plan.decisions:
        for kind, read in _LATENCIES.items():
            _add(latency, [*_service(decision), kind, str(decision.latency.percentile)], read, decision)
        for kind, condition in decision.conditions.items():
            conditions.add_metric([*_service(decision), kind, condition.verdict.value], 1.0)
    yield latency
    yield conditions


def _by_kind(name: str, text: str, plan: Plan, readers: Mapping[str, Callable[[Decision], float | None]]) -> Family:
    family = Family(f"pertoken_service_{name}", text, labels=(*SERVICE, "kind"))
    for decision in plan.decisions:
        for kind, read in readers.items():
            _add(family, [*_service(decision), kind], read, decision)
    return family


def _variant_families(plan: Plan) -> Iterator[Family]:
    for name, text, read in _OF_VARIANT:
        family = Family(f"pertoken_variant_{name}", text, labels=VARIANT)
        for decision in plan.decisions:
            for variant in decision.variants:
                _add(family, [*_service(decision), variant.variant], read, variant)
        yield family


def _pool_families(plan: Plan) -> Iterator[Family]:
    for name, text, read in _OF_POOL:
        family = Family(f"pertoken_pool_{name}", text, labels=("pool",))
        for pool in plan.pools:
            _add(family, [pool.name], read, pool)
        yield family


def _route_families(plan: Plan) -> Iterator[Family]:
    names = ("namespace", "route")
    for name, text, read in _OF_ROUTE:
        family = Family(f"pertoken_route_{name}", text, labels=names)
        for decision in plan.routes:
            _add(family, [decision.route.namespace, decision.route.name], read, decision)
        yield family
    weight = Family("pertoken_route_weight_ratio", "Share of the requests that a tier gets.", labels=(*names, "tier"))
    measured = Family(
        "pertoken_route_measured_ratio", "Share of the requests that a tier's engines took up.", labels=(*names, "tier")
    )
    condition = Family(
        "pertoken_route_condition", "1 for the current status of each condition.", labels=(*names, "type", "status")
    )
    for decision in plan.routes:
        labels = [decision.route.namespace, decision.route.name]
        for tier in decision.tiers:
            weight.add_metric([*labels, tier.name], tier.weight / POINTS)
            _add(measured, [*labels, tier.name], lambda told: told.measured, tier)
        for kind, told in decision.conditions.items():
            condition.add_metric([*labels, kind, told.verdict.value], 1.0)
    yield from (weight, measured, condition)


def _service(decision: Decision) -> list[str]:
    return [decision.service.namespace, decision.service.name]


def _add(family: Family, labels: list[str], read: Callable[[Subject], float | None], subject: Subject) -> None:
    """Add one figure; where it is missing only its own series is left out."""
    try:
        value = read(subject)
        figure = None if value is None else float(value)
    except (ArithmeticError, ValueError, TypeError, AttributeError):
        LOGGER.warning("%s of %s cannot be shown", family.name, "/".join(labels), exc_info=True)
        return
    if figure is not None:
        family.add_metric(labels, figure)
