"""The stages as a pipeline: same in, same out; nothing that they are given changes; a bad service fails alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from lab import START, plant, serving_since, variant_spec
from states import NOW, Variant, memory_of, pool_state, service_state, settlement, world_of

from pertoken.domain.cluster import BatchCap
from pertoken.domain.identity import ServiceKey
from pertoken.domain.plan import SetReplicas, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.signal import Signal
from pertoken.domain.trace import Fault
from pertoken.planner import pipeline
from pertoken.planner.allocate.stage import Allocation
from pertoken.planner.memory import Memory, PoolMemory, ServiceMemory, backoff_key
from pertoken.planner.pipeline import PROPOSE, SETTLE, SHARE, backed_off, plan
from pertoken.planner.proposal import Proposal, begun
from pertoken.planner.settlement import Settlement
from pertoken.planner.tuning import TUNING
from pertoken.units import FAULT_CHARACTERS

BUSY = Variant(rate=10.0)
QUEUED = Variant(rate=10.0, tells={Signal.WAITING: 60.0})
LATE = Variant(rate=7.0, tells={Signal.STEP_SECONDS: 0.06}, latency={"inter_token": 0.06})
SPARE = Variant(replicas=6, rate=1.0)
STARTING = Variant(replicas=4, ready=2)
CAPPED = Variant(rate=7.0, workload={"cap": BatchCap(48)})
GENERIC = Variant(replicas=3, latency=None, tells={Signal.GPU_UTILIZATION: 0.95})
SITUATIONS = {
    "quiet": (Variant(),),
    "busy": (BUSY,),
    "queue": (QUEUED,),
    "late": (LATE,),
    "too many": (SPARE,),
    "starting": (STARTING,),
    "cap": (CAPPED,),
    "no histograms": (GENERIC,),
    "no replicas": (Variant(replicas=0),),
    "no series": (Variant(silent=2),),
    "two variants": (BUSY, Variant(variant_spec(name="dear", pool="h100", min_replicas=0), replicas=0)),
}


def on_the_way(variants: tuple[Variant, ...], stages: int) -> Proposal:
    """The service after this many stages of the first half."""
    item = begun(service_state(*variants))
    for stage in PROPOSE[:stages]:
        item = stage(item)
    return item


def shared(variants: tuple[Variant, ...], stages: int) -> Allocation:
    pools = {"a100": pool_state((1,)), "h100": pool_state((8,), name="h100")}
    item = Allocation((on_the_way(variants, len(PROPOSE)),), pools)
    for stage in SHARE[:stages]:
        item = stage(item)
    return item


def settled(variants: tuple[Variant, ...], stages: int) -> Settlement:
    allocation = shared(variants, len(SHARE))
    asked = allocation.proposals[0]
    item = settlement(asked, allocation.grant_of(asked.key), allocation.pools)
    for stage in SETTLE[:stages]:
        item = stage(item)
    return item


STAGES: list[tuple[Callable[[Any], Any], Callable[[tuple[Variant, ...]], Any]]] = [
    (stage, lambda variants, make=make, index=index: make(variants, index))
    for stages, make in ((PROPOSE, on_the_way), (SHARE, shared), (SETTLE, settled))
    for index, stage in enumerate(stages)
]


@pytest.mark.parametrize("variants", SITUATIONS.values(), ids=SITUATIONS)
@pytest.mark.parametrize(("stage", "given"), STAGES, ids=[stage.__name__ for stage, _ in STAGES])
def test_a_stage_gives_the_same_for_the_same_and_leaves_it_as_it_was(stage, given, variants):
    item = given(variants)
    before, again = copy.deepcopy(item), copy.deepcopy(item)
    returned = stage(item)

    assert returned == stage(again)
    if stage is not pipeline.batch_cap:  # an extra replica takes its room in the cycle's pools
        assert item == before
    else:
        assert replace(item, pools=before.pools) == before


@pytest.mark.parametrize("stage", range(len(PROPOSE)), ids=[stage.__name__ for stage in PROPOSE])
def test_a_stage_of_the_first_half_keeps_what_earlier_ones_told(stage):
    for variants in SITUATIONS.values():
        before = on_the_way(variants, stage)
        after = PROPOSE[stage](before)

        assert after.trace[: len(before.trace)] == before.trace
        assert {variant.name for variant in after.variants} == {variant.name for variant in before.variants}


HALVES = [("PROPOSE", stage) for stage in PROPOSE] + [("SETTLE", stage) for stage in SETTLE]


@pytest.mark.parametrize(("half", "stage"), HALVES, ids=[stage.__name__ for _, stage in HALVES])
def test_a_service_on_which_a_stage_fails_is_held_and_told_and_the_others_go_on(monkeypatch, half, stage):
    def fails(item):
        if item.state.spec.key.name == "bad":
            raise ZeroDivisionError("x" * 1000)
        return stage(item)

    stages = tuple(fails if each is stage else each for each in getattr(pipeline, half))
    monkeypatch.setattr(pipeline, half, stages)
    good = world_of(BUSY)
    view = good.services[0]
    bad = replace(view, spec=replace(view.spec, key=ServiceKey("llm", "bad"), uid="uid-bad", priority=9))
    memory = memory_of(BUSY)
    kept = ServiceMemory("uid-bad", NOW - 100.0, conflict="as it was")
    memory = replace(memory, services={**memory.services, "llm/bad": kept})
    planned, remembered = plan(replace(good, services=(view, bad)), memory, NOW)
    broken, whole = planned.decisions

    assert (broken.service.name, broken.reason, broken.acts) == ("bad", Reason.PLANNING_FAILED, False)
    assert [(variant.current, variant.desired, variant.ready) for variant in broken.variants] == [(2, 2, 2)]
    assert broken.variants[0].unknown == broken.message
    assert broken.conditions["AbleToScale"].verdict is Verdict.FALSE
    assert "nothing is changed" in broken.message
    fault = broken.trace[-1].detail
    assert isinstance(fault, Fault)
    assert fault.error.startswith("ZeroDivisionError: xxx")
    assert len(fault.error) == FAULT_CHARACTERS
    assert remembered.services["llm/bad"] == kept
    assert whole.reason is Reason.DEMAND_ROSE
    assert [(action.service.name, action.desired) for action in planned.actions] == [("chat", 3)]


def test_a_service_that_fails_when_it_is_new_is_remembered_as_seen(monkeypatch):
    def fails(_):
        raise OverflowError

    monkeypatch.setattr(pipeline, "PROPOSE", (fails,))
    _, remembered = plan(world_of(), memory_of(uid="another"), NOW)

    assert remembered.services == {"llm/chat": ServiceMemory("uid-chat", NOW)}


def test_a_figure_that_the_joint_stages_cannot_take_concerns_one_service_alone(monkeypatch):
    def fails(_):
        raise ValueError("no such request")

    monkeypatch.setattr(pipeline, "request_of", fails)
    planned, _ = plan(world_of(), memory_of(), NOW)

    assert planned.decisions[0].reason is Reason.PLANNING_FAILED


def test_backing_off_doubles_while_it_fails():
    first = backed_off(PoolMemory(), 300, 1000.0, TUNING.rails)
    second = backed_off(first, 300, first.backoff_until + 100, TUNING.rails)
    much_later = backed_off(second, 300, second.backoff_until + 100_000, TUNING.rails)

    assert first.backoff_until == 1600.0
    assert second.backoff_until - (first.backoff_until + 100) == 1200.0
    assert much_later.withdrawals == 1


def test_services_and_pools_that_are_gone_are_forgotten():
    chat, code = ServiceKey("llm", "chat"), ServiceKey("llm", "code")
    kept = backoff_key("a100", chat, "a100")
    lost = ("a100", backoff_key("gone", chat, "v"), backoff_key("a100", code, "v"))
    memory = memory_of()
    memory = Memory(
        {**memory.services, "llm/code": ServiceMemory("u", NOW)}, dict.fromkeys([kept, *lost], PoolMemory(1.0, 1)), NOW
    )
    _, remembered = plan(world_of(), memory, NOW)

    assert set(remembered.services) == {"llm/chat"}
    assert set(remembered.pools) == {kept}


def test_actions_come_down_first():
    fleet = plant("chat", "code", rate=5.0, replicas=2)
    fleet.rates["code"] = 1.0
    fleet.deployments["code"].replicas = 6
    fleet.pods.clear()
    serving_since(fleet, START - 3600)
    fleet.run(390)  # the count of `code` is about to come down
    fleet.rates["chat"] = 60.0
    orders = []
    fleet.run(
        300,
        lambda _, planned: orders.append(
            [a.desired - a.current for a in planned.actions if isinstance(a, SetReplicas)]
        ),
    )

    assert any(order and order[0] < 0 < order[-1] for order in orders)
    assert all(order == sorted(order) for order in orders)
