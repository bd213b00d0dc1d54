"""The SLO knee of a service: the share of requests within the objectives, laid beside the load that they met."""

from __future__ import annotations

from pertoken.domain.signal import Signal
from pertoken.forecast.slo_knee import KneeEvidence, SloKnee, learn
from pertoken.performance.histogram import share_within
from pertoken.planner.assessment import Assessment, Grade
from pertoken.planner.service_state import ServiceState


def knee_after(state: ServiceState, assessment: Assessment) -> SloKnee:
    """The knee after this cycle; as it was where the cycle does not tell."""
    knee, memory, tuning = state.memory.knee, state.memory, state.tuning
    calibrated = not state.settings.calibrate or all(
        variant.memory.calibration.samples >= tuning.evidence.calibrated_samples
        for variant in state.variants
        if variant.measured
    )
    if assessment.grade < Grade.NORMAL or memory.shape is None or not calibrated:
        return knee
    steps = [pod.values[Signal.STEP_SECONDS] for pod in state.flowing if Signal.STEP_SECONDS in pod.values]
    residence = memory.shape.output_tokens * sum(steps) / len(steps) if steps else 0.0
    since = state.now - state.window - min(residence, tuning.estimate.longest_residence)
    met = [past.utilization for past in memory.utilizations if past.at >= since]
    if not sum(met) > 0 or memory.utilizations[0].at > since:
        return knee
    if state.now - memory.utilizations[-1].at < state.settings.cycle_seconds / 2:
        return knee  # planned again at once: what it shows has been learnt
    kept = _share_within_all(state)
    if kept is None:
        return knee
    # Busy cycles hold more requests.
    utilization = sum(past * past for past in met) / sum(met)
    cycle = state.settings.cycle_seconds
    events = min(latency.events for latency in state.latencies if latency.objective is not None)
    seen = KneeEvidence(utilization, kept, cycle, events * cycle / state.window, memory.budget.share_missed)
    return learn(knee, seen, state.targets.percentile, tuning.knee)


def _share_within_all(state: ServiceState) -> float | None:
    """Least share of warmed-up pods' requests within all objectives: misses of both may fall on the same requests.

    None where no objective is set, one is not measured or by too few requests, or the histograms' edges do not say.
    """
    evidence, missed, judged = state.tuning.evidence, 0.0, False
    for latency in state.latencies:
        if latency.objective is None:
            continue
        if latency.warmed_up is None or latency.events < evidence.enough_requests:
            return None
        low, high = share_within(latency.warmed_up, latency.objective)
        if high - low > evidence.sure_share:
            return None
        missed, judged = missed + 1.0 - (low + high) / 2.0, True
    return max(0.0, 1.0 - missed) if judged else None
