"""Steps that keep tokens waiting: which share of the gaps between tokens is longer than an objective.

A step gives each decoding sequence one token, so a gap between two tokens is a step. Steps are long where they compute
prompt tokens beside the sequences that decode. A prompt of l tokens alone fills steps of R = M - B tokens, M being the
engine's token budget and B the batch. Lengths are taken to be exponentially distributed with mean I (a guess: prompts
spread about as widely). Of a prompt's steps, the one that begins at its token k R computes more than x tokens where
l > k R + x, so a prompt makes

    n(x) = sum over k >= 0 of P(l > k R + x) = exp(-x / I) / (1 - exp(-R / I))

such steps for x < R, and none for x >= R: a step holds no more than R. With r prompts and 1 / t steps per second (t is
the mean gap between tokens) the share of long gaps is ``r n t``. Prompts that wait and share steps make fewer, fuller
ones.
"""

from __future__ import annotations

from math import exp
from typing import Final

from pertoken.frozen import dataclass
from pertoken.performance.step_time import EngineModel, Gains, iteration_time, mean_decode_step

_STEPS: Final = 12  # of the bisection: a chunk of 16,384 tokens to within four


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps of an engine that decodes `batch` sequences of `context` tokens each."""

    model: EngineModel
    gains: Gains
    batch: float
    context: float

    @property
    def room(self) -> float:
        """Prompt tokens that a step holds beside the decoding sequences."""
        return max(1.0, self.model.batched_tokens - self.batch)

    def seconds(self, prompt_tokens: float) -> float:
        """Of a step that computes so many prompt tokens beside the sequences that decode."""
        decode = mean_decode_step(self.model, self.batch, self.context)
        both = iteration_time(self.model, prompt_tokens, 0.0, self.batch, self.batch * self.context)
        return self.gains.decode * decode + self.gains.prefill * max(0.0, both - decode)

    def tokens_within(self, seconds: float) -> float:
        """Most prompt tokens with which a step takes no longer; 0 where none fit, `room` where every step does."""
        low, high = 0.0, self.room
        if self.seconds(high) <= seconds:
            return high
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.seconds(middle) <= seconds else (low, middle)
        return low


def share_late(steps: Steps, objective: float, prompts_per_second: float, tokens: float, gap: float) -> float:
    """Share of the gaps between tokens that are longer than the objective, at most 1.

    Args:
        steps: of the engine.
        objective: seconds.
        prompts_per_second: that the engine computes.
        tokens: to compute of the mean prompt.
        gap: mean time between two tokens, seconds.
    """
    if tokens <= 0 or prompts_per_second <= 0:
        return 0.0
    within, room = steps.tokens_within(objective), steps.room
    if within >= room:
        return 0.0
    late = exp(-within / tokens) / (1.0 - exp(-room / tokens))
    return min(1.0, prompts_per_second * late * gap)
