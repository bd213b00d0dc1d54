"""The engine's cap on running sequences: not binding at the operating batch, never beyond latency or KV cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf

from pertoken.catalog.engines import GRAPH_SIZES, graph_ceiling
from pertoken.domain.cluster import BatchCap
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Batching, BatchingMode
from pertoken.domain.signal import Signal
from pertoken.performance.steady import (
    CAP_ROOM,
    CONTEXT_SPREAD,
    KV_OVERFLOW_Z,
    Engine,
    Load,
    Sustainable,
    Targets,
    at_batch,
    sustainable_rate,
)
from pertoken.performance.step_time import kv_sequences
from pertoken.planner.assess import Assessment
from pertoken.planner.facts import ServiceFacts, VariantFacts

BINDING_SHARE = 0.8  # of the cap in use: the cap holds requests back
FEW_PREEMPTIONS = 0.02  # per request
MIN_SAMPLES = 12  # calibrated observations before a restart is decided on
FEW_ARRIVALS = 3.0  # requests in a rate window below which there is no traffic to suit a cap to
MIN_HISTORY = 40  # cycles of demand before it: the first requests are not like the later ones


@dataclass(frozen=True, slots=True)
class CapDecision:
    """Outcome of the stage.

    Attributes:
        desired: cap that the planner wants; None where the engine takes none from pertoken.
        change: whether a change shall be started now.
    """

    desired: int | None
    reason: Reason
    message: str
    change: bool = False


def decide_cap(facts: ServiceFacts, variant: VariantFacts, assessment: Assessment, need: float | None) -> CapDecision:
    """Which cap the variant should have, and whether a restart for it repays.

    Args:
        facts: of the service.
        variant: of it.
        assessment: without good metrics nothing changes.
        need: requests per second to be carried by the variant, None when not known.
    """
    cap = variant.workload.cap
    if cap is None or cap.foreign:
        return _not_actuated(variant)
    kept = CapDecision(cap.value, Reason.BATCH_CAP_KEPT, f"cap {cap.value} kept")
    batching = variant.spec.batching
    if batching.mode is BatchingMode.FIXED:
        return _fixed(cap, batching, facts)
    load = facts.load
    if not assessment.may_change_cap or variant.engine is None or load is None:
        return kept
    unknown = _too_early(facts, variant)
    if unknown:
        return replace(kept, message=f"cap {cap.value} kept until {unknown}")
    limit = cap_limit(variant.engine, load, facts.targets, batching)
    ideal = ideal_cap(variant.engine, load, facts.targets, limit, batching)
    if ideal is None or abs(ideal - cap.value) / cap.value < facts.settings.cap_change_threshold:
        return kept
    if ideal > cap.value:
        found = _raise(facts, variant, (cap, ideal), load, need)
    elif _full_before(facts, variant, load):
        words = f"cap {cap.value} is never reached: the KV cache is full before latency is at risk"
        found = CapDecision(cap.value, Reason.BATCH_CAP_KEPT, words)
    else:
        found = _lower(cap, ideal, limit)
    return _timing(found, cap, variant, facts) if found.change else found


def _not_actuated(variant: VariantFacts) -> CapDecision:
    engine, cap = variant.workload.engine, variant.workload.cap
    if cap is not None:
        words = f"cap {cap.value} is read from {cap.foreign}, which is not pertoken's: it is left alone"
        return CapDecision(cap.value, Reason.BATCH_NOT_ACTUATED, words)
    words = "the template does not read its cap from pertoken"
    if engine.max_sequences is None:
        words = f"{words}; the cap that it runs with is {engine.source}"
    else:
        words = f"{words}; it runs with {engine.max_sequences} ({engine.source})"
    return CapDecision(None, Reason.BATCH_NOT_ACTUATED, words)


def _full_before(facts: ServiceFacts, variant: VariantFacts, load: Load) -> bool:
    """The KV cache ends batches before latency does, and without preempting much: a lower cap would only cost."""
    if variant.engine is None:
        return False
    fits = kv_sequences(variant.engine.kv_tokens, load.resident, 0.0, 0.0)
    quick = cap_limit(replace(variant.engine, kv_capacity=inf), load, facts.targets, variant.spec.batching)
    preempted = variant.seen(Signal.PREEMPTIONS_PER_SECOND)
    return fits <= CAP_ROOM * quick and preempted <= FEW_PREEMPTIONS * facts.memory.demand[-1].requests


def _too_early(facts: ServiceFacts, variant: VariantFacts) -> str:
    """What has to be known before a restart is decided on; empty when it is."""
    if facts.settings.calibrate and variant.memory.calibration.samples < MIN_SAMPLES:
        return "the model is calibrated"
    demand = facts.memory.demand
    if len(demand) < MIN_HISTORY:
        return f"demand has been seen for {MIN_HISTORY} cycles"
    if facts.now > demand[-1].at or demand[-1].requests * facts.window < FEW_ARRIVALS:
        return "requests arrive again: what is known of them was learnt from traffic that has ceased"
    return ""


def cap_limit(engine: Engine, load: Load, targets: Targets, batching: Batching) -> int:
    """Largest captured size at which the mean inter-token latency keeps the objective and the KV cache holds."""
    free = replace(engine, cap=None)
    room = kv_sequences(free.kv_tokens, load.resident, CONTEXT_SPREAD, KV_OVERFLOW_Z)
    best = batching.min_sequences
    for size in GRAPH_SIZES:
        if size > min(batching.max_sequences, room):
            break
        if targets.inter_token is not None and at_batch(free, load, size, targets).inter_token > targets.inter_token:
            break
        best = max(best, size)
    return best


def ideal_cap(engine: Engine, load: Load, targets: Targets, limit: int, batching: Batching) -> int | None:
    """Smallest captured size with room above the operating batch of a fully used replica, within `limit`.

    None when latency cannot be kept at any batch: then the cap is not what helps.
    """
    found = sustainable_rate(replace(engine, cap=None), load, targets)
    if not isinstance(found, Sustainable):
        return None
    wanted = min(graph_ceiling(CAP_ROOM * found.point.batch), limit)
    return min(max(wanted, batching.min_sequences), batching.max_sequences)


def _fixed(cap: BatchCap, batching: Batching, facts: ServiceFacts) -> CapDecision:
    wanted = batching.max_sequences
    if wanted == cap.value:
        return CapDecision(wanted, Reason.BATCH_FIXED, f"cap fixed at {wanted}")
    message = f"cap fixed at {wanted}, engines still run with {cap.value}"
    if cap.changed_at and facts.now - cap.changed_at < facts.settings.cap_interval_seconds:
        return CapDecision(wanted, Reason.BATCH_CHANGE_TOO_SOON, message)
    return CapDecision(wanted, Reason.BATCH_FIXED, message, change=True)


def _lower(cap: BatchCap, ideal: int, limit: int) -> CapDecision:
    if cap.value <= CAP_ROOM * limit:
        message = f"cap {cap.value} is more than the {ideal} needed, but hardly beyond latency: no restart for it"
        return CapDecision(ideal, Reason.BATCH_CHANGE_NOT_WORTH_IT, message)
    # Down to what latency bears and no further: less would hold requests back without making tokens faster.
    message = f"cap {cap.value} admits batches beyond latency or KV cache: at most {limit}"
    return CapDecision(limit, Reason.BATCH_CAP_LOWERED, message, change=True)


def _raise(
    facts: ServiceFacts, variant: VariantFacts, change: tuple[BatchCap, int], load: Load, need: float | None
) -> CapDecision:
    cap, ideal = change
    batch, waiting = variant.batch, variant.seen(Signal.WAITING)
    if waiting > 0 and batch is not None and batch >= BINDING_SHARE * cap.value:
        message = f"{waiting:.0f} requests wait at a cap of {cap.value} while latency has room: {ideal}"
        return CapDecision(ideal, Reason.BATCH_CAP_RAISED, message, change=True)
    saved = _replicas_saved(facts, variant, (cap.value, ideal), load, need)
    if saved >= 1:
        message = f"cap {ideal} instead of {cap.value} saves {saved} replicas at this load"
        return CapDecision(ideal, Reason.BATCH_CAP_RAISED, message, change=True)
    message = f"cap {ideal} would suit full load better than {cap.value}, but saves nothing now"
    return CapDecision(ideal, Reason.BATCH_CHANGE_NOT_WORTH_IT, message)


def _replicas_saved(
    facts: ServiceFacts, variant: VariantFacts, caps: tuple[int, int], load: Load, need: float | None
) -> int:
    if need is None or variant.engine is None or need <= 0:
        return 0
    counts = []
    for cap in caps:
        found = sustainable_rate(replace(variant.engine, cap=cap), load, facts.targets)
        if not isinstance(found, Sustainable):
            return 0
        counts.append(max(ceil(need / (found.rate * variant.ranks) - 1e-9), variant.spec.min_replicas, 1))
    return counts[0] - counts[1]


def _timing(found: CapDecision, cap: BatchCap, variant: VariantFacts, facts: ServiceFacts) -> CapDecision:
    """A change that is worth it may still come too soon, or be one that failed lately."""
    memory = variant.memory
    if memory.blocked_cap == found.desired and facts.now < memory.blocked_until:
        minutes = (memory.blocked_until - facts.now) / 60
        message = f"cap {found.desired} was rolled back; not tried again for {minutes:.0f} min"
        return CapDecision(cap.value, Reason.BATCH_CHANGE_ROLLED_BACK, message)
    left = facts.settings.cap_interval_seconds - (facts.now - cap.changed_at)
    if cap.changed_at and left > 0:
        message = f"{found.message}; next change possible in {left:.0f} s"
        return CapDecision(found.desired, Reason.BATCH_CHANGE_TOO_SOON, message)
    return found
