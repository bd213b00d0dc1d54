"""The prefill chunk (tokens of one engine step): the largest with which no step is longer than tokens may be apart.

That is the inter-token objective, or the stall objective where it is shorter or alone. Where the former asks for a
chunk that costs too much, steps at least keep the latter, which is owed for single tokens.

While prompts wait, every step is as long as a full chunk takes, and so is the time between tokens of all sequences that
decode meanwhile. A chunk whose full step keeps the inter-token objective lets bursts cost time to first token alone,
which the objective bears for seconds. Prompts then take more steps: the longer ones are slowed down, which bounds how
small a chunk may be. What it gives and costs is in `docs/adr/0008-prefill-chunk.md`.
"""

from __future__ import annotations

from math import inf

from pertoken.catalog.engines import CHUNK_SIZES
from pertoken.frozen import dataclass, replace
from pertoken.performance.stalls import Steps
from pertoken.performance.steady import Engine, Load, OperatingPoint, Sustainable, Targets, sustainable_rate
from pertoken.planner.tuning import Cap


@dataclass(frozen=True, slots=True)
class ChunkBounds:
    """Tokens per step that may be set.

    Attributes:
        least: never below the batch cap: a step has room for a token of every running sequence.
        most: what the user allows.
    """

    least: int
    most: int


def best_chunk(engine: Engine, load: Load, targets: Targets, bounds: ChunkBounds, tuning: Cap) -> int | None:
    """The largest chunk whose full step keeps the objectives between tokens, where that costs little else.

    Args:
        engine: as it runs now; its batch cap is left out, since cap and chunk change together.
        load: of a mean request.
        targets: latency to keep.
        bounds: of the choice.
        tuning: what the choice may cost.

    Returns:
        Tokens per step; None where the present chunk is as good: there is no objective between tokens, or none is
        within reach, a smaller chunk would slow long prompts down too much, or the present one suits.
    """
    free = replace(engine, cap=None)
    present = sustainable_rate(free, load, targets)
    if targets.mean_gap == inf or not isinstance(present, Sustainable):
        return None
    now = full_step(free, load, present.point)
    if tuning.least_step <= now / targets.mean_gap <= tuning.most_step:
        return None
    choice = _Choice(free, load, targets, bounds, tuning)
    suiting = choice.largest(present, targets.mean_gap, tuning.prompts_slower)
    if suiting is not None or targets.stall is None or now <= tuning.most_step * targets.stall:
        return suiting
    return choice.largest(present, targets.stall, inf)


@dataclass(frozen=True, slots=True)
class _Choice:
    """What a chunk is chosen for."""

    engine: Engine
    load: Load
    targets: Targets
    bounds: ChunkBounds
    tuning: Cap

    def largest(self, present: Sustainable, longest: float, slower: float) -> int | None:
        """The largest chunk with steps of at most `longest` seconds; None where the present one is as good.

        Args:
            present: what the present chunk sustains.
            longest: seconds that a full step may take.
            slower: times the present seconds per prompt token in a full step that are borne.
        """
        engine = self.engine
        per_token = full_step(engine, self.load, present.point) / _room(engine, present.point)
        least_rate = self.tuning.rate_kept * max(present.rate, self._best_rate())
        for tokens in reversed(self._sizes):
            sized = self._sized(tokens)
            sustained = sustainable_rate(sized, self.load, self.targets)
            if not isinstance(sustained, Sustainable):
                continue
            step = full_step(sized, self.load, sustained.point)
            if step > longest or sustained.rate < least_rate:
                continue
            borne = step / _room(sized, sustained.point) / per_token <= slower
            return tokens if tokens != engine.model.batched_tokens and borne else None
        return None

    def _best_rate(self) -> float:
        """Requests per second that the best chunk sustains; 0 without a stall objective, which alone makes it differ.

        A replica may keep that objective by a small batch as well as by a small chunk, which carries more.
        """
        if self.targets.stall is None:
            return 0.0
        tried = (sustainable_rate(self._sized(tokens), self.load, self.targets) for tokens in self._sizes)
        return max((each.rate for each in tried if isinstance(each, Sustainable)), default=0.0)

    @property
    def _sizes(self) -> tuple[int, ...]:
        return tuple(size for size in CHUNK_SIZES if self.bounds.least <= size <= self.bounds.most)

    def _sized(self, tokens: int) -> Engine:
        return replace(self.engine, model=self.engine.model.with_batched_tokens(tokens))


def full_step(engine: Engine, load: Load, point: OperatingPoint) -> float:
    """Seconds of a step that is full of prompt tokens beside the sequences that decode at `point`."""
    return _steps(engine, load.resident, point).seconds(_room(engine, point))


def _room(engine: Engine, point: OperatingPoint) -> float:
    return _steps(engine, 0.0, point).room


def _steps(engine: Engine, context: float, point: OperatingPoint) -> Steps:
    return Steps(engine.model, engine.gains, point.batch, context)
