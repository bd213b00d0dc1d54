"""The engine's cap on running sequences: not binding at the operating batch, never beyond latency or KV cache."""

from __future__ import annotations

from math import ceil, inf

from pertoken.catalog.engines import DEFAULT_BATCHED_TOKENS, GRAPH_SIZES, graph_ceiling
from pertoken.domain.cluster import BatchCap
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Batching, BatchingMode, EngineKind
from pertoken.domain.signal import Signal
from pertoken.frozen import dataclass, replace
from pertoken.performance.steady import (
    Engine,
    Load,
    Sustainable,
    Targets,
    at_batch,
    sustainable_rate,
)
from pertoken.performance.step_time import kv_sequences
from pertoken.performance.tuning import SUSTAINED
from pertoken.planner.assessment import Assessment
from pertoken.planner.batch_cap.chunk import ChunkBounds, best_chunk
from pertoken.planner.service_state import ServiceState, VariantState
from pertoken.planner.settlement import CapDecision
from pertoken.units import SECONDS_PER_MINUTE, TINY


def decide_cap(state: ServiceState, variant: VariantState, assessment: Assessment, need: float | None) -> CapDecision:
    """Which cap the variant should have, and whether a restart for it repays.

    Args:
        state: of the service.
        variant: of it.
        assessment: without good metrics nothing changes.
        need: requests per second to be carried by the variant, None when not known.
    """
    cap = variant.workload.cap
    if cap is None or cap.foreign or variant.cap_refuted is not None:
        return _not_actuated(variant)
    kept = CapDecision(cap.value, Reason.BATCH_CAP_KEPT, f"cap {cap.value} kept", chunk=cap.chunk)
    batching = admitted(variant)
    if batching.mode is BatchingMode.FIXED:
        return _fixed(cap, batching, state)
    if not variant.cap_believed:
        return replace(kept, reason=Reason.CAP_UNCONFIRMED, message=f"cap {cap.value} kept: {_UNCONFIRMED}")
    return _suiting(state, variant, cap, need) if assessment.may_change_cap else kept


def _suiting(state: ServiceState, variant: VariantState, cap: BatchCap, need: float | None) -> CapDecision:
    """The cap that suits the load, where everything is known that a restart takes."""
    kept = CapDecision(cap.value, Reason.BATCH_CAP_KEPT, f"cap {cap.value} kept", chunk=cap.chunk)
    engine, load, batching = variant.engine, state.load, admitted(variant)
    if engine is None or load is None:
        return kept
    unknown = _untold(state, variant)
    if unknown:
        return replace(kept, message=f"cap {cap.value} kept until {unknown}")
    # The first change waits no longer than the user lets later ones wait.
    least = min(state.tuning.cap.least_history, state.settings.cap_interval_seconds)
    if len(state.memory.demand) * state.settings.cycle_seconds < least:
        early = replace(kept, message=f"cap {cap.value} kept until demand has been seen for {least:.0f} s")
        return _timing(_rechunked(state, variant, early, cap), cap, variant, state)
    limit = state.results.of(cap_limit, engine, load, state.targets, batching)
    ideal = state.results.of(ideal_cap, engine, load, state.targets, limit, batching)
    if ideal is None or abs(ideal - cap.value) / cap.value < state.settings.cap_change_threshold:
        return _timing(_rechunked(state, variant, kept, cap), cap, variant, state)
    if ideal > cap.value:
        decision = _raise(state, variant, _CapChange(cap, ideal), load, need)
    elif _full_before(state, variant, load):
        words = f"cap {cap.value} is never reached: the KV cache is full before latency is at risk"
        decision = CapDecision(cap.value, Reason.BATCH_CAP_KEPT, words)
    else:
        decision = _lower(cap, ideal, limit, mends=_tokens_late(state) or cap.value > batching.max_sequences)
    decision = replace(decision, chunk=cap.chunk)
    if not decision.change:
        chunked = _rechunked(state, variant, kept, cap)
        return _timing(chunked, cap, variant, state) if chunked.change else decision
    # Pods that restart for the cap take the better chunk along.
    return _timing(replace(decision, chunk=_chunk(state, variant, cap) or cap.chunk), cap, variant, state)


def _chunk(state: ServiceState, variant: VariantState, cap: BatchCap) -> int | None:
    """A prefill chunk that suits better than the present one; None where none does."""
    engine, load = variant.engine, state.load
    # Only where steps hold prompts and decoding sequences together, as the model has it.
    mixes = variant.spec.engine is EngineKind.VLLM or variant.workload.engine.mixes
    if engine is None or load is None or cap.chunk is None or not mixes:
        return None
    least = max(cap.value, variant.workload.engine.allocated or 0)
    most = _most_tokens(variant, cap)
    if cap.chunk > most:
        return most
    present = replace(engine, model=engine.model.with_batched_tokens(cap.chunk))
    bounds = ChunkBounds(least, most)
    return state.results.of(best_chunk, present, load, state.targets, bounds, state.tuning.cap)


def _most_tokens(variant: VariantState, cap: BatchCap) -> int:
    """Tokens per step that the user allows, but never fewer than sequences."""
    allowed = variant.spec.batching.max_batched_tokens or max(cap.chunk or 0, DEFAULT_BATCHED_TOKENS)
    return max(allowed, cap.value, variant.workload.engine.allocated or 0)


def admitted(variant: VariantState) -> Batching:
    """Bounds of the cap; an engine admits no more sequences than it has made buffers for."""
    batching, allocated = variant.spec.batching, variant.workload.engine.allocated
    if allocated is None or allocated >= batching.max_sequences:
        return batching
    return replace(batching, min_sequences=min(batching.min_sequences, allocated), max_sequences=allocated)


def _rechunked(state: ServiceState, variant: VariantState, kept: CapDecision, cap: BatchCap) -> CapDecision:
    """Another chunk alone: pods take it as they come and go, none restarts for it at first."""
    tokens = _chunk(state, variant, cap)
    if tokens is None:
        return kept
    allowed = (cap.chunk or 0) <= _most_tokens(variant, cap)
    kept_by = "inter-token objective" if state.targets.stall is None else "objective between tokens"
    why = f"a full step then keeps the {kept_by}" if allowed else "maxBatchedTokens allows no more"
    words = f"prefill chunk {tokens} instead of {cap.chunk} tokens: {why}"
    return CapDecision(cap.value, Reason.BATCH_CHUNK_CHANGED, words, change=True, chunk=tokens)


_UNCONFIRMED = (
    "a start script stands between the template and the engine, and no engine has been held at the cap yet: no restart "
    "for it before"
)


def _not_actuated(variant: VariantState) -> CapDecision:
    engine, cap, refuted = variant.workload.engine, variant.workload.cap, variant.cap_refuted
    if refuted is not None:
        words = (
            f"pod {refuted.pod} runs {refuted.running:.0f} requests, its cap allows {refuted.most}: the engine does "
            f"not run with the cap that {variant.workload.ref} is given; no restart for it until the template changes"
        )
        return CapDecision(None, Reason.CAP_IGNORED, words)
    if cap is not None:
        words = f"cap {cap.value} is read from {cap.foreign}, which is not pertoken's: it is left alone"
        return CapDecision(cap.value, Reason.BATCH_NOT_ACTUATED, words)
    words = "the template does not read its cap from pertoken"
    if engine.max_sequences is None:
        words = f"{words}; the cap that it runs with is {engine.source}"
    else:
        words = f"{words}; it runs with {engine.max_sequences} ({engine.source})"
    return CapDecision(None, Reason.BATCH_NOT_ACTUATED, words)


def _full_before(state: ServiceState, variant: VariantState, load: Load) -> bool:
    """The KV cache ends batches before latency does, and without preempting much: a lower cap would only cost."""
    if variant.engine is None:
        return False
    fits = kv_sequences(variant.engine.kv_tokens, load.resident, 0.0, 0.0)
    roomy = replace(variant.engine, kv_capacity=inf)
    quick = state.results.of(cap_limit, roomy, load, state.targets, variant.spec.batching)
    preempted = variant.seen(Signal.PREEMPTIONS_PER_SECOND)
    return (
        fits <= SUSTAINED.cap_room * quick
        and preempted <= state.tuning.cap.few_preemptions * state.memory.demand[-1].requests
    )


def _untold(state: ServiceState, variant: VariantState) -> str:
    """What has to be known before any change is decided on; empty when it is."""
    if state.settings.calibrate and variant.memory.calibration.samples < state.tuning.evidence.calibrated_samples:
        return "the model is calibrated"
    newest = state.memory.demand[-1] if state.memory.demand else None
    if newest is None or state.now > newest.at or newest.requests * state.window < state.tuning.evidence.few_requests:
        return "requests arrive again: what is known of them was learnt from traffic that has ceased"
    return ""


def cap_limit(engine: Engine, load: Load, targets: Targets, batching: Batching) -> int:
    """Largest captured size at which the mean inter-token latency keeps the objective and the KV cache holds."""
    free = replace(engine, cap=None)
    room = kv_sequences(free.kv_tokens, load.resident, SUSTAINED.context_spread, SUSTAINED.kv_overflow_z)
    best = batching.min_sequences
    for size in GRAPH_SIZES:
        if size > min(batching.max_sequences, room):
            break
        if targets.mean_gap < inf and at_batch(free, load, size, targets).inter_token > targets.mean_gap:
            break
        best = max(best, size)
    return best


def ideal_cap(engine: Engine, load: Load, targets: Targets, limit: int, batching: Batching) -> int | None:
    """Smallest captured size with room above the operating batch of a fully used replica, within `limit`.

    None when latency cannot be kept at any batch: then the cap is not what helps.
    """
    uncapped = sustainable_rate(replace(engine, cap=None), load, targets)
    if not isinstance(uncapped, Sustainable):
        return None
    wanted = min(graph_ceiling(SUSTAINED.cap_room * uncapped.point.batch), limit)
    return min(max(wanted, batching.min_sequences), batching.max_sequences)


def _fixed(cap: BatchCap, batching: Batching, state: ServiceState) -> CapDecision:
    wanted = batching.max_sequences
    chunk = None if cap.chunk is None else max(batching.max_batched_tokens or cap.chunk, wanted)
    if (wanted, chunk) == (cap.value, cap.chunk):
        return CapDecision(wanted, Reason.BATCH_FIXED, f"cap fixed at {wanted}", chunk=chunk)
    message = f"cap fixed at {wanted}, engines still run with {cap.value}"
    if wanted == cap.value:
        message = f"prefill chunk fixed at {chunk} tokens, engines still run with {cap.chunk}"
    if cap.changed_at and state.now - cap.changed_at < state.settings.cap_interval_seconds:
        return CapDecision(wanted, Reason.BATCH_CHANGE_TOO_SOON, message, chunk=chunk)
    return CapDecision(wanted, Reason.BATCH_FIXED, message, change=True, chunk=chunk)


def _tokens_late(state: ServiceState) -> bool:
    """More answers have late tokens than the error budget allows in any window: else a lower cap mends nothing."""
    shares = (latency.share_kept for latency in (state.inter_token, state.stall))
    return any(kept is not None and kept[1] < 1.0 - state.budget_rules.most for kept in shares)


def _lower(cap: BatchCap, ideal: int, limit: int, *, mends: bool) -> CapDecision:
    if not mends:
        message = f"cap {cap.value} is more than the {ideal} needed, but tokens are not late: no restart for it"
        return CapDecision(ideal, Reason.BATCH_CHANGE_NOT_WORTH_IT, message)
    if cap.value <= SUSTAINED.cap_room * limit:
        message = f"cap {cap.value} is more than the {ideal} needed, but hardly beyond latency: no restart for it"
        return CapDecision(ideal, Reason.BATCH_CHANGE_NOT_WORTH_IT, message)
    # Down to what latency bears and no further: less would hold requests back without making tokens faster.
    message = f"cap {cap.value} admits batches beyond latency or KV cache: at most {limit}"
    return CapDecision(limit, Reason.BATCH_CAP_LOWERED, message, change=True)


@dataclass(frozen=True, slots=True)
class _CapChange:
    """From the cap in use to the one that would suit the load."""

    cap: BatchCap
    ideal: int


def _raise(
    state: ServiceState, variant: VariantState, change: _CapChange, load: Load, need: float | None
) -> CapDecision:
    cap, ideal = change.cap, change.ideal
    batch, waiting = variant.batch, variant.seen(Signal.WAITING)
    if waiting > 0 and batch is not None and batch >= state.tuning.cap.binding_share * cap.value:
        message = f"{waiting:.0f} requests wait at a cap of {cap.value} while latency has room: {ideal}"
        return CapDecision(ideal, Reason.BATCH_CAP_RAISED, message, change=True)
    saved = _replicas_saved(state, variant, change, load, need)
    if saved * state.settings.cap_interval_seconds > _restart_seconds(state, variant):
        message = f"cap {ideal} instead of {cap.value} saves {saved} replicas at this load"
        return CapDecision(ideal, Reason.BATCH_CAP_RAISED, message, change=True)
    repays = "less than the restarts cost before the next change" if saved > 0 else "nothing now"
    message = f"cap {ideal} would suit full load better than {cap.value}, but saves {repays}"
    return CapDecision(ideal, Reason.BATCH_CHANGE_NOT_WORTH_IT, message)


def _restart_seconds(state: ServiceState, variant: VariantState) -> float:
    """Replica-seconds that a roll costs: an extra one while all start anew one by one, the first as a canary."""
    start = variant.memory.start_seconds
    once = state.settings.start_seconds if start is None else start
    return once * variant.steady + state.settings.canary_seconds


def _replicas_saved(
    state: ServiceState, variant: VariantState, change: _CapChange, load: Load, need: float | None
) -> int:
    """Replicas that the rate `need` takes with the cap in use, less those that it takes with the ideal one."""
    if need is None or variant.engine is None or need <= 0:
        return 0
    counts = []
    for cap in (change.cap.value, change.ideal):
        sustained = state.results.of(sustainable_rate, replace(variant.engine, cap=cap), load, state.targets)
        if not isinstance(sustained, Sustainable):
            return 0
        counts.append(max(ceil(need / (sustained.rate * variant.ranks) - TINY), variant.spec.min_replicas, 1))
    return counts[0] - counts[1]


def _timing(decision: CapDecision, cap: BatchCap, variant: VariantState, state: ServiceState) -> CapDecision:
    """A change that is worth it may still come too soon, or be one that failed lately."""
    if not decision.change:
        return decision
    memory = variant.memory
    blocked = (memory.blocked_cap, memory.blocked_chunk) == (decision.desired, decision.chunk)
    if blocked and state.now < memory.blocked_until:
        minutes = (memory.blocked_until - state.now) / SECONDS_PER_MINUTE
        what = f"cap {decision.desired}" + ("" if decision.chunk is None else f" with chunk {decision.chunk}")
        message = f"{what} was rolled back; not tried again for {minutes:.0f} min"
        return CapDecision(cap.value, Reason.BATCH_CHANGE_ROLLED_BACK, message, chunk=cap.chunk)
    left = state.settings.cap_interval_seconds - (state.now - cap.changed_at)
    if cap.changed_at and left > 0:
        message = f"{decision.message}; next change possible in {left:.0f} s"
        return CapDecision(decision.desired, Reason.BATCH_CHANGE_TOO_SOON, message, chunk=decision.chunk)
    return decision
