"""A case on the benchmark's simulator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pertoken_bench.compiled_engine import layout as at
from pertoken_bench.compiled_engine.fleet import Edges, Fleet, LatencyLimits, SimulationConfig, VariantEngine
from pertoken_bench.hardware.truth import Truth
from pertoken_bench.traces.trace import Trace
from pertoken_sandbox.conformance.cases import BATCHED_TOKENS, CONTEXT, Case
from pertoken_sandbox.conformance.outcome import SAMPLE_SECONDS, CaseOutcome, ClientLatency, EngineCounts, Gauges
from pertoken_sandbox.conformance.table import TIMES
from pertoken_sandbox.fleet.stats import EngineStats


def run(case: Case, sent_at: Sequence[float]) -> CaseOutcome:
    """Serve the case's requests, sent at these instants (s)."""
    order = np.argsort(np.array(sent_at), kind="stable")
    fleet = Fleet(_trace(case, sent_at), _config(case))
    slot = fleet.start(0, 0, 1, case.max_num_seqs, 0.0)
    gauges, sampled = Gauges(), 0
    while fleet.in_system() or fleet.arrivals_left():
        now = sampled * SAMPLE_SECONDS
        fleet.advance(now)
        row = fleet.state.slots[slot]
        gauges.add(float(row[at.RUNNING]), float(row[at.WAITING]))
        sampled += 1
    first, last = np.empty(len(order)), np.empty(len(order))
    first[order], last[order] = fleet.state.record[:, 0], fleet.state.record[:, 1]
    running, waiting = gauges.means()
    reals = fleet.state.slots_f[slot]
    return CaseOutcome(
        "simulator",
        list(sent_at),
        float(last.max()),
        ClientLatency(
            ((first - np.array(sent_at)) * 1e3).tolist(),
            [
                float(end - begin) * 1e3 / (each.output_tokens - 1) if each.output_tokens > 1 else None
                for each, begin, end in zip(case.requests, first, last, strict=True)
            ],
        ),
        running,
        waiting,
        EngineCounts(
            steps=float(reals[at.N_STEPS]),
            preemptions=float(reals[at.N_PREEMPTED]),
            prompt_tokens=float(reals[at.N_PROMPT]),
            generated_tokens=float(reals[at.N_GENERATED]),
            prefix_queries=float(reals[at.N_PROMPT]),
            prefix_hits=float(reals[at.N_CACHED]),
            between_seconds=float(reals[at.S_BETWEEN]),
            queue_seconds=float(reals[at.S_TTFT] - reals[at.S_PREFILL]),
        ),
    )


def _trace(case: Case, sent_at: Sequence[float]) -> Trace:
    rows = sorted(zip(sent_at, case.requests, strict=True), key=lambda row: row[0])
    ids = [identity for _, each in rows for identity in each.prefix_ids]
    renumbered = {identity: index for index, identity in enumerate(dict.fromkeys(ids))}
    return Trace(
        np.array([when for when, _ in rows], np.float64),
        np.array([each.input_tokens for _, each in rows], np.int32),
        np.array([each.output_tokens for _, each in rows], np.int32),
        np.zeros(len(rows), np.int32),
        np.array([renumbered[identity] for identity in ids], np.int32),
        np.concatenate([[0], np.cumsum([len(each.prefix_ids) for _, each in rows])]).astype(np.int64),
    )


def _config(case: Case) -> SimulationConfig:
    stats = EngineStats(CONTEXT, {}, 0.0)
    return SimulationConfig(
        kinds=[VariantEngine(TIMES, case.kv_blocks, BATCHED_TOKENS, CONTEXT)],
        objectives=[LatencyLimits()],
        edges=[Edges(stats.ttft.edges, stats.tpot.edges, stats.itl.edges)],
        truth=Truth(case.stretch, case.stretch, spread=0.0, noise=0.0, slow_start=0.0),
        slots=1,
        record=True,
    )
