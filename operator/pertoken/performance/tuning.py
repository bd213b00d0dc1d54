"""Numbers of the performance model that decide rather than describe an engine, with unit and provenance.

They belong to the model, whose results are memoised: one frozen value, which is not handed in. What describes engines
and GPUs (coefficients, exponents, spreads of lengths) stays beside the formula that it belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pertoken.numbers import number


@dataclass(frozen=True, slots=True)
class Sustained:
    """How far a replica may be loaded."""

    context_spread: float = number(
        1.0, "standard deviation / mean of resident tokens per sequence", "guess: lengths spread exponentially"
    )
    kv_overflow_z: float = number(2.33, "standard deviations", "guess: the KV cache may overflow for 1 % of the time")
    cap_full_z: float = number(1.28, "standard deviations", "guess: for 10 % of the time the cap may bind")
    cap_room: float = number(1.25, "cap / operating batch", "guess")
    most_prefill_share: float = number(0.85, "of the engine's time", "guess: beyond it decoding nearly stops")
    most_prompt_load: float = number(0.95, "of the steps' room for prompts", "guess: at 1 none can be added")
    least_batch: float = number(0.05, "sequences", "guess: a replica that is all but idle")
    largest_batch: float = number(1024.0, "sequences", "convention: vLLM's largest default of max_num_seqs")
    gain_steps: int = number(200, "steps of a gain of 1", "guess: half a percent, so that noise decides nothing")
    offset_places: int = number(2, "decimal places of seconds", "guess: the same for the offset of the first token")
    grid: float = number(1.02, "ratio of neighbouring lengths", "guess: 2 %, so that small drifts decide nothing")
    share_steps: int = number(50, "steps of a share of 1", "guess: 2 %, the same for the share of cached tokens")


@dataclass(frozen=True, slots=True)
class Calibrating:
    """What is learnt of a deployment's engine."""

    prior_deviation: float = number(0.25, "of a gain's logarithm", "guess: servers of the same model and GPU differ so")
    unmeasured_deviation: float = number(
        0.5, "of a gain's logarithm", "guess: the same on a GPU that nothing was measured on, twice as wide"
    )
    step_deviation: float = number(
        0.10, "of the logarithm of measured / modelled steps", "guess: successive windows overlap"
    )
    outlier: float = number(3.84, "chi-square, one degree of freedom", "convention: the 95 % quantile")
    outliers_to_widen: int = number(6, "misfits in a row", "guess: so many are a change, not noise")
    widened: float = number(4.0, "times the prior's variance", "guess: what is known after a change")
    forget_seconds: float = number(21_600.0, "s", "guess: over it the uncertainty returns to the prior")
    least_gain: float = number(0.5, "factor", "guess")
    most_gain: float = number(2.0, "factor", "guess")
    least_tokens: float = number(50.0, "generated in a rate window", "guess")
    least_batch: float = number(0.2, "sequences", "guess: below it steps are too few to tell")
    longest_step: float = number(60.0, "s", "guess: more is no step")
    most_prefill_share: float = number(0.9, "of the engine's time", "guess: beyond it steps say nothing of decoding")
    first_steps: float = number(1.5, "decode steps", "guess: a first token waits half a step and takes one")
    offset_weight: float = number(0.1, "of the newest observation", "guess")
    most_offset: float = number(2.0, "s", "guess: more is a queue that nobody tells of")


@dataclass(frozen=True, slots=True)
class Clumps:
    """How far answers are held up by prompts that come in a clump."""

    prior: float = number(
        0.3, "of what arrivals at random hold up", "guess: between routers by chance (1) and by least load (next to 0)"
    )
    prior_answers: float = number(30.0, "late answers", "guess: so many outweigh the prior")
    half_life: float = number(1800.0, "s", "guess: memory of late answers")
    joined: float = number(0.75, "steps per prompt", "guess: shorter prompts join steps with others, in no clumps")
    alone: float = number(1.25, "steps per prompt", "guess: longer ones fill steps of their own")
    share_steps: int = number(20, "steps of a share of 1", "guess: 5 %, so that noise decides nothing")


CLUMPS: Final = Clumps()
SUSTAINED: Final = Sustained()
CALIBRATING: Final = Calibrating()
