"""A fault in the sharing out of one pool holds that pool's services, with a reason; the others are planned."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lab import variant_spec
from states import NOW, Variant, memory_of, world_of

from pertoken.domain.identity import ServiceKey
from pertoken.domain.plan import Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.trace import Fault
from pertoken.planner import pipeline
from pertoken.planner.pipeline import SHARE, plan
from pertoken.planner.pool_state import PoolState, pool_states

BUSY = Variant(rate=10.0)
ELSEWHERE = Variant(variant_spec(name="h", pool="h100"), rate=10.0)


def two_pools():
    """`chat` on pool a100 and `far` on h100, both in want of replicas."""
    here, there = world_of(BUSY), world_of(ELSEWHERE)
    view = there.services[0]
    far = replace(view, spec=replace(view.spec, key=ServiceKey("llm", "far"), uid="uid-far"))
    metrics = here.metrics["default"]
    pods = {**metrics.pods, **there.metrics["default"].pods}
    world = replace(
        here,
        services=(*here.services, far),
        pools=(*here.pools, *there.pools),
        pods=(*here.pods, *there.pods),
        metrics={"default": replace(metrics, pods=pods)},
    )
    memory, other = memory_of(BUSY), memory_of(ELSEWHERE)
    services = {**memory.services, "llm/far": replace(other.services["llm/chat"], uid="uid-far")}
    return world, replace(memory, services=services)


def planned():
    world, memory = two_pools()
    made, remembered = plan(world, memory, NOW)
    return {decision.service.name: decision for decision in made.decisions}, made, (memory, remembered)


def breaks_down(stage, *names):
    """The stage, which cannot work with these pools where a service asks for something of them."""

    def fails(allocation):
        asked = {variant.state.spec.pool for proposal in allocation.proposals for variant in proposal.variants}
        if asked & set(names):
            raise ZeroDivisionError("no such node")
        return stage(allocation)

    return fails


def assert_held(decision, words):
    assert (decision.reason, decision.acts) == (Reason.PLANNING_FAILED, False)
    assert [variant.desired for variant in decision.variants] == [variant.current for variant in decision.variants]
    assert decision.conditions["AbleToScale"].verdict is Verdict.FALSE
    assert words in decision.message
    fault = decision.trace[-1].detail
    assert isinstance(fault, Fault)
    assert "ZeroDivisionError" in fault.error


def test_without_a_fault_both_grow():
    decisions, made, _ = planned()

    assert {action.service.name for action in made.actions} == {"chat", "far"}
    assert all(decision.reason is Reason.DEMAND_ROSE for decision in decisions.values())


@pytest.mark.parametrize("place", range(len(SHARE)), ids=[stage.__name__ for stage in SHARE])
def test_a_fault_of_a_joint_stage_costs_the_services_of_its_pool_alone(monkeypatch, place):
    stages = [breaks_down(stage, "h100") if at == place else stage for at, stage in enumerate(SHARE)]
    monkeypatch.setattr(pipeline, "SHARE", tuple(stages))
    decisions, made, (before, after) = planned()

    assert_held(decisions["far"], "sharing out pool h100 failed")
    assert decisions["chat"].reason is Reason.DEMAND_ROSE
    assert [action.service.name for action in made.actions] == ["chat"]
    assert after.services["llm/far"] == before.services["llm/far"]


def test_a_fault_that_no_pool_shows_alone_holds_all_services_and_the_cycle_goes_on(monkeypatch):
    def fails(allocation):
        if len(allocation.pools) > 1:
            raise ZeroDivisionError
        return allocation

    monkeypatch.setattr(pipeline, "SHARE", (fails,))
    decisions, made, _ = planned()

    assert not made.actions
    for decision in decisions.values():
        assert_held(decision, "sharing out the pools failed")


def broken(world, absent=()) -> dict[str, PoolState]:
    if any(view.spec.name == "h100" for view in world.pools):
        raise ZeroDivisionError("no such node")
    return pool_states(world, absent)


def test_a_pool_that_cannot_be_counted_costs_its_services_alone(monkeypatch):
    monkeypatch.setattr(pipeline, "pool_states", broken)
    decisions, made, _ = planned()

    assert_held(decisions["far"], "sharing out pool h100 failed")
    assert [action.service.name for action in made.actions] == ["chat"]
    assert [pool.name for pool in made.pools] == ["a100"]


def test_a_fault_of_the_counting_that_no_pool_explains_is_raised(monkeypatch):
    def fails(world, _absent):
        if len(world.pools) > 1:
            raise ZeroDivisionError
        return pool_states(world)

    monkeypatch.setattr(pipeline, "pool_states", fails)
    with pytest.raises(ZeroDivisionError):
        planned()
