"""What one cycle adds to a variant's memory: calibration of its engine, spread of latency, start-up, queue."""

from __future__ import annotations

from pertoken.domain.metrics import PodMetrics, Readings
from pertoken.domain.signal import Histogram, LatencyKind, Signal
from pertoken.forecast.demand import blend
from pertoken.forecast.losses import Losses, Pods
from pertoken.forecast.losses import counted as losses_after
from pertoken.frozen import replace
from pertoken.performance.calibrate import Observation
from pertoken.performance.calibrate import learn as calibrate
from pertoken.performance.clumps import counted
from pertoken.performance.histogram import quantile, share_within
from pertoken.performance.steady import Load, at_batch
from pertoken.performance.tuning import CALIBRATING
from pertoken.planner.assessment import Assessment, Grade
from pertoken.planner.latency import merged
from pertoken.planner.memory import VariantMemory
from pertoken.planner.service_state import ServiceState, VariantState, load_of
from pertoken.units import PER_CENT

_CALIBRATED_BY = (
    Signal.STEP_SECONDS,
    Signal.DECODING_SEQUENCES,
    Signal.PROMPT_TOKENS_PER_SECOND,
    Signal.GENERATION_TOKENS_PER_SECOND,
    Signal.WAITING,
)


def estimate_variant(state: ServiceState, variant: VariantState, assessment: Assessment) -> VariantMemory:
    """One variant's memory with this cycle's observations in it."""
    memory = variant.memory
    start, queued, losses = _start_seconds(state, variant), _queued_since(state, variant), _losses(state, variant)
    if (start, queued, losses) != (memory.start_seconds, memory.queued_since, memory.losses):
        memory = replace(memory, start_seconds=start, queued_since=queued, losses=losses)
    shape = state.memory.shape
    if not state.settings.calibrate or variant.base_model is None or shape is None:
        return memory
    if assessment.grade < Grade.NORMAL or not variant.workload.settled:
        return memory
    load = load_of(shape, state.tuning.estimate)
    ready_at = {pod.key: pod.ready_at or state.now for pod in variant.living}
    calibration = memory.calibration
    independent = state.tuning.evidence.independent_pods
    weight = min(1.0, independent / len(variant.measured)) if variant.measured else 1.0
    weight *= min(1.0, state.settings.cycle_seconds / state.window)
    for pod in variant.measured:
        # A pod's first window still holds its warm-up.
        if state.now - ready_at.get(pod.pod, state.now) < state.window:
            continue
        observation = _observation(state, variant, pod, load)
        if observation is not None:
            calibration = calibrate(calibration, variant.base_model, replace(observation, weight=weight), state.now)
    if calibration is not memory.calibration:
        memory = replace(memory, calibration=calibration)
    return _tail(state, variant, memory, load.rounded())


def _losses(state: ServiceState, variant: VariantState) -> Losses:
    """Pods that were made although no more replicas were asked for: each replaces one that got lost."""
    pods = Pods(
        asked=variant.current,
        created=tuple(pod.created_at for pod in variant.living),
        per_replica=variant.pods_per_replica,
        moving=variant.memory.roll is not None or not variant.workload.settled,
    )
    return losses_after(variant.memory.losses, pods, state.now, state.tuning.losses)


def _queued_since(state: ServiceState, variant: VariantState) -> float | None:
    """Since when requests have waited on every replica without a break; None while one has none, or does not tell."""
    least = state.tuning.delivered.never_idle_waiting
    waiting = [pod.values.get(Signal.WAITING) for pod in variant.measured]
    if not waiting or any(count is None or count < least for count in waiting):
        return None
    return state.now if variant.memory.queued_since is None else variant.memory.queued_since


def _observation(state: ServiceState, variant: VariantState, pod: PodMetrics, load: Load) -> Observation | None:
    """What one pod tells of its engine's speed; None where it does not tell all, or its batch is being drained."""
    values, ranks = pod.values, variant.ranks
    if any(signal not in values for signal in _CALIBRATED_BY):
        return None
    step, batch = values[Signal.STEP_SECONDS], values[Signal.DECODING_SEQUENCES] / ranks
    rate = values[Signal.PROMPT_TOKENS_PER_SECOND] / max(load.input_tokens, 1.0) / ranks
    tuning = state.tuning
    if rate * load.output_tokens * step < tuning.estimate.steady_share * batch:
        return None
    return Observation(
        step_seconds=step,
        batch=batch,
        request_rate=rate,
        load=load,
        tokens=values[Signal.GENERATION_TOKENS_PER_SECOND] * state.window,
        saturated=_saturated(values, tuning.estimate.full_cache),
        queued=values[Signal.WAITING] > tuning.delivered.never_idle_waiting,
        ttft_seconds=values.get(Signal.TTFT_MEAN_SECONDS),
    )


def _saturated(values: Readings[Signal, float], full_cache: float) -> bool:
    """An engine that does not count preemptions is taken as full where its cache is, or where it does not tell that."""
    preemptions, cache = values.get(Signal.PREEMPTIONS_PER_SECOND), values.get(Signal.KV_USAGE)
    return preemptions > 0 if preemptions is not None else cache is None or cache > full_cache


def _tail(state: ServiceState, variant: VariantState, memory: VariantMemory, load: Load) -> VariantMemory:
    """How far the measured inter-token percentile lies from the modelled one, as far as bucket edges are sure of it."""
    batch = variant.batch
    if variant.engine is None or not variant.measured or batch is None or batch < CALIBRATING.least_batch:
        return memory
    point = at_batch(variant.engine, load, batch, state.targets)
    modelled = point.inter_token_tail
    histogram = merged(variant.warmed_up, LatencyKind.TIME_PER_OUTPUT_TOKEN)
    if histogram is None or modelled <= 0:
        return memory
    if histogram.cumulative[-1] * state.window < state.tuning.evidence.enough_requests:
        return memory
    memory = _clumping(state, memory, histogram, point.late)
    bounds = quantile(histogram, state.targets.percentile / PER_CENT)
    if bounds is None:
        return memory
    nearest = min(max(modelled, bounds.low), bounds.high)
    tuning = state.tuning.estimate
    newest = min(max(nearest / modelled, tuning.least_tail), tuning.most_tail)
    tail = memory.tail_inter_token
    return replace(memory, tail_inter_token=blend(tail, newest, state.settings.cycle_seconds / tuning.tail_seconds))


def _clumping(state: ServiceState, memory: VariantMemory, histogram: Histogram, modelled: float) -> VariantMemory:
    """Late answers of this cycle beside those that arrivals at random would have held up."""
    objective = state.targets.inter_token
    if objective is None or modelled <= 0.0:
        return memory
    low, high = share_within(histogram, objective)
    if high - low > state.tuning.evidence.sure_share:
        return memory
    answers = histogram.cumulative[-1] * state.settings.cycle_seconds
    late = answers * (1.0 - (low + high) / 2.0)
    return replace(memory, clumping=counted(memory.clumping, late, answers * modelled, state.now))


def _start_seconds(state: ServiceState, variant: VariantState) -> float | None:
    """Learnt time from node to Ready, from pods that never restarted."""
    known, tuning = variant.memory.start_seconds, state.tuning.estimate
    times = [
        pod.ready_at - pod.bound_at
        for pod in variant.living
        if pod.ready_at is not None
        and pod.bound_at is not None
        and pod.restarts == 0
        and tuning.shortest_start <= pod.ready_at - pod.bound_at <= tuning.longest_start
    ]
    if not times:
        return known
    slowest = max(times)
    return blend(known, slowest, state.settings.cycle_seconds / tuning.start_memory)
