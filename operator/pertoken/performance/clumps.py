"""Answers that prompts hold up: how many exceed their time per output token because prefills came in a clump.

Prefill work arrives as a compound Poisson stream: ``rate`` prompts per second of T seconds each, E[T^2] = E[T]^2 (1 +
spread). An answer of ``o`` steps that shall take at most s seconds per step has ``o (s - d)`` seconds to spare for the
prefills that are processed while it decodes, d being a step without prompts: those that waited behind its own (the
workload V of an M/G/1 server, nothing with probability 1 - u, else exponential with mean E[T^2] / (2 E[T] (1 - u)),
Kleinrock, Queueing Systems I, 1975, ch. 5), and those that arrive within ``o s`` seconds (taken as normal). So

    P(late | o) = P(V + N(u o s, rate E[T^2] o s) > o (s - d))

which has a closed form, averaged over the lengths of answers: within 0.13 of arrivals drawn at random, too high for
answers that end within a prompt's time. Long answers see the mean, short ones the clump. A router that sends each
prompt to the least loaded replica keeps them apart, so how much of it is true of a deployment is learnt: answers that
were late over those that this says would be (`Clumping`).
"""

from __future__ import annotations

from dataclasses import field
from math import erfc, exp, log, sqrt
from typing import Final

from pertoken.frozen import dataclass
from pertoken.performance.tuning import CLUMPS, Clumps

# Midpoints of five equal parts of a standard normal variable.
FIFTHS: Final = (-1.2816, -0.5244, 0.0, 0.5244, 1.2816)
CERTAIN: Final = 50.0  # exponent beyond which the closed form is 1


@dataclass(frozen=True, slots=True)
class Spread:
    """Squared coefficients of variation of the lengths of prompts and answers.

    Attributes:
        prompt, answer: of tokens.
        answers: lengths that stand for a fifth of the answers each, in units of the mean (lognormal).
    """

    prompt: float
    answer: float
    answers: tuple[float, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Work the answers out once."""
        sigma = sqrt(log(1.0 + self.answer))
        object.__setattr__(self, "answers", tuple(exp(sigma * z - sigma * sigma / 2.0) for z in FIFTHS))


@dataclass(frozen=True, slots=True)
class Clumping:
    """What is known of how prompts meet on a deployment's replicas; the further back, the less it counts.

    Attributes:
        late: answers beyond their time per output token.
        modelled: answers that would have been, had prompts arrived at random.
        at: when the newest were counted, seconds since the epoch.
    """

    late: float = 0.0
    modelled: float = 0.0
    at: float = 0.0

    def share(self, tuning: Clumps = CLUMPS) -> float:
        """Of what arrivals at random would hold up, at most 1."""
        late = self.late + tuning.prior * tuning.prior_answers
        return min(late / (self.modelled + tuning.prior_answers), 1.0)


def counted(known: Clumping, late: float, modelled: float, now: float, tuning: Clumps = CLUMPS) -> Clumping:
    """What is known after some more answers, `late` of them, where `modelled` would have been."""
    kept = 2.0 ** (-max(0.0, now - known.at) / tuning.half_life) if known.at else 0.0
    return Clumping(known.late * kept + late, known.modelled * kept + modelled, now)


@dataclass(frozen=True, slots=True)
class Prefills:
    """Prompts as a stream of work.

    Attributes:
        rate: per second.
        seconds: of the engine that one takes (E[T]).
        spread: squared coefficient of variation of that.
    """

    rate: float
    seconds: float
    spread: float


def late_share(prefills: Prefills, steps: tuple[float, ...], decode: float, objective: float) -> float:
    """Share of answers whose mean time per output token exceeds the objective.

    Args:
        prefills: that come between.
        steps: answer lengths of equal weight.
        decode: seconds of a step without prompts.
        objective: seconds per output token.

    Returns:
        0 without prompts; 1 where they take all the time that decoding leaves.
    """
    if prefills.rate <= 0.0 or prefills.seconds <= 0.0:
        return 0.0 if decode <= objective else 1.0
    used, spare = prefills.rate * prefills.seconds, 1.0 - decode / objective
    if used >= spare:
        return 1.0
    square = prefills.seconds * prefills.seconds * (1.0 + prefills.spread)
    behind = square / (2.0 * prefills.seconds * (1.0 - used))
    late = 0.0
    for count in steps:
        span = max(count, 1.0) * objective
        room, deviation = (spare - used) * span, sqrt(prefills.rate * square * span)
        clump = _above(room / deviation)
        shift = deviation / behind
        exponent = shift * shift / 2.0 - room / behind
        waited = exp(exponent) * _above(shift - room / deviation) if exponent < CERTAIN else 1.0
        late += (1.0 - used) * clump + used * min(clump + waited, 1.0)
    return late / len(steps)


def _above(deviations: float) -> float:
    """Probability that a standard normal variable exceeds it."""
    return erfc(deviations / sqrt(2.0)) / 2.0
