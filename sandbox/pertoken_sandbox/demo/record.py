"""What the demo writes down while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LiveSample:
    """One look at the running system.

    Attributes:
        seconds: since the trace began.
        input_tokens_per_second, output_tokens_per_second: demand as the operator measures it; None when unknown.
        bound: pods that hold a GPU and are billed.
        ready: pods that serve.
        desired: replicas that the operator wants.
        cap: batch cap that a starting engine reads.
        batch: decoding sequences per ready pod.
        usd_per_million: GPU bill / tokens of finished requests since the trace began.
        index: cost index that the operator reports.
        ttft_p95, inter_token_p95: seconds, measured by the clients over the last scrape window.
        reason: headline of the operator's last decision.
    """

    seconds: float
    input_tokens_per_second: float | None
    output_tokens_per_second: float | None
    bound: int
    ready: int
    desired: int
    cap: int | None
    batch: float | None
    usd_per_million: float | None
    index: float | None
    ttft_p95: float | None
    inter_token_p95: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Happening:
    """One action that the operator carried out."""

    seconds: float
    kind: str  # scale-up, scale-down, cap-start, cap-complete, cap-rolled-back, cap-restored, evict
    text: str


@dataclass(slots=True)
class Record:
    """The whole run."""

    samples: list[LiveSample] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """How often something happened."""
        return sum(1 for happening in self.happenings if happening.kind == kind)
