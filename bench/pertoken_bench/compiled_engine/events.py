"""What happens to a request in a replica, compiled: preempted, first token, last token; and what counts it."""

from __future__ import annotations

import math

from pertoken_bench.compiled_engine import layout as at
from pertoken_bench.compiled_engine.compiled import Ints, Reals, compiled
from pertoken_bench.compiled_engine.layout import BLOCK
from pertoken_bench.compiled_engine.lists import (
    heap_forget,
    heap_push,
    heap_remove,
    heap_step,
    hide_prefix,
    link_first,
    unlink,
)

_LOG_RATIO = math.log(at.LATENCY_RATIO)


@compiled
def blocks(tokens: int) -> int:
    """KV blocks that hold so many tokens."""
    return (tokens + BLOCK - 1) // BLOCK


@compiled
def observe(ints: Ints, reals: Reals, s: int, kind: int, value: float, times: int) -> None:
    """Count events in one of the slot's histograms."""
    service = ints[s + at.SERVICE_AT]
    edges = ints[service + at.V_REALS_AT] + at.F_EDGES + kind * at.MAX_EDGES
    count = ints[service + at.V_EDGES + kind]
    index = 0
    while index < count and value > reals[edges + index]:
        index += 1
    reals[ints[s + at.REALS_AT] + at.BUCKETS + kind * at.MAX_EDGES + index] += times


@compiled
def _fine(reals: Reals, bins: int, seconds: float) -> None:
    """Count a latency in one of the benchmark's own fine histograms."""
    index = 0
    if seconds > at.LATENCY_FIRST:
        index = min(math.ceil(math.log(seconds / at.LATENCY_FIRST) / _LOG_RATIO), at.LATENCY_BINS - 1)
    reals[bins + index] += 1


@compiled
def scored(ints: Ints, reals: Reals, q: int) -> bool:
    """Whether the request counts: it arrived after the warm-up and before the end."""
    config, arrival = ints[at.H_CONFIG], reals[ints[q + at.Q_REALS_AT] + at.T_ARRIVAL]
    return reals[config + at.C_SCORE_FROM] <= arrival < reals[config + at.C_SCORE_UNTIL]


@compiled
def leave(ints: Ints, reals: Reals, service: int, now: float) -> None:
    """One request less in the service's system."""
    v = ints[service + at.V_REALS_AT]
    reals[v + at.F_INTEGRAL] += ints[service + at.V_IN_SYSTEM] * (now - reals[v + at.F_INTEGRAL_AT])
    reals[v + at.F_INTEGRAL_AT] = now
    ints[service + at.V_IN_SYSTEM] -= 1


@compiled
def free_record(ints: Ints, q: int) -> None:
    """The record can be used for another request."""
    ints[q + at.Q_NEXT] = ints[at.H_FREE]
    ints[at.H_FREE] = q


@compiled
def _score(ints: Ints, reals: Reals, service: int, q: int, between: float) -> None:
    v, t = ints[service + at.V_REALS_AT], ints[q + at.Q_REALS_AT]
    ttft = reals[t + at.T_FIRST] - reals[t + at.T_ARRIVAL]
    outputs = ints[q + at.Q_OUTPUT]
    reals[v + at.R_FINISHED] += 1
    reals[v + at.R_INPUT] += ints[q + at.Q_INPUT]
    reals[v + at.R_OUTPUT] += outputs
    _fine(reals, v + at.F_BINS, ttft)
    if outputs > 1:
        _fine(reals, v + at.F_BINS + at.LATENCY_BINS, between)
    if ttft <= reals[v + at.F_TTFT] and between <= reals[v + at.F_BETWEEN]:
        reals[v + at.R_GOOD] += 1
        reals[v + at.R_GOOD_TOKENS] += ints[q + at.Q_INPUT] + outputs


@compiled
def _end_request(ints: Ints, reals: Reals, s: int, q: int, end: float) -> None:
    """Last token: count, free the record, leave the prompt's prefix behind."""
    r, t, service = ints[s + at.REALS_AT], ints[q + at.Q_REALS_AT], ints[s + at.SERVICE_AT]
    unlink(ints, s + at.RUN_HEAD, q)
    ints[s + at.RUNNING] -= 1
    trace, outputs = ints[q + at.Q_TRACE], ints[q + at.Q_OUTPUT]
    between = (end - reals[t + at.T_FIRST]) / (outputs - 1) if outputs > 1 else 0.0
    reals[r + at.N_FINISHED] += 1
    reals[r + at.N_FINISHED_IN] += ints[q + at.Q_INPUT]
    reals[r + at.N_FINISHED_OUT] += outputs
    observe(ints, reals, s, at.H_PER_TOKEN, between, 1)
    reals[r + at.LAST_END] = end
    leave(ints, reals, service, end)
    if scored(ints, reals, q):
        _score(ints, reals, service, q, between)
    if ints[at.H_RECORD] >= 0:
        reals[ints[at.H_RECORD] + 2 * trace] = reals[t + at.T_FIRST]
        reals[ints[at.H_RECORD] + 2 * trace + 1] = end
    hide_prefix(ints, s, q)
    free_record(ints, q)


@compiled
def stop_decoding(ints: Ints, s: int, q: int) -> None:
    """Take a decoding request's blocks and context out of the slot's sums."""
    context = ints[q + at.Q_COMPUTED] + ints[s + at.DECODE_STEPS] - ints[q + at.Q_BASE]
    ints[s + at.DECODING] -= 1
    ints[s + at.CONTEXT] -= context
    ints[s + at.USED] -= blocks(context)
    ints[s + at.PHASE + (ints[q + at.Q_BASE] - ints[q + at.Q_COMPUTED]) % BLOCK] -= 1
    ints[q + at.Q_DECODING] = 0


@compiled
def preempt_last(ints: Ints, reals: Reals, s: int, now: float) -> None:
    """Take the blocks of the request admitted last; it waits at the head of the queue, and what is lost is recomputed.

    Blocks are given out in the order in which they came back, so its own go when all that are free now are gone, the
    last of them first.
    """
    q = ints[s + at.RUN_TAIL]
    held = ints[q + at.Q_COMPUTED]
    if ints[q + at.Q_DECODING] == 1:
        held += ints[s + at.DECODE_STEPS] - ints[q + at.Q_BASE]
    ints[q + at.Q_LEFT_ALL], ints[q + at.Q_LEFT_FULL] = blocks(held), held // BLOCK
    ints[q + at.Q_LEFT_UNTIL] = ints[s + at.TAKEN] + ints[ints[s + at.KIND_AT] + at.K_BLOCKS] - ints[s + at.USED]
    unlink(ints, s + at.RUN_HEAD, q)
    ints[s + at.RUNNING] -= 1
    if ints[q + at.Q_DECODING] == 1:
        ints[q + at.Q_GENERATED] += ints[s + at.DECODE_STEPS] - ints[q + at.Q_BASE]
        reals[ints[q + at.Q_REALS_AT] + at.T_LAST] = now
        stop_decoding(ints, s, q)
        heap_forget(ints, s, q)
    else:
        ints[s + at.USED] -= blocks(ints[q + at.Q_COMPUTED])
        ints[s + at.PREFILLING] = -1
    hide_prefix(ints, s, q)
    ints[q + at.Q_COMPUTED] = 0
    ints[q + at.Q_TARGET] = ints[q + at.Q_INPUT] + ints[q + at.Q_GENERATED]
    link_first(ints, s + at.WAIT_HEAD, q)
    ints[s + at.WAITING] += 1
    ints[s + at.QUEUED_TOKENS] += ints[q + at.Q_TARGET]
    reals[ints[s + at.REALS_AT] + at.N_PREEMPTED] += 1


@compiled
def still_there(ints: Ints, s: int, q: int) -> int:
    """Tokens of a preempted request in full blocks that nobody has taken since; its last token is always computed."""
    if ints[ints[s + at.KIND_AT] + at.K_PREFIX_CACHE] == 0:
        return 0
    left = ints[q + at.Q_LEFT_ALL] - max(0, ints[s + at.TAKEN] - ints[q + at.Q_LEFT_UNTIL])
    left = min(left, ints[q + at.Q_LEFT_FULL], (ints[q + at.Q_TARGET] - 1) // BLOCK)
    return max(0, left) * BLOCK


@compiled
def take(ints: Ints, s: int, count: int) -> None:
    """Give out free KV blocks (or take back what was only planned)."""
    ints[s + at.USED] += count
    ints[s + at.TAKEN] += count


@compiled
def first_token(ints: Ints, reals: Reals, s: int, q: int, end: float) -> None:
    """A prompt (or a recomputation) is complete: its next token comes out, and it decodes from now on."""
    r, t = ints[s + at.REALS_AT], ints[q + at.Q_REALS_AT]
    if reals[t + at.T_FIRST] < 0:
        reals[t + at.T_FIRST] = end
        wait = end - reals[t + at.T_ADMITTED]
        reals[r + at.N_FIRST] += 1
        reals[r + at.S_TTFT] += wait
        reals[r + at.S_PREFILL] += end - reals[t + at.T_SCHEDULED]
        reals[r + at.N_PROMPT] += ints[q + at.Q_INPUT]
        reals[r + at.N_CACHED] += ints[q + at.Q_CACHED]
        observe(ints, reals, s, at.H_TTFT, wait, 1)
    else:
        gap = end - reals[t + at.T_LAST]
        reals[r + at.N_BETWEEN] += 1
        reals[r + at.S_BETWEEN] += gap
        observe(ints, reals, s, at.H_BETWEEN, gap, 1)
    ints[q + at.Q_GENERATED] += 1
    reals[r + at.N_GENERATED] += 1
    computed = ints[q + at.Q_COMPUTED]
    if ints[q + at.Q_GENERATED] == ints[q + at.Q_OUTPUT]:
        ints[s + at.USED] -= blocks(computed)
        _end_request(ints, reals, s, q, end)
        return
    base = ints[s + at.DECODE_STEPS]
    ints[q + at.Q_DECODING], ints[q + at.Q_BASE] = 1, base
    ints[s + at.DECODING] += 1
    ints[s + at.CONTEXT] += computed
    ints[s + at.PHASE + (base - computed) % BLOCK] += 1
    heap_push(ints, s, base + ints[q + at.Q_OUTPUT] - ints[q + at.Q_GENERATED], q)


@compiled
def finish_decodes(ints: Ints, reals: Reals, s: int, end: float) -> None:
    """End the requests whose last token just came out."""
    held = ints[s + at.HEAP_AT] + ints[at.H_CAP] + 1
    while ints[s + at.HEAP] > 0 and heap_step(ints, s) <= ints[s + at.DECODE_STEPS]:
        q = ints[held]
        heap_remove(ints, s, 0)
        stop_decoding(ints, s, q)
        _end_request(ints, reals, s, q, end)
