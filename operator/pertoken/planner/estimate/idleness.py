"""Since when a service has had no requests: the start of its idle time."""

from __future__ import annotations

from pertoken.domain.service import EngineKind
from pertoken.domain.signal import Signal
from pertoken.planner.estimate.demand import flow
from pertoken.planner.service_state import ServiceState, VariantState
from pertoken.planner.waking import untold


def idle_since(state: ServiceState) -> float | None:
    """Since when nothing is asked for; None while something is, or while it cannot be told."""
    if state.backlog > 0 or (state.gateway_rejections is not None and state.gateway_rejections > 0):
        return None
    if state.woken or untold(state):
        return None
    modelled = [variant for variant in state.variants if variant.spec.engine is not EngineKind.GENERIC]
    signals = (Signal.RUNNING, Signal.PROMPT_TOKENS_PER_SECOND, Signal.GENERATION_TOKENS_PER_SECOND)
    flows = [flow(state, signal) for signal in signals]
    if any(value is not None and value > 0 for value in flows):
        return None
    running, *tokens = flows
    if modelled and (running is None or all(value is None for value in tokens)):
        return None
    if any(_works(state, variant) for variant in state.variants if variant.spec.engine is EngineKind.GENERIC):
        return None
    return state.now if state.memory.idle_since is None else state.memory.idle_since


def _works(state: ServiceState, variant: VariantState) -> bool:
    """A pod of an engine without metrics of its own computes, or does not tell."""
    idle = state.tuning.estimate.idle_utilization
    uses = [pod.values.get(Signal.GPU_UTILIZATION) for pod in variant.measured]
    return any(use is None or use > idle for use in uses) or (variant.ready > 0 and not variant.measured)
