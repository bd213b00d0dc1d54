"""Demand of one service in this cycle, from what its pods and gateways tell."""

from __future__ import annotations

from pertoken.domain.signal import LatencyKind, Signal
from pertoken.forecast.demand import DemandSample, ServedFlow, demand_of, growth_of
from pertoken.planner.assessment import Assessment
from pertoken.planner.memory import Shape
from pertoken.planner.needs import Purpose
from pertoken.planner.service_state import ServiceState


def history(state: ServiceState) -> tuple[DemandSample, ...]:
    """The samples that are kept, oldest first."""
    kept, oldest = state.memory.demand, state.now - state.tuning.forecasting.history_seconds
    begin = next((index for index, old in enumerate(kept) if old.at >= oldest), len(kept))
    end = next((len(kept) - index for index, old in enumerate(reversed(kept)) if old.at < state.now), 0)
    return kept[begin:end]


def sample(state: ServiceState, shape: Shape, before: tuple[DemandSample, ...]) -> DemandSample | None:
    """Demand now; None where pods serve and none of them tells. Pods on their way out count: it was asked for.

    Args:
        state: of the service.
        shape: the mean request as known so far.
        before: earlier samples.
    """
    signals = (Signal.PROMPT_TOKENS_PER_SECOND, Signal.GENERATION_TOKENS_PER_SECOND, Signal.RUNNING, Signal.WAITING)
    flows = [flow(state, signal) for signal in signals]
    if any(value is None for value in flows):
        return None
    prompts, generated, running, waiting = (value for value in flows if value is not None)
    requests = taken_up(state)
    # What is refused, and what waits at a gateway, is known only where something tells it: demand may be more.
    refused = 0.0 if state.gateway_rejections is None else state.gateway_rejections
    held = 0.0 if state.gateway_queue is None else state.gateway_queue
    served = ServedFlow(
        requests=prompts / max(shape.input_tokens, 1.0) if requests is None else requests,
        input_tokens=prompts,
        output_tokens=generated,
        rejections=state.seen(Signal.REJECTIONS_PER_SECOND) + refused,
    )
    backlog = waiting + held
    in_flight = backlog + running
    growth = growth_of(before, (backlog, in_flight), state.now, state.window, state.tuning.forecasting)
    asked = demand_of(served, (shape.input_tokens, shape.output_tokens), growth)
    return DemandSample(state.now, *(_short(value) for value in (*asked, backlog, in_flight)))


def demand_at_least(state: ServiceState, assessment: Assessment) -> DemandSample | None:
    """Demand that is certainly there in a cycle that shows only part of it; None when all is seen, or nothing."""
    shape = state.memory.shape
    if assessment.holds or assessment.allows(Purpose.DEMAND) or shape is None or not state.flowing:
        return None
    prompts = state.seen(Signal.PROMPT_TOKENS_PER_SECOND)
    generated = state.seen(Signal.GENERATION_TOKENS_PER_SECOND)
    return DemandSample(state.now, prompts / max(shape.input_tokens, 1.0), prompts, generated, state.backlog)


def flow(state: ServiceState, signal: Signal) -> float | None:
    """Sum over all pods that serve something. Nothing flows where there is no pod; None where none of them tells."""
    told = state.flow(signal)
    if told is not None:
        return told
    return None if any(variant.ready for variant in (*state.variants, *state.retired)) else 0.0


def taken_up(state: ServiceState) -> float | None:
    """Requests per second whose first token was made; None where that is not measured.

    Finished requests tell late, and the short ones first; a first token tells of every request at once.
    """
    kind = LatencyKind.TTFT
    rates = [pod.histograms[kind].cumulative[-1] for pod in state.flowing if kind in pod.histograms]
    return sum(rates) if rates else None


def _short(value: float) -> float:
    """Five digits: many samples are kept, and written to the cluster."""
    return float(f"{value:.5g}") or 0.0  # one zero for all: most backlogs are none
