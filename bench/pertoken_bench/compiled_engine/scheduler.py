"""Continuous batching of one replica, compiled: what runs in the next step, and what has happened after it.

Order as in vLLM v1 (``vllm.v1.core.sched.scheduler``): running sequences first, one token per decode; then the rest of
the token budget to prompts, first come first served. A prompt is admitted when a sequence slot is free and its whole
length fits into free KV blocks. A decode that finds no free block preempts the request admitted last, which gives its
blocks back; what others have taken of them when it is admitted again is recomputed.

While no prompt is computed and nobody finishes, the batch stands, and many steps are one *run*: the table makes their
durations an arithmetic series, so a run is advanced in closed form, exactly.
"""

from __future__ import annotations

import math

from pertoken_bench.compiled_engine import layout as at
from pertoken_bench.compiled_engine.compiled import Ints, Reals, compiled
from pertoken_bench.compiled_engine.events import (
    blocks,
    finish_decodes,
    first_token,
    observe,
    preempt_last,
    still_there,
    take,
)
from pertoken_bench.compiled_engine.layout import BLOCK
from pertoken_bench.compiled_engine.lists import cached_tokens, heap_step, link, show_prefix, unlink
from pertoken_bench.compiled_engine.timing import decode_line, noise_factor, prefill_ms, run_seconds, steps_within


@compiled
def _growth_blocks(ints: Ints, s: int, steps: int) -> int:
    """KV blocks that the decodes take in their next `steps` steps."""
    base = ints[s + at.DECODE_STEPS]
    taken = steps // BLOCK * ints[s + at.DECODING]
    for index in range(steps % BLOCK):
        taken += ints[s + at.PHASE + (base + index) % BLOCK]
    return taken


@compiled
def _count_run(ints: Ints, reals: Reals, s: int, steps: int) -> float:
    """Count `steps` pure decode steps of the run under way; returns their seconds."""
    r, service, decoding = ints[s + at.REALS_AT], ints[s + at.SERVICE_AT], ints[s + at.DECODING]
    step, growth = reals[r + at.STEP], reals[r + at.GROWTH]
    seconds = run_seconds(step, growth, float(steps))
    tokens = steps * decoding
    reals[r + at.N_GENERATED] += tokens
    reals[r + at.N_BETWEEN] += tokens
    reals[r + at.S_BETWEEN] += seconds * decoding
    reals[r + at.N_STEPS] += steps
    reals[r + at.S_BUSY] += seconds
    edges = ints[service + at.V_REALS_AT] + at.F_EDGES + at.H_BETWEEN * at.MAX_EDGES
    count = ints[service + at.V_EDGES + at.H_BETWEEN]
    buckets = r + at.BUCKETS + at.H_BETWEEN * at.MAX_EDGES
    done, index = 0, 0
    while done < steps:
        duration = step + growth * done
        while index < count and duration > reals[edges + index]:
            index += 1
        inside = steps - done
        if index < count and growth > 0.0:
            room = (reals[edges + index] - duration) / growth
            if room < inside - 1:
                inside = int(room) + 1
        reals[buckets + index] += inside * decoding
        done += inside
    return seconds


@compiled
def _advance_run(ints: Ints, reals: Reals, s: int, steps: int) -> None:
    """Apply `steps` pure decode steps; nobody finishes before the run's last one."""
    r = ints[s + at.REALS_AT]
    seconds = _count_run(ints, reals, s, steps)
    take(ints, s, _growth_blocks(ints, s, steps))
    ints[s + at.DECODE_STEPS] += steps
    ints[s + at.CONTEXT] += steps * ints[s + at.DECODING]
    ints[s + at.PLANNED] -= steps
    reals[r + at.RUN_START] += seconds
    reals[r + at.STEP] += reals[r + at.GROWTH] * steps


@compiled
def _apply_mixed(ints: Ints, reals: Reals, s: int, end: float) -> None:
    """Apply a step with prompt chunks: first the decodes, then the prompts that are complete."""
    r, decoding = ints[s + at.REALS_AT], ints[s + at.DECODING]
    seconds, outputs = reals[r + at.STEP], decoding
    reals[r + at.S_BUSY] += seconds
    if decoding > 0:
        ints[s + at.DECODE_STEPS] += 1
        ints[s + at.CONTEXT] += decoding
        reals[r + at.N_GENERATED] += decoding
        reals[r + at.N_BETWEEN] += decoding
        reals[r + at.S_BETWEEN] += decoding * seconds
        observe(ints, reals, s, at.H_BETWEEN, seconds, decoding)
        finish_decodes(ints, reals, s, end)
    schedule = ints[s + at.SCHEDULE_AT]
    for index in range(ints[s + at.SCHEDULED]):
        q = ints[schedule + 2 * index]
        ints[q + at.Q_COMPUTED] += ints[schedule + 2 * index + 1]
        if ints[q + at.Q_COMPUTED] == ints[q + at.Q_TARGET]:
            if ints[s + at.PREFILLING] == q:
                ints[s + at.PREFILLING] = -1
            outputs += 1
            first_token(ints, reals, s, q, end)
        else:
            ints[s + at.PREFILLING] = q
    if outputs > 0:
        reals[r + at.N_STEPS] += 1
    ints[s + at.SCHEDULED] = 0


@compiled
def finish_run(ints: Ints, reals: Reals, s: int) -> None:
    """The run under way is over: apply the rest of it and plan what follows."""
    end = reals[ints[at.H_NEXT_AT] + ints[s + at.INDEX]]
    if ints[s + at.MIXED] == 1:
        _apply_mixed(ints, reals, s, end)
    else:
        if ints[s + at.PLANNED] > 0:
            _advance_run(ints, reals, s, ints[s + at.PLANNED])
        finish_decodes(ints, reals, s, end)
    _plan(ints, reals, s, end)


@compiled
def settle(ints: Ints, reals: Reals, s: int, now: float) -> None:
    """Apply the whole steps of the run under way that are over at `now`, so that a scrape sees them."""
    if ints[s + at.PLANNED] <= 1 or ints[s + at.MIXED] == 1:
        return
    r = ints[s + at.REALS_AT]
    steps = steps_within(reals[r + at.STEP], reals[r + at.GROWTH], now - reals[r + at.RUN_START])
    steps = min(steps, ints[s + at.PLANNED] - 1)
    if steps > 0:
        _advance_run(ints, reals, s, steps)


@compiled
def interrupt(ints: Ints, reals: Reals, s: int, now: float) -> None:
    """End the run with the step that is under way at `now`: a prompt waits that it did not know of."""
    if ints[s + at.MIXED] == 1 or ints[s + at.PLANNED] <= 1:
        return
    r = ints[s + at.REALS_AT]
    step, growth, start = reals[r + at.STEP], reals[r + at.GROWTH], reals[r + at.RUN_START]
    steps = steps_within(step, growth, now - start) + 1
    if steps < ints[s + at.PLANNED]:
        ints[s + at.PLANNED] = steps
        reals[ints[at.H_NEXT_AT] + ints[s + at.INDEX]] = start + run_seconds(step, growth, float(steps))


@compiled
def _schedule_prompts(ints: Ints, reals: Reals, s: int, now: float, preempted: bool) -> bool:
    """Give the rest of the step's token budget to prompts; returns whether anything was preempted in this step."""
    kind, schedule = ints[s + at.KIND_AT], ints[s + at.SCHEDULE_AT]
    total = ints[kind + at.K_BLOCKS]
    budget = ints[s + at.BUDGET] - ints[s + at.DECODING]
    count = 0
    ints[s + at.SCHEDULED] = 0
    q = ints[s + at.PREFILLING]
    if q >= 0:
        computed = ints[q + at.Q_COMPUTED]
        tokens = min(ints[q + at.Q_TARGET] - computed, budget)
        if tokens > 0:
            needed = blocks(computed + tokens) - blocks(computed)
            if needed > total - ints[s + at.USED]:
                preempt_last(ints, reals, s, now)
                return True
            take(ints, s, needed)
            show_prefix(ints, s, q, computed + tokens)
            ints[schedule], ints[schedule + 1] = q, tokens
            count, budget = 1, budget - tokens
    while not preempted and ints[s + at.WAIT_HEAD] >= 0 and budget > 0 and ints[s + at.RUNNING] < ints[s + at.CAP]:
        q = ints[s + at.WAIT_HEAD]
        if blocks(ints[q + at.Q_TARGET]) > total - ints[s + at.USED]:
            break
        tokens = _admit(ints, reals, s, q, now, budget)
        ints[schedule + 2 * count], ints[schedule + 2 * count + 1] = q, tokens
        count, budget = count + 1, budget - tokens
    ints[s + at.SCHEDULED] = count
    return preempted


@compiled
def _admit(ints: Ints, reals: Reals, s: int, q: int, now: float, budget: int) -> int:
    """Take a request from the queue into the batch; returns the prompt tokens that it computes in this step."""
    unlink(ints, s + at.WAIT_HEAD, q)
    ints[s + at.WAITING] -= 1
    ints[s + at.QUEUED_TOKENS] -= ints[q + at.Q_TARGET]
    link(ints, s + at.RUN_HEAD, q)
    ints[s + at.RUNNING] += 1
    t = ints[q + at.Q_REALS_AT]
    if reals[t + at.T_SCHEDULED] < 0:
        reals[t + at.T_SCHEDULED] = now
        ints[q + at.Q_CACHED] = cached_tokens(ints, s, q)
        ints[q + at.Q_COMPUTED] = ints[q + at.Q_CACHED]
    else:
        ints[q + at.Q_COMPUTED] = still_there(ints, s, q)
    computed = ints[q + at.Q_COMPUTED]
    tokens = min(ints[q + at.Q_TARGET] - computed, budget)
    ints[s + at.USED] += blocks(computed)
    take(ints, s, blocks(computed + tokens) - blocks(computed))
    show_prefix(ints, s, q, computed + tokens)
    return tokens


@compiled
def _mixed_ms(ints: Ints, reals: Reals, s: int) -> float:
    """Milliseconds of the step with the scheduled chunks.

    Decoded tokens go through the same matrix products as the prompts' tokens and read their own contexts besides.
    Attention is linear in tokens x past, so several prompts (and decodes, which have none of a prompt's) equal one
    chunk behind a (maybe negative) mean past.
    """
    kind, schedule, decoding = ints[s + at.KIND_AT], ints[s + at.SCHEDULE_AT], ints[s + at.DECODING]
    total, attended = float(decoding), 0.0
    for index in range(ints[s + at.SCHEDULED]):
        tokens = float(ints[schedule + 2 * index + 1])
        total += tokens
        attended += tokens * (tokens + 2.0 * ints[ints[schedule + 2 * index] + at.Q_COMPUTED])
    milliseconds = prefill_ms(ints, reals, kind, total, (attended - total * total) / (2.0 * total))
    if decoding > 0:
        alone = decode_line(ints, reals, kind, decoding, 0)[0]
        contexts = decode_line(ints, reals, kind, decoding, ints[s + at.CONTEXT])[0] - alone
        milliseconds = max(milliseconds, alone) + max(0.0, contexts)
    return milliseconds


@compiled
def _plan(ints: Ints, reals: Reals, s: int, now: float) -> None:
    """Plan the step that begins now, or the whole run of equal steps."""
    r, kind, next_at = ints[s + at.REALS_AT], ints[s + at.KIND_AT], ints[at.H_NEXT_AT] + ints[s + at.INDEX]
    own, preempted, again = 0, False, True
    while again:
        preempted = False
        while _growth_blocks(ints, s, 1) > ints[kind + at.K_BLOCKS] - ints[s + at.USED]:
            preempt_last(ints, reals, s, now)
            preempted = True
        own = _growth_blocks(ints, s, 1)  # the decodes' own blocks of this step come first
        take(ints, s, own)
        preempted = _schedule_prompts(ints, reals, s, now, preempted)
        again = preempted and ints[s + at.SCHEDULED] == 0 and ints[s + at.DECODING] == 0
    number = int(now / at.NOISE_SECONDS)
    if number != ints[s + at.NOISE_SLOT]:
        ints[s + at.NOISE_SLOT] = number
        reals[r + at.NOISE] = noise_factor(ints, reals, s, number)
    factor = reals[r + at.NOISE] / 1000.0
    reals[r + at.RUN_START] = now
    if ints[s + at.SCHEDULED] > 0:
        ints[s + at.MIXED], ints[s + at.PLANNED] = 1, 1
        reals[r + at.STEP], reals[r + at.GROWTH] = _mixed_ms(ints, reals, s) * factor, 0.0
        reals[next_at] = now + reals[r + at.STEP]
        return
    ints[s + at.MIXED], ints[s + at.PLANNED] = 0, 0
    if ints[s + at.DECODING] == 0:
        reals[next_at] = math.inf
        return
    take(ints, s, -own)  # a run counts its blocks as it goes
    milliseconds, growth, most = decode_line(ints, reals, kind, ints[s + at.DECODING], ints[s + at.CONTEXT])
    reals[r + at.STEP], reals[r + at.GROWTH] = milliseconds * factor, growth * factor
    ints[s + at.PLANNED] = 1 if preempted else _run_length(ints, reals, s, now, most)
    reals[next_at] = now + run_seconds(reals[r + at.STEP], reals[r + at.GROWTH], float(ints[s + at.PLANNED]))


@compiled
def _run_length(ints: Ints, reals: Reals, s: int, now: float, most: float) -> int:
    """Steps until somebody finishes, the table bends, the noise changes, or blocks run short."""
    r = ints[s + at.REALS_AT]
    steps = heap_step(ints, s) - ints[s + at.DECODE_STEPS]
    if most < steps:
        steps = int(most)
    left = (ints[s + at.NOISE_SLOT] + 1) * at.NOISE_SECONDS - now
    steps = min(steps, steps_within(reals[r + at.STEP], reals[r + at.GROWTH], left) + 1)
    free = ints[ints[s + at.KIND_AT] + at.K_BLOCKS] - ints[s + at.USED]
    if (steps // BLOCK + 1) * ints[s + at.DECODING] > free:
        while steps > 1 and _growth_blocks(ints, s, steps) > free:
            steps -= 1
    return max(1, steps)
