"""The prefill chunk: which one suits, and how it reaches the pods."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import plant
from states import Variant, service_state

from pertoken.catalog.engines import CHUNK_SIZES
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.cluster import BatchCap
from pertoken.domain.plan import CompleteBatchCap, EvictPod, SetBatchCap, SetReplicas
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Batching, BatchingMode, EngineKind, Parallelism
from pertoken.performance.steady import Engine, Load, Sustainable, Targets, sustainable_rate
from pertoken.performance.step_time import engine_model
from pertoken.planner.batch_cap.cap import admitted
from pertoken.planner.batch_cap.chunk import ChunkBounds, best_chunk, full_step
from pertoken.planner.batch_cap.roll import roll_cap
from pertoken.planner.batch_cap.roll_state import Allowed
from pertoken.planner.settlement import CapDecision
from pertoken.planner.tuning import TUNING

SMALL = Engine(engine_model(SHIPPED.model("llama-3.1-8b"), SHIPPED.gpu("a100"), Parallelism()))
LARGE = Engine(engine_model(SHIPPED.model("llama-3.1-70b"), SHIPPED.gpu("h100"), Parallelism(tensor=4)))
CHAT, REASONING = Load(1000, 250), Load(1377, 4175)
WIDE = ChunkBounds(256, 8192)


def sized(engine, tokens):
    return replace(engine, model=engine.model.with_batched_tokens(tokens))


@pytest.mark.parametrize(
    ("engine", "load", "targets", "bounds", "chunk"),
    [
        (sized(SMALL, 2048), CHAT, Targets(0.05, 2.0), WIDE, 512),
        (sized(SMALL, 2048), CHAT, Targets(0.08, 2.0), WIDE, 768),
        (sized(LARGE, 2048), Load(690, 156), Targets(0.06, 2.0), WIDE, 768),
        # As good as it gets, and near enough.
        (sized(SMALL, 512), CHAT, Targets(0.05, 2.0), WIDE, None),
        (sized(SMALL, 768), CHAT, Targets(0.06, 2.0), WIDE, None),
        # A small one where a larger one would do.
        (sized(SMALL, 256), CHAT, Targets(0.08, 2.0), WIDE, 768),
        # Long answers fill the batch: prompts would crawl in what such a step leaves them.
        (sized(SMALL, 2048), REASONING, Targets(0.06, 3.0), WIDE, None),
        # Nothing is promised between tokens, or nothing can be.
        (sized(SMALL, 2048), CHAT, Targets(None, 2.0), WIDE, None),
        (sized(SMALL, 2048), CHAT, Targets(0.005, 2.0), WIDE, None),
        # No token may wait longer than this: alone, beside means, and where means ask for what slows prompts too much.
        (sized(SMALL, 2048), CHAT, Targets(None, 2.0, 95, 0.1), WIDE, 1024),
        (sized(SMALL, 2048), CHAT, Targets(0.2, 2.0, 95, 0.05), WIDE, 512),
        (sized(SMALL, 2048), CHAT, Targets(0.05, 2.0, 95, 0.2), WIDE, 512),
        (sized(SMALL, 2048), REASONING, Targets(0.06, 3.0, 95, 0.1), WIDE, 1024),
        (sized(SMALL, 2048), REASONING, Targets(0.06, 3.0, 95, 0.2), WIDE, None),
        (sized(SMALL, 2048), CHAT, Targets(None, 2.0, 99, 0.1), WIDE, 1024),
        # A first token that is due too soon for prompts in pieces.
        (sized(SMALL, 2048), CHAT, Targets(0.03, 0.3), WIDE, None),
        (sized(SMALL, 2048), CHAT, Targets(0.05, 2.0), ChunkBounds(768, 8192), None),
        (sized(SMALL, 256), CHAT, Targets(0.08, 2.0), ChunkBounds(256, 512), 512),
    ],
)
def test_the_chunk_that_suits(engine, load, targets, bounds, chunk):
    assert best_chunk(engine, load, targets, bounds, TUNING.cap) == chunk


@settings(max_examples=40, deadline=None)
@given(
    now=st.sampled_from(CHUNK_SIZES),
    load=st.builds(Load, st.floats(50, 8000), st.floats(2, 3000), st.floats(0, 0.9)),
    targets=st.builds(Targets, st.floats(0.01, 0.3), st.floats(0.2, 10)),
    least=st.sampled_from([64, 256, 512]),
    most=st.sampled_from(CHUNK_SIZES),
)
def test_a_chosen_chunk_keeps_its_word(now, load, targets, least, most):
    engine = sized(SMALL, now)
    chunk = best_chunk(engine, load, targets, ChunkBounds(least, most), TUNING.cap)

    if chunk is not None:
        before, after = (sustainable_rate(sized(SMALL, tokens), load, targets) for tokens in (now, chunk))
        assert isinstance(before, Sustainable)
        assert isinstance(after, Sustainable)
        assert least <= chunk <= most
        assert chunk != now
        assert full_step(sized(SMALL, chunk), load, after.point) <= targets.inter_token
        assert after.rate >= TUNING.cap.rate_kept * before.rate


def chunked(rate=14, replicas=3, gpus=8, **changes):
    """Engines that read cap and chunk, with a chunk that is too large for 50 ms between tokens."""
    fleet = plant(rate=rate, replicas=replicas, gpus=gpus, cap=128, slow=1.1, **changes)
    deployment = fleet.deployments["chat"]
    deployment.cap = BatchCap(128, chunk=2048)
    batching = Batching(max_sequences=128, max_batched_tokens=2048)
    deployment.spec = replace(deployment.spec, batching=batching)
    fleet.services["chat"] = replace(fleet.services["chat"], variants=(deployment.spec,))
    for pod in fleet.pods:
        pod.cap, pod.chunk = 128, 2048
    return fleet


def of(fleet, kind):
    return [(at, action) for at, action in fleet.actions if isinstance(action, kind)]


def test_a_better_chunk_is_written_and_nothing_restarts_for_it():
    fleet = chunked(rate=10, replicas=2)
    fleet.run(900)

    [(at, change)] = of(fleet, SetBatchCap)
    assert change.reason is Reason.BATCH_CHUNK_CHANGED
    assert (change.previous, change.value, change.previous_chunk) == (128, 128, 2048)
    assert 256 <= change.chunk < 2048
    assert at < 600
    assert of(fleet, EvictPod) == []
    decision = fleet.decision().variants[0]
    assert (decision.chunk, decision.desired_chunk) == (change.chunk, change.chunk)
    assert decision.cap_reason is Reason.BATCH_CHANGE_ROLLING


def test_the_chunk_comes_with_pods_that_start_and_old_ones_go_first():
    fleet = chunked(rate=14)
    mixed = set()
    fleet.run(900)
    fleet.rates["chat"] = 28.0
    fleet.run(900, lambda lab, _: mixed.add(frozenset(pod.chunk for pod in lab.ready("chat"))))
    assert {2048, fleet.deployments["chat"].cap.chunk} in mixed
    fleet.rates["chat"] = 7.0
    fleet.run(2400)

    gone = [at for at, _ in of(fleet, EvictPod)]
    assert gone
    assert set(gone) <= {at for at, action in of(fleet, SetReplicas) if action.desired < action.current}
    chunk = fleet.deployments["chat"].cap.chunk
    assert {pod.chunk for pod in fleet.living("chat")} == {chunk}
    assert fleet.deployments["chat"].cap.completed
    assert of(fleet, CompleteBatchCap)
    assert fleet.queues["chat"] == 0


def test_a_restart_of_the_operator_forgets_nothing_of_it():
    fleet = chunked(rate=10, replicas=2)
    fleet.run(600)
    fleet.restart()
    fleet.run(600)

    assert len(of(fleet, SetBatchCap)) == 1
    assert of(fleet, EvictPod) == []


def test_other_engines_keep_their_chunk():
    fleet = chunked()
    deployment = fleet.deployments["chat"]
    deployment.spec = replace(deployment.spec, engine=EngineKind.SGLANG)
    fleet.services["chat"] = replace(fleet.services["chat"], variants=(deployment.spec,))
    fleet.run(600)

    assert of(fleet, SetBatchCap) == []


def test_a_chunk_that_crashes_engines_is_taken_back_and_not_tried_again():
    fleet = chunked()
    fleet.run(900)
    bad = fleet.deployments["chat"].cap.chunk
    advance = fleet.advance_pod

    def crashing(pod):
        advance(pod)
        if pod.chunk == bad:
            pod.crashed, pod.ready = True, None

    fleet.advance_pod = crashing
    fleet.rates["chat"] = 28.0
    fleet.run(1800)

    back = of(fleet, SetBatchCap)[1][1]
    assert back.rolled_back
    assert (back.value, back.chunk) == (128, 2048)
    assert "CrashLoopBackOff" in back.message
    assert {pod.chunk for pod in fleet.living("chat")} == {2048}
    assert len(of(fleet, SetBatchCap)) == 2


def given(fleet, **batching):
    """The user changes the variant's batching."""
    deployment = fleet.deployments["chat"]
    deployment.spec = replace(deployment.spec, batching=replace(deployment.spec.batching, **batching))
    fleet.services["chat"] = replace(fleet.services["chat"], variants=(deployment.spec,))


@pytest.mark.parametrize(
    ("batching", "cap", "chunk"),
    [
        ({"max_batched_tokens": 256}, 128, 256),  # a lowered maximum holds, however well the chunk suits
        ({"max_batched_tokens": 64}, 128, 128),  # but never fewer tokens than sequences
        ({"mode": BatchingMode.FIXED, "max_batched_tokens": 1024}, 128, 1024),
        ({"mode": BatchingMode.FIXED, "max_sequences": 512, "max_batched_tokens": None}, 512, 512),
    ],
)
def test_what_the_user_allows_or_fixes_holds(batching, cap, chunk):
    fleet = chunked(rate=10, replicas=2)
    fleet.deployments["chat"].cap = BatchCap(128, chunk=384)
    for pod in fleet.pods:
        pod.chunk = 384
    fleet.run(300)
    assert of(fleet, SetBatchCap) == []
    given(fleet, **batching)
    fleet.run(900)

    change = of(fleet, SetBatchCap)[0][1]
    assert (change.value, change.chunk) == (cap, chunk)


@pytest.mark.parametrize("wanted", [None, 24, 512])
def test_a_chunk_is_never_below_its_cap(wanted):
    """However a decision came about: an engine with fewer tokens than sequences does not start."""
    state = service_state(Variant(rate=0.5, workload={"cap": BatchCap(16, chunk=24)}))
    decision = CapDecision(64, Reason.BATCH_CAP_RAISED, change=True, chunk=wanted)

    step = roll_cap(state, state.variants[0], decision, Allowed(room=True))

    assert step.action is not None, step.message
    assert (step.action.value, step.action.chunk) == (64, max(64, wanted or 24))


def test_sglang_moves_its_chunk_where_steps_hold_prompts_beside_decoding_sequences():
    fleet = chunked(rate=10, replicas=2)
    deployment = fleet.deployments["chat"]
    deployment.spec, deployment.mixes = replace(deployment.spec, engine=EngineKind.SGLANG), True
    fleet.services["chat"] = replace(fleet.services["chat"], variants=(deployment.spec,))
    fleet.run(700)

    assert [change.reason for _, change in of(fleet, SetBatchCap)] == [Reason.BATCH_CHUNK_CHANGED]


def test_no_chunk_holds_less_than_a_token_of_every_sequence_with_a_buffer():
    usual, buffered = chunked(rate=10, replicas=2), chunked(rate=10, replicas=2)
    buffered.deployments["chat"].allocated = 768
    chunks = []
    for fleet in (usual, buffered):
        fleet.run(700)
        chunks.append(fleet.deployments["chat"].cap.chunk)

    assert chunks[0] < 768 <= chunks[1]
    assert of(buffered, SetBatchCap) == [], "none of those that are left suits better"


@pytest.mark.parametrize(("allocated", "most", "least"), [(None, 256, 8), (512, 256, 8), (64, 64, 8), (4, 4, 4)])
def test_a_cap_is_never_above_the_sequences_with_a_buffer(allocated, most, least):
    [variant] = service_state(Variant()).variants
    engine = replace(variant.workload.engine, allocated=allocated)
    bounds = admitted(replace(variant, workload=replace(variant.workload, engine=engine)))

    assert (bounds.max_sequences, bounds.min_sequences) == (most, least)
