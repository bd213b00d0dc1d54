"""What one engine did with one case, in the same words for all engines; kept as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final

from pertoken_sandbox.fleet.clients import percentile

SAMPLE_SECONDS: Final = 0.25
"""Distance of the gauges' samples, for all engines."""


@dataclass(frozen=True, slots=True)
class ClientLatency:
    """What the clients saw; one entry per request, ms; ITL is the request's mean, None for a single token."""

    ttft_ms: list[float]
    itl_ms: list[float | None]

    def ttft(self, q: float) -> float:
        """A percentile of the time to first token, ms."""
        return percentile(self.ttft_ms, q) or 0.0

    def itl(self, q: float) -> float:
        """A percentile of the requests' mean inter-token latency, ms."""
        return percentile([value for value in self.itl_ms if value is not None], q) or 0.0


@dataclass(frozen=True, slots=True)
class EngineCounts:
    """Totals of the whole case, from the engine's own counters.

    Attributes:
        steps: that yielded tokens (``iteration_tokens_total_count``).
        prefix_queries, prefix_hits: prompt tokens looked up and found at first admission.
        between_seconds: ``inter_token_latency_seconds_sum``.
        queue_seconds: ``request_queue_time_seconds_sum``: waiting before the first admission.
    """

    steps: float
    preemptions: float
    prompt_tokens: float
    generated_tokens: float
    prefix_queries: float
    prefix_hits: float
    between_seconds: float
    queue_seconds: float


@dataclass(frozen=True, slots=True)
class CaseOutcome:
    """One engine's run of one case.

    Attributes:
        sent_at: when each request was sent, seconds from the first one's trace time.
        seconds: from 0 to the last token.
        running, waiting: time-mean of the gauges, sampled alike.
        families: names and types of the ``vllm:`` metric families on its page; empty without a page.
        late_ms: mean and p95 of what a step of the real engine began after its modelled start.
    """

    engine: str
    sent_at: list[float]
    seconds: float
    latency: ClientLatency
    running: float
    waiting: float
    counts: EngineCounts
    families: dict[str, str] = field(default_factory=dict)
    late_ms: tuple[float, float] | None = None

    @property
    def decoding(self) -> float:
        """Time-mean of decoding sequences by Little's law."""
        return self.counts.between_seconds / self.seconds


@dataclass(slots=True)
class Gauges:
    """Samples of running and waiting requests on the common grid."""

    running: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)

    def add(self, running: float, waiting: float) -> None:
        """One sample."""
        self.running.append(running)
        self.waiting.append(waiting)

    def means(self) -> tuple[float, float]:
        """Time-means of running and waiting."""
        return mean(self.running), mean(self.waiting)


def mean(values: Sequence[float]) -> float:
    """The mean; 0 of nothing."""
    return fmean(values) if values else 0.0
