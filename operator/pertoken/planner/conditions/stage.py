"""Stage `conditions`: money figures and every condition of the service, each a verdict, a reason, and a sentence."""

from __future__ import annotations

from dataclasses import replace

from pertoken.domain.reasons import Reason
from pertoken.domain.trace import Fault, Step, Told
from pertoken.planner.conditions.cost import cost_figures, judge_within_cost
from pertoken.planner.conditions.known import judge_known
from pertoken.planner.conditions.latency import judge_latency
from pertoken.planner.conditions.placement import doubts, remarks
from pertoken.planner.conditions.scaling import (
    judge_able,
    judge_conflict,
    judge_limits,
    judge_paused,
    judge_target,
    limits_of,
)
from pertoken.planner.conditions.shortfall import Shortfall, judge_running, shortfalls
from pertoken.planner.proposal import step
from pertoken.planner.settlement import Settlement


def conditions(settlement: Settlement) -> Settlement:
    """The settlement with its conditions."""
    proposal, state = settlement.proposal, settlement.state
    lacking, known = shortfalls(state), judge_known(state)
    settlement = settlement.noting(*doubts(state), *(_not_running(one) for one in lacking if one.overdue))
    cost = cost_figures(state, proposal.variants)
    judgements = {
        "TargetFound": judge_target(state),
        "MetricsAvailable": proposal.assessment.judgement,
        "AbleToScale": judge_able(settlement, judge_running(state, lacking)),
        "ScalingLimited": judge_limits(limits_of(settlement.trace), remarks(state, settlement.pools)),
        "WithinCostTarget": judge_within_cost(proposal, cost),
        "WithinLatencyTarget": judge_latency(state, proposal.variants),
        "Paused": judge_paused(state),
        "Conflicted": judge_conflict(proposal.stance),
    }
    if known is not None:
        judgements["Accepted"] = known
        settlement = settlement.noting(step("catalog", ("", "unknown"), known.reason, Told(known.message)))
    if state.cost.fault:
        settlement = settlement.noting(
            step("account", ("", "failed"), Reason.ACCOUNTING_FAILED, Fault(state.cost.fault))
        )
    return replace(settlement, cost=cost, judgements=judgements)


def _not_running(lacking: Shortfall) -> Step:
    change = lacking.asked, lacking.running
    return step("running", change, lacking.reason, Told(lacking.words), variant=lacking.variant)
