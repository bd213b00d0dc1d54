"""Python's handle on the compiled engines: replicas come and go, time goes on, figures are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pertoken_bench.compiled_engine import layout as at
from pertoken_bench.compiled_engine import loop, timing
from pertoken_bench.compiled_engine.layout import Sizes, State
from pertoken_bench.hardware.step_times import StepTimes
from pertoken_bench.hardware.truth import EAGER_FACTOR, Truth
from pertoken_bench.traces.trace import Trace

FIRST_RECORDS = 4096


@dataclass(frozen=True, slots=True)
class VariantEngine:
    """Engine of one variant.

    Attributes:
        kv_blocks: blocks of 16 tokens.
        budget: `max_num_batched_tokens`.
        longest: `max_model_len`.
    """

    times: StepTimes
    kv_blocks: int
    budget: int = 2048
    longest: int = 131072
    prefix_cache: bool = True


@dataclass(frozen=True, slots=True)
class LatencyLimits:
    """Latency owed to one service's requests, seconds; infinite where nothing is promised."""

    ttft: float = math.inf
    between: float = math.inf


@dataclass(frozen=True, slots=True)
class Edges:
    """Upper bucket edges (without the infinite one) of the engines' histograms, seconds."""

    ttft: tuple[float, ...]
    per_token: tuple[float, ...]
    between: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    """One simulation.

    Attributes:
        slots: most replicas alive at once.
        score: arrivals in [from, until) are scored.
        record: keep each request's first and last token times (16 bytes per request of the trace).
    """

    kinds: Sequence[VariantEngine]
    objectives: Sequence[LatencyLimits]
    edges: Sequence[Edges]
    truth: Truth = field(default_factory=Truth)
    slots: int = 64
    max_cap: int = 1024
    router: str = "least-loaded"
    seed: int = 0
    score: tuple[float, float] = (0.0, math.inf)
    record: bool = False


ROUTERS = {
    "least-loaded": at.ROUTER_LEAST_LOADED,
    "random": at.ROUTER_RANDOM,
    "affinity": at.ROUTER_AFFINITY,
}


class Fleet:
    """All replicas of one simulation and the trace that they serve. Times are seconds of the trace's clock."""

    def __init__(self, trace: Trace, config: SimulationConfig) -> None:
        self.config = config
        self.trace = trace
        self.state = _state(trace, config)
        self._free = list(range(config.slots))[::-1]

    def advance(self, until: float) -> None:
        """Serve until `until`."""
        state = self.state
        while not loop.advance(state.ints, state.reals, until):
            state.add_records(state.records)

    def settle(self, now: float) -> None:
        """Bring counters and gauges up to `now`."""
        loop.settle_all(self.state.ints, self.state.reals, now)

    @property
    def room(self) -> int:
        """Replicas that can still start."""
        return len(self._free)

    def handle(self, slot: int) -> int:
        """Offset of a slot's row in `state.ints`."""
        return int(self.state.ints[at.H_SLOTS] + slot * self.state.ints[at.H_SLOT_WIDTH])

    def start(self, service: int, kind: int, uid: int, cap: int, now: float, *, budget: int | None = None) -> int:
        """A replica becomes Ready; returns its slot. `budget`: tokens per step, None for those of its kind."""
        slot = self._free.pop()
        state = self.state
        loop.empty_slot(state.ints, state.reals, self.handle(slot))
        state.ints[at.H_HIGH] = max(int(state.ints[at.H_HIGH]), slot + 1)
        integers, reals = state.slots[slot], state.slots_f[slot]
        integers[[at.ACTIVE, at.READY]] = 1
        integers[[at.SERVICE, at.VARIANT, at.UID, at.CAP]] = service, kind, uid, cap
        integers[at.BUDGET] = self.config.kinds[kind].budget if budget is None else budget
        width = int(state.ints[at.H_SERVICE_WIDTH])
        integers[at.SERVICE_AT] = int(state.ints[at.H_SERVICES]) + service * width
        integers[at.KIND_AT] = at.kinds_at(state.sizes) + kind * at.K_COLUMNS
        drawn = timing.uniform(self.config.seed, uid, -7)
        reals[at.SPEED] = 1.0 + self.config.truth.spread * (2.0 * drawn - 1.0)
        reals[at.STARTED] = reals[at.LAST_END] = now
        self._list_ready(service)
        loop.release_held(state.ints, state.reals, int(integers[at.SERVICE_AT]), now)
        return slot

    def close(self, slot: int) -> None:
        """The router sends nothing more."""
        self.state.slots[slot, at.READY] = 0
        self._list_ready(int(self.state.slots[slot, at.SERVICE]))

    def stop(self, slot: int, now: float) -> None:
        """The replica is gone; what it had not finished starts again elsewhere."""
        self.close(slot)
        loop.lose_all(self.state.ints, self.state.reals, self.handle(slot), now)
        loop.empty_slot(self.state.ints, self.state.reals, self.handle(slot))
        self._free.append(slot)
        self._free.sort(reverse=True)

    def set_cap(self, slot: int, cap: int, now: float) -> None:
        """Change how many sequences a running replica admits."""
        loop.set_cap(self.state.ints, self.state.reals, self.handle(slot), cap, now)

    def load(self, slot: int) -> int:
        """Requests that a replica has."""
        return int(self.state.slots[slot, at.RUNNING] + self.state.slots[slot, at.WAITING])

    def last_end(self, slot: int) -> float:
        """When a replica's last request ended, or when it began to serve."""
        return float(self.state.slots_f[slot, at.LAST_END])

    def in_system(self) -> int:
        """Requests held, waiting or running, of all services."""
        return int(self.state.services[:, at.V_IN_SYSTEM].sum())

    def arrivals_left(self) -> int:
        """Requests of the trace that are still to come."""
        return len(self.trace) - int(self.state.ints[at.H_CURSOR])

    def _list_ready(self, service: int) -> None:
        slots = self.state.slots
        chosen = np.flatnonzero((slots[:, at.READY] == 1) & (slots[:, at.SERVICE] == service))
        row = self.state.services[service]
        row[at.V_READY] = len(chosen)
        row[at.V_COLUMNS : at.V_COLUMNS + len(chosen)] = [self.handle(int(slot)) for slot in chosen]


def _state(trace: Trace, config: SimulationConfig) -> State:
    sizes = Sizes(
        slots=config.slots,
        cap=config.max_cap,
        services=len(config.objectives),
        kinds=len(config.kinds),
        requests=len(trace),
        prefix_ids=int(trace.prefix.max()) + 1 if len(trace.prefix) else 0,
        prefix_refs=len(trace.prefix),
        recorded=len(trace) if config.record else 0,
    )
    state = at.empty_state(sizes, FIRST_RECORDS)
    ints, reals, truth = state.ints, state.reals, config.truth
    ints[at.H_SEED], ints[at.H_ROUTER] = config.seed, ROUTERS[config.router]
    if not config.record:
        ints[at.H_RECORD] = -1
    state.conf[at.C_SCORE_FROM], state.conf[at.C_SCORE_UNTIL] = config.score
    state.conf[at.C_NOISE], state.conf[at.C_SLOW_START] = truth.noise, truth.slow_start
    state.conf[at.C_SLOW_SECONDS] = truth.slow_start_seconds
    start, columns = int(ints[at.H_ARRIVAL]), int(ints[at.H_TRACE])
    reals[start : start + len(trace)] = trace.arrival
    shaped = ints[columns : columns + 3 * len(trace)].reshape(len(trace), 3)
    shaped[:, 0], shaped[:, 1], shaped[:, 2] = trace.input_tokens, trace.output_tokens, trace.service
    if sizes.prefix_ids:
        offsets, ids = int(ints[at.H_PREFIX_AT]), int(ints[at.H_PREFIX])
        ints[offsets : offsets + len(trace) + 1] = trace.prefix_at
        ints[ids : ids + len(trace.prefix)] = trace.prefix
    for slot in range(config.slots):
        integers = state.slots[slot]
        integers[[at.PREFILLING, at.RUN_HEAD, at.RUN_TAIL, at.WAIT_HEAD, at.WAIT_TAIL, at.LRU_HEAD, at.LRU_TAIL]] = -1
    _services(state, config)
    _kinds(state, config)
    return state


def _services(state: State, config: SimulationConfig) -> None:
    for index, (objective, edges) in enumerate(zip(config.objectives, config.edges, strict=True)):
        row, integers = state.services_f[index], state.services[index]
        row[at.F_TTFT], row[at.F_BETWEEN] = objective.ttft, objective.between
        for kind, values in ((at.H_TTFT, edges.ttft), (at.H_PER_TOKEN, edges.per_token), (at.H_BETWEEN, edges.between)):
            start = at.F_EDGES + kind * at.MAX_EDGES
            row[start : start + len(values)] = values
            integers[at.V_EDGES + kind] = len(values)


def _kinds(state: State, config: SimulationConfig) -> None:
    truth = config.truth
    for index, kind in enumerate(config.kinds):
        integers, reals = state.kinds[index], state.kinds_f[index]
        integers[: at.K_DECODE] = kind.kv_blocks, kind.budget, kind.longest, int(kind.prefix_cache)
        reals[: at.X_TABLES] = truth.decode, truth.prefill, EAGER_FACTOR
        for place, table in enumerate((kind.times.decode, kind.times.prefill)):
            rows, columns = len(table.rows), len(table.columns)
            integers[at.K_DECODE + 2 * place : at.K_DECODE + 2 * place + 2] = rows, columns
            start = at.X_TABLES + place * at.TABLE_REALS
            reals[start : start + rows] = table.rows
            reals[start + at.AXIS : start + at.AXIS + columns] = table.columns
            values = reals[start + 2 * at.AXIS : start + at.TABLE_REALS].reshape(at.AXIS, at.AXIS)
            values[:rows, :columns] = table.ms
