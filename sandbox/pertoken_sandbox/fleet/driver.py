"""Runs one emulated engine in real time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from pertoken_bench.hardware.step_times import GIB, StepTimes
from pertoken_bench.reference_engine.request import Request, StepResult
from pertoken_bench.reference_engine.scheduler import ReferenceEngine
from pertoken_sandbox.fleet import clock
from pertoken_sandbox.fleet.metrics_page import MetricsPage
from pertoken_sandbox.fleet.stats import EngineStats


@dataclass
class Activity:
    """Work done by one replica since its start: what GPU counters are made from (per GPU)."""

    busy_seconds: float = 0.0
    flops: float = 0.0
    bytes_read: float = 0.0

    def add(self, step: StepResult, times: StepTimes) -> None:
        """Count a step: 2 FLOP per parameter (2 bytes) and token; the weights once, and the KV cache of the decodes."""
        tokens = step.decodes + step.prefill_tokens
        self.busy_seconds += step.duration
        self.flops += times.weights_gib * GIB * tokens
        self.bytes_read += times.weights_gib * GIB + step.context_tokens * times.kv_bytes_per_token


@dataclass
class EngineServer:
    """A serving engine process: the engine, its statistics and page, and what happens to finished requests."""

    engine: ReferenceEngine
    stats: EngineStats
    page: MetricsPage
    times: StepTimes
    on_finish: Callable[[Request], None]
    activity: Activity = field(default_factory=Activity)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _stopped: bool = False
    _step: StepResult | None = None

    @property
    def busy(self) -> bool:
        """Whether any request has tokens to come."""
        return self.engine.busy or self._step is not None

    def submit(self, request: Request) -> None:
        """Queue a request that the engine accepts."""
        self.engine.add(request, clock.now())
        if len(self.engine.waiting) == 1 and not self.engine.running:
            self.stats.sample(self.engine)
        self._wake.set()

    def stop(self) -> list[Request]:
        """End at once; unfinished requests come back."""
        self._stopped = True
        self._wake.set()
        cut = self._step.finished if self._step is not None else []  # their last tokens never came out
        self._step = None
        return [*cut, *self.engine.drop_all()]

    async def run(self) -> None:
        """Step until stopped. Engine time follows the steps' durations exactly; a late event loop only catches up."""
        now = clock.now()
        while not self._stopped:
            if not self.engine.busy:
                self._wake.clear()
                self.stats.sample(self.engine)
                await self._wake.wait()
                now = clock.now()
                continue
            step = self._step = self.engine.step(now)
            now = step.end
            await asyncio.sleep(max(0.0, now - clock.now()))
            if not self._stopped:
                self._complete(step)

    def _complete(self, step: StepResult) -> None:
        self._step = None
        self.stats.observe(step, self.engine)
        self.activity.add(step, self.times)
        for request in step.finished:
            self.on_finish(request)
