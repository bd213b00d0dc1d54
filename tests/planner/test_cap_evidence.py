"""Engines' own counts of running requests confirm their batch cap, or refute it."""

from dataclasses import replace

import pytest
from lab import variant_spec
from states import CYCLE, NOW, Variant, memory_of, pod, proposal, service_state, settlement, world_of

from pertoken.domain.cluster import BatchCap, EngineSettings
from pertoken.domain.plan import CompleteBatchCap
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Batching, BatchingMode, Parallelism
from pertoken.domain.signal import Signal
from pertoken.planner.batch_cap.stage import batch_cap
from pertoken.planner.conditions.stage import conditions
from pertoken.planner.estimate.stage import estimate
from pertoken.planner.memory import CapProof, Roll, VariantMemory
from pertoken.planner.pipeline import plan

CAP = BatchCap(64, previous=256, changed_at=NOW - 1800)


def shown(running, waiting=0.0, **changes):
    workload = {"cap": CAP} | changes.pop("workload", {})
    pods = [pod(f"a100-{index}", served=1700.0) for index in range(2)]
    pods = [replace(each, engine_started_at=NOW - 1700) for each in pods]
    tells = {Signal.RUNNING: running, Signal.WAITING: waiting}
    return Variant(**({"tells": tells, "pods": pods, "workload": workload} | changes))


def seen(variant):
    return service_state(variant).variants[0]


@pytest.mark.parametrize(
    ("variant", "refuted"),
    [
        (shown(64.0), False),
        (shown(64.4), False),
        (shown(65.0), True),
        (shown(None), False),
        (shown(65.0, workload={"cap": replace(CAP, changed_at=NOW - 1690)}), False),
        (shown(257.0, workload={"cap": replace(CAP, changed_at=NOW - 1690)}), True),
        (shown(65.0, workload={"cap": BatchCap(64)}), True),
        (shown(65.0, spec=variant_spec(parallelism=Parallelism(data=2))), False),
        (shown(129.0, spec=variant_spec(parallelism=Parallelism(data=2))), True),
        (shown(65.0, workload={"engine": EngineSettings(64, ranks=2)}), False),
        (shown(65.0, workload={"cap": None, "engine": EngineSettings(64)}), False),
        (shown(65.0, workload={"cap": replace(CAP, foreign="a ConfigMap")}), False),
        (shown(65.0, workload={"cap": None}), False),
    ],
    ids=[
        "full", "a mean", "above", "not told", "started before the change", "above the value before it, too",
        "never changed", "two ranks", "above two ranks", "ranks of the command line", "a cap of the template",
        "a cap of somebody else",
        "an unknown cap",
    ],
)  # fmt: skip
def test_more_running_than_the_cap_allows_refutes_it(variant, refuted):
    evidence = seen(variant)

    assert (evidence.cap_refuted is not None) is refuted
    if refuted:
        assert evidence.max_sequences is None
        assert evidence.engine.cap is None
        assert evidence.cap_refuted.pod == "a100-0"


def test_what_refuted_a_cap_stands_until_the_template_changes():
    proof = seen(shown(65.0)).cap_refuted
    calm = shown(3.0, memory=VariantMemory(cap_proof=proof))
    fresh = [pod(labels={"pod-template-hash": "new"})]

    assert seen(calm).cap_refuted == proof
    assert seen(replace(calm, pods=fresh)).cap_refuted is None
    assert seen(replace(calm, pods=[])).cap_refuted == proof
    # A pod of the template before tells nothing of the new one.
    both = [pod("a100-0", served=60.0), pod("a100-1", labels={"pod-template-hash": "old"})]
    assert seen(replace(shown(65.0), pods=both, silent=1)).cap_refuted is None


@pytest.mark.parametrize(
    ("running", "waiting", "believed"), [(64.0, 3.0, True), (64.0, 0.0, False), (63.0, 3.0, False), (65.0, 3.0, False)]
)
def test_a_cap_behind_a_start_script_is_believed_once_an_engine_is_held_at_it(running, waiting, believed):
    evidence = seen(shown(running, waiting, workload={"cap_certain": False}))

    assert evidence.cap_believed is believed
    assert evidence.max_sequences == (64 if believed else None)
    if believed:
        later = shown(3.0, workload={"cap_certain": False}, memory=evidence.memory)
        assert seen(later).cap_believed


def decided(variant, **work):
    return batch_cap(settlement(estimate(proposal(variant, wants=[2], **work))))


def test_no_restart_for_a_cap_that_is_ignored():
    waits = shown(65.0, 40.0)
    settled = decided(waits)
    only = settled.variants[0]

    assert (only.cap.reason, only.roll.reason) == (Reason.CAP_IGNORED, Reason.CAP_IGNORED)
    assert only.roll.action is None
    assert only.roll.roll is None
    assert "a100-0 runs 65 requests, its cap allows 64" in only.roll.message
    fixed = variant_spec(batching=Batching(BatchingMode.FIXED, 8, 32))
    assert decided(replace(waits, spec=fixed)).variants[0].roll.action is None


def test_a_change_under_way_ends_where_the_cap_is_seen_to_be_ignored():
    rolling = shown(
        65.0,
        workload={"cap": replace(CAP, completed=False)},
        memory=VariantMemory(roll=Roll(NOW - 1800, 2, surge=True)),
        replicas=2,
    )
    only = decided(rolling).variants[0]

    assert isinstance(only.roll.action, CompleteBatchCap)
    assert (only.roll.roll, only.roll.floor) == (None, None)


def test_an_unconfirmed_cap_is_kept_and_a_fixed_one_is_the_users_word():
    unconfirmed = shown(3.0, workload={"cap_certain": False})
    assert decided(unconfirmed).variants[0].cap.reason is Reason.CAP_UNCONFIRMED
    fixed = replace(unconfirmed, spec=variant_spec(batching=Batching(BatchingMode.FIXED, 8, 32)))
    assert decided(fixed).variants[0].cap.change


def test_conditions_and_status_say_that_the_cap_is_ignored():
    reported = conditions(decided(shown(65.0)))
    condition = reported.conditions["TargetFound"]

    assert (condition.verdict.value, condition.reason) == ("True", Reason.CAP_IGNORED)
    assert condition.message.startswith("variant a100: pod a100-0 runs 65 requests")


def test_it_is_remembered_from_cycle_to_cycle():
    variant = shown(65.0)
    first, memory = plan(world_of(variant), memory_of(variant), NOW)
    calm = replace(variant, tells={Signal.RUNNING: 2.0, Signal.WAITING: 0.0})
    second, _ = plan(world_of(calm), memory, NOW + CYCLE)

    for each in (first, second):
        only = each.decisions[0].variants[0]
        assert (only.cap, only.desired_cap, only.cap_reason) == (None, None, Reason.CAP_IGNORED)
        assert not [
            action for action in each.actions if "Cap" in type(action).__name__ or "Evict" in type(action).__name__
        ]
    assert memory.services["llm/chat"].variants["a100"].cap_proof == CapProof("uid-a100/abc", "a100-0", 65.0, 64, NOW)
