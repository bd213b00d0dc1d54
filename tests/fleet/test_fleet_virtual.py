"""The fleet in virtual time."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pertoken_bench.hardware.step_times import step_times
from pertoken_bench.hardware.truth import Truth
from pertoken_bench.traces.trace import Cut
from pertoken_sandbox.fleet.trace import load_arrivals
from pertoken_sandbox.fleet.virtual import PercentileObjective, StaticFleet, run_static, static_peak

FILE = Path(__file__).parents[2] / "examples" / "traces" / "azure_2023_conv.csv.gz"
TRACE = load_arrivals(FILE)
TIMES = step_times("meta-llama/Llama-3.1-8B-Instruct", "a100-sxm-80gb", 1)
FLEET = StaticFleet(TIMES, 10, truth=Truth(decode=1.18, prefill=1.12))
FIVE_MINUTES = load_arrivals(FILE, Cut(duration_seconds=600), speed=12)


def test_the_whole_hour_is_fast_and_complete() -> None:
    start = time.process_time()
    result = run_static(FLEET, load_arrivals(FILE, speed=12))
    assert time.process_time() - start < 15
    assert len(result.ttft_ms) == 19366
    assert result.output_tokens == sum(a.output_tokens for a in TRACE)
    assert result.gpu_seconds == pytest.approx(10 * result.makespan_s)
    assert 0 < result.busy_gpu_seconds <= result.gpu_seconds


def test_same_input_gives_same_result() -> None:
    assert np.array_equal(run_static(FLEET, FIVE_MINUTES).ttft_ms, run_static(FLEET, FIVE_MINUTES).ttft_ms)


def test_more_replicas_are_never_much_slower() -> None:
    p95 = [run_static(replace(FLEET, replicas=n), FIVE_MINUTES).summary().itl_p95_ms for n in (8, 12, 16, 24)]
    assert p95 == sorted(p95, reverse=True)


def test_static_peak_is_the_smallest_fleet_that_holds() -> None:
    objective = PercentileObjective(ttft_ms=2000, itl_ms=50)
    peak = static_peak(FLEET, FIVE_MINUTES, objective, window_seconds=15, usd_per_gpu_hour=2.0)
    assert peak is not None
    assert peak.result.meets(objective, 15)
    assert not run_static(replace(FLEET, replicas=peak.replicas - 1), FIVE_MINUTES).meets(objective, 15)
    tokens = sum(a.input_tokens + a.output_tokens for a in FIVE_MINUTES)
    assert peak.usd == pytest.approx(peak.result.makespan_s * peak.replicas / 3600 * 2.0)
    assert peak.usd_per_million_tokens == pytest.approx(peak.usd / tokens * 1e6)
    assert sum(w.requests for w in peak.result.windows(15)) == len(FIVE_MINUTES)


def test_impossible_objective_has_no_fleet() -> None:
    objective = PercentileObjective(ttft_ms=2000, itl_ms=1)
    assert static_peak(FLEET, FIVE_MINUTES, objective, window_seconds=15, usd_per_gpu_hour=2.0, max_replicas=20) is None
