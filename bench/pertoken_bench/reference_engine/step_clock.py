"""The reference engine's step time: tables, graph padding, deviation from them, noise."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from typing import Final, Protocol

from pertoken.catalog.engines import GRAPH_SIZES, largest_graph
from pertoken_bench.hardware.step_times import StepTimes
from pertoken_bench.hardware.truth import EAGER_FACTOR, Truth

NOISE_MEMORY: Final = 0.97  # correlation of the log step time from one step to the next


class Durations(Protocol):
    """How long steps take."""

    def seconds(self, batch: int, context_tokens: int, chunks: list[tuple[int, int]], now: float) -> float:
        """Duration in s of a step with `batch` decodes and the prompt `chunks` (tokens, past), begun at `now`."""


class StepClock:
    """Durations of one replica's steps; seeded, so that the same replica name gives the same run."""

    def __init__(self, times: StepTimes, truth: Truth, name: str, *, slow_factor: float = 1.0) -> None:
        self._times = times
        self._truth = truth
        self._random = random.Random(f"{name}/{times.model}/{times.gpu}")  # noqa: S311 - noise of an emulation
        self.speed = slow_factor * (1 + self._random.uniform(-truth.spread, truth.spread))
        self._noise = self._random.gauss(0.0, truth.noise)
        self._shock = truth.noise * math.sqrt(1 - NOISE_MEMORY**2)
        self._padded: list[int] = []
        self._eager_above = 0
        self._started = 0.0

    def configure(self, max_num_seqs: int, started: float, *, enforce_eager: bool = False) -> None:
        """Set the captured graph sizes and the instant (s) at which the replica began to serve."""
        largest = largest_graph(max_num_seqs)
        self._eager_above = 0 if enforce_eager else largest
        self._padded = [GRAPH_SIZES[bisect_left(GRAPH_SIZES, batch)] for batch in range(largest + 1)]
        self._started = started

    def decode_ms(self, batch: int, context_tokens: int) -> float:
        """Noise-free ms of a pure decode step of ``batch`` sequences holding ``context_tokens`` in all."""
        if batch == 0:
            return 0.0
        if batch <= self._eager_above:
            padded = self._padded[batch]
            return self._times.decode.at(padded, context_tokens / padded) * self._truth.decode
        return self._times.decode.at(batch, context_tokens / batch) * self._truth.decode * EAGER_FACTOR

    def prefill_ms(self, chunk: int, past: float) -> float:
        """Noise-free ms of a step that computes ``chunk`` prompt tokens behind ``past`` cached ones."""
        return self._times.prefill.at(chunk, past) * self._truth.prefill

    def seconds(self, batch: int, context_tokens: int, chunks: list[tuple[int, int]], now: float) -> float:
        """Duration in s of a step with ``batch`` decodes and the prompt ``chunks`` (tokens, past), begun at ``now``."""
        truth = self._truth
        self._noise = NOISE_MEMORY * self._noise + self._random.gauss(0.0, self._shock)
        factor = self.speed * math.exp(self._noise)
        age = now - self._started
        if age < truth.slow_start_seconds:
            factor *= 1 + truth.slow_start * (1 - max(age, 0.0) / truth.slow_start_seconds)
        return self.step_ms(batch, context_tokens, chunks) * factor / 1000.0

    def step_ms(self, batch: int, context_tokens: int, chunks: list[tuple[int, int]]) -> float:
        """Noise-free ms of a step.

        In a mixed step decoded tokens go through the same matrix products as the prompts' tokens, and read their own
        contexts besides.
        """
        ms = self.decode_ms(batch, context_tokens)
        if chunks:
            total, attended = batch, 0
            for tokens, past in chunks:
                total += tokens
                attended += tokens * (tokens + 2 * past)
            # Attention is linear in tokens x past: several prompts (and decodes, which have none of a prompt's) equal
            # one chunk behind this (maybe negative) past.
            alone = self.decode_ms(batch, 0)
            ms = max(0.0, ms - alone) + max(alone, self.prefill_ms(total, (attended - total * total) / (2 * total)))
        return ms
