"""The flight recorder: keeps the last cycles with all that they were given, for `pertoken replay`."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from pertoken.control.cycle import CycleResult
from pertoken.control.recording.form import Decided, Encoder, Header, header_line
from pertoken.planner.tuning import TUNING, Tuning
from pertoken.ports import CycleSummary, Recordings

LOGGER = logging.getLogger(__name__)

SEGMENTS: Final = 8  # into which what is kept is divided: the oldest goes as a whole
MOST_WAITING: Final = 2  # cycles that have not been written yet; further ones are left out


def segment_cycles(cycles: int) -> int:
    """Cycles of one segment, where so many are to be kept."""
    return -(-cycles // SEGMENTS)


def most_segments(cycles: int) -> int:
    """Segments that hold at most so many cycles, and nearly as many."""
    return cycles // segment_cycles(cycles)


@dataclass(slots=True)
class Recorder:
    """Writes every cycle that the planning loop hands over, while later cycles run.

    No cycle waits for it: where writing does not keep up, or fails, cycles are left out and the log says so.

    Attributes:
        version: of this program.
        cycles: that are kept.
        segment_bytes: from which on a segment is full.
        left_out: cycles that were not recorded.
    """

    recordings: Recordings
    version: str
    cycles: int
    segment_bytes: int
    tuning: Tuning = TUNING
    left_out: int = 0
    _waiting: deque[CycleResult] = field(default_factory=deque)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _segment: _Segment | None = None
    _last: CycleResult | None = None
    _fault: str = ""

    def finished(self, result: CycleResult) -> None:
        """A cycle went through."""
        if len(self._waiting) >= MOST_WAITING:
            self._left_out(result, "the ones before are still being written")
            return
        self._waiting.append(result)
        self._wake.set()

    def failed(self, summary: CycleSummary) -> None:
        """A cycle that failed has no plan."""

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await asyncio.to_thread(self.write, self._waiting[0])
                self._waiting.popleft()

    def write(self, result: CycleResult) -> None:
        """Write one cycle; a failure is logged, and the next cycle begins a segment."""
        continues = self._last is not None and result.started_from is self._last.handed_on
        cycle = Decided(result.summary.number, result.now, result.world, result.started_from, result.plan)
        try:
            segment = self._begun(cycle)
            segment.bytes = self.recordings.append(segment.encoder.line(cycle, continues=continues))
            segment.cycles += 1
            self._last, self._fault = result, ""
        except Exception as error:  # noqa: BLE001 - a recorder that fails must not end the operator
            self._segment, self._last = None, None
            self._left_out(result, f"{type(error).__name__}: {error}")

    def _begun(self, cycle: Decided) -> _Segment:
        segment = self._segment
        if segment is None or self._full(segment) or segment.header.catalog != cycle.world.catalog:
            header = Header(self.version, self.tuning, cycle.world.catalog)
            self.recordings.begin(f"{cycle.now:012.0f}-{cycle.number:08d}")
            self.recordings.append(header_line(header))
            segment = self._segment = _Segment(header, Encoder())
        return segment

    def _full(self, segment: _Segment) -> bool:
        return segment.cycles >= segment_cycles(self.cycles) or segment.bytes >= self.segment_bytes

    def _left_out(self, result: CycleResult, why: str) -> None:
        self.left_out += 1
        if why != self._fault:
            LOGGER.warning("cycle %d is not recorded: %s", result.summary.number, why)
        self._fault = why


@dataclass(slots=True)
class _Segment:
    """What is being written."""

    header: Header
    encoder: Encoder
    cycles: int = 0
    bytes: int = 0
