"""Where the ticks of a chart stand and what they say."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Final

from pertoken.capacity.report.times import SECONDS_PER_DAY, date_of
from pertoken.units import SECONDS_PER_HOUR, TINY

MOST_TIMES: Final = 8  # labels of a time axis; every second one where the page is narrow
STEPS: Final = (1.0, 2.0, 5.0, 10.0)
DAYS: Final = (1, 2, 7, 14, 28, 56, 112)
HOURS: Final = (1, 2, 6, 12)
PARTS: Final = 4  # of a value axis
MILLION: Final = 1e6


@dataclass(frozen=True, slots=True)
class Tick:
    """A label and its place, from 0 at the axis's begin to 1 at its end."""

    place: float
    text: str


@dataclass(frozen=True, slots=True)
class ValueAxis:
    """From 0 to `top` in equal steps."""

    top: float
    step: float

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """From 0 on."""
        count = round(self.top / self.step)
        return tuple(Tick(index / count, _value(index * self.step)) for index in range(count + 1))


def value_axis(most: float, *, whole: bool) -> ValueAxis:
    """An axis that holds `most`, with round steps; whole ones for what is counted."""
    rough = (most if most > TINY else 1.0) / PARTS
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in STEPS if factor * power >= rough * (1.0 - 1e-9))
    step = max(1.0, step) if whole else step
    return ValueAxis(step * max(1, ceil(most / step - 1e-9)), step)


def time_ticks(begin_s: int, end_s: int) -> tuple[Tick, ...]:
    """Midnights, or hours where there are less than two days."""
    length = end_s - begin_s
    days = length / SECONDS_PER_DAY
    if days < 2:
        step = next((h for h in HOURS if length / (h * SECONDS_PER_HOUR) <= MOST_TIMES), HOURS[-1]) * SECONDS_PER_HOUR
    else:
        step = next((d for d in DAYS if days / d <= MOST_TIMES), DAYS[-1]) * SECONDS_PER_DAY
    first = -(-begin_s // min(step, SECONDS_PER_DAY)) * min(step, SECONDS_PER_DAY)
    return tuple(Tick((second - begin_s) / length, _time(second, step)) for second in range(first, end_s, step))


def _time(seconds: int, step: int) -> str:
    date = date_of(seconds)
    return date.day_text if step >= SECONDS_PER_DAY or date.hour == 0 else date.hour_text


def _value(value: float) -> str:
    if value >= MILLION:
        return f"{value / MILLION:g}M"
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"
