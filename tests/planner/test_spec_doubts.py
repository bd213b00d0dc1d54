"""What `Accepted` says of a spec that contradicts its engines, and of a pool that no node belongs to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from states import service_state

from pertoken.api.conditions import ready
from pertoken.domain.plan import Condition, Verdict
from pertoken.domain.pool import PoolSpec
from pertoken.domain.reasons import Reason
from pertoken.domain.world import SpecDoubt
from pertoken.planner.conditions.known import accepted_condition, nodes_condition

HOLDS = Condition(Verdict.TRUE, Reason.ACCEPTED, "so it is")


@pytest.mark.parametrize(
    ("pool", "nodes", "reason"),
    [
        (PoolSpec("p", "l40s", node_selector=(("a", "b"),)), 0, Reason.NO_NODES),
        (PoolSpec("p", "l40s", node_selector=(("a", "b"),), max_gpus=8), 0, Reason.NO_NODES_YET),
        (PoolSpec("p", "l40s", node_selector=(("a", "b"),), max_gpus=0), 0, Reason.NO_NODES),
        (PoolSpec("p", "l40s", node_selector=(("a", "b"),)), 1, None),
        (PoolSpec("p", "l40s", capacity_gpus=4), 0, None),
    ],
)
def test_a_pool_without_nodes(pool, nodes, reason):
    condition = nodes_condition(pool, nodes)
    assert (None if condition is None else condition.reason) is reason
    if condition is not None:
        assert "a=b" in condition.message


@pytest.mark.parametrize(
    ("reasons", "is_ready"),
    [
        ((), Verdict.TRUE),
        ((Reason.GPU_MISMATCH, Reason.OBJECTIVE_IMPOSSIBLE), Verdict.FALSE),
        ((Reason.ARGUMENTS_CONTRADICT,), Verdict.FALSE),
        ((Reason.OBJECTIVE_IMPOSSIBLE,), Verdict.TRUE),
    ],
)
def test_doubts_are_told_and_decide_whether_it_is_ready(reasons, is_ready):
    state = service_state()
    doubts = tuple(SpecDoubt(reason, f"words of {reason}") for reason in reasons)
    condition = accepted_condition(replace(state, view=replace(state.view, doubts=doubts)))
    if reasons:
        assert condition.reason is reasons[0]
        assert all(f"words of {reason}" in condition.message for reason in reasons)
    needed = dict.fromkeys(("TargetFound", "MetricsAvailable", "AbleToScale"), HOLDS)
    assert ready({**needed, "Accepted": condition or HOLDS}).verdict is is_ready
