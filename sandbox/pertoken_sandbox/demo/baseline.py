"""What the target is measured against: the static fleet that a careful team would run for the peak."""

from __future__ import annotations

from pertoken_bench.hardware.step_times import step_times
from pertoken_bench.hardware.truth import Truth
from pertoken_sandbox.demo.attainment import of_fleet
from pertoken_sandbox.demo.setting import GPU, GPU_MEMORY_GIB, MODEL, TRACE, Setting
from pertoken_sandbox.demo.summary import Baseline, Objectives
from pertoken_sandbox.fleet.trace import load_arrivals
from pertoken_sandbox.fleet.virtual import PercentileObjective, StaticFleet, static_peak


class NoBaselineError(Exception):
    """No fleet of the pool's size keeps the objectives on this trace."""


def find_baseline(setting: Setting, objectives: Objectives, usd_per_gpu_hour: float) -> Baseline:
    """The smallest static fleet whose p95 keeps both objectives in every window, on the same emulated engines.

    Raises:
        NoBaselineError: no number of replicas does.
    """
    trace = load_arrivals(TRACE, speed=setting.speed)
    fleet = StaticFleet(
        times=step_times(MODEL, GPU, 1),
        replicas=8,
        gpu_memory_gib=GPU_MEMORY_GIB,
        truth=Truth(decode=setting.decode, prefill=setting.prefill),
    )
    objective = PercentileObjective(ttft_ms=objectives.ttft * 1000, itl_ms=objectives.inter_token * 1000)
    peak = static_peak(
        fleet, trace, objective, window_seconds=setting.window_seconds, usd_per_gpu_hour=usd_per_gpu_hour
    )
    if peak is None:
        raise NoBaselineError("no static fleet keeps the objectives on this trace")
    return Baseline(peak.replicas, peak.usd_per_million_tokens, peak.usd, of_fleet(peak.result, objectives))
