"""What a cycle teaches of a service: request shape, demand, idleness, the SLO knee."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from pertoken.domain.service import Engine
from pertoken.domain.signal import LatencyKind, Signal
from pertoken.forecast.demand import (
    HISTORY_CYCLES,
    LONG_CYCLES,
    SHORT_CYCLES,
    DemandSample,
    Served,
    blend,
    demand_of,
    growth_of,
    mean_request,
)
from pertoken.forecast.slo_knee import Kept, SloKnee
from pertoken.forecast.slo_knee import learn as learn_knee
from pertoken.performance.histogram import share_within
from pertoken.performance.steady import Load
from pertoken.planner.assess import Assessment, Grade
from pertoken.planner.facts import ServiceFacts, VariantFacts
from pertoken.planner.learn_variant import learn_variant
from pertoken.planner.memory import ServiceMemory, Shape
from pertoken.planner.needs import Purpose

FEW_REQUESTS = 3.0  # finished in a window before they say anything of the mean request
MANY_REQUESTS = 20.0
MOST_FLOW = 8.0  # output length by flow over that of finished requests: beyond it arrivals have all but stopped
FLOWING_SHARE = 0.25  # of the mean rate of the last minutes: below it arrivals have ceased, and what is left is drained
IDLE_UTILIZATION = 0.01  # of a GPU, mean over a rate window
CONTEXT_BOUNDS = (0.5, 3.0)  # of the modelled mean resident context
LONGEST_STAY = 300.0  # seconds that a request is followed back to the load it met
SURE_SHARE = 0.1  # width of what histograms say of a share
CALIBRATED_SAMPLES = 15  # before them utilization is not known


def learn(facts: ServiceFacts, assessment: Assessment) -> ServiceMemory:
    """The service's memory with this cycle's observations in it."""
    memory = facts.memory
    variants = {variant.name: learn_variant(facts, variant, assessment) for variant in facts.variants}
    # What was learnt of a variant whose target cannot be used for a moment stays.
    gone = {name: memory.variants[name] for name, _ in facts.missing if name in memory.variants}
    memory = replace(memory, variants={**gone, **variants})
    if assessment.grade is Grade.HOLD:
        return memory
    idle_since = _idle_since(facts) if assessment.allows(Purpose.IDLE) else None
    memory = replace(memory, idle_since=idle_since, knee=_knee(facts, assessment))
    before = memory.shape or _first_shape(facts)
    if before is None or not assessment.allows(Purpose.DEMAND):
        return memory
    sample = _sample(facts, before, _recent(facts))
    if sample is None:
        return memory
    demand = (*_recent(facts), sample)
    return replace(memory, demand=demand, shape=_shape(facts, before, demand))


def demand_at_least(facts: ServiceFacts, assessment: Assessment) -> DemandSample | None:
    """Demand that is certainly there in a cycle that shows only part of it; None when all is seen, or nothing."""
    shape = facts.memory.shape
    if assessment.grade is Grade.HOLD or assessment.allows(Purpose.DEMAND) or shape is None or not facts.flowing:
        return None
    prompts = facts.seen(Signal.PROMPT_TOKENS_PER_SECOND)
    generated = facts.seen(Signal.GENERATION_TOKENS_PER_SECOND)
    return DemandSample(facts.now, prompts / max(shape.input_tokens, 1.0), prompts, generated, facts.backlog)


def _recent(facts: ServiceFacts) -> tuple[DemandSample, ...]:
    oldest = facts.now - HISTORY_CYCLES * facts.settings.cycle_seconds
    return tuple(old for old in facts.memory.demand if oldest <= old.at < facts.now)


def _knee(facts: ServiceFacts, assessment: Assessment) -> SloKnee:
    """The share of requests within the objectives, laid beside the load that they met."""
    knee, memory = facts.memory.knee, facts.memory
    settled = not facts.settings.calibrate or all(
        variant.memory.calibration.samples >= CALIBRATED_SAMPLES for variant in facts.variants if variant.measured
    )
    if assessment.grade < Grade.NORMAL or memory.shape is None or not settled:
        return knee
    steps = [pod.values[Signal.STEP_SECONDS] for pod in facts.flowing if Signal.STEP_SECONDS in pod.values]
    stay = min(memory.shape.output_tokens * sum(steps) / len(steps), LONGEST_STAY) if steps else 0.0
    since = facts.now - facts.window - stay
    met = [one.utilization for one in memory.pressure if one.at >= since]
    if not sum(met) > 0 or memory.pressure[0].at > since:
        return knee
    if facts.now - memory.pressure[-1].at < facts.settings.cycle_seconds / 2:
        return knee  # planned again at once: what it shows has been learnt
    kept = _share_kept(facts)
    if kept is None:
        return knee
    # Busy cycles hold more requests.
    utilization = sum(one * one for one in met) / sum(met)
    return learn_knee(knee, Kept(utilization, *kept), facts.targets.percentile)


def _share_kept(facts: ServiceFacts) -> tuple[float, float] | None:
    """Share of requests within all objectives (at least: misses may coincide), and how many requests a cycle tells of.

    None where no objective is set, one is not measured, or the histograms' edges do not say.
    """
    missed, events = 0.0, inf
    for kind, objective in (
        (LatencyKind.TIME_PER_OUTPUT_TOKEN, facts.targets.inter_token),
        (LatencyKind.TTFT, facts.targets.ttft),
    ):
        if objective is None:
            continue
        histogram = facts.seasoned_histogram(kind)
        if histogram is None:
            return None  # what is not measured was not kept
        low, high = share_within(histogram, objective)
        if high - low > SURE_SHARE:
            return None
        missed += 1.0 - (low + high) / 2.0
        events = min(events, histogram.cumulative[-1] * facts.settings.cycle_seconds)
    return (max(0.0, 1.0 - missed), events) if events < inf else None


def _first_shape(facts: ServiceFacts) -> Shape | None:
    """Mean request from the first ones that finished; None before that.

    After a rise of load the short answers finish first, so their mean is too low for as long as the longest answers
    take. Generated tokens per request taken up do not have that bias but lag arrivals: both err downwards, so the
    larger is the better one.
    """
    finished, inputs, outputs = (
        facts.flow(Signal.FINISHED_PER_SECOND),
        facts.flow(Signal.FINISHED_INPUT_TOKENS_PER_SECOND),
        facts.flow(Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND),
    )
    if finished is None or inputs is None or outputs is None or finished * facts.window < FEW_REQUESTS:
        return None
    generated, taken_up = facts.flow(Signal.GENERATION_TOKENS_PER_SECOND), _taken_up(facts)
    length = outputs / finished
    if generated is not None and taken_up:
        length = max(length, min(generated / taken_up, MOST_FLOW * length))
    return Shape(inputs / finished, length, 0.0)


def _shape(facts: ServiceFacts, before: Shape, demand: tuple[DemandSample, ...]) -> Shape:
    """Mean request over the last minutes; kept while there is no traffic to tell.

    Once arrivals cease, what goes on is the rest of the longest requests: no mean of anything.
    """
    requests, inputs, outputs = mean_request(demand, facts.settings.cycle_seconds)
    if requests < FEW_REQUESTS or outputs <= 0 or not _flows(demand):
        return before
    weight = min(1.0, requests / MANY_REQUESTS)
    prompts, cached = facts.flow(Signal.PROMPT_TOKENS_PER_SECOND), facts.flow(Signal.CACHED_PROMPT_TOKENS_PER_SECOND)
    share = before.cached_share if not prompts or cached is None else min(1.0, cached / prompts)
    known = weight * SHORT_CYCLES
    fresh = Shape(
        blend(before.input_tokens, inputs, known),
        blend(before.output_tokens, max(outputs, 1.0), known),
        blend(before.cached_share, share, weight),
    )
    context = _context(facts, fresh)
    return replace(fresh, context=before.context if context is None else blend(before.context, context, weight))


def _flows(demand: tuple[DemandSample, ...]) -> bool:
    """Requests still arrive, at no small part of the rate of the last minutes."""
    recent = demand[-LONG_CYCLES:]
    return demand[-1].requests >= FLOWING_SHARE * sum(sample.requests for sample in recent) / len(recent)


def _taken_up(facts: ServiceFacts) -> float | None:
    """Requests per second whose first token was made; None where that is not measured.

    Finished requests tell late, and the short ones first; a first token tells of every request at once.
    """
    rates = [
        pod.histograms[LatencyKind.TTFT].cumulative[-1] for pod in facts.flowing if LatencyKind.TTFT in pod.histograms
    ]
    return sum(rates) if rates else None


def _context(facts: ServiceFacts, shape: Shape) -> float | None:
    """Resident tokens per running sequence, from KV usage; None where it is not measured or not believable."""
    tokens = running = 0.0
    for variant in facts.variants:
        for pod in variant.measured:
            values = pod.values
            here = values.get(Signal.RUNNING)
            if here is None or here < 1.0 or Signal.KV_USAGE not in values or Signal.KV_CAPACITY_TOKENS not in values:
                continue
            tokens += values[Signal.KV_USAGE] * values[Signal.KV_CAPACITY_TOKENS]
            running += here
    if running <= 0:
        return None
    modelled = Load(shape.input_tokens, shape.output_tokens).resident
    low, high = CONTEXT_BOUNDS
    return min(max(tokens / running, low * modelled), high * modelled)


def _sample(facts: ServiceFacts, shape: Shape, before: tuple[DemandSample, ...]) -> DemandSample | None:
    """Demand now; None where pods serve and none of them tells. Pods on their way out count: it was asked for."""
    flows = [
        _flow(facts, signal)
        for signal in (
            Signal.PROMPT_TOKENS_PER_SECOND,
            Signal.GENERATION_TOKENS_PER_SECOND,
            Signal.RUNNING,
            Signal.WAITING,
        )
    ]
    if any(flow is None for flow in flows):
        return None
    prompts, generated, running, waiting = (flow for flow in flows if flow is not None)
    taken_up = _taken_up(facts)
    # What is refused, and what waits at a gateway, is known only where something tells it: demand may be more.
    refused = 0.0 if facts.gateway_rejections is None else facts.gateway_rejections
    held = 0.0 if facts.gateway_queue is None else facts.gateway_queue
    served = Served(
        requests=prompts / max(shape.input_tokens, 1.0) if taken_up is None else taken_up,
        input_tokens=prompts,
        output_tokens=generated,
        rejections=facts.seen(Signal.REJECTIONS_PER_SECOND) + refused,
    )
    backlog = waiting + held
    in_flight = backlog + running
    growth = growth_of(before, backlog, in_flight, facts.now, facts.window)
    found = demand_of(served, (shape.input_tokens, shape.output_tokens), growth)
    return DemandSample(facts.now, *(_short(value) for value in (*found, backlog, in_flight)))


def _flow(facts: ServiceFacts, signal: Signal) -> float | None:
    """Sum over all pods that serve something. Nothing flows where there is no pod; None where none of them tells."""
    told = facts.flow(signal)
    if told is not None:
        return told
    return None if any(variant.ready for variant in facts.variants) else 0.0


def _short(value: float) -> float:
    """Five digits: many samples are kept, and written to the cluster."""
    return float(f"{value:.5g}")


def _idle_since(facts: ServiceFacts) -> float | None:
    """Since when nothing is asked for; None while something is, or while it cannot be told."""
    if facts.backlog > 0 or (facts.gateway_rejections is not None and facts.gateway_rejections > 0):
        return None
    modelled = [variant for variant in facts.variants if variant.spec.engine is not Engine.GENERIC]
    signals = (Signal.RUNNING, Signal.PROMPT_TOKENS_PER_SECOND, Signal.GENERATION_TOKENS_PER_SECOND)
    flows = [_flow(facts, signal) for signal in signals]
    if any(flow is not None and flow > 0 for flow in flows):
        return None
    running, *tokens = flows
    if modelled and (running is None or all(flow is None for flow in tokens)):
        return None
    if any(_works(variant) for variant in facts.variants if variant.spec.engine is Engine.GENERIC):
        return None
    return facts.now if facts.memory.idle_since is None else facts.memory.idle_since


def _works(variant: VariantFacts) -> bool:
    """A pod of an engine without metrics of its own computes, or does not tell."""
    return any(metrics.values.get(Signal.GPU_UTILIZATION, 1.0) > IDLE_UTILIZATION for metrics in variant.measured) or (
        variant.ready > 0 and not variant.measured
    )
