"""What a cycle teaches of a variant: calibration of its engine, the spread of its latency, its start-up, its queue."""

from __future__ import annotations

from dataclasses import replace

from pertoken.domain.metrics import PodMetrics
from pertoken.domain.signal import LatencyKind, Signal
from pertoken.performance.calibrate import MIN_BATCH, Observation
from pertoken.performance.calibrate import learn as calibrate
from pertoken.performance.histogram import merge, quantile
from pertoken.performance.steady import Load, at_batch
from pertoken.planner.assess import Assessment, Grade
from pertoken.planner.delivered import queued_since
from pertoken.planner.facts import ServiceFacts, VariantFacts
from pertoken.planner.memory import VariantMemory

MANY_REQUESTS = 20.0  # finished in a window before a percentile of them says anything
QUEUED_WAITING = 1.0  # per pod
STEADY_SHARE = 0.5  # of the measured batch that present arrivals explain: below it the batch is being drained
START_SECONDS_BOUNDS = (1.0, 3600.0)
START_WEIGHT = 0.3
TAIL_BOUNDS = (0.8, 1.6)
TAIL_WEIGHT = 0.05
FULL_CACHE = 0.95  # use of the KV cache from which on sequences may be preempted
INDEPENDENT_PODS = 4.0  # as many pods tell as much as any number of them
_CALIBRATED_BY = (
    Signal.STEP_SECONDS,
    Signal.DECODING_SEQUENCES,
    Signal.PROMPT_TOKENS_PER_SECOND,
    Signal.GENERATION_TOKENS_PER_SECOND,
    Signal.WAITING,
)


def learn_variant(facts: ServiceFacts, variant: VariantFacts, assessment: Assessment) -> VariantMemory:
    """One variant's memory with this cycle's observations in it."""
    since = queued_since(variant, facts.now)
    memory = replace(variant.memory, start_seconds=_start_seconds(variant), queued_since=since)
    shape = facts.memory.shape
    if not facts.settings.calibrate or variant.base_model is None or shape is None:
        return memory
    if assessment.grade < Grade.NORMAL or not variant.workload.settled:
        return memory
    load = Load(shape.input_tokens, shape.output_tokens, shape.cached_share, shape.context)
    ready_at = {pod.key: pod.ready_at or facts.now for pod in variant.living}
    calibration = memory.calibration
    weight = min(1.0, INDEPENDENT_PODS / len(variant.measured)) if variant.measured else 1.0
    weight *= min(1.0, facts.settings.cycle_seconds / facts.window)
    for pod in variant.measured:
        # A pod's first window still holds its warm-up.
        if facts.now - ready_at.get(pod.pod, facts.now) < facts.window:
            continue
        observation = _observation(facts, variant, pod, load)
        if observation is not None:
            calibration = calibrate(calibration, variant.base_model, replace(observation, weight=weight), facts.now)
    return _tail(facts, variant, replace(memory, calibration=calibration), load.rounded())


def _observation(facts: ServiceFacts, variant: VariantFacts, pod: PodMetrics, load: Load) -> Observation | None:
    """What one pod tells of its engine's speed; None where it does not tell all, or its batch is being drained."""
    values, ranks = pod.values, variant.ranks
    if any(signal not in values for signal in _CALIBRATED_BY):
        return None
    step, batch = values[Signal.STEP_SECONDS], values[Signal.DECODING_SEQUENCES] / ranks
    rate = values[Signal.PROMPT_TOKENS_PER_SECOND] / max(load.input_tokens, 1.0) / ranks
    if rate * load.output_tokens * step < STEADY_SHARE * batch:
        return None
    return Observation(
        step_seconds=step,
        batch=batch,
        request_rate=rate,
        load=load,
        tokens=values[Signal.GENERATION_TOKENS_PER_SECOND] * facts.window,
        # An engine that does not count preemptions is taken as full where its cache is.
        saturated=values[Signal.PREEMPTIONS_PER_SECOND] > 0
        if Signal.PREEMPTIONS_PER_SECOND in values
        else values.get(Signal.KV_USAGE, 1.0) > FULL_CACHE,
        queued=values[Signal.WAITING] > QUEUED_WAITING,
        ttft_seconds=values.get(Signal.TTFT_MEAN_SECONDS),
    )


def _tail(facts: ServiceFacts, variant: VariantFacts, memory: VariantMemory, load: Load) -> VariantMemory:
    """How far the measured inter-token percentile lies from the modelled one, as far as bucket edges are sure of it."""
    batch = variant.batch
    if variant.engine is None or not variant.measured or batch is None or batch < MIN_BATCH:
        return memory
    modelled = at_batch(variant.engine, load, batch, facts.targets).inter_token_tail
    pods = variant.seasoned(facts.now, facts.window)
    kind = LatencyKind.TIME_PER_OUTPUT_TOKEN
    merged = merge(found) if (found := [pod.histograms[kind] for pod in pods if kind in pod.histograms]) else None
    if merged is None or modelled <= 0 or merged.cumulative[-1] * facts.window < MANY_REQUESTS:
        return memory
    bounds = quantile(merged, facts.targets.percentile / 100.0)
    if bounds is None:
        return memory
    nearest = min(max(modelled, bounds.low), bounds.high)
    low, high = TAIL_BOUNDS
    step = min(max(nearest / modelled, low), high) - memory.tail_inter_token
    return replace(memory, tail_inter_token=memory.tail_inter_token + TAIL_WEIGHT * step)


def _start_seconds(variant: VariantFacts) -> float | None:
    """Learnt time from node to Ready, from pods that never restarted."""
    known = variant.memory.start_seconds
    low, high = START_SECONDS_BOUNDS
    times = [
        pod.ready_at - pod.bound_at
        for pod in variant.living
        if pod.ready_at is not None
        and pod.bound_at is not None
        and pod.restarts == 0
        and low <= pod.ready_at - pod.bound_at <= high
    ]
    if not times:
        return known
    slowest = max(times)
    return slowest if known is None else known + START_WEIGHT * (slowest - known)
