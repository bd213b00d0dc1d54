"""Memory of the engine simulator: two flat arrays, one of integers, one of reals, and where in them everything lies.

The compiled loop takes just these two arrays: passing forty arrays to every small function costs more than the
functions do. Objects are *handles*: offsets of their rows in `ints`; each row tells where its reals begin. A *slot* is
a place for one replica and is used again after the replica is gone; a *request record* lives from arrival to last
token. Python reads and writes through the shaped views of `State`; this module alone knows the layout.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from pertoken.catalog.engines import GRAPH_SIZES, LARGEST_GRAPH

BLOCK: Final = 16  # tokens of one KV block
PREFIX_TOKENS: Final = 512  # tokens of one id of `prefix_ids`
MAX_EDGES: Final = 32
ORDER_BITS: Final = 32  # low bits of a key in the heap of ends: who began to decode first also ends first
AXIS: Final = 16  # room for one axis of a step-time table
LATENCY_BINS: Final = 4096
LATENCY_FIRST: Final = 1e-4  # seconds, upper edge of bin 0
LATENCY_RATIO: Final = 1.005  # of neighbouring bins: quantiles are exact to half a percent
NOISE_SECONDS: Final = 2.0  # a replica's speed stands still this long
NOISE_COARSE: Final = 10  # noise slots between independent draws
NOISE_CLIP: Final = 2.0  # standard deviations; keeps the lower bound of the cost provable

# Header of `ints`: offsets of regions and global integers.
(
    H_SLOTS, H_SLOT_WIDTH, H_HIGH, H_NEXT_AT, H_SERVICES, H_SERVICE_WIDTH, H_RECORDS, H_PADDED, H_TRACE, H_TRACE_LENGTH,
    H_ARRIVAL, H_PREFIX_AT, H_PREFIX, H_PREFIXES, H_CURSOR, H_FREE, H_SEED, H_ROUTER, H_RECORD, H_CAP, H_CONFIG,
    H_COLUMNS,
) = range(22)  # fmt: skip

# Global reals, at `ints[H_CONFIG]`.
C_SCORE_FROM, C_SCORE_UNTIL, C_NOISE, C_SLOW_START, C_SLOW_SECONDS, C_COLUMNS = range(6)

# Integers of one slot. *_AT are offsets: of its reals, its service, its kind, its LRU list, its heap and its schedule.
# USED: KV blocks that sequences hold; TAKEN: blocks given out since the start; BEGUN: sequences that began to decode.
(
    ACTIVE, READY, SERVICE, VARIANT, UID, CAP, BUDGET, RUNNING, WAITING, DECODING, DECODE_STEPS, CONTEXT,
    USED, TAKEN, PREFILLING, RUN_HEAD, RUN_TAIL, WAIT_HEAD, WAIT_TAIL, HEAP, BEGUN, PLANNED, MIXED,
    SCHEDULED, NOISE_SLOT, QUEUED_TOKENS, LRU_HEAD, LRU_TAIL, LRU_COUNT, INDEX,
    REALS_AT, SERVICE_AT, KIND_AT, LRU_AT, HEAP_AT, SCHEDULE_AT, PHASE, SLOT_COLUMNS,
) = range(38)  # fmt: skip

# Reals of one slot: start of the run, its first step's seconds, growth per step, speed, when it began to serve, noise
# factor of the present noise slot, last time a request ended; then counters from 0 at its start; then histograms.
(
    RUN_START, STEP, GROWTH, SPEED, STARTED, NOISE, LAST_END,
    N_ARRIVED, N_FINISHED, N_PROMPT, N_CACHED, N_GENERATED, N_FINISHED_IN, N_FINISHED_OUT, N_FIRST, S_TTFT,
    N_BETWEEN, S_BETWEEN, N_STEPS, N_PREEMPTED, S_BUSY, S_PREFILL, BUCKETS,
) = range(23)  # fmt: skip
H_TTFT, H_PER_TOKEN, H_BETWEEN = range(3)
SLOT_REALS: Final = BUCKETS + 3 * MAX_EDGES

# Integers and reals of one request record. SHOWN: leading prefix ids that the running request offers to others. LEFT_*:
# what a preempted request gave back (blocks in all, full ones), and the slot's TAKEN until which all of them are there.
(
    Q_TRACE, Q_INPUT, Q_OUTPUT, Q_COMPUTED, Q_TARGET, Q_GENERATED, Q_BASE, Q_DECODING, Q_CACHED, Q_PREV, Q_NEXT,
    Q_REALS_AT, Q_SHOWN, Q_LEFT_ALL, Q_LEFT_FULL, Q_LEFT_UNTIL, Q_COLUMNS,
) = range(17)  # fmt: skip
T_ARRIVAL, T_ADMITTED, T_SCHEDULED, T_FIRST, T_LAST, T_COLUMNS = range(6)

# Integers of one service; then the number of ready replicas and their handles.
V_IN_SYSTEM, V_ARRIVED, V_HELD_HEAD, V_HELD_TAIL, V_HELD, V_REALS_AT, V_EDGES, V_READY = 0, 1, 2, 3, 4, 5, 6, 9
V_COLUMNS: Final = 10
# Reals of one service: integral of requests in the system, objectives, totals over scored requests, bucket edges, fine
# latency histograms.
(
    F_INTEGRAL, F_INTEGRAL_AT, F_TTFT, F_BETWEEN,
    R_REQUESTS, R_FINISHED, R_INPUT, R_OUTPUT, R_GOOD, R_GOOD_TOKENS, R_REJECTED, R_LOST, F_EDGES,
) = range(13)  # fmt: skip
F_BINS: Final = F_EDGES + 3 * MAX_EDGES
SERVICE_REALS: Final = F_BINS + 2 * LATENCY_BINS

# Integers and reals of one kind of engine.
K_BLOCKS, K_BUDGET, K_LONGEST, K_PREFIX_CACHE, K_DECODE, K_PREFILL, K_REALS_AT, K_COLUMNS = 0, 1, 2, 3, 4, 6, 8, 9
X_DECODE, X_PREFILL, X_EAGER, X_TABLES = range(4)
TABLE_REALS: Final = 2 * AXIS + AXIS * AXIS  # rows, columns, values
KIND_REALS: Final = X_TABLES + 2 * TABLE_REALS

ROUTER_LEAST_LOADED, ROUTER_RANDOM, ROUTER_AFFINITY = range(3)

Ints = NDArray[np.int64]
Reals = NDArray[np.float64]
NumberT = TypeVar("NumberT", np.int64, np.float64)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much room to make.

    Attributes:
        cap: most sequences of one replica.
        prefix_ids, prefix_refs: distinct ids of prefix blocks, and mentions of them in the trace.
        recorded: requests of which first and last token times are kept.
    """

    slots: int
    cap: int
    services: int
    kinds: int
    requests: int
    prefix_ids: int
    prefix_refs: int
    recorded: int


@dataclass(slots=True)
class State:
    """The two arrays and shaped views of them.

    Attributes:
        slots, slots_f: replicas (integers, reals).
        services, services_f: services; kinds, kinds_f: kinds of engines.
        next_at: when each slot's run ends, infinite when idle.
        record: (first token, last token) of each request of the trace, NaN until then; empty unless asked for.
    """

    sizes: Sizes
    ints: Ints
    reals: Reals
    slots: Ints = field(init=False)
    slots_f: Reals = field(init=False)
    services: Ints = field(init=False)
    services_f: Reals = field(init=False)
    kinds: Ints = field(init=False)
    kinds_f: Reals = field(init=False)
    next_at: Reals = field(init=False)
    conf: Reals = field(init=False)
    record: Reals = field(init=False)

    def view(self) -> None:
        """Make the views anew, after the arrays have moved."""
        sizes, ints, reals = self.sizes, self.ints, self.reals
        width = int(ints[H_SLOT_WIDTH])
        self.slots = _shaped(ints, int(ints[H_SLOTS]), (sizes.slots, width))
        self.slots_f = _shaped(reals, int(self.slots[0, REALS_AT]), (sizes.slots, SLOT_REALS))
        self.services = _shaped(ints, int(ints[H_SERVICES]), (sizes.services, int(ints[H_SERVICE_WIDTH])))
        self.services_f = _shaped(reals, int(self.services[0, V_REALS_AT]), (sizes.services, SERVICE_REALS))
        self.kinds = _shaped(ints, kinds_at(sizes), (sizes.kinds, K_COLUMNS))
        self.kinds_f = _shaped(reals, int(self.kinds[0, K_REALS_AT]), (sizes.kinds, KIND_REALS))
        self.next_at = _shaped(reals, int(ints[H_NEXT_AT]), (sizes.slots,))
        self.conf = _shaped(reals, int(ints[H_CONFIG]), (C_COLUMNS,))
        self.record = _shaped(reals, int(ints[H_RECORD]), (sizes.recorded, 2))

    def add_records(self, count: int) -> None:
        """Make room for more requests in the system; the new records go to the head of the free list."""
        first, first_real = len(self.ints), len(self.reals)
        rows = np.zeros((count, Q_COLUMNS), np.int64)
        handles = first + Q_COLUMNS * np.arange(count)
        rows[:, Q_NEXT] = np.append(handles[1:], self.ints[H_FREE])
        rows[:, Q_REALS_AT] = first_real + T_COLUMNS * np.arange(count)
        self.ints = np.concatenate([self.ints, rows.ravel()])
        self.reals = np.concatenate([self.reals, np.zeros(count * T_COLUMNS)])
        self.ints[H_FREE] = first
        self.view()

    @property
    def records(self) -> int:
        """Request records that exist."""
        return (len(self.ints) - int(self.ints[H_RECORDS])) // Q_COLUMNS


def _shaped(flat: NDArray[NumberT], start: int, shape: tuple[int, ...]) -> NDArray[NumberT]:
    return flat[start : start + int(np.prod(shape))].reshape(shape)


def kinds_at(sizes: Sizes) -> int:
    """Offset of the first kind's row."""
    return H_COLUMNS + sizes.services * (V_COLUMNS + sizes.slots)


class _Allocator:
    """Hands out consecutive regions."""

    def __init__(self, start: int = 0) -> None:
        self.end = start

    def take(self, count: int) -> int:
        start = self.end
        self.end += count
        return start


def empty_state(sizes: Sizes, records: int) -> State:
    """All regions laid out, no replicas, nothing of the trace filled in."""
    whole, real = _Allocator(H_COLUMNS), _Allocator()
    header = np.zeros(H_COLUMNS, np.int64)
    slot_width = SLOT_COLUMNS + BLOCK + 4 * (sizes.cap + 1)
    header[H_SLOT_WIDTH], header[H_SERVICE_WIDTH] = slot_width, V_COLUMNS + sizes.slots
    header[H_SERVICES] = whole.take(sizes.services * int(header[H_SERVICE_WIDTH]))
    first_kind = whole.take(sizes.kinds * K_COLUMNS)
    header[H_SLOTS] = whole.take(sizes.slots * slot_width)
    header[H_PADDED] = whole.take(LARGEST_GRAPH + 1)
    header[H_TRACE] = whole.take(3 * sizes.requests)
    header[H_TRACE_LENGTH] = sizes.requests
    header[H_PREFIX_AT] = whole.take(sizes.requests + 1 if sizes.prefix_ids else 0)
    header[H_PREFIX] = whole.take(sizes.prefix_refs)
    prefixes_of_slot = 3 * sizes.prefix_ids  # LRU list: the one before, the one after; running requests that show it
    lru = whole.take(prefixes_of_slot * sizes.slots)
    header[H_PREFIXES], header[H_CAP] = sizes.prefix_ids, sizes.cap
    header[H_NEXT_AT] = real.take(sizes.slots)
    header[H_CONFIG] = real.take(C_COLUMNS)
    slots_f, services_f = real.take(sizes.slots * SLOT_REALS), real.take(sizes.services * SERVICE_REALS)
    kinds_f = real.take(sizes.kinds * KIND_REALS)
    header[H_ARRIVAL] = real.take(sizes.requests)
    header[H_RECORD] = real.take(2 * sizes.recorded)
    header[H_RECORDS], header[H_FREE] = whole.end, -1
    ints, reals = np.zeros(whole.end, np.int64), np.zeros(real.end)
    ints[:H_COLUMNS] = header
    slots = _shaped(ints, int(header[H_SLOTS]), (sizes.slots, slot_width))
    rows = np.arange(sizes.slots)
    slots[:, INDEX] = rows
    slots[:, REALS_AT] = slots_f + rows * SLOT_REALS
    slots[:, LRU_AT] = lru + rows * prefixes_of_slot
    slots[:, HEAP_AT] = header[H_SLOTS] + rows * slot_width + SLOT_COLUMNS + BLOCK
    slots[:, SCHEDULE_AT] = slots[:, HEAP_AT] + 2 * (sizes.cap + 1)
    services = _shaped(ints, int(header[H_SERVICES]), (sizes.services, int(header[H_SERVICE_WIDTH])))
    services[:, V_REALS_AT] = services_f + np.arange(sizes.services) * SERVICE_REALS
    services[:, [V_HELD_HEAD, V_HELD_TAIL]] = -1
    kinds = _shaped(ints, first_kind, (sizes.kinds, K_COLUMNS))
    kinds[:, K_REALS_AT] = kinds_f + np.arange(sizes.kinds) * KIND_REALS
    steps = np.array(GRAPH_SIZES)
    padded = int(header[H_PADDED])
    ints[padded : padded + LARGEST_GRAPH + 1] = steps[np.searchsorted(steps, np.arange(LARGEST_GRAPH + 1))]
    links = _shaped(ints, lru, (sizes.slots, prefixes_of_slot))
    links[:, : 2 * sizes.prefix_ids] = -2
    state = State(sizes, ints, reals)
    state.view()
    state.next_at[:] = np.inf
    state.record[:] = np.nan
    state.add_records(records)
    return state
