"""The event loop over all replicas, compiled: arrivals, routing, run ends, in the order of time."""

from __future__ import annotations

import math

from pertoken_bench.compiled_engine import layout as at
from pertoken_bench.compiled_engine.compiled import Ints, Reals, compiled
from pertoken_bench.compiled_engine.events import blocks, free_record, leave, scored
from pertoken_bench.compiled_engine.lists import forget_prefixes, leading_blocks, link
from pertoken_bench.compiled_engine.scheduler import finish_run, interrupt, settle
from pertoken_bench.compiled_engine.timing import mixed

AFFINITY_BOUND = 1.25  # a replica with more than this multiple of the mean load is passed over


@compiled
def _load(ints: Ints, s: int) -> int:
    return ints[s + at.RUNNING] + ints[s + at.WAITING]


@compiled
def _least_loaded(ints: Ints, service: int) -> int:
    best, least = -1, 1 << 62
    for index in range(ints[service + at.V_READY]):
        s = ints[service + at.V_COLUMNS + index]
        load = _load(ints, s)
        if load < least:
            best, least = s, load
    return best


@compiled
def _longest_prefix(ints: Ints, service: int, trace: int) -> int:
    """The replica that holds most of the prompt's leading blocks, unless it is overloaded; ties by load."""
    count = ints[service + at.V_READY]
    total = 0
    for index in range(count):
        total += _load(ints, ints[service + at.V_COLUMNS + index])
    bound = AFFINITY_BOUND * (total + 1) / count + 1.0
    best, most, least = -1, -1, 1 << 62
    for index in range(count):
        s = ints[service + at.V_COLUMNS + index]
        load = _load(ints, s)
        if load > bound:
            continue
        hits = leading_blocks(ints, s, trace)
        if hits > most or (hits == most and load < least):
            best, most, least = s, hits, load
    return best if best >= 0 else _least_loaded(ints, service)


@compiled
def _choose(ints: Ints, service: int, trace: int) -> int:
    """The router's pick among the service's ready replicas; -1 if there is none."""
    count = ints[service + at.V_READY]
    if count == 0:
        return -1
    if ints[at.H_ROUTER] == at.ROUTER_RANDOM:
        return ints[service + at.V_COLUMNS + mixed(mixed(ints[at.H_SEED]) + trace) % count]
    if ints[at.H_ROUTER] == at.ROUTER_AFFINITY and ints[at.H_PREFIXES] > 0:
        return _longest_prefix(ints, service, trace)
    return _least_loaded(ints, service)


@compiled
def _deliver(ints: Ints, reals: Reals, s: int, q: int, now: float) -> None:
    """Queue a request at a replica."""
    t = ints[q + at.Q_REALS_AT]
    for column in (at.Q_COMPUTED, at.Q_GENERATED, at.Q_DECODING, at.Q_CACHED, at.Q_SHOWN):
        ints[q + column] = 0
    ints[q + at.Q_TARGET] = ints[q + at.Q_INPUT]
    reals[t + at.T_ADMITTED] = now
    reals[t + at.T_SCHEDULED], reals[t + at.T_FIRST], reals[t + at.T_LAST] = -1.0, -1.0, -1.0
    alone = ints[s + at.WAITING] == 0
    link(ints, s + at.WAIT_HEAD, q)
    ints[s + at.WAITING] += 1
    ints[s + at.QUEUED_TOKENS] += ints[q + at.Q_TARGET]
    reals[ints[s + at.REALS_AT] + at.N_ARRIVED] += 1
    next_at = ints[at.H_NEXT_AT] + ints[s + at.INDEX]
    if reals[next_at] == math.inf:
        reals[next_at] = now
        ints[s + at.MIXED], ints[s + at.PLANNED] = 0, 0
    elif alone and ints[s + at.RUNNING] < ints[s + at.CAP]:
        interrupt(ints, reals, s, now)


@compiled
def _hold(ints: Ints, service: int, q: int) -> None:
    """Queue a request at the gateway."""
    tail = ints[service + at.V_HELD_TAIL]
    ints[q + at.Q_NEXT] = -1
    if tail >= 0:
        ints[tail + at.Q_NEXT] = q
    else:
        ints[service + at.V_HELD_HEAD] = q
    ints[service + at.V_HELD_TAIL] = q
    ints[service + at.V_HELD] += 1


@compiled
def _route(ints: Ints, reals: Reals, service: int, q: int, now: float) -> None:
    """Send a request to a replica, hold it, or refuse it."""
    s = _choose(ints, service, ints[q + at.Q_TRACE])
    if s < 0:
        _hold(ints, service, q)
        return
    kind = ints[s + at.KIND_AT]
    tokens = ints[q + at.Q_INPUT] + ints[q + at.Q_OUTPUT]
    if tokens <= ints[kind + at.K_LONGEST] and blocks(tokens) <= ints[kind + at.K_BLOCKS]:
        _deliver(ints, reals, s, q, now)
        return
    if scored(ints, reals, q):
        reals[ints[service + at.V_REALS_AT] + at.R_REJECTED] += 1
    leave(ints, reals, service, now)
    free_record(ints, q)


@compiled
def _arrive(ints: Ints, reals: Reals, trace: int, now: float) -> None:
    columns = ints[at.H_TRACE] + 3 * trace
    service = ints[at.H_SERVICES] + ints[columns + 2] * ints[at.H_SERVICE_WIDTH]
    q = ints[at.H_FREE]
    ints[at.H_FREE] = ints[q + at.Q_NEXT]
    ints[q + at.Q_TRACE], ints[q + at.Q_INPUT], ints[q + at.Q_OUTPUT] = trace, ints[columns], ints[columns + 1]
    reals[ints[q + at.Q_REALS_AT] + at.T_ARRIVAL] = now
    v = ints[service + at.V_REALS_AT]
    reals[v + at.F_INTEGRAL] += ints[service + at.V_IN_SYSTEM] * (now - reals[v + at.F_INTEGRAL_AT])
    reals[v + at.F_INTEGRAL_AT] = now
    ints[service + at.V_IN_SYSTEM] += 1
    ints[service + at.V_ARRIVED] += 1
    if scored(ints, reals, q):
        reals[v + at.R_REQUESTS] += 1
    _route(ints, reals, service, q, now)


@compiled
def advance(ints: Ints, reals: Reals, until: float) -> bool:
    """Run all events before `until` (seconds). Returns False when request records ran out: make more, call again."""
    arrivals, next_at, arrival_at = ints[at.H_TRACE_LENGTH], ints[at.H_NEXT_AT], ints[at.H_ARRIVAL]
    while True:
        soonest, index = math.inf, -1
        for candidate in range(ints[at.H_HIGH]):
            if reals[next_at + candidate] < soonest:
                soonest, index = reals[next_at + candidate], candidate
        trace = ints[at.H_CURSOR]
        coming = reals[arrival_at + trace] if trace < arrivals else math.inf
        if soonest <= coming:
            if soonest >= until:
                return True
            finish_run(ints, reals, ints[at.H_SLOTS] + index * ints[at.H_SLOT_WIDTH])
            continue
        if coming >= until:
            return True
        if ints[at.H_FREE] < 0:
            return False
        ints[at.H_CURSOR] = trace + 1
        _arrive(ints, reals, trace, coming)


@compiled
def settle_all(ints: Ints, reals: Reals, now: float) -> None:
    """Bring every active replica's figures to its last step boundary before `now`."""
    for index in range(ints[at.H_HIGH]):
        s = ints[at.H_SLOTS] + index * ints[at.H_SLOT_WIDTH]
        if ints[s + at.ACTIVE] == 1:
            settle(ints, reals, s, now)


@compiled
def release_held(ints: Ints, reals: Reals, service: int, now: float) -> None:
    """A replica became ready: send it what the gateway held."""
    q = ints[service + at.V_HELD_HEAD]
    ints[service + at.V_HELD_HEAD], ints[service + at.V_HELD_TAIL], ints[service + at.V_HELD] = -1, -1, 0
    while q >= 0:
        after = ints[q + at.Q_NEXT]
        _route(ints, reals, service, q, now)
        q = after


@compiled
def lose_all(ints: Ints, reals: Reals, s: int, now: float) -> None:
    """The replica is gone: its requests start again elsewhere, those in admission order first."""
    service = ints[s + at.SERVICE_AT]
    running, waiting = ints[s + at.RUN_HEAD], ints[s + at.WAIT_HEAD]
    reals[ints[at.H_NEXT_AT] + ints[s + at.INDEX]] = math.inf
    for head in (running, waiting):
        q = head
        while q >= 0:
            after = ints[q + at.Q_NEXT]
            if scored(ints, reals, q):
                reals[ints[service + at.V_REALS_AT] + at.R_LOST] += 1
            _route(ints, reals, service, q, now)
            q = after


@compiled
def empty_slot(ints: Ints, reals: Reals, s: int) -> None:
    """Make a slot as new."""
    forget_prefixes(ints, s)
    for column in range(at.INDEX):
        ints[s + column] = 0
    for column in (at.PREFILLING, at.RUN_HEAD, at.RUN_TAIL, at.WAIT_HEAD, at.WAIT_TAIL, at.LRU_HEAD, at.LRU_TAIL):
        ints[s + column] = -1
    ints[s + at.NOISE_SLOT] = -1
    for phase in range(at.BLOCK):
        ints[s + at.PHASE + phase] = 0
    r = ints[s + at.REALS_AT]
    for column in range(at.SLOT_REALS):
        reals[r + column] = 0.0
    reals[ints[at.H_NEXT_AT] + ints[s + at.INDEX]] = math.inf


@compiled
def set_cap(ints: Ints, reals: Reals, s: int, cap: int, now: float) -> None:
    """Change how many sequences may run; a run under way ends with its present step if more may come in."""
    grows = cap > ints[s + at.CAP]
    ints[s + at.CAP] = cap
    if grows and ints[s + at.WAITING] > 0:
        interrupt(ints, reals, s, now)
