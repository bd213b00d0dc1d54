"""The mean request of a service: its tokens, the share of cached prompt tokens, its resident context."""

from __future__ import annotations

from pertoken.domain.signal import Signal
from pertoken.forecast.demand import DemandSample, blend, mean_request, recent
from pertoken.frozen import replace
from pertoken.performance.steady import Load
from pertoken.planner.estimate.demand import taken_up
from pertoken.planner.memory import Shape
from pertoken.planner.service_state import ServiceState


def first_shape(state: ServiceState) -> Shape | None:
    """Mean request from the first ones that finished; None before that.

    After a rise of load the short answers finish first, so their mean is too low for as long as the longest answers
    take. Generated tokens per request taken up do not have that bias but lag arrivals: both err downwards, so the
    larger is the better one.
    """
    finished, inputs, outputs = (
        state.flow(Signal.FINISHED_PER_SECOND),
        state.flow(Signal.FINISHED_INPUT_TOKENS_PER_SECOND),
        state.flow(Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND),
    )
    if finished is None or inputs is None or outputs is None:
        return None
    if finished * state.window < state.tuning.evidence.few_requests:
        return None
    generated, requests = state.flow(Signal.GENERATION_TOKENS_PER_SECOND), taken_up(state)
    length = outputs / finished
    if generated is not None and requests:
        length = max(length, min(generated / requests, state.tuning.estimate.most_flow * length))
    return Shape(inputs / finished, length, 0.0)


def shape_after(state: ServiceState, before: Shape, demand: tuple[DemandSample, ...]) -> Shape:
    """Mean request over the last minutes; kept while there is no traffic to tell.

    Once arrivals cease, what goes on is the rest of the longest requests: no mean of anything.
    """
    enough = state.tuning.evidence
    requests, inputs, outputs = mean_request(demand, state.settings.cycle_seconds, state.tuning.forecasting)
    if requests < enough.few_requests or outputs <= 0 or not _arrives(state, demand):
        return before
    weight = min(1.0, requests / enough.enough_requests)
    prompts, cached = state.flow(Signal.PROMPT_TOKENS_PER_SECOND), state.flow(Signal.CACHED_PROMPT_TOKENS_PER_SECOND)
    share = before.cached_share if not prompts or cached is None else min(1.0, cached / prompts)
    gradually = weight * min(1.0, state.settings.cycle_seconds / state.tuning.forecasting.short_seconds)
    fresh = Shape(
        blend(before.input_tokens, inputs, weight),
        blend(before.output_tokens, max(outputs, 1.0), weight),
        blend(before.cached_share, share, gradually),
    )
    context = _context(state, fresh)
    return replace(fresh, context=before.context if context is None else blend(before.context, context, gradually))


def _arrives(state: ServiceState, demand: tuple[DemandSample, ...]) -> bool:
    """Requests still arrive, at no small part of the rate of the last minutes."""
    latest = recent(demand, state.settings.cycle_seconds, state.tuning.forecasting)
    mean = sum(sample.requests for sample in latest) / len(latest)
    return demand[-1].requests >= state.tuning.estimate.flowing_share * mean


def _context(state: ServiceState, shape: Shape) -> float | None:
    """Resident tokens per running sequence, from KV usage; None where it is not measured or not believable."""
    tokens = running = 0.0
    for variant in state.variants:
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
    bounds = state.tuning.estimate
    return min(max(tokens / running, bounds.least_context * modelled), bounds.most_context * modelled)
