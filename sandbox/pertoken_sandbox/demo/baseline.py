"""What pertoken is measured against: static fleets that were found with the whole trace known."""

from __future__ import annotations

from dataclasses import replace

from pertoken_bench.hardware.step_times import step_times
from pertoken_bench.hardware.truth import Truth
from pertoken_sandbox.demo.attainment import of_fleet
from pertoken_sandbox.demo.setting import GPU, GPU_MEMORY_GIB, MODEL, TRACE, Setting
from pertoken_sandbox.demo.summary import PROMISED_SHARE, Baseline, PromisedLatency, StaticCost
from pertoken_sandbox.fleet.trace import load_arrivals
from pertoken_sandbox.fleet.virtual import FleetResult, PercentileObjective, StaticFleet, run_static, static_peak


class NoBaselineError(Exception):
    """No fleet of the pool's size keeps the objectives on this trace."""


def find_baseline(setting: Setting, objectives: PromisedLatency, usd_per_gpu_hour: float) -> Baseline:
    """Two static fleets on the same emulated engines, both billed until the last token of the trace.

    The peak fleet is the smallest whose p95 keeps both objectives in every window; the best fleet is the smallest that
    serves the promised share of all requests within them.

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
    at_peak = _cost(peak.replicas, peak.result, objectives, usd_per_gpu_hour)
    best = at_peak
    for replicas in range(peak.replicas - 1, 0, -1):
        fewer = _cost(replicas, run_static(replace(fleet, replicas=replicas), trace), objectives, usd_per_gpu_hour)
        if fewer.attained < PROMISED_SHARE:
            break
        best = fewer
    return Baseline(at_peak, best)


def _cost(replicas: int, result: FleetResult, objectives: PromisedLatency, usd_per_gpu_hour: float) -> StaticCost:
    usd = result.gpu_seconds / 3600 * usd_per_gpu_hour
    tokens = result.input_tokens + result.output_tokens
    return StaticCost(replicas, usd / tokens * 1e6, usd, of_fleet(result, objectives))
