"""Numbers that decide which advice is given, with unit and provenance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pertoken.numbers import number


@dataclass(frozen=True, slots=True)
class AdviceTuning:
    """What changes are worth telling."""

    least_gain: float = number(
        0.01, "of the price per token at full use", "guess: a change that saves no replica now and less later is noise"
    )
    as_good: float = number(0.005, "of the best rate", "guess: of caps and chunks that are as good, the least change")
    calibrated: int = number(15, "observations", "convention: of the planner, before it trusts what was learnt")
    refused: float = number(0.01, "share of requests", "guess: so many may be longer than an advised context limit")
    most_unknown: int = number(3, "models", "guess: of models whose quality nobody knows, the largest are told")
    most_width: int = number(8, "GPUs of tensor parallelism", "convention: GPUs of one node")
    least_cap: int = number(8, "sequences", "convention: the least of batching.minSequences that ships")
    context_step: int = number(1024, "tokens", "convention: context limits are multiples of it")
    output_step: int = number(16, "tokens", "guess: caps of answers are multiples of it")
    hold_seconds: float = number(
        600.0, "s", "convention: HPA's five minutes of stabilization, and a start-up of as many, to both sides"
    )
    hopeless: float = number(10.0, "times", "guess: tokens that cost so much more than they may are a mistake")
    fastest: float = number(
        0.5, "of the modelled time", "convention: calibration's lower clamp; below it nobody has measured an engine"
    )


TUNING: Final = AdviceTuning()
CUT_SHARES: Final = (0.01, 0.05, 0.1)  # of answers that an output cap may cut: one row each
ANSWER_SHARES: Final = (0.5, 0.95)  # of answers: the lengths that are priced
