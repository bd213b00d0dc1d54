"""The compiled engine and the reference engine give the same times, whatever the load."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pertoken_bench.compiled_engine import layout as at
from pertoken_bench.compiled_engine.fleet import Edges, Fleet, LatencyLimits, SimulationConfig, VariantEngine
from pertoken_bench.compiled_engine.timing import normal, uniform
from pertoken_bench.hardware.step_times import step_times
from pertoken_bench.hardware.truth import Truth
from pertoken_bench.reference_engine.request import EngineConfig, Request
from pertoken_bench.reference_engine.scheduler import ReferenceEngine
from pertoken_bench.reference_engine.step_clock import StepClock
from pertoken_bench.traces.trace import Trace

TIMES = step_times("meta-llama/Llama-3.1-8B-Instruct", "a100-sxm-80gb", 1)
EDGES = Edges((0.1, 1.0), (0.02, 0.05), (0.0115, 0.0125, 0.0135, 0.0145, 0.2))
EXACT = Truth(spread=0.0, noise=0.0, slow_start=0.0)


def trace_of(rows):
    """Rows of (arrival, input, output, prefix ids)."""
    rows = sorted(rows, key=lambda row: row[0])
    counts = np.array([len(row[3]) for row in rows], np.int64)
    return Trace(
        np.array([row[0] for row in rows], np.float64),
        np.array([row[1] for row in rows], np.int32),
        np.array([row[2] for row in rows], np.int32),
        np.zeros(len(rows), np.int32),
        np.array([block for row in rows for block in row[3]], np.int32),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


class SameNoise:
    """The reference engine's step times with the compiled engine's speed, noise and slow start of a replica."""

    def __init__(self, kind, truth, cap, uid, seed) -> None:
        self.clock = StepClock(kind.times, truth, "any")
        self.clock.configure(cap, started=0.0)
        self.truth, self.uid, self.seed = truth, uid, seed

    def seconds(self, batch, context_tokens, chunks, now):
        return self.clock.step_ms(batch, context_tokens, chunks) * self.factor(now) / 1000

    def factor(self, now):
        truth = self.truth
        number = int(now / 2.0)
        share = (number % 10) / 10
        drawn = (1 - share) * normal(self.seed, self.uid, number // 10)
        drawn += share * normal(self.seed, self.uid, number // 10 + 1)
        drawn = max(-2.0, min(2.0, drawn / math.hypot(1 - share, share)))
        speed = 1 + truth.spread * (2 * uniform(self.seed, self.uid, -7) - 1)
        slow = 1 + truth.slow_start * max(0.0, 1 - number * 2.0 / truth.slow_start_seconds)
        return speed * math.exp(truth.noise * drawn) * slow


@dataclass
class Replica:
    """A reference engine in virtual time, and what it did."""

    engine: ReferenceEngine
    next_at: float = math.inf
    busy: float = 0.0
    preempted: int = 0
    gaps: list[float] = field(default_factory=list)
    ending: int = 0  # requests whose last token comes out at the end of the step under way

    @property
    def load(self):
        return self.engine.load + self.ending

    def event(self):
        """A step has ended, or the first request is there."""
        self.ending = 0
        if not self.engine.busy:
            self.next_at = math.inf
            return
        step = self.engine.step(self.next_at)
        self.next_at = step.end
        self.busy += step.duration
        self.preempted += step.preempted
        self.gaps += [step.duration] * step.decodes
        self.ending = len(step.finished)

    def arrive(self, request):
        self.engine.add(request, request.arrival)
        if self.next_at == math.inf:
            self.next_at = request.arrival


def serve(requests, replicas):
    """Least-loaded routing over replicas that are ready from the start, until everything is done."""
    cursor = 0
    while True:
        replica = min(replicas, key=lambda each: each.next_at)
        coming = requests[cursor].arrival if cursor < len(requests) else math.inf
        if replica.next_at == coming == math.inf:
            return
        if replica.next_at <= coming:
            replica.event()
            continue
        min(replicas, key=lambda each: each.load).arrive(requests[cursor])
        cursor += 1


def both(rows, kind, truth, cap=64, replicas=1, scrape=None):
    trace = trace_of(rows)
    fleet = Fleet(
        trace,
        SimulationConfig(
            [kind], [LatencyLimits(1.0, 0.05)], [EDGES], truth, slots=replicas, max_cap=cap, seed=3, record=True
        ),
    )
    for uid in range(replicas):
        fleet.start(0, 0, uid, cap, 0.0)
    if scrape is not None:
        for moment in np.arange(scrape, 400.0, scrape):
            fleet.advance(float(moment))
            fleet.settle(float(moment))
    fleet.advance(math.inf)
    limits = EngineConfig(cap, kind.budget, kind.kv_blocks, kind.longest, prefix_caching=kind.prefix_cache)
    ordered = sorted(rows, key=lambda row: row[0])
    requests = [Request(tokens, outputs, arrival, tuple(ids)) for arrival, tokens, outputs, ids in ordered]
    references = [Replica(ReferenceEngine(limits, SameNoise(kind, truth, cap, uid, 3))) for uid in range(replicas)]
    serve(requests, references)
    return fleet, requests, references


def assert_equal(fleet, requests, references):
    expected = np.array([(request.first_token_at, request.finished_at) for request in requests])
    np.testing.assert_allclose(fleet.state.record, expected, rtol=1e-6, atol=1e-9)
    counters = fleet.state.slots_f[: len(references)]
    assert counters[:, at.N_PREEMPTED].tolist() == [reference.preempted for reference in references]
    assert counters[:, at.N_CACHED].sum() == sum(request.cached_tokens for request in requests)
    np.testing.assert_allclose(counters[:, at.S_BUSY], [reference.busy for reference in references], rtol=1e-6)
    used = fleet.state.slots[: len(references), at.USED]
    assert used.tolist() == [reference.engine.used_blocks for reference in references] == [0] * len(references)


def load(seed, count, gap, inputs=(1, 3000), outputs=(1, 400), blocks=0):
    random = np.random.default_rng(seed)
    rows, now = [], 0.0
    for _ in range(count):
        now += float(random.exponential(gap))
        tokens = int(random.integers(*inputs))
        ids = tuple(int(i) for i in (random.integers(0, blocks) + np.arange(tokens // 512)) % blocks) if blocks else ()
        rows.append((now, tokens, int(random.integers(*outputs)), ids))
    return rows


CASES = {
    "light": (load(1, 60, 1.0), VariantEngine(TIMES, 20000), Truth(), 64, 1),
    "busy, two replicas": (load(2, 250, 0.08), VariantEngine(TIMES, 20000), Truth(), 64, 2),
    "at the cap": (load(3, 200, 0.05), VariantEngine(TIMES, 20000), Truth(), 8, 2),
    "blocks run short": (load(4, 150, 0.05), VariantEngine(TIMES, 900), Truth(noise=0.06), 64, 1),
    "small chunks": (load(5, 120, 0.1), VariantEngine(TIMES, 3000, budget=256), Truth(decode=1.3, prefill=0.7), 64, 1),
    "prefixes": (load(6, 200, 0.1, inputs=(600, 6000), blocks=60), VariantEngine(TIMES, 4000), Truth(), 32, 2),
    "prefixes and few blocks": (
        load(8, 150, 0.05, inputs=(300, 4000), blocks=12), VariantEngine(TIMES, 900), Truth(noise=0.06), 64, 1,
    ),
    "eager batch": (load(7, 700, 0.002, inputs=(1, 20), outputs=(50, 300)), VariantEngine(TIMES, 20000), EXACT, 600, 1),
    "bursts at one instant": (
        [(float(i // 20) * 3.0, 500 + i, 5 + i % 7, ()) for i in range(100)],
        VariantEngine(TIMES, 20000), Truth(), 16, 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_engines_are_equal(name):
    rows, kind, truth, cap, replicas = CASES[name]
    fleet, requests, references = both(rows, kind, truth, cap, replicas)
    assert_equal(fleet, requests, references)
    if name in {"blocks run short", "prefixes and few blocks"}:
        assert references[0].preempted > 5
    if name.startswith("prefixes"):
        assert sum(request.cached_tokens for request in requests) > 5000


def test_looking_at_the_figures_changes_nothing():
    rows, kind, truth, cap, replicas = CASES["busy, two replicas"]
    assert_equal(*both(rows, kind, truth, cap, replicas, scrape=0.7))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 20), st.integers(1, 2500), st.integers(1, 150), st.integers(0, 4)),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 12),
    st.sampled_from([190, 260, 400, 5000]),
    st.sampled_from([64, 300, 2048]),
    st.integers(1, 3),
)
def test_equals_on_any_load(rows, cap, kv_blocks, budget, replicas):
    """Law: whatever load, limits and shared prefixes, every token time, preemption and prefix hit agrees."""
    kind = VariantEngine(TIMES, kv_blocks, budget=budget)
    shared = [(at, tokens, outputs, tuple(range(first, first + tokens // 512))) for at, tokens, outputs, first in rows]
    assert_equal(*both(shared, kind, Truth(), cap, replicas))


def test_inter_token_histogram_counts_every_gap():
    rows, kind, truth, cap, _ = CASES["light"]
    fleet, _, references = both(rows, kind, truth, cap, 1, scrape=1.3)
    reals = fleet.state.slots_f[0]
    start = at.BUCKETS + at.H_BETWEEN * at.MAX_EDGES
    buckets = reals[start : start + len(EDGES.between) + 1]
    expected = np.histogram(references[0].gaps, [0.0, *EDGES.between, math.inf])[0]
    assert (expected[1:4] > 0).all()
    np.testing.assert_allclose(buckets, expected, atol=1)  # a gap may lie on an edge up to rounding
    assert buckets.sum() == reals[at.N_BETWEEN] == sum(row[2] - 1 for row in rows)


def test_same_seed_same_bytes_other_seed_other_times():
    rows, kind, truth, cap, replicas = CASES["busy, two replicas"]
    first, second = (both(rows, kind, truth, cap, replicas)[0].state for _ in range(2))
    assert first.record.tobytes() == second.record.tobytes()
    other = Fleet(
        trace_of(rows),
        replace(SimulationConfig([kind], [LatencyLimits()], [EDGES], truth, slots=2, record=True), seed=9),
    )
    for uid in range(2):
        other.start(0, 0, uid, cap, 0.0)
    other.advance(math.inf)
    assert other.state.record.tobytes() != first.record.tobytes()
