"""Lengths of prompts and answers as a gamma distribution, and what a limit on them leaves.

With shape k = 1 / spread and scale m / k, P and Q the lower and upper regularized incomplete gamma functions:

    E[min(X, L)] = m P(k + 1, L k / m) + L Q(k, L k / m)
    E[min(X, L)^2] = m^2 (1 + spread) P(k + 2, L k / m) + L^2 Q(k, L k / m)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from scipy.special import gammainc, gammaincc, gammaincinv

from pertoken.calculators.tuning import ANSWER_SHARES
from pertoken.performance.steady import OUTPUT_CV2, Load


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens per request.

    Attributes:
        mean: above 0.
        spread: squared coefficient of variation, above 0.
    """

    mean: float
    spread: float

    def quantile(self, share: float) -> float:
        """Length that this share of requests does not exceed."""
        return float(gammaincinv(1.0 / self.spread, share)) * self.mean * self.spread

    def above(self, limit: float) -> float:
        """Share of requests that are longer."""
        return float(gammaincc(1.0 / self.spread, self._scaled(limit)))

    def mean_within(self, limit: float) -> float:
        """Mean where longer ones are cut at the limit."""
        shape = 1.0 / self.spread
        return self.mean * float(gammainc(shape + 1.0, self._scaled(limit))) + limit * self.above(limit)

    def mean_below(self, limit: float) -> float:
        """Mean of those that are not longer."""
        shape, at = 1.0 / self.spread, self._scaled(limit)
        share = float(gammainc(shape, at))
        return self.mean * float(gammainc(shape + 1.0, at)) / share if share > 0 else 0.0

    def square_within(self, limit: float) -> float:
        """Mean square where longer ones are cut at the limit."""
        shape = 1.0 / self.spread
        whole = self.mean * self.mean * (1.0 + self.spread)
        return whole * float(gammainc(shape + 2.0, self._scaled(limit))) + limit * limit * self.above(limit)

    def _scaled(self, limit: float) -> float:
        return limit / (self.mean * self.spread)


def answer_lengths(load: Load) -> Lengths:
    """Of answers: with the spread by which the model takes them."""
    return Lengths(load.output_tokens, OUTPUT_CV2)


def long_answer(load: Load) -> float:
    """Tokens of an answer at the highest percentile that is priced (`ANSWER_SHARES`)."""
    return answer_lengths(load).quantile(max(ANSWER_SHARES))


def prompt_lengths(load: Load) -> Lengths:
    """Of prompts."""
    return Lengths(max(load.input_tokens, 1.0), load.prompt_spread)


def longest(load: Load, refused: float) -> float:
    """Tokens of a request that only this share of requests exceeds: prompts vary, answers are at their 95th percentile.

    Args:
        load: the mean request.
        refused: share of requests.
    """
    return prompt_lengths(load).quantile(1.0 - refused) + long_answer(load)


def cut_answers(load: Load, limit: float) -> Load:
    """Requests whose answers end at the limit."""
    answers = answer_lengths(load)
    mean = answers.mean_within(limit)
    context = load.context
    if context is None:
        context = load.input_tokens + answers.square_within(limit) / (2.0 * mean)
    return replace(load, output_tokens=mean, context=context)


def refused_prompts(load: Load, limit: float) -> Load:
    """Requests without those whose prompt and 95th-percentile answer together exceed the limit."""
    room = limit - long_answer(load)
    return replace(load, input_tokens=min(load.input_tokens, prompt_lengths(load).mean_below(room)))
