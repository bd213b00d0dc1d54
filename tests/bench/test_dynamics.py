"""The engine simulator beside an independent one, calibrated at the lowest rate of each shape."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from pertoken_bench.accuracy.model import replayed

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "tests" / "performance" / "data" / "simulated_runs.csv"


def test_latency_grows_with_load_as_in_an_independent_simulator():
    judged, learnt = replayed.judge(replayed.read(RUNS))
    steady = [run for run in judged if not run.row.overloaded and not run.overloaded]

    assert len(learnt) == 4
    assert all(0.75 < value.decode < 1.35 and 0.75 < value.prefill < 1.35 for value in learnt.values())
    assert len(steady) >= 46
    assert median(abs(run.served.inter_token / run.row.inter_token - 1) for run in steady) < 0.03
    assert median(abs(run.served.ttft / run.row.ttft - 1) for run in steady) < 0.08
    assert median(abs(run.served.tokens_per_second / run.row.tokens_per_second - 1) for run in steady) < 0.02
    assert sum(run.overloaded for run in judged if run.row.overloaded) >= 5
    assert not any(run.overloaded for run in judged if not run.row.overloaded)
