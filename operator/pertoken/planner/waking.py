"""What wakes a service that sleeps, and whether that is told: without it a service is not put to sleep."""

from __future__ import annotations

from pertoken.planner.service_state import ServiceState


def may_sleep(state: ServiceState) -> bool:
    """Whether nothing but requests keeps replicas of the service."""
    return state.spec.min_replicas == 0 and all(variant.spec.min_replicas == 0 for variant in state.variants)


def untold(state: ServiceState) -> str:
    """What should wake the service, in words, where nobody tells it; empty where it is told, or not needed."""
    spec, profile = state.spec, state.spec.metrics_profile
    if spec.wake_signal:
        told = state.wake is not None
        return "" if told else f"profile {profile} tells no signal {spec.wake_signal} of {spec.model.served_name}"
    if not may_sleep(state) or state.gateway_queue is not None:
        return ""
    return f"profile {profile} tells no gateway's queue of {spec.model.served_name}"


def watched(state: ServiceState) -> tuple[str, bool]:
    """What would wake a service that sleeps, in words, and whether that can be seen.

    A gateway that is there shows the first request that it holds, so it need not have told of the service before.
    """
    snapshot, spec = state.snapshot, state.spec
    there = snapshot is not None and spec.key.namespace in snapshot.gateways
    gateway = there or state.gateway_queue is not None
    missing = untold(state)
    if not missing:
        named = f"the signal {spec.wake_signal} and " if spec.wake_signal else ""
        return f"{named}the gateway's queue {'are' if named else 'is'} watched", True
    if not spec.wake_signal and gateway:
        return "the gateway's queue is watched", True
    return f"{missing}; nothing else wakes it" if not gateway else f"{missing}; the gateway's queue is watched", False
