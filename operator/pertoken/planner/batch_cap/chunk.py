"""The prefill chunk (tokens of one engine step): the largest with which no step is longer than tokens may be apart.

While prompts wait, every step is as long as a full chunk takes, and so is the time between tokens of all sequences that
decode meanwhile. A chunk whose full step keeps the inter-token objective lets bursts cost time to first token alone,
which the objective bears for seconds. Prompts then take more steps: the longer ones are slowed down, which bounds how
small a chunk may be. What it gives and costs is in `docs/adr/0008-prefill-chunk.md`.
"""

from __future__ import annotations

from pertoken.catalog.engines import CHUNK_SIZES
from pertoken.frozen import dataclass, replace
from pertoken.performance.steady import Engine, Load, OperatingPoint, Sustainable, Targets, sustainable_rate
from pertoken.performance.step_time import iteration_time, mean_decode_step
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
    """The largest chunk whose full step keeps the inter-token objective, where that costs little else.

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
    objective, free = targets.inter_token, replace(engine, cap=None)
    present = sustainable_rate(free, load, targets)
    if objective is None or not isinstance(present, Sustainable):
        return None
    now = full_step(free, load, present.point)
    if tuning.least_step <= now / objective <= tuning.most_step:
        return None
    per_token = now / _room(free, present.point)
    for tokens in (size for size in reversed(CHUNK_SIZES) if bounds.least <= size <= bounds.most):
        sized = replace(free, model=free.model.with_batched_tokens(tokens))
        sustained = sustainable_rate(sized, load, targets)
        if not isinstance(sustained, Sustainable):
            continue
        step = full_step(sized, load, sustained.point)
        if step > objective or sustained.rate < tuning.rate_kept * present.rate:
            continue
        slower = step / _room(sized, sustained.point) / per_token
        return tokens if tokens != free.model.batched_tokens and slower <= tuning.prompts_slower else None
    return None


def full_step(engine: Engine, load: Load, point: OperatingPoint) -> float:
    """Seconds of a step that is full of prompt tokens beside the sequences that decode at `point`."""
    model, gains = engine.model, engine.gains
    decode = mean_decode_step(model, point.batch, load.resident)
    both = iteration_time(model, _room(engine, point), 0.0, point.batch, point.batch * load.resident)
    return gains.decode * decode + gains.prefill * max(0.0, both - decode)


def _room(engine: Engine, point: OperatingPoint) -> float:
    """Prompt tokens that a step holds beside the decoding sequences."""
    return max(1.0, engine.model.batched_tokens - point.batch)
