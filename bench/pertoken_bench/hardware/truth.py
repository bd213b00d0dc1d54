"""How the simulated hardware deviates from its tables: factors, per-replica speed, autocorrelated noise, slow start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

EAGER_FACTOR: Final = 1.18
"""Assumed slowdown of a decode step above the largest CUDA graph: kernel launches no longer hide behind the GPU."""


@dataclass(frozen=True, slots=True)
class Truth:
    """How replicas deviate from the tables.

    Attributes:
        decode, prefill: factors on the tables' times.
        spread: half-width of the uniform speed factor of each replica.
        noise: standard deviation of the log step time, correlated over about 20 s and clipped at two deviations.
        slow_start: extra step time of a replica that has just become Ready, fading linearly over `slow_start_seconds`.
    """

    decode: float = 1.0
    prefill: float = 1.0
    spread: float = 0.04
    noise: float = 0.03
    slow_start: float = 0.15
    slow_start_seconds: float = 10.0
