"""One planning cycle: its gate, its term, what it looks at and what it hands on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cycling import Cycling, unsynced
from watched import POOL, filled, service

from pertoken.domain.identity import WorkloadRef
from pertoken.domain.reasons import Reason
from pertoken.ports import Conflict, Unavailable, Withheld

MEMORY = WorkloadRef("v1", "ConfigMap", "pertoken-system", "pertoken-memory")
ROW = (
    "gpus:\n- {id: abacus-9000, like: h100-sxm, memoryGib: 80, bandwidthGBps: 3350, tflops: {bf16: 989}, "
    "source: ours, asOf: 2026-11-01}\n"
)


async def test_a_standby_and_an_inventory_that_is_not_whole_do_nothing():
    for cycling in (Cycling(inventory=unsynced()), Cycling()):
        cycling.leader.held = cycling.inventory.synced is False
        assert await cycling.cycle().run_once(1) is None
        assert cycling.source.asked == 0
        assert cycling.cluster.calls == []


async def test_a_cycle_observes_plans_acts_and_remembers():
    cycling = Cycling()
    cycle = cycling.cycle()
    result = await cycle.run_once(7)

    assert planned(result) == ["chat", "other"]
    assert set(result.surveyed.refusals) == {"uid-own"}  # its template asks for no GPU
    assert set(result.metrics) == {"default"}
    assert set(result.summary.phases) == {"observe", "account", "plan", "act", "remember"}
    assert (result.summary.number, result.summary.ok, result.term) == (7, True, 1)
    assert MEMORY in cycling.cluster.objects
    assert set(cycle.saved.memory.services) == {"team/chat", "team/other"}


async def test_a_row_in_the_catalogs_folder_reaches_the_next_plan_of_what_was_planned_before(tmp_path):
    pool = {**POOL, "spec": {**POOL["spec"], "accelerator": "abacus-9000"}}
    cycling = Cycling(folder=tmp_path, inventory=filled(acceleratorpools=[pool]))
    cycle = cycling.cycle()
    before = await cycle.run_once(1)
    (tmp_path / "rows.yaml").write_text(ROW)
    after = await cycle.run_once(2)
    (tmp_path / "rows.yaml").unlink()
    again = await cycle.run_once(3)

    def told(result):
        return [None if pool.condition is None else pool.condition.reason for pool in result.plan.pools]

    assert told(before) == told(again) == [Reason.UNKNOWN_ACCELERATOR]
    assert told(after) == [None]
    assert "Accepted" in before.plan.decisions[0].conditions
    assert "Accepted" not in after.plan.decisions[0].conditions


async def test_writes_are_fenced_by_the_term_that_they_were_planned_in():
    cycling = Cycling()
    cycle = cycling.cycle()
    await cycle.run_once(1)
    cycle.fence.check()
    cycling.leader.term = 2
    with pytest.raises(Withheld):
        cycle.fence.check()
    await cycle.run_once(2)
    cycle.fence.check()


async def test_a_new_term_begins_with_what_the_last_leader_saved():
    cycling = Cycling()
    cycle = cycling.cycle()
    await cycle.run_once(1)
    other = cycling.cycle()  # another process, which leads for a while
    cycling.leader.term = 2
    await other.run_once(1)
    learnt = other.saved.memory.services["team/chat"]
    other.saved = replace(
        other.saved, memory=replace(other.saved.memory, services={"team/chat": replace(learnt, seen_since=5.0)})
    )
    await other.save()
    cycling.leader.term = 3
    await cycle.run_once(2)

    assert cycle.saved.memory.services["team/chat"].seen_since == 5.0


async def test_without_the_saved_state_no_term_begins():
    cycling = Cycling()
    cycle = cycling.cycle()
    cycling.cluster.silent = Unavailable("no answer")
    with pytest.raises(Unavailable):
        await cycle.run_once(1)
    cycling.cluster.silent = None
    assert (await cycle.run_once(2)).summary.number == 2


async def test_nothing_is_saved_for_a_term_that_is_over_or_never_began():
    cycling = Cycling()
    cycle = cycling.cycle()
    await cycle.save()
    assert MEMORY not in cycling.cluster.objects
    await cycle.run_once(1)
    version = cycling.cluster.objects[MEMORY]["metadata"]["resourceVersion"]
    cycling.leader.term = 2
    await cycle.save()
    assert cycling.cluster.objects[MEMORY]["metadata"]["resourceVersion"] == version


async def test_a_service_that_is_refused_for_a_while_is_not_forgotten():
    cycling = Cycling()
    cycle = cycling.cycle()
    await cycle.run_once(1)
    learnt = cycle.saved.memory.services["team/chat"]
    cycling.inventory.put("inferenceservices", service("chat", variants=[]))
    await cycle.run_once(2)

    assert cycle.saved.memory.services["team/chat"] == replace(learnt, fresh_since=None)

    cycling.inventory.drop("inferenceservices", service("chat"))
    await cycle.run_once(3)
    assert "team/chat" not in cycle.saved.memory.services


async def test_what_was_just_made_asks_for_another_look():
    cycling = Cycling(inventory=filled(inferenceservices=[owning()]))
    result = await cycling.cycle().run_once(1)

    assert "create Deployment mine-a" in cycling.cluster.writes
    assert result.again


async def test_a_workload_that_the_server_refuses_is_not_planned_this_time():
    cycling = Cycling(inventory=filled(inferenceservices=[owning(), service("other")]))
    cycling.cluster.fault = Conflict("somebody else was faster")
    assert "mine" in planned(await cycling.cycle().run_once(1))

    bad = owning()
    bad["spec"]["variants"][0]["podTemplate"]["spec"]["containers"] = []
    cycling = Cycling(inventory=filled(inferenceservices=[bad, service("other")]))
    result = await cycling.cycle().run_once(1)
    assert planned(result) == ["other"]
    assert set(result.surveyed.refusals) == {"uid-mine"}


async def test_an_unreachable_source_of_metrics_is_an_answer_and_a_fault_of_one_is_told():
    cycling = Cycling()
    assert not (await cycling.cycle().run_once(1)).metrics["default"].health.ok
    cycling.source.fault = RuntimeError("a fault")
    told = (await cycling.cycle().run_once(2)).metrics["default"].health
    assert not told.ok
    assert "a fault" in told.why


def planned(result) -> list[str]:
    return [decision.service.name for decision in result.plan.decisions]


def owning() -> dict:
    engine = {"name": "engine", "image": "vllm/vllm-openai:v0.11.0", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    variant = {"name": "a", "pool": "pool", "podTemplate": {"spec": {"containers": [engine]}}}
    return service("mine", variants=[variant])
