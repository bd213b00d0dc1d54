"""A case on the sandbox's emulated engine, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence

from pertoken_bench.reference_engine.request import Request
from pertoken_bench.reference_engine.scheduler import ReferenceEngine
from pertoken_sandbox.conformance.cases import CONTEXT, Case
from pertoken_sandbox.conformance.outcome import SAMPLE_SECONDS, CaseOutcome, ClientLatency, EngineCounts, Gauges
from pertoken_sandbox.conformance.pages import families
from pertoken_sandbox.conformance.table import TIMES, step_clock
from pertoken_sandbox.fleet.metrics_page import MetricsPage, cache_config_labels
from pertoken_sandbox.fleet.stats import EngineStats
from pertoken_sandbox.fleet.virtual import mean_itl_ms


def run(case: Case, sent_at: Sequence[float]) -> CaseOutcome:
    """Serve the case's requests, sent at these instants (s)."""
    engine = ReferenceEngine(case.limits(), step_clock(case.max_num_seqs, case.stretch))
    stats = EngineStats(CONTEXT, {}, 0.0)
    requests = [
        Request(each.input_tokens, each.output_tokens, at, each.prefix_ids)
        for each, at in zip(case.requests, sent_at, strict=True)
    ]
    pending = sorted(requests, key=lambda each: each.arrival)[::-1]
    gauges = Gauges()
    now, sampled = 0.0, 0
    while pending or engine.busy:
        if not engine.busy:
            now = max(now, pending[-1].arrival)
        while pending and pending[-1].arrival <= now:
            engine.add(pending[-1], pending.pop().arrival)
        step = engine.step(now)
        before = (stats.running, stats.waiting)
        stats.observe(step, engine)
        while sampled * SAMPLE_SECONDS < step.end:
            # The page shows what was true after the last step; before the first request of a busy time that is nothing.
            gauges.add(*(before if sampled * SAMPLE_SECONDS >= step.start else (0.0, 0.0)))
            sampled += 1
        now = step.end
    running, waiting = gauges.means()
    page = MetricsPage(stats, "modelled", cache_config_labels(engine.config, 0.9, TIMES.kv_bytes_per_token))
    return CaseOutcome(
        "sandbox emulator",
        list(sent_at),
        now,
        ClientLatency(
            [(each.first_token_at - each.arrival) * 1e3 for each in requests],
            [mean_itl_ms(each) if each.output_tokens > 1 else None for each in requests],
        ),
        running,
        waiting,
        EngineCounts(
            steps=sum(stats.iteration_tokens.counts),
            preemptions=stats.preemptions,
            prompt_tokens=stats.prompt_tokens,
            generated_tokens=stats.generation_tokens,
            prefix_queries=stats.prefix_queries,
            prefix_hits=stats.prefix_hits,
            between_seconds=stats.itl.total,
            queue_seconds=stats.queue.total,
        ),
        families(page.render()),
    )
