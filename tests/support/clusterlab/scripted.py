"""Engines whose traffic a test dictates, shown on metrics pages as vLLM 0.32 writes them.

The arithmetic is a fluid's: a workload's load is shared by its serving pods, each takes what its batch allows, the
rest waits. Every figure of a page follows from the load, so that a page never contradicts itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from pertoken_bench.hardware.step_times import BLOCK_TOKENS
from pertoken_bench.reference_engine.request import EngineConfig
from pertoken_sandbox.fleet import clock
from pertoken_sandbox.fleet.metrics_page import MetricsPage, cache_config_labels
from pertoken_sandbox.fleet.stats import EngineStats

KV_BLOCKS = 25_000
CONTEXT = 32_768
KV_BYTES_PER_TOKEN = 131_072


@dataclass(frozen=True)
class Load:
    """What a workload is asked to do.

    Args:
        requests_per_second: arriving at the workload.
        input_tokens: of one request.
        output_tokens: of one request.
        step_seconds: between two tokens of a sequence.
        batch: sequences that one replica runs at most.
        waiting: None lets a queue grow by what the replicas do not take; a number is the queue as the pages show it,
            whatever arrives (then the replicas are full if it is above zero).
        first_token_seconds: until the first token without waiting.
        prefill_seconds: of one request.
    """

    requests_per_second: float = 0.0
    input_tokens: float = 1000
    output_tokens: float = 200
    step_seconds: float = 0.02
    batch: float = 256
    waiting: float | None = None
    first_token_seconds: float = 0.15
    prefill_seconds: float = 0.05

    @property
    def most_per_replica(self) -> float:
        """Requests per second of a replica whose batch is full."""
        return self.batch / (self.output_tokens * self.step_seconds)


@dataclass
class Page:
    """What is done to a page before it is answered.

    Attributes:
        dropped: lines of metrics whose name matches (search) are left out.
        renamed: pattern and replacement on metric names.
        frozen: the text to answer for ever.
        silent: answer 503, as an engine that hangs.
        custom: makes the text instead of the scripted engine (other engines, forged pages).
    """

    dropped: str = ""
    renamed: tuple[tuple[str, str], ...] = ()
    frozen: str | None = None
    silent: bool = False
    custom: Callable[[Engine], str] | None = None

    def edit(self, text: str) -> str:
        """A page without the dropped families and with the new names."""
        lines = text.splitlines()
        if self.dropped:
            lines = [line for line in lines if not re.search(self.dropped, _metric(line))]
        for pattern, new in self.renamed:
            lines = [re.sub(pattern, new, line, count=1) for line in lines]
        return "\n".join(lines) + "\n"


def _metric(line: str) -> str:
    """The metric that a line of a page is about."""
    words = line.split(maxsplit=3)
    name = words[2] if line.startswith("# ") and len(words) > 2 else line
    return re.split(r"[{ ]", name, maxsplit=1)[0]


class Engine:
    """One pod's engine: its counters and its page."""

    def __init__(self, namespace: str, pod: str, workload: str, model: str) -> None:
        self.namespace, self.pod, self.workload = namespace, pod, workload
        self.model = model
        self.stats = EngineStats(CONTEXT, {}, clock.now())
        config = EngineConfig(256, 8192, KV_BLOCKS, CONTEXT)
        self._rest: dict[int, float] = {}  # of each histogram: the events that are not whole yet
        self._page = MetricsPage(self.stats, model, cache_config_labels(config, 0.9, KV_BYTES_PER_TOKEN))

    def text(self) -> str:
        """The page now."""
        return self._page.render()

    def serve(self, load: Load, rate: float, waiting: float, seconds: float) -> None:
        """Let `seconds` pass in which `rate` requests per second were served and `waiting` requests stood here."""
        stats, served = self.stats, rate * seconds
        running = rate * load.output_tokens * load.step_seconds
        stats.running, stats.waiting = running, waiting  # type: ignore[assignment]
        held = running * (load.input_tokens + load.output_tokens / 2) / (KV_BLOCKS * BLOCK_TOKENS)
        stats.kv_usage = min(1.0, held)
        if served <= 0:
            return
        stats.prompt_tokens += served * load.input_tokens
        stats.prefix_queries += served * load.input_tokens
        stats.generation_tokens += served * load.output_tokens
        stats.finished += served
        decode = load.output_tokens * load.step_seconds
        queued = waiting / rate
        per_step = running + rate * load.input_tokens * load.step_seconds
        observed = (
            (stats.prompt_length, load.input_tokens, served),
            (stats.kv_computed, load.input_tokens, served),
            (stats.generation_length, load.output_tokens, served),
            (stats.max_generation_length, load.output_tokens, served),
            (stats.params_max_tokens, load.output_tokens, served),
            (stats.params_n, 1, served),
            (stats.request_preemptions, 0, served),
            (stats.itl, load.step_seconds, served * load.output_tokens),
            (stats.tpot, load.step_seconds, served),
            (stats.iteration_tokens, per_step, seconds / load.step_seconds),
            (stats.ttft, load.first_token_seconds + queued, served),
            (stats.queue, queued, served),
            (stats.prefill, load.prefill_seconds, served),
            (stats.decode, decode, served),
            (stats.inference, load.prefill_seconds + decode, served),
            (stats.e2e, load.first_token_seconds + queued + decode, served),
        )
        for index, (histogram, value, times) in enumerate(observed):
            whole, self._rest[index] = divmod(self._rest.get(index, 0.0) + times, 1)
            histogram.observe(value, int(whole))


@dataclass
class Script:
    """A workload's load, its queue and its serving engines by pod."""

    load: Load = field(default_factory=Load)
    queue: float = 0.0
    engines: dict[str, Engine] = field(default_factory=dict)
    at: float = field(default_factory=clock.now)

    def advance(self) -> None:
        """Let the time since the last call pass."""
        now = clock.now()
        seconds, self.at = now - self.at, now
        engines, load = list(self.engines.values()), self.load
        if not engines or seconds <= 0:
            return
        most = load.most_per_replica * len(engines)
        if load.waiting is None:
            served = min(load.requests_per_second + self.queue / seconds, most)
            self.queue = max(0.0, self.queue + (load.requests_per_second - served) * seconds)
        else:
            self.queue = load.waiting
            served = most if self.queue > 0 else min(load.requests_per_second, most)
        for engine in engines:
            engine.serve(load, served / len(engines), self.queue / len(engines), seconds)
