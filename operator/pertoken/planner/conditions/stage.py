"""Stage `conditions`: money figures and every condition of the service, each a verdict, a reason, and a sentence."""

from __future__ import annotations

from pertoken.domain.reasons import Reason
from pertoken.domain.trace import Fault, Step, Told
from pertoken.frozen import replace
from pertoken.planner.conditions.cost import cost_figures, within_cost_condition
from pertoken.planner.conditions.known import accepted_condition
from pertoken.planner.conditions.latency import latency_condition
from pertoken.planner.conditions.pool_remarks import doubts, remarks
from pertoken.planner.conditions.scaling import (
    able_condition,
    conflict_condition,
    limits_condition,
    limits_of,
    paused_condition,
    target_condition,
)
from pertoken.planner.conditions.shortfall import Shortfall, running_condition, shortfalls
from pertoken.planner.proposal import step
from pertoken.planner.settlement import Settlement


def conditions(settlement: Settlement) -> Settlement:
    """The settlement with its conditions."""
    proposal, state = settlement.proposal, settlement.state
    lacking, known = shortfalls(state), accepted_condition(state)
    settlement = settlement.noting(
        *doubts(state), *(_not_running(shortfall) for shortfall in lacking if shortfall.overdue)
    )
    cost = cost_figures(state, proposal.variants)
    by_type = {
        "TargetFound": target_condition(state, settlement.trace),
        "MetricsAvailable": proposal.assessment.condition,
        "AbleToScale": able_condition(settlement, running_condition(state, lacking)),
        "ScalingLimited": limits_condition(limits_of(settlement.trace), remarks(state, settlement.pools)),
        "WithinCostTarget": within_cost_condition(proposal, cost),
        "WithinLatencyTarget": latency_condition(state, proposal.variants),
        "Paused": paused_condition(state),
        "Conflicted": conflict_condition(proposal.stance),
    }
    if known is not None:
        by_type["Accepted"] = known
        settlement = settlement.noting(step("catalog", ("", "unknown"), known.reason, Told(known.message)))
    if state.cost.fault:
        settlement = settlement.noting(
            step("account", ("", "failed"), Reason.ACCOUNTING_FAILED, Fault(state.cost.fault))
        )
    return replace(settlement, cost=cost, conditions=by_type)


def _not_running(lacking: Shortfall) -> Step:
    change = lacking.asked, lacking.running
    return step("running", change, lacking.reason, Told(lacking.words), variant=lacking.variant)
