"""What a service's status tells of its load and of its engines, and what options say instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from pertoken.calculators.fleet import Requests
from pertoken.calculators.lengths import answer_lengths
from pertoken.calculators.tuning import ANSWER_SHARES
from pertoken.performance.steady import Load
from pertoken.performance.step_time import Gains
from pertoken.units import MILLISECONDS

Json = Mapping[str, Any]
MOST: Final = 1e9
GAINS: Final = (0.1, 10.0)
USUAL: Final = (1000.0, 200.0)  # input and output tokens, as the other commands take them


@dataclass(frozen=True, slots=True)
class Observed:
    """What options say of requests, before any status: None where they say nothing."""

    rate: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    cached: float = 0.0
    peak_factor: float = 1.0
    answers: tuple[float | None, float | None] = (None, None)

    def requests(self, input_tokens: float, output_tokens: float) -> Requests:
        """Of these mean lengths, where options give none."""
        told = (input_tokens if self.input_tokens is None else self.input_tokens,)
        load = Load(*told, output_tokens if self.output_tokens is None else self.output_tokens, self.cached)
        lengths = answer_lengths(load)
        derived = (lengths.quantile(share) for share in ANSWER_SHARES)
        short, long = (own or usual for own, usual in zip(self.answers, derived, strict=True))
        return Requests(load, (short, long))

    def mistakes(self) -> list[str]:
        """What cannot be, one line each."""
        checks = (
            ("--rate", self.rate, 1e-6, 1e6, "requests per second above 0"),
            ("--input-tokens", self.input_tokens, 0.0, 1e7, "0 to 10,000,000 tokens"),
            ("--output-tokens", self.output_tokens, 1.0, 1e6, "1 to 1,000,000 tokens"),
            ("--cached", self.cached, 0.0, 1.0, "a share from 0 to 1"),
            ("--peak-to-mean", self.peak_factor, 1.0, 1000.0, "1 to 1000"),
            ("--answer-p50", self.answers[0], 1.0, 1e6, "1 to 1,000,000 tokens"),
            ("--answer-p95", self.answers[1], 1.0, 1e6, "1 to 1,000,000 tokens"),
        )
        return [
            f"{option}: {value:g}: expected {words}"
            for option, value, low, high, words in checks
            if value is not None and not (isfinite(value) and low <= value <= high)
        ]


@dataclass(frozen=True, slots=True)
class Numbers:
    """Reads figures of one place; what is no figure becomes a line of the mistakes."""

    place: str
    mistakes: list[str]

    def of(self, path: str) -> Numbers:
        """A place within it."""
        return Numbers(f"{self.place}.{path}", self.mistakes)

    def wrong(self, key: str, value: object, expected: str) -> None:
        """One line."""
        shown = "missing" if value is None else repr(value)
        self.mistakes.append(f"{self.place}.{key}: {shown}: expected {expected}")

    def number(self, figures: Json, key: str, expected: str, missing: float | None = None) -> float | None:
        """A figure from 0 to a billion; the default where there is none."""
        value: Any = figures.get(key, missing)
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = -1.0
        if 0.0 <= number <= MOST:
            return number
        self.wrong(key, value, expected)
        return None

    def gain(self, figures: Json, key: str) -> float | None:
        """A learnt factor; 1 where nothing was learnt."""
        gain = self.number(figures, key, "a factor", missing=1.0)
        if gain is not None and not GAINS[0] <= gain <= GAINS[1]:
            self.wrong(key, figures.get(key), f"a factor from {GAINS[0]:g} to {GAINS[1]:g}")
            return None
        return gain


def observed_demand(now: Json, observed: Observed, told: Numbers) -> tuple[float | None, Requests]:
    """Requests per second and the mean request; no rate where it is not known, which is told.

    Args:
        now: `status.demand.now`.
        observed: what options say instead.
        told: collects what is wrong.
    """
    where = told.of("demand.now")
    if observed.rate is not None and not now:
        return observed.rate, observed.requests(*USUAL)
    rate = where.number(now, "requestsPerSecond", "live status (kubectl get ptis,ptpool -o yaml), or --rate")
    inputs = where.number(now, "inputTokensPerSecond", "a number", missing=0.0)
    outputs = where.number(now, "outputTokensPerSecond", "a number", missing=0.0)
    if rate is None or inputs is None or outputs is None:
        return None, observed.requests(*USUAL)
    if rate <= 0 and observed.rate is None:
        where.wrong("requestsPerSecond", now.get("requestsPerSecond"), "traffic, or --rate")
        return None, observed.requests(*USUAL)
    lengths = (inputs / rate, max(1.0, outputs / rate)) if rate > 0 and outputs > 0 else USUAL
    return rate if observed.rate is None else observed.rate, observed.requests(*lengths)


def calibration(learnt: Json, told: Numbers) -> tuple[Gains, int]:
    """What the operator has learnt of a variant's engine, and from how many observations.

    Args:
        learnt: `status.variants[].calibration`.
        told: collects what is wrong.
    """
    decode, prefill = (told.gain(learnt, key) for key in ("decodeGain", "prefillGain"))
    offset = told.number(learnt, "ttftOffsetMilliseconds", "a number", missing=0.0)
    samples = told.number(learnt, "samples", "a number", missing=0.0)
    if decode is None or prefill is None or offset is None or samples is None:
        return Gains(), 0
    return Gains(decode, prefill, offset / MILLISECONDS), int(samples)


def mapping(value: object) -> Json:
    """It, or an empty one where it is none."""
    return value if isinstance(value, Mapping) else {}


def whole(value: object) -> int | None:
    """A count, or None where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
