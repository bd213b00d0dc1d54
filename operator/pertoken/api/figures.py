"""Numbers as the status shows them: decimal text, rounded the same way every time."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

SIGNIFICANT_CHANGE: Final = 0.05  # numbers are rewritten when they moved by at least this share
MONEY_DIGITS: Final = 3


def fixed(value: float | None, places: int) -> str | None:
    """Plain decimal text with fixed places; None for missing and for what is no number."""
    if value is None or not math.isfinite(value):
        return None
    text = str(Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN))
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text


def money(value: float | None) -> str | None:
    """USD: three significant digits, at least two and at most six places (``0.412``, ``12.30``, ``0.000125``)."""
    if value is None or not math.isfinite(value):
        return None
    if value == 0:
        return "0.00"
    magnitude = math.floor(math.log10(abs(value)))
    return fixed(value, min(6, max(2, MONEY_DIGITS - 1 - magnitude)))


def percent(share: float | None) -> str | None:
    """A share in [0, 1] as whole percent, without the sign."""
    return None if share is None else fixed(share * 100, 0)


def milliseconds(seconds: float | None) -> int | None:
    """Whole milliseconds."""
    return None if seconds is None or not math.isfinite(seconds) else round(seconds * 1000)


def moved(before: str | float, after: str | float) -> bool:
    """Whether a number changed by 5 % or more of its earlier value. Texts that are no numbers: whether they differ."""
    try:
        old, new = float(before), float(after)
    except ValueError:
        return before != after
    if old == 0 or new == 0:
        return old != new
    # Rounded texts: 5 % of 1.00 is 0.05 only up to binary rounding.
    return abs(new - old) / abs(old) >= SIGNIFICANT_CHANGE - 1e-9
