"""What a service's history says it was asked for: tokens per second by the hour, and the mean request."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.history.value import ServiceHistory
from pertoken.capacity.tuning import DEMAND
from pertoken.performance.steady import Load
from pertoken.units import HOURS_PER_DAY, SECONDS_PER_HOUR, TINY

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shape:
    """Tokens of a request where the history does not tell them."""

    input_tokens: float = DEMAND.input_tokens
    output_tokens: float = DEMAND.output_tokens


USUAL_SHAPE = Shape()


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """One service's past as the forecast takes it.

    Attributes:
        tokens: input and output tokens per second by the hour, NaN for gaps.
        load: the mean request of the last weeks.
        peaks: busiest minutes of each hour over its mean; NaN where not known.
        assumed: what was taken from the given shape: ``input_tokens``, ``output_tokens``, ``requests``.
    """

    tokens: Floats
    load: Load
    peaks: Floats
    assumed: tuple[str, ...] = ()

    @property
    def per_request(self) -> float:
        """Tokens of the mean request."""
        return self.load.input_tokens + self.load.output_tokens

    @property
    def usual_peak(self) -> float:
        """Where an hour does not tell its own."""
        known = self.peaks[np.isfinite(self.peaks)]
        return float(np.median(known)) if len(known) else DEMAND.usual_peak


def demand_of(history: ServiceHistory, shape: Shape) -> Demand:
    """Put together what the history tells and what has to be assumed."""
    recent = DEMAND.request_days * HOURS_PER_DAY
    requests, inputs, outputs = history.requests, history.input_tokens, history.output_tokens
    assumed = []
    if not np.isfinite(requests).any():
        told = (inputs, shape.input_tokens) if np.isfinite(inputs).any() else (outputs, shape.output_tokens)
        requests = told[0] / max(told[1], TINY)
        assumed.append("requests")
    means = []
    for name, tokens, given in (
        ("input_tokens", inputs, shape.input_tokens),
        ("output_tokens", outputs, shape.output_tokens),
    ):
        mean = _mean(tokens[-recent:], requests[-recent:])
        if mean is None:
            mean = _mean(tokens, requests)
        if mean is None:
            assumed.append(name)
        means.append(given if mean is None else mean)
    load = Load(means[0], max(means[1], 1.0))
    in_tokens = np.where(np.isfinite(inputs), inputs, requests * means[0])
    out_tokens = np.where(np.isfinite(outputs), outputs, requests * means[1])
    return Demand((in_tokens + out_tokens) / SECONDS_PER_HOUR, load, history.peak, tuple(assumed))


def _mean(tokens: Floats, requests: Floats) -> float | None:
    """Tokens per request over the hours that tell both; None for none."""
    both = np.isfinite(tokens) & np.isfinite(requests)
    total = float(requests[both].sum())
    return float(tokens[both].sum()) / total if total > TINY else None
