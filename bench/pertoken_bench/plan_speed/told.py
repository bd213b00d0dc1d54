"""What the engines of the large cluster tell: operating points with noise, so that no figure repeats."""

from __future__ import annotations

import math
import random
from typing import Final

from pertoken.adapters.prometheus.engines import VLLM
from pertoken.domain.identity import PodKey
from pertoken.domain.metrics import PodMetrics
from pertoken.domain.signal import Counter, Histogram, LatencyKind, Signal
from pertoken.performance.steady import Load, OperatingPoint

CYCLE: Final = 15.0
WINDOW: Final = 60.0
EDGES: Final = {
    LatencyKind.TTFT: (
        *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.0, 2.5, 5.0, 7.5, 10.0),
        *(20.0, 40.0, 80.0, 160.0, math.inf),
    ),
    LatencyKind.TIME_PER_OUTPUT_TOKEN: (
        *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
        *(20.0, 40.0, 80.0, math.inf),
    ),
}
TOTALS: Final = (
    Counter.FINISHED_REQUESTS,
    Counter.FINISHED_INPUT_TOKENS,
    Counter.FINISHED_OUTPUT_TOKENS,
    Counter.CACHED_INPUT_TOKENS,
)


class Noise:
    """Seeded random factors of the simulated engines."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)  # noqa: S311 - traffic, no secrets

    def near(self, deviation: float = 0.05) -> float:
        """A factor near 1."""
        return math.exp(self.draw.gauss(0.0, deviation))

    def moved(self, level: float) -> float:
        """The next value of a series whose logarithm is autoregressive around 0."""
        return math.exp(0.95 * math.log(level) + self.draw.gauss(0.0, 0.06))


class Engines:
    """What pods tell, and what they have counted so far."""

    def __init__(self, noise: Noise) -> None:
        self._noise = noise
        self._totals: dict[PodKey, list[float]] = {}

    def tell(self, key: PodKey, load: Load, point: OperatingPoint, level: float) -> PodMetrics:
        """One pod's metrics in this cycle.

        Args:
            key: of the pod.
            load: the mean request.
            point: at the mean rate.
            level: of the service's demand, 1 for the mean.
        """
        factor = level * self._noise.near()
        rate, batch = point.rate * factor, point.batch * factor
        step = point.inter_token * (1.0 + 0.2 * (factor - 1.0)) * self._noise.near(0.02)
        ttft = point.ttft * self._noise.near()
        inputs, outputs = load.input_tokens * self._noise.near(), load.output_tokens * self._noise.near()
        totals = self._totals.setdefault(key, [0.0, 0.0, 0.0, 0.0])
        done = rate * CYCLE
        for place, more in enumerate((done, done * inputs, done * outputs, 0.1 * done * inputs)):
            totals[place] += more
        capacity = 400_000.0
        values = {
            Signal.RUNNING: float(round(batch)),
            Signal.WAITING: 0.0,
            Signal.DECODING_SEQUENCES: batch,
            Signal.STEP_SECONDS: step,
            Signal.STEPS_PER_SECOND: min(1.0, batch) / step,
            Signal.PROMPT_TOKENS_PER_SECOND: rate * inputs,
            Signal.CACHED_PROMPT_TOKENS_PER_SECOND: 0.1 * rate * inputs,
            Signal.GENERATION_TOKENS_PER_SECOND: rate * outputs,
            Signal.FINISHED_PER_SECOND: rate,
            Signal.FINISHED_INPUT_TOKENS_PER_SECOND: rate * inputs,
            Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND: rate * outputs,
            Signal.PREEMPTIONS_PER_SECOND: 0.0,
            Signal.KV_CAPACITY_TOKENS: capacity,
            Signal.KV_USAGE: min(1.0, batch * load.resident / capacity),
            Signal.GPU_UTILIZATION: min(1.0, batch / 4),
            Signal.TTFT_MEAN_SECONDS: ttft,
        }
        counters = dict(zip(TOTALS, totals, strict=True))
        histograms = {
            LatencyKind.TTFT: _spread(LatencyKind.TTFT, ttft, rate, 0.5),
            LatencyKind.TIME_PER_OUTPUT_TOKEN: _spread(LatencyKind.TIME_PER_OUTPUT_TOKEN, step, rate, 0.2),
        }
        return PodMetrics(key, 5.0, values, counters, histograms, VLLM.name)


def _spread(kind: LatencyKind, mean: float, rate: float, sigma: float) -> Histogram:
    """A log-normal distribution around a mean."""
    edges, reach = EDGES[kind], sigma * math.sqrt(2)
    below = (1.0 if math.isinf(e) else 0.5 * (1.0 + math.erf(math.log(e / mean) / reach)) for e in edges)
    return Histogram(edges, tuple(rate * share for share in below))
