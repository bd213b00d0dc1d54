"""The emulated GPU's step time: tables, graph padding, deviation from any catalog, noise.

This is the truth that a planner must discover. It is of another class than a roofline on purpose.
"""

import math
import random
from bisect import bisect_left
from dataclasses import dataclass

from pertoken_sandbox.fleet.profiles import Profile

_MAX_GRAPH = 512
_EAGER_FACTOR = 1.18
"""Assumed slowdown of a decode step without a CUDA graph: kernel launches no longer hide behind the GPU's work."""


def graph_sizes(max_num_seqs: int) -> tuple[int, ...]:
    """Batch sizes for which vLLM captures a CUDA graph: 1, 2, 4, 8..248 by 8, 256.. by 16 to min(2 x cap, 512)."""
    largest = min(2 * max_num_seqs, _MAX_GRAPH)
    sizes = (1, 2, 4, *range(8, 256, 8), *range(256, _MAX_GRAPH + 1, 16))
    return tuple(s for s in sizes if s <= largest)


@dataclass(frozen=True)
class TruthConfig:
    """How the emulated hardware differs from the tables.

    ``decode`` and ``prefill`` multiply the tables' times; ``spread`` is the half-width of the uniform per-replica speed
    factor; ``noise`` the standard deviation of the log step time, correlated by ``noise_memory`` from step to step; for
    the first ``slow_start_seconds`` steps take up to ``slow_start`` longer (linearly fading).
    """

    decode: float = 1.0
    prefill: float = 1.0
    spread: float = 0.04
    noise: float = 0.03
    noise_memory: float = 0.97
    slow_start: float = 0.15
    slow_start_seconds: float = 10.0


class StepClock:
    """Durations of one replica's steps; seeded, so that the same replica name gives the same run."""

    def __init__(self, profile: Profile, config: TruthConfig, name: str, *, slow_factor: float = 1.0) -> None:
        self._profile = profile
        self._config = config
        self._random = random.Random(f"{name}/{profile.model}/{profile.gpu.name}")
        self.speed = slow_factor * (1 + self._random.uniform(-config.spread, config.spread))
        self._noise = self._random.gauss(0.0, config.noise)
        self._shock = config.noise * math.sqrt(1 - config.noise_memory**2)
        self._padded: list[int] = []
        self._eager_above = 0
        self._started = 0.0

    def configure(self, max_num_seqs: int, started: float, *, enforce_eager: bool = False) -> None:
        """Set the captured graph sizes and the instant (s) at which the replica began to serve."""
        sizes = graph_sizes(max_num_seqs)
        self._eager_above = 0 if enforce_eager else sizes[-1]
        self._padded = [sizes[min(bisect_left(sizes, b), len(sizes) - 1)] for b in range(sizes[-1] + 1)]
        self._started = started

    def decode_ms(self, batch: int, context_tokens: int) -> float:
        """Noise-free ms of a pure decode step of ``batch`` sequences holding ``context_tokens`` in all."""
        if batch == 0:
            return 0.0
        if batch <= self._eager_above:
            padded = self._padded[batch]
            return self._profile.decode.at(padded, context_tokens / padded) * self._config.decode
        return self._profile.decode.at(batch, context_tokens / batch) * self._config.decode * _EAGER_FACTOR

    def prefill_ms(self, chunk: int, past: float) -> float:
        """Noise-free ms of a step that computes ``chunk`` prompt tokens behind ``past`` cached ones."""
        return self._profile.prefill.at(chunk, past) * self._config.prefill

    def seconds(self, batch: int, context_tokens: int, chunks: list[tuple[int, int]], now: float) -> float:
        """Duration in s of a step with ``batch`` decodes and the prompt ``chunks`` (tokens, past), begun at ``now``.

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
        config = self._config
        self._noise = config.noise_memory * self._noise + self._random.gauss(0.0, self._shock)
        factor = self.speed * math.exp(self._noise)
        age = now - self._started
        if age < config.slow_start_seconds:
            factor *= 1 + config.slow_start * (1 - max(age, 0.0) / config.slow_start_seconds)
        return ms * factor / 1000.0
