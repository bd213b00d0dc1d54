"""Sizing by the performance model, step by step."""

from __future__ import annotations

from pertoken.domain.reasons import Reason
from pertoken.domain.trace import Limit, ModelSizing, MoneySizing, Step
from pertoken.frozen import dataclass, replace
from pertoken.planner.proposal import UNCHANGED, Proposal, SizingFigures, Status, VariantProposal, step
from pertoken.planner.service_state import ServiceState, VariantState
from pertoken.planner.size.aim import spending
from pertoken.planner.size.capacity import share_of
from pertoken.planner.size.consolidate import consolidate
from pertoken.planner.size.economy import Counts, Economy, Rates, economize, spend
from pertoken.planner.size.expected import Expected
from pertoken.planner.size.feedback import add_for_latency, add_for_queue
from pertoken.planner.size.fill import fill
from pertoken.planner.size.reserve import with_reserve
from pertoken.units import TINY


@dataclass(frozen=True, slots=True)
class _Rates:
    """Requests per second that a service is sized for.

    Attributes:
        expected: at the lead.
        needed: with head-room and what is worked off of the backlog.
        headroom: share that the forecast's misses add to what is expected.
        aim: share of requests that shall keep their objectives.
    """

    expected: float
    needed: float
    headroom: float
    aim: float


def size_modelled(proposal: Proposal, known: Expected) -> Proposal:
    """Replicas that carry the demand at the lead within the objectives."""
    state = proposal.state
    settings = state.settings
    rate = known.rate(known.ahead.work)
    drain = max(0.0, state.backlog - state.serving) / settings.backlog_seconds
    spent = spending(state)
    needed = known.ahead.needed(settings.headroom * spent.caution, spent.aim, state.tuning.knee)
    need = known.rate(needed) + drain
    asked = Counts(
        with_reserve(state, fill(known.order, known.capacities, need)),
        with_reserve(state, fill(known.order, known.capacities, need * (1.0 + settings.tolerance * spent.caution))),
    )
    economy = economize(state, known, asked, Rates(rate, drain))
    eased = economy.eased
    variants = []
    for variant in known.order:
        proposed = _proposed(variant, economy, known, drain)
        if state.idle and state.min_replicas == 0:
            proposed = proposed.at(0, Reason.IDLE, Status.IDLE)
        elif proposed.replicas < variant.steady and not (eased and proposal.assessment.may_shrink):
            proposed = consolidate(proposal, proposed, known, need)
        variants.append(proposed)
    rates = _Rates(rate, need, headroom=needed / max(known.ahead.work, TINY) - 1.0, aim=1.0 - spent.missing)
    steps = [_step(state, known, proposed, rates) for proposed in variants]
    steps += _money_steps(known, asked, economy)
    sized = proposal.with_variants(variants, *steps)
    if not state.idle and not eased:
        sized = add_for_queue(add_for_latency(sized, known))
    return replace(sized, sizing=_sizing(state, known, rate, need))


def _proposed(variant: VariantState, economy: Economy, known: Expected, drain: float) -> VariantProposal:
    counts, spare = economy.counts, economy.spare.get(variant.name, 0)
    least, with_tolerance = counts.least[variant.name], counts.with_tolerance[variant.name]
    if least > variant.steady:
        replicas, reason = least, Reason.QUEUE_BACKLOG if drain > 0 else Reason.DEMAND_ROSE
        if least - spare <= variant.steady:
            reason = Reason.SPARE_BUDGET
    elif with_tolerance < variant.steady:
        replicas, reason = with_tolerance, Reason.COST_KEPT if economy.eased else Reason.DEMAND_FELL
    else:
        replicas = variant.steady
        reason = Reason.AT_DESIRED if least == variant.steady else Reason.WITHIN_TOLERANCE
    capacity = known.capacities[variant.name]
    return VariantProposal(variant, replicas, reason, capacity=capacity, least=least - spare, spare=spare)


def _sizing(state: ServiceState, known: Expected, rate: float, need: float) -> SizingFigures:
    # Present load over the modelled sustainable rate: what is carried has the knee in it already.
    carried = known.carried
    utilization = known.rate(known.ahead.present) / carried * state.knee if carried > 0 else None
    demand = replace(known.demand, forecast_output_tokens_per_second=rate * known.load.output_tokens)
    return SizingFigures(demand, need, utilization, known.ahead.trust, known.delivered)


def _believed(state: ServiceState, variant: VariantState) -> float | None:
    delivered = variant.memory.delivered
    return None if delivered is None else share_of(delivered, state.now, state.tuning.delivered)


def _step(state: ServiceState, known: Expected, proposed: VariantProposal, rates: _Rates) -> Step:
    variant, capacity = proposed.state, known.capacities[proposed.name]
    detail = ModelSizing(
        requests_per_second=rates.expected,
        with_headroom=rates.needed,
        per_replica=capacity.rate,
        batch=capacity.point.point.batch,
        bound_by=capacity.point.binding,
        lead_seconds=known.demand.lead_seconds,
        forecast_headroom=rates.headroom,
        knee=state.knee,
        believed=_believed(state, variant),
        aim=rates.aim,
        lately=None if state.memory.budget.requests <= 0 else 1.0 - state.memory.budget.share_missed,
        apart=state.memory.knee.apart,
        lost=state.losses_of(variant),
    )
    return step("size", (variant.steady, proposed.replicas), proposed.reason, detail, variant=variant.name)


def _money_steps(known: Expected, asked: Counts, economy: Economy) -> list[Step]:
    """What the money budget changed."""
    if economy.money is None or economy.counts == asked:
        return []
    before, after = sum(asked.least.values()), sum(economy.counts.least.values())
    detail = MoneySizing(
        affordable_usd_per_hour=economy.affordable,
        asked_usd_per_hour=spend(known, asked.least),
        planned_usd_per_hour=spend(known, economy.counts.least),
        left_usd=economy.money.left,
        gives_up=" and ".join(economy.given_up),
    )
    if not economy.eased:
        return [step("money", (before, after), Reason.SPARE_BUDGET, detail)]
    words = (
        f"the cost target leaves {economy.affordable:.2f} USD per hour, {detail.asked_usd_per_hour:.2f} are asked for: "
        f"{', '.join(economy.given_up)} given up, {after} replicas instead of {before}"
    )
    told = step("money", UNCHANGED, Reason.COST_KEPT, Limit(words))
    return [step("money", (before, after), Reason.COST_KEPT, detail), told]
