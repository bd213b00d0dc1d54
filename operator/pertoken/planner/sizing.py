"""How many replicas each variant needs for the demand expected when a new replica would be ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil, inf

from pertoken.accounting.cost_index import Tokens, list_value
from pertoken.domain.plan import DemandFigures
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Optimize, WhenInfeasible
from pertoken.domain.signal import LatencyKind, Signal
from pertoken.forecast.demand import Forecast, forecast
from pertoken.performance.histogram import quantile
from pertoken.performance.steady import (
    Engine,
    Load,
    Sustainable,
    Targets,
    Unreachable,
    at_batch,
    at_rate,
    best_effort_rate,
    sustainable_rate,
)
from pertoken.planner.assess import Assessment
from pertoken.planner.delivered import Work, measured, more_for_the_queue, share_of
from pertoken.planner.facts import ServiceFacts, Trace, VariantFacts
from pertoken.planner.generic import generic_replicas
from pertoken.planner.memory import Delivered
from pertoken.units import SECONDS_PER_HOUR

EPSILON = 1e-9
FEEDBACK_UTILIZATION = 0.5  # of modelled capacity: below it more replicas do not explain high latency
FEEDBACK_SHARE = 0.1  # of the replicas added at a time
MIN_EVENTS = 20.0  # in the window, for a measured percentile
SAFE_SHARE = 0.95  # of the objective that a consolidation may reach
LATENCY_HEADROOM = 1.5  # replicas that `optimize: Latency` may spend on head-room, as a multiple
LONGEST_STAY = 300.0  # seconds over which demand is averaged at most


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one replica of a variant carries.

    Attributes:
        point: sustainable operating point of one engine within the objectives that can be kept.
        rate: requests per second of the whole replica (all its data-parallel engines).
        unreachable: an objective that no size keeps, None if all can be kept.
    """

    point: Sustainable
    rate: float
    unreachable: Unreachable | None = None

    def at_knee(self, knee: float) -> Capacity:
        """What is really carried: the percentile is lost before, or after, the modelled rate."""
        return replace(self, rate=self.rate * knee)


@dataclass(frozen=True, slots=True)
class Wish:
    """Replicas wanted of one variant, before limits.

    Attributes:
        least: replicas that carry the demand, without tolerance or caution; None without a model.
    """

    variant: str
    replicas: int
    reason: Reason
    capacity: Capacity | None = None
    least: int | None = None


@dataclass(frozen=True, slots=True)
class Sizing:
    """Outcome of the stage; wishes are ordered from the cheapest variant to the dearest.

    Attributes:
        rate: requests per second to be carried, with head-room and backlog; None without a model.
        utilization: present load over the modelled sustainable rate of what serves; None without a model.
        trust: how much of the forecast's cases is learnt, 0 to 1.
        delivered: by variant, what full replicas were seen to deliver.
    """

    wishes: tuple[Wish, ...]
    demand: DemandFigures
    rate: float | None = None
    utilization: float | None = None
    trust: float = 0.0
    delivered: Mapping[str, Delivered] = field(default_factory=dict)


def capacity_of(engine: Engine, load: Load, targets: Targets, ranks: int = 1) -> Capacity | None:
    """Sustainable rate of one replica; objectives that cannot be kept at any size are named and left out."""
    found = sustainable_rate(engine, load, targets)
    if isinstance(found, Sustainable):
        return Capacity(found, found.rate * ranks)
    eased = best_effort_rate(engine, load, targets, found.what)
    if isinstance(eased, Unreachable):
        eased = sustainable_rate(engine, load, Targets(None, None, targets.percentile))
    return Capacity(eased, eased.rate * ranks, found) if isinstance(eased, Sustainable) else None


def lead_seconds(facts: ServiceFacts) -> float:
    """Time until a replica that is asked for now would serve: start-up, one cycle, half a rate window."""
    known = [v.memory.start_seconds for v in facts.variants if v.memory.start_seconds is not None]
    start = max(known) if known else facts.settings.start_seconds
    return start + facts.settings.cycle_seconds + facts.window / 2


def demand_figures(facts: ServiceFacts) -> DemandFigures:
    """Demand now."""
    samples, lead = facts.samples, lead_seconds(facts)
    figures = DemandFigures(lead_seconds=lead, waiting=facts.waiting, running=facts.total(Signal.RUNNING))
    if not samples:
        return figures
    latest = samples[-1]
    return replace(
        figures,
        input_tokens_per_second=latest.input_tokens,
        output_tokens_per_second=latest.output_tokens,
        requests_per_second=latest.requests,
    )


def size(facts: ServiceFacts, assessment: Assessment, trace: Trace) -> Sizing:
    """Wish for replicas: by the performance model where it knows model, GPU and requests, else by saturation."""
    demand = demand_figures(facts)
    load = facts.load
    if load is None or not facts.samples:
        return _size_generic(facts, demand, trace)
    capacities = {
        variant.name: found
        for variant in facts.variants
        if variant.engine is not None
        and (found := capacity_of(variant.engine, load, facts.targets, variant.ranks)) is not None
    }
    if len(capacities) < len(facts.variants):
        return _size_generic(facts, demand, trace)
    capacities = {name: found.at_knee(facts.memory.knee.rounded) for name, found in capacities.items()}
    capacities, delivered = _believed(facts, capacities, load)
    order = sorted(facts.variants, key=lambda variant: _dearness(variant, capacities[variant.name]))
    weight = input_weight(capacities[order[0].name], load)
    settings = facts.settings
    stay = min(load.output_tokens * capacities[order[0].name].point.point.inter_token, LONGEST_STAY)
    ahead = forecast(facts.samples, demand.lead_seconds, settings.cycle_seconds, weight=weight, stay=stay)
    known = _Modelled(load, capacities, demand, ahead, load.input_tokens * weight + load.output_tokens)
    return replace(_size_modelled(facts, assessment, trace, known, order), delivered=delivered)


def _believed(
    facts: ServiceFacts, capacities: Mapping[str, Capacity], load: Load
) -> tuple[dict[str, Capacity], dict[str, Delivered]]:
    """Capacities as far as full replicas do not refute them, and what those delivered."""
    bounded, delivered = {}, {}
    for variant in facts.variants:
        capacity = capacities[variant.name]
        weight = input_weight(capacity, load)
        found = measured(facts, variant, capacity.rate, Work(weight, load.input_tokens * weight + load.output_tokens))
        bounded[variant.name] = capacity.at_knee(round(share_of(found, facts.now), 2))
        if found is not None:
            delivered[variant.name] = found
    return bounded, delivered


def input_weight(capacity: Capacity, load: Load) -> float:
    """GPU time of a prompt token in units of a generated token's, at the operating point of a fully used replica."""
    share = min(capacity.point.point.prefill_share, 0.99)
    return share / (1.0 - share) * load.steps / max(load.input_tokens, 1.0)


@dataclass(frozen=True, slots=True)
class _Modelled:
    """What sizing works with; `request_work` is that of the mean request, in generated tokens."""

    load: Load
    capacities: dict[str, Capacity]
    demand: DemandFigures
    ahead: Forecast
    request_work: float

    def rate(self, work: float) -> float:
        """Mean requests per second that make this much work."""
        return work / max(self.request_work, EPSILON)


def _size_modelled(
    facts: ServiceFacts, assessment: Assessment, trace: Trace, known: _Modelled, order: list[VariantFacts]
) -> Sizing:
    settings = facts.settings
    lead = known.demand.lead_seconds
    rate = known.rate(known.ahead.work)
    serving = sum(variant.ready for variant in facts.variants)
    # No replica helps before the lead is over, so a backlog is not to be worked off faster than that.
    drain = max(0.0, facts.backlog - serving) / max(settings.backlog_seconds, lead)
    margin, percentile = settings.attainment_margin, facts.targets.percentile
    needed = known.ahead.needed(settings.headroom, percentile, margin)
    need = known.rate(needed) + drain
    least = _fill(order, known.capacities, need)
    with_tolerance = _fill(order, known.capacities, need * (1.0 + settings.tolerance))
    spent = _economy(facts, known, (least, with_tolerance), rate)
    eased = spent[0] != least and sum(spent[0].values()) < sum(least.values())
    least, with_tolerance = spent
    idle = _idle(facts)
    wishes = []
    for variant in order:
        wish = _wish(variant, least[variant.name], with_tolerance[variant.name], drain)
        if idle and facts.spec.min_replicas == 0:
            wish = Wish(variant.name, 0, Reason.IDLE)
        elif wish.replicas < variant.steady and not (eased and assessment.may_shrink):
            wish = _consolidate(facts, variant, wish, known, need, assessment)
        wishes.append(replace(wish, capacity=known.capacities[variant.name], least=least[variant.name]))
        point = known.capacities[variant.name].point
        trace.add(
            "sizing",
            (variant.steady, wish.replicas),
            wish.reason,
            variant=variant.name,
            requests_per_second=rate,
            with_headroom=need,
            per_replica=known.capacities[variant.name].rate,
            batch=point.point.batch,
            bound_by=point.binding,
            lead_seconds=lead,
            forecast_headroom=needed / max(known.ahead.work, EPSILON) - 1.0,
            knee=facts.memory.knee.rounded,
            believed=share_of(variant.memory.delivered, facts.now) if variant.memory.delivered else None,
        )
    if not idle and not eased:
        wishes = _feedback(facts, order, wishes, trace, known)
        wishes = _queued(facts, order, wishes, trace)
    tokens = rate * known.load.output_tokens
    carried = sum(variant.ready * known.capacities[variant.name].rate for variant in order)
    pressure = known.rate(known.ahead.present) / carried * facts.memory.knee.rounded if carried > 0 else None
    figures = replace(known.demand, forecast_output_tokens_per_second=tokens)
    return Sizing(tuple(wishes), figures, need, pressure, known.ahead.trust)


def _dearness(variant: VariantFacts, capacity: Capacity) -> tuple[bool, float, str]:
    """USD per request at the sustainable rate; variants that miss an objective or have no price come last."""
    price = inf if variant.usd_per_hour is None else variant.usd_per_hour / max(capacity.rate, EPSILON)
    return capacity.unreachable is not None, price, variant.name


def _fill(order: list[VariantFacts], capacities: dict[str, Capacity], need: float) -> dict[str, int]:
    """Give the rate to the cheapest variant first, up to its maximum; what none can carry is asked of the cheapest.

    What the minimums of dearer variants carry anyway is not asked of cheaper ones, and of a variant whose replicas
    Kubernetes refuses no more is asked than exists.
    """
    wanted, left = {}, need
    floors = {variant.name: min(variant.spec.min_replicas, variant.ceiling) for variant in order}
    anyway = sum(floors[variant.name] * capacities[variant.name].rate for variant in order)
    for variant in order:
        rate, floor = capacities[variant.name].rate, floors[variant.name]
        anyway -= floor * rate
        asked = ceil((left - anyway) / rate - EPSILON)
        count = min(max(asked, floor, 0), variant.ceiling)
        wanted[variant.name] = count
        left = max(0.0, left - count * rate)
    if left > EPSILON and order:
        first = order[0]
        wanted[first.name] += ceil(left / capacities[first.name].rate - EPSILON)
    return wanted


def _wish(variant: VariantFacts, least: int, with_tolerance: int, drain: float) -> Wish:
    if least > variant.steady:
        reason = Reason.QUEUE_BACKLOG if drain > 0 else Reason.DEMAND_ROSE
        return Wish(variant.name, least, reason)
    if with_tolerance < variant.steady:
        return Wish(variant.name, with_tolerance, Reason.DEMAND_FELL)
    reason = Reason.AT_DESIRED if least == variant.steady else Reason.WITHIN_TOLERANCE
    return Wish(variant.name, variant.steady, reason)


def _economy(
    facts: ServiceFacts, known: _Modelled, counts: tuple[dict[str, int], dict[str, int]], rate: float
) -> tuple[dict[str, int], dict[str, int]]:
    """What the cost objective says of head-room: spend on it (`Latency`) or give it up (`KeepCost`).

    First version: only for services with one variant and a price; `KeepCost` gives up head-room, then percentiles.
    """
    cost = facts.spec.cost
    variant = facts.variants[0]
    if cost is None or len(facts.variants) != 1 or variant.usd_per_hour is None or variant.usd_per_hour <= 0:
        return counts
    load, least = known.load, counts[0][variant.name]
    per_request = list_value(
        Tokens(1.0, load.input_tokens, load.input_tokens * load.cached_share, load.output_tokens), cost.prices
    )
    affordable = int(rate * per_request * SECONDS_PER_HOUR / variant.usd_per_hour)
    if cost.optimize is Optimize.LATENCY and affordable > least:
        more = min(affordable, ceil(least * LATENCY_HEADROOM))
        return {variant.name: more}, {variant.name: max(more, counts[1][variant.name])}
    if cost.when_infeasible is WhenInfeasible.KEEP_COST and affordable < least and variant.engine is not None:
        factor = float(cost.hard_limit_factor)
        targets = facts.targets
        eased = Targets(
            None if targets.inter_token is None else targets.inter_token * factor,
            None if targets.ttft is None else targets.ttft * factor,
            50,
        )
        floor = capacity_of(variant.engine, load, eased, variant.ranks)
        carried = None if floor is None else floor.at_knee(facts.memory.knee.rounded).rate
        hard = least if carried is None else ceil(rate / carried - EPSILON)
        fewer = max(affordable, hard, 1)
        return {variant.name: min(fewer, least)}, {variant.name: min(max(fewer, 1), counts[1][variant.name])}
    return counts


def _idle(facts: ServiceFacts) -> bool:
    since = facts.memory.idle_since
    return since is not None and facts.now - since >= facts.spec.idle_seconds


def _consolidate(
    facts: ServiceFacts, variant: VariantFacts, wish: Wish, known: _Modelled, need: float, assessment: Assessment
) -> Wish:
    """Remove only what leaves serving capacity and measured latency within the objectives (the N/(N-1) check)."""
    if not assessment.may_shrink:
        return Wish(variant.name, variant.steady, Reason.METRICS_WARMING_UP)
    others = sum(other.ready * known.capacities[other.name].rate for other in facts.variants if other is not variant)
    rate = known.capacities[variant.name].rate
    for count in range(max(wish.replicas, 0), variant.steady):
        if min(variant.ready, count) * rate + others < need - EPSILON:
            continue
        if count == 0 or _latency_holds(facts, variant, known, count):
            return replace(wish, replicas=count)
    reason = Reason.WAITING_FOR_PODS if variant.ready < variant.steady else Reason.LATENCY_AT_RISK
    return Wish(variant.name, variant.steady, reason)


def _latency_holds(facts: ServiceFacts, variant: VariantFacts, known: _Modelled, count: int) -> bool:
    """Measured latency, scaled by what the model says of fewer replicas, stays within the objectives."""
    if variant.engine is None or variant.ready <= count or not facts.samples:
        return True
    load = known.load
    served = known.rate(known.ahead.present) * _share(facts, variant) / variant.ranks
    here = at_rate(variant.engine, load, served / variant.ready, facts.targets)
    there = at_rate(variant.engine, load, served / count, facts.targets)
    if there is None:
        return False
    if here is None:
        return True
    checks = (
        (LatencyKind.TIME_PER_OUTPUT_TOKEN, facts.targets.inter_token, there.inter_token_tail / here.inter_token_tail),
        (LatencyKind.TTFT, facts.targets.ttft, there.ttft_tail / here.ttft_tail),
    )
    for kind, objective, growth in checks:
        measured = current_percentile(facts, kind, objective)
        if objective is not None and measured is not None and measured * growth > objective * SAFE_SHARE:
            return False
    return True


def _share(facts: ServiceFacts, variant: VariantFacts) -> float:
    """Part of the service's generated tokens that this variant produces."""
    mine, total = variant.total(Signal.GENERATION_TOKENS_PER_SECOND), facts.total(Signal.GENERATION_TOKENS_PER_SECOND)
    if mine is None or not total:
        return 1.0 / len(facts.variants)
    return mine / total


def measured_percentile(facts: ServiceFacts, kind: LatencyKind, objective: float | None) -> float | None:
    """The percentile as measured; None with too few events.

    Where the objective lies inside the bucket that holds the percentile, the lower edge is taken: an interpolated
    figure there must neither add nor keep replicas.
    """
    histogram = facts.seasoned_histogram(kind)
    if histogram is None or histogram.cumulative[-1] * facts.window < MIN_EVENTS:
        return None
    bounds = quantile(histogram, facts.targets.percentile / 100.0)
    if bounds is None:
        return None
    undecided = objective is not None and bounds.low < objective < bounds.high
    return bounds.low if undecided else bounds.estimate


def current_percentile(facts: ServiceFacts, kind: LatencyKind, objective: float | None) -> float | None:
    """The percentile as it is now.

    Time per output token is counted when a request ends, so the histogram tells of the time since it began. The steps
    of the last window tell of now; where they are better, what was late is over.
    """
    measured = measured_percentile(facts, kind, objective)
    if measured is None or kind is not LatencyKind.TIME_PER_OUTPUT_TOKEN:
        return measured
    present = [tail for variant in facts.variants if (tail := _step_tail(facts, variant)) is not None]
    return min(measured, max(present)) if present else measured


def _step_tail(facts: ServiceFacts, variant: VariantFacts) -> float | None:
    """The pods' mean step, raised by what the model and experience say of the percentile over the mean."""
    steps = [pod.values[Signal.STEP_SECONDS] for pod in variant.measured if Signal.STEP_SECONDS in pod.values]
    if not steps or variant.engine is None or not variant.batch or facts.load is None:
        return None
    point = at_batch(variant.engine, facts.load, variant.batch, facts.targets)
    return sum(steps) / len(steps) * point.inter_token_tail / point.inter_token * variant.memory.tail_inter_token


def _feedback(
    facts: ServiceFacts, order: list[VariantFacts], wishes: list[Wish], trace: Trace, known: _Modelled
) -> list[Wish]:
    """Measured latency above the objective at substantial load adds replicas, whatever the model says."""
    targets = facts.targets
    late = [
        (kind, measured, objective)
        for kind, objective in (
            (LatencyKind.TIME_PER_OUTPUT_TOKEN, targets.inter_token),
            (LatencyKind.TTFT, targets.ttft),
        )
        if objective is not None
        and (measured := current_percentile(facts, kind, objective)) is not None
        and measured > objective
    ]
    if not late:
        return wishes
    variant, wish = order[0], wishes[0]
    capacity = wish.capacity
    if capacity is None or capacity.unreachable is not None or wish.replicas > variant.steady:
        return wishes
    carried = sum(v.ready * w.capacity.rate for v, w in zip(order, wishes, strict=True) if w.capacity)
    utilization = known.rate(known.ahead.present) / carried if carried > 0 else 1.0
    recently = facts.now - variant.memory.fed_back_at < facts.window + lead_seconds(facts)
    if variant.starting or recently or utilization < FEEDBACK_UTILIZATION:
        kept = max(wish.replicas, variant.steady)
        return [replace(wish, replicas=kept, reason=Reason.LATENCY_AT_RISK), *wishes[1:]]
    more = variant.steady + max(1, ceil(FEEDBACK_SHARE * variant.steady))
    kind, measured, objective = late[0]
    trace.add(
        "feedback",
        (wish.replicas, more),
        Reason.LATENCY_AT_RISK,
        variant=variant.name,
        measure=kind.value,
        measured_seconds=measured,
        objective_seconds=objective,
        utilization=utilization,
    )
    return [replace(wish, replicas=more, reason=Reason.LATENCY_AT_RISK), *wishes[1:]]


def _queued(facts: ServiceFacts, order: list[VariantFacts], wishes: list[Wish], trace: Trace) -> list[Wish]:
    """A queue that grows adds replicas, whatever the model says."""
    more = more_for_the_queue(facts, order, sum(wish.replicas for wish in wishes))
    if not more:
        return wishes
    first, wish = order[0], wishes[0]
    wanted = max(wish.replicas, first.steady) + more
    trace.add("queue", (wish.replicas, wanted), Reason.QUEUE_BACKLOG, variant=first.name, waiting=facts.waiting)
    return [replace(wish, replicas=wanted, reason=Reason.QUEUE_BACKLOG), *wishes[1:]]


def _size_generic(facts: ServiceFacts, demand: DemandFigures, trace: Trace) -> Sizing:
    wishes = []
    for variant in facts.variants:
        if _idle(facts) and facts.spec.min_replicas == 0:
            replicas, reason = 0, Reason.IDLE
        else:
            replicas, reason = generic_replicas(facts, variant)
        trace.add("sizing", (variant.steady, replicas), reason, variant=variant.name, by="saturation")
        wishes.append(Wish(variant.name, replicas, reason))
    return Sizing(tuple(wishes), demand)
