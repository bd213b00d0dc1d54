"""Queues, the heap of ends and the prefix cache of a replica, compiled. `s` and `q`: handles of slot and request."""

from __future__ import annotations

from pertoken_bench.compiled_engine import layout as at
from pertoken_bench.compiled_engine.compiled import Ints, compiled
from pertoken_bench.compiled_engine.layout import BLOCK


@compiled
def link(ints: Ints, head: int, q: int) -> None:
    """Append a request to the list whose head stands at `head` and whose tail stands next to it."""
    tail = ints[head + 1]
    ints[q + at.Q_PREV], ints[q + at.Q_NEXT] = tail, -1
    if tail >= 0:
        ints[tail + at.Q_NEXT] = q
    else:
        ints[head] = q
    ints[head + 1] = q


@compiled
def link_first(ints: Ints, head: int, q: int) -> None:
    """Put a request at the front of a list."""
    first = ints[head]
    ints[q + at.Q_PREV], ints[q + at.Q_NEXT] = -1, first
    if first >= 0:
        ints[first + at.Q_PREV] = q
    else:
        ints[head + 1] = q
    ints[head] = q


@compiled
def unlink(ints: Ints, head: int, q: int) -> None:
    """Take a request out of a list."""
    before, after = ints[q + at.Q_PREV], ints[q + at.Q_NEXT]
    if before >= 0:
        ints[before + at.Q_NEXT] = after
    else:
        ints[head] = after
    if after >= 0:
        ints[after + at.Q_PREV] = before
    else:
        ints[head + 1] = before


@compiled
def heap_push(ints: Ints, s: int, step: int, q: int) -> None:
    """Note the decode step at which a request ends; of several at one step the one that began first comes first."""
    ints[s + at.BEGUN] += 1
    key = (step << at.ORDER_BITS) + ints[s + at.BEGUN]
    keys = ints[s + at.HEAP_AT]
    held = keys + ints[at.H_CAP] + 1
    index = ints[s + at.HEAP]
    ints[s + at.HEAP] = index + 1
    while index > 0:
        parent = (index - 1) >> 1
        if ints[keys + parent] <= key:
            break
        ints[keys + index], ints[held + index] = ints[keys + parent], ints[held + parent]
        index = parent
    ints[keys + index], ints[held + index] = key, q


@compiled
def heap_step(ints: Ints, s: int) -> int:
    """Decode step at which the next request ends; there must be one."""
    return ints[ints[s + at.HEAP_AT]] >> at.ORDER_BITS


@compiled
def heap_remove(ints: Ints, s: int, index: int) -> None:
    """Take one entry out."""
    keys = ints[s + at.HEAP_AT]
    held = keys + ints[at.H_CAP] + 1
    last = ints[s + at.HEAP] - 1
    ints[s + at.HEAP] = last
    if index == last:
        return
    key, q = ints[keys + last], ints[held + last]
    while index > 0 and ints[keys + ((index - 1) >> 1)] > key:
        parent = (index - 1) >> 1
        ints[keys + index], ints[held + index] = ints[keys + parent], ints[held + parent]
        index = parent
    while True:
        child = 2 * index + 1
        if child >= last:
            break
        if child + 1 < last and ints[keys + child + 1] < ints[keys + child]:
            child += 1
        if ints[keys + child] >= key:
            break
        ints[keys + index], ints[held + index] = ints[keys + child], ints[held + child]
        index = child
    ints[keys + index], ints[held + index] = key, q


@compiled
def heap_forget(ints: Ints, s: int, q: int) -> None:
    """Take a request's entry out."""
    held = ints[s + at.HEAP_AT] + ints[at.H_CAP] + 1
    for index in range(ints[s + at.HEAP]):
        if ints[held + index] == q:
            heap_remove(ints, s, index)
            return


@compiled
def lru_holds(ints: Ints, s: int, block: int) -> bool:
    """Whether a prefix block is in the replica's cache."""
    return ints[ints[s + at.LRU_AT] + block] != -2


@compiled
def lru_touch(ints: Ints, s: int, block: int) -> None:
    """Make a prefix block the most recently used one."""
    before = ints[s + at.LRU_AT]
    after = before + ints[at.H_PREFIXES]
    if ints[before + block] != -2:
        if ints[s + at.LRU_TAIL] == block:
            return
        older, newer = ints[before + block], ints[after + block]
        if older >= 0:
            ints[after + older] = newer
        else:
            ints[s + at.LRU_HEAD] = newer
        ints[before + newer] = older
    else:
        ints[s + at.LRU_COUNT] += 1
    tail = ints[s + at.LRU_TAIL]
    ints[before + block], ints[after + block] = tail, -1
    if tail >= 0:
        ints[after + tail] = block
    else:
        ints[s + at.LRU_HEAD] = block
    ints[s + at.LRU_TAIL] = block


@compiled
def lru_remove(ints: Ints, s: int, block: int) -> None:
    """Take a prefix block out of the list, if it is in it."""
    before = ints[s + at.LRU_AT]
    after = before + ints[at.H_PREFIXES]
    older, newer = ints[before + block], ints[after + block]
    if older == -2:
        return
    if older >= 0:
        ints[after + older] = newer
    else:
        ints[s + at.LRU_HEAD] = newer
    if newer >= 0:
        ints[before + newer] = older
    else:
        ints[s + at.LRU_TAIL] = older
    ints[before + block], ints[after + block] = -2, -2
    ints[s + at.LRU_COUNT] -= 1


@compiled
def lru_shrink(ints: Ints, s: int, room: int) -> None:
    """Forget least recently used blocks until at most `room` are left."""
    while ints[s + at.LRU_COUNT] > max(room, 0):
        lru_remove(ints, s, ints[s + at.LRU_HEAD])


@compiled
def _shown_at(ints: Ints, s: int) -> int:
    """Offset of the counts of running requests that show a prefix block."""
    return ints[s + at.LRU_AT] + 2 * ints[at.H_PREFIXES]


@compiled
def leading_blocks(ints: Ints, s: int, trace: int) -> int:
    """How many of a prompt's leading prefix blocks the replica holds, in running requests or in free blocks."""
    first, last = ints[ints[at.H_PREFIX_AT] + trace], ints[ints[at.H_PREFIX_AT] + trace + 1]
    ids, shown = ints[at.H_PREFIX], _shown_at(ints, s)
    hits = 0
    while first + hits < last:
        block = ints[ids + first + hits]
        if ints[shown + block] == 0 and not lru_holds(ints, s, block):
            break
        hits += 1
    return hits


@compiled
def cached_tokens(ints: Ints, s: int, q: int) -> int:
    """Prompt tokens of a request whose KV is there: leading blocks that other requests hold or left.

    What they left lives in free KV blocks, least recently used ones go first; the last prompt token is always computed.
    """
    kind = ints[s + at.KIND_AT]
    if ints[at.H_PREFIXES] == 0 or ints[kind + at.K_PREFIX_CACHE] == 0:
        return 0
    free = ints[kind + at.K_BLOCKS] - ints[s + at.USED]
    lru_shrink(ints, s, free * BLOCK // at.PREFIX_TOKENS)
    hits = leading_blocks(ints, s, ints[q + at.Q_TRACE])
    usable = min(hits * at.PREFIX_TOKENS, ints[q + at.Q_INPUT] - 1)
    return usable // BLOCK * BLOCK


@compiled
def show_prefix(ints: Ints, s: int, q: int, computed: int) -> None:
    """Offer the prompt's leading blocks to others as soon as they are scheduled to be computed, as vLLM does."""
    if ints[at.H_PREFIXES] == 0:
        return
    first = ints[ints[at.H_PREFIX_AT] + ints[q + at.Q_TRACE]]
    covered = ints[ints[at.H_PREFIX_AT] + ints[q + at.Q_TRACE] + 1] - first
    if computed < ints[q + at.Q_INPUT]:
        covered = min(covered, computed // at.PREFIX_TOKENS)
    ids, shown = ints[at.H_PREFIX], _shown_at(ints, s)
    for index in range(ints[q + at.Q_SHOWN], covered):
        block = ints[ids + first + index]
        ints[shown + block] += 1
        lru_remove(ints, s, block)
    ints[q + at.Q_SHOWN] = max(ints[q + at.Q_SHOWN], covered)


@compiled
def hide_prefix(ints: Ints, s: int, q: int) -> None:
    """The request gives its blocks back: they stay as free blocks, the prompt's last ones the first to go."""
    if ints[at.H_PREFIXES] == 0:
        return
    first = ints[ints[at.H_PREFIX_AT] + ints[q + at.Q_TRACE]]
    ids, shown = ints[at.H_PREFIX], _shown_at(ints, s)
    for index in range(ints[q + at.Q_SHOWN] - 1, -1, -1):
        block = ints[ids + first + index]
        ints[shown + block] -= 1
        if ints[shown + block] == 0:
            lru_touch(ints, s, block)
    ints[q + at.Q_SHOWN] = 0


@compiled
def forget_prefixes(ints: Ints, s: int) -> None:
    """The replica's cache is gone."""
    lru_shrink(ints, s, 0)
    shown = _shown_at(ints, s)
    for block in range(ints[at.H_PREFIXES]):
        ints[shown + block] = 0
