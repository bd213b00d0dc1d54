"""Money, tokens, rates and time: exact decimals at the edges, floats inside the model.

Money is kept in `decimal.Decimal` from the manifest to the bill; the performance model works in SI floats
(seconds, tokens, bytes). `usd_per_million` is the one place where the two meet.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

MAX_AMOUNT_CHARACTERS: Final = 24
SECONDS_PER_HOUR: Final = 3600
SECONDS_PER_MINUTE: Final = 60
HOURS_PER_DAY: Final = 24
DAYS_PER_MONTH: Final = 30  # by which growth compounds
DAYS_PER_YEAR: Final = 365
MICROSECONDS: Final = 1_000_000  # in a second
MILLISECONDS: Final = 1000  # in a second
TOKENS_PER_MILLION: Final = 1_000_000
PER_CENT: Final = 100.0
THOUSAND: Final = 1000
GIB: Final = 1024**3
TINY: Final = 1e-9  # what rounding of floats leaves: less is none
HALVINGS: Final = 30  # of a bisection: to a billionth of its bracket
NEWTON_STEPS: Final = 8  # at most, of a search by Newton's method
NEWTON_NEAR: Final = 2e-5  # of the value: after such a step the next one would be of its square
NEIGHBOURS: Final = 2e-9  # of the value: between the two, a bisection goes on
PLACES: Final = 3  # decimal places of counts that are saved
FAULT_CHARACTERS: Final = 500  # of an error's text that are shown


class AmountError(ValueError):
    """A text that should be a non-negative decimal amount is not one."""


def parse_amount(text: str) -> Decimal:
    """Read a non-negative decimal amount such as ``"0.80"``.

    Raises:
        AmountError: the text is longer than 24 characters, no plain decimal number, negative, or not finite.
    """
    if len(text) > MAX_AMOUNT_CHARACTERS:
        raise AmountError(f"{text!r} is longer than {MAX_AMOUNT_CHARACTERS} characters")
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise AmountError(f"{text!r} is not a decimal number like 0.80") from None
    if not amount.is_finite():
        raise AmountError(f"{text!r} is not a finite number")
    if amount < 0:
        raise AmountError(f"{text!r} is negative")
    return amount


def usd_per_million(usd: Decimal | float, tokens: float) -> float | None:
    """USD per 1,000,000 tokens; None when there are no tokens to divide by."""
    if tokens <= 0:
        return None
    return float(usd) / tokens * TOKENS_PER_MILLION


def fault_words(error: Exception) -> str:
    """An unexpected error in one line, cut to `FAULT_CHARACTERS`."""
    return f"{type(error).__name__}: {error}"[:FAULT_CHARACTERS]
