"""What the emulated engine counts."""

from __future__ import annotations

import random

import pytest

from pertoken_bench.hardware.step_times import step_times
from pertoken_bench.hardware.truth import Truth
from pertoken_bench.reference_engine.request import EngineConfig, Request
from pertoken_bench.reference_engine.scheduler import ReferenceEngine
from pertoken_bench.reference_engine.step_clock import StepClock
from pertoken_sandbox.fleet.stats import EngineStats


def test_littles_law_links_latency_sum_and_mean_decodes() -> None:
    rng = random.Random(3)  # noqa: S311  # test data
    clock = StepClock(step_times("meta-llama/Llama-3.1-8B-Instruct", "a100-sxm-80gb", 1), Truth(), "replica")
    clock.configure(64, started=0.0)
    engine = ReferenceEngine(EngineConfig(64, 2048, 5000, 8192), clock)
    stats = EngineStats(8192, {}, 0.0)
    requests = [Request(rng.randint(50, 2000), rng.randint(1, 400), rng.uniform(0, 60)) for _ in range(200)]
    pending = sorted(requests, key=lambda request: request.arrival)
    area = end = 0.0
    while pending or engine.busy:
        while pending and (pending[0].arrival <= end or not engine.busy):
            end = max(end, pending[0].arrival)
            engine.add(pending.pop(0), end)
        step = engine.step(end)
        stats.observe(step, engine)
        area += step.decodes * step.duration
        end = step.end
    assert stats.preemptions == 0
    assert stats.itl.total / end == pytest.approx(area / end, rel=1e-9)
    assert sum(stats.itl.counts) == stats.generation_tokens - len(requests)
    residence = sum(r.finished_at - r.first_token_at for r in requests)
    assert stats.itl.total == pytest.approx(residence, rel=1e-9)
    assert stats.decode.total == pytest.approx(residence, rel=1e-9)
    assert stats.iteration_tokens.total == sum(r.input_tokens + r.output_tokens for r in requests)
