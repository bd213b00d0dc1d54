"""What the models say of a service's money, and whether it stays within its cost target."""

from __future__ import annotations

from collections.abc import Sequence

from pertoken.accounting.cost_index import Reachable, marginal, reachable, reachable_index, request_value
from pertoken.accounting.token_prices import marginal_prices, replica_prices, scaled
from pertoken.domain.cost import CostFigures, TokenPrices
from pertoken.domain.plan import Condition, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.service import CostObjective
from pertoken.frozen import dataclass, replace
from pertoken.performance.steady import Engine, Load, Sustainable, sustainable_rate
from pertoken.performance.tuning import SUSTAINED
from pertoken.planner.conditions.remedies import Replica, remedies
from pertoken.planner.needs import Purpose
from pertoken.planner.proposal import Proposal, VariantProposal
from pertoken.planner.service_state import ServiceState, VariantState
from pertoken.units import SECONDS_PER_HOUR, TINY


def cost_figures(state: ServiceState, variants: Sequence[VariantProposal]) -> CostFigures:
    """The account's figures with those that need the models: the least that tokens can cost, and what one more costs.

    Args:
        state: of the service.
        variants: cheapest first.
    """
    least, least_index = _least(state)
    one_more, replica = _token_prices(state, variants)
    return replace(
        state.cost.figures,
        marginal=_marginal(state, variants),
        one_more=one_more,
        replica=replica,
        reachable=None if least is None else least.blended,
        reachable_index=least_index,
    )


def _least(state: ServiceState) -> tuple[Reachable | None, float | None]:
    """What tokens cost at least, and the cost index at that."""
    cheapest = _cheapest(state)
    if cheapest is None or state.load is None:
        return None, None
    prices = None if state.spec.cost is None else state.spec.cost.prices
    return cheapest.least, None if prices is None else reachable_index(cheapest.least, state.load, prices)


@dataclass(frozen=True, slots=True)
class _Cheapest:
    """The variant whose requests cost least, its engine with the cap that it may have, and what they cost there."""

    variant: VariantState
    engine: Engine
    least: Reachable


def _cheapest(state: ServiceState) -> _Cheapest | None:
    """Cheapest variant at full use within the objectives, the cap free to move; None where no model tells."""
    load = state.load
    if load is None:
        return None
    reached = []
    for variant in state.variants:
        if variant.engine is None or variant.usd_per_hour is None:
            continue
        batching = variant.spec.batching
        free = variant.workload.cap is not None or variant.max_sequences is None
        cap = batching.max_sequences if free else variant.max_sequences
        engine = variant.engine if cap == variant.engine.cap else replace(variant.engine, cap=cap)
        point = state.results.of(sustainable_rate, engine, load, state.targets)
        if isinstance(point, Sustainable):
            carried = variant.ranks * state.knee
            least = reachable(point, load, variant.usd_per_hour / carried)
            if least is not None:
                reached.append(_Cheapest(variant, engine, least))
    return min(reached, key=lambda each: each.least.usd_per_request, default=None)


def _marginal(state: ServiceState, variants: Sequence[VariantProposal]) -> float | None:
    """Of the variant that would take the next request: the cheapest that serves."""
    load = state.load
    if load is None:
        return None
    for proposed in variants:
        variant = proposed.state
        if variant.engine is not None and variant.usd_per_hour is not None and variant.batch is not None:
            return marginal(variant.engine, load, variant.batch, variant.usd_per_hour / variant.ranks)
    return None


def _token_prices(
    state: ServiceState, variants: Sequence[VariantProposal]
) -> tuple[TokenPrices | None, TokenPrices | None]:
    """What one more token costs now, and what it costs where it takes a further replica; both of the cheapest variant.

    Time that replicas have left is paid for already: an idle replica's next token costs nothing, a full fleet's what a
    further replica asks for it. In between the price rises with the share of the capacity that is in use. Where no
    capacity is known it is the engine time that the token takes.
    """
    load = state.load
    for proposed in variants:
        variant, capacity = proposed.state, proposed.capacity
        if load is None or variant.engine is None or variant.usd_per_hour is None or variant.batch is None:
            continue
        batch = max(variant.batch, SUSTAINED.least_batch)
        if capacity is None or capacity.rate <= TINY:
            return marginal_prices(variant.engine, load, batch, variant.usd_per_hour / variant.ranks), None
        per_request = variant.usd_per_hour / SECONDS_PER_HOUR / capacity.rate
        further = replica_prices(variant.engine, load, batch, per_request)
        carried = sum(each.state.ready * each.capacity.rate for each in variants if each.capacity is not None)
        if further is None or not state.samples or state.samples[-1].at < state.now:
            return None, further  # how much is in use is not known now
        return scaled(further, min(1.0, state.samples[-1].requests / max(carried, TINY))), further
    return None, None


def within_cost_condition(proposal: Proposal, figures: CostFigures) -> Condition:
    """`WithinCostTarget`. GPUs cost money while nobody tells what they finish: no index is made of that."""
    state, assessment = proposal.state, proposal.assessment
    if state.spec.cost is not None and state.cost.fault:
        words = "the account failed on a figure that it cannot work with. The decision trace has the details"
        return Condition(Verdict.UNKNOWN, Reason.ACCOUNTING_FAILED, words)
    if state.spec.cost is not None and state.cost.priced and not assessment.allows(Purpose.COST):
        lacks = "; ".join(str(lack) for lack in assessment.lacks.get(Purpose.COST, ()))
        words = f"finished tokens are not all told: {lacks or assessment.condition.message}"
        return Condition(Verdict.UNKNOWN, assessment.condition.reason, words)
    condition = cost_condition(state.spec.cost, figures, state.cost.priced, state.settings.min_index_requests)
    if condition.verdict is not Verdict.FALSE:
        return condition
    would = _would_meet(state)
    return replace(condition, message=f"{condition.message}; {would}") if would else condition


def _would_meet(state: ServiceState) -> str:
    """What would bring the index to 1, in words; empty where nothing is known that would."""
    cheapest, load, cost = _cheapest(state), state.load, state.spec.cost
    if cheapest is None or load is None or cost is None or cheapest.variant.usd_per_hour is None:
        return ""
    variant, spec = cheapest.variant, cheapest.variant.spec
    index = reachable_index(cheapest.least, load, cost.prices)
    if index is None or index <= 1.0:
        return _enough_load(cheapest, load, cost)
    replica = Replica(
        model="" if state.spec.model.architecture else state.spec.model.id,
        accelerator="" if variant.pool is None else variant.pool.accelerator,
        parallelism=spec.parallelism,
        quantization=spec.quantization,
        engine=cheapest.engine,
        usd_per_hour=cheapest.variant.usd_per_hour,
        carried=round(variant.ranks * state.knee, 2),
        load=load,
        targets=state.targets,
        prices=cost.prices,
    )
    answers = state.results.of(remedies, replica, state.catalog, state.tuning.answers)
    return f"any of these would meet the target: {'; '.join(answers)}" if answers else ""


def _enough_load(cheapest: _Cheapest, load: Load, cost: CostObjective) -> str:
    """The load from which a replica earns what it costs; the rest of the target is a matter of how full they are."""
    worth = request_value(load, cost.prices)
    price = cheapest.variant.usd_per_hour
    if worth <= 0 or price is None:
        return ""
    return (
        f"a replica of {cheapest.variant.name} earns its cost from {price / SECONDS_PER_HOUR / worth:.3g} requests/s on"
    )


def cost_condition(objective: CostObjective | None, figures: CostFigures, priced: bool, enough: int) -> Condition:
    """Whether the cost index is at most 1 over the window."""
    if objective is None:
        return Condition(Verdict.UNKNOWN, Reason.NO_COST_TARGET, "no cost objective is set")
    if not priced:
        return Condition(Verdict.UNKNOWN, Reason.NO_PRICE, "a pool in use has no price per GPU-hour")
    index = figures.index
    if index is None or figures.finished_requests < enough:
        words = f"{figures.finished_requests:.0f} finished requests in {figures.window_seconds:.0f} s, {enough} needed"
        return Condition(Verdict.UNKNOWN, Reason.INSUFFICIENT_TRAFFIC, words)
    blended = "" if figures.blended is None else f", {figures.blended:.3f} USD per 1M tokens"
    words = f"cost index {index:.2f}{blended} over {figures.window_seconds:.0f} s"
    if index <= 1.0:
        return Condition(Verdict.TRUE, Reason.WITHIN_COST_TARGET, words)
    return _above(figures, words)


def _above(figures: CostFigures, words: str) -> Condition:
    least = figures.reachable_index
    if least is None:
        return Condition(Verdict.FALSE, Reason.COST_ABOVE_TARGET, words)
    reach = f"{figures.reachable:.3f} USD per 1M tokens (index {least:.2f})"
    if least > 1.0:
        words = f"{words}; within the latency objectives these GPUs reach {reach} at best, at full use"
        return Condition(Verdict.FALSE, Reason.COST_TARGET_UNREACHABLE, words)
    words = f"{words}; {reach} is reachable at full use"
    return Condition(Verdict.FALSE, Reason.COST_ABOVE_TARGET, words)
