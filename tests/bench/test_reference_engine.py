"""Laws that the reference engine keeps at every step, whatever the requests."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pertoken_bench.hardware.step_times import BLOCK_TOKENS, step_times
from pertoken_bench.hardware.truth import Truth
from pertoken_bench.reference_engine.request import EngineConfig, Request, StepResult
from pertoken_bench.reference_engine.scheduler import ReferenceEngine
from pertoken_bench.reference_engine.step_clock import StepClock

TIMES = step_times("meta-llama/Llama-3.1-8B-Instruct", "a100-sxm-80gb", 1)


def make_engine(config: EngineConfig) -> ReferenceEngine:
    clock = StepClock(TIMES, Truth(), "replica")
    clock.configure(config.max_num_seqs, started=0.0)
    return ReferenceEngine(config, clock)


def play(engine: ReferenceEngine, requests: list[Request]) -> Iterator[StepResult]:
    """Step until all is served; each request joins at its arrival."""
    now = 0.0
    pending = sorted(requests, key=lambda r: r.arrival)
    while pending or engine.busy:
        while pending and (pending[0].arrival <= now or not engine.busy):
            now = max(now, pending[0].arrival)
            engine.add(pending.pop(0), now)
        step = engine.step(now)
        assert step.duration > 0
        now = step.end
        yield step


request_lists = st.lists(st.tuples(st.integers(1, 300), st.integers(1, 120), st.floats(0, 3)), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(sizes=request_lists, cap=st.integers(1, 24), extra=st.integers(0, 200), blocks=st.integers(27, 120))
def test_scheduler_laws(sizes: list[tuple[int, int, float]], cap: int, extra: int, blocks: int) -> None:
    config = EngineConfig(cap, cap + extra, blocks, 420)
    engine = make_engine(config)
    requests = [Request(i, o, at) for i, o, at in sizes]
    generated = computed = preempted = 0
    for step in play(engine, requests):
        assert engine.running <= cap
        assert 0 <= engine.used_blocks <= blocks
        assert step.decodes + step.prefill_tokens <= config.max_num_batched_tokens
        generated += step.decodes + len(step.first_tokens) + len(step.resumed)
        computed += step.prefill_tokens
        preempted += step.preempted
    assert engine.used_blocks == 0
    assert engine.running == engine.decoding == 0
    assert generated == sum(r.output_tokens for r in requests)
    prompts = sum(r.input_tokens for r in requests)
    assert computed == prompts if not preempted else computed >= prompts
    for request in requests:
        assert request.arrival <= request.admitted_at <= request.first_scheduled_at
        assert request.first_scheduled_at < request.first_token_at <= request.finished_at


def test_admission_is_first_come_first_served() -> None:
    engine = make_engine(EngineConfig(4, 64, 1000, 4096))
    requests = [Request(50 + 13 * i % 90, 20, 0.01 * i) for i in range(40)]
    admitted = [r for step in play(engine, requests) for r in step.admitted]
    assert admitted == requests


def test_blocks_in_use_are_exactly_what_the_sequences_hold() -> None:
    rng = random.Random(7)  # noqa: S311  # test data
    engine = make_engine(EngineConfig(16, 256, 200, 2000))
    requests = [Request(rng.randint(1, 200), rng.randint(1, 150), rng.uniform(0, 2)) for _ in range(80)]
    for _ in play(engine, requests):
        held = 0
        for request in engine._running.values():
            tokens = request.computed
            if request.decoding:
                tokens += engine.generated_tokens(request) - request.generated
            held += -(-tokens // BLOCK_TOKENS)
        assert engine.used_blocks == held


def test_preempted_request_is_recomputed_and_goes_on() -> None:
    engine = make_engine(EngineConfig(8, 512, 20, 320))
    first, second = Request(96, 150, 0.0), Request(96, 150, 0.0)
    steps = list(play(engine, [first, second]))
    assert sum(s.preempted for s in steps) >= 1
    assert first.preemptions == 0  # the one admitted last gives way
    assert second.preemptions >= 1
    resumed = [gap for s in steps for _, gap in s.resumed]
    assert resumed
    assert min(resumed) > 0
    assert sum(s.prefill_tokens for s in steps) > 192
    assert first.finished_at < second.finished_at


def test_long_prompt_is_chunked_around_the_decodes() -> None:
    engine = make_engine(EngineConfig(4, 100, 1000, 4096))
    steps = list(play(engine, [Request(10, 50, 0.0), Request(450, 5, 0.0)]))
    chunks = [step.chunks for step in steps if step.chunks]
    assert chunks[0] == [(10, 0), (90, 0)]
    assert chunks[1] == [(99, 90)]  # one decode takes one token of the budget


def test_refuses_what_can_never_run() -> None:
    engine = make_engine(EngineConfig(4, 100, 10, 4096))
    assert engine.rejects(Request(100, 60, 0.0)) is None
    assert "KV cache" in (engine.rejects(Request(100, 61, 0.0)) or "")
    assert "max_model_len" in (engine.rejects(Request(4000, 97, 0.0)) or "")


def test_prefix_hits_spare_computation() -> None:
    engine = make_engine(EngineConfig(4, 2048, 1000, 4096))
    steps = list(play(engine, [Request(1500, 4, 0.0, (1, 2)), Request(1500, 4, 9.0, (1, 2))]))
    assert [t for s in steps for t, _ in s.chunks] == [1500, 1500 - 1024]


def test_batches_are_padded_to_graph_sizes() -> None:
    clock = StepClock(TIMES, Truth(), "x")
    clock.configure(16, started=0.0)
    assert clock.decode_ms(9, 9000) == clock.decode_ms(16, 9000)
    assert clock.decode_ms(33, 33000) > 1.1 * clock.decode_ms(32, 33000)  # past the largest graph


def test_step_time_reproduces_the_source_tables() -> None:
    clock = StepClock(TIMES, Truth(), "x")
    clock.configure(256, started=0.0)
    assert clock.decode_ms(32, 32 * 2176) == pytest.approx(19.532)
    assert clock.prefill_ms(2048, 0) == pytest.approx(125.185)
    slower = StepClock(TIMES, Truth(decode=1.18, prefill=1.12), "x")
    slower.configure(256, started=0.0)
    assert slower.decode_ms(32, 32 * 2176) == pytest.approx(19.532 * 1.18)
    assert slower.prefill_ms(2048, 0) == pytest.approx(125.185 * 1.12)


def test_replicas_differ_but_repeat_themselves() -> None:
    def durations(name: str) -> list[float]:
        clock = StepClock(TIMES, Truth(), name)
        clock.configure(64, started=0.0)
        return [clock.seconds(16, 16000, [], now=100.0) for _ in range(50)]

    assert durations("a") == durations("a")
    assert durations("a") != durations("b")
    cold = StepClock(TIMES, Truth(noise=0.0, spread=0.0), "a")
    cold.configure(64, started=100.0)
    assert cold.seconds(16, 16000, [], 100.0) == pytest.approx(1.15 * cold.seconds(16, 16000, [], 200.0))
