"""The engine simulator beside an independent one, calibrated at the lowest rate of each shape."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from pertoken_bench.accuracy.model import replayed

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "tests" / "performance" / "data" / "simulated_runs.csv"


def test_latency_grows_with_load_as_in_an_independent_simulator():
    judged, learnt = replayed.judge(replayed.read(RUNS))
    steady = [one for one in judged if not one.row.overloaded and not one.overloaded]

    assert len(learnt) == 4
    assert all(0.75 < value.decode < 1.35 and 0.75 < value.prefill < 1.35 for value in learnt.values())
    assert len(steady) >= 46
    assert median(abs(one.served.inter_token / one.row.inter_token - 1) for one in steady) < 0.03
    assert median(abs(one.served.ttft / one.row.ttft - 1) for one in steady) < 0.08
    assert median(abs(one.served.tokens_per_second / one.row.tokens_per_second - 1) for one in steady) < 0.02
    assert sum(one.overloaded for one in judged if one.row.overloaded) >= 5
    assert not any(one.overloaded for one in judged if not one.row.overloaded)
