"""A statement: every line of a bill, and prices of input, cached input and output that add up to it.

    bill = input + cached input + output + idle + warming + unallocated

Work is charged to the tokens in proportion to their GPU time (`attribution`). What did no work is shown in lines of its
own; fully loaded prices spread those lines over the tokens as well. Without any token everything is a line.
"""

from __future__ import annotations

from decimal import Context, Decimal
from math import inf
from typing import Final

from pertoken.accounting.attribution import EQUAL, Weights
from pertoken.accounting.bill import EXACT, Bill, total_bill
from pertoken.accounting.cost_index import Tokens
from pertoken.accounting.window import WindowSums
from pertoken.frozen import dataclass, derived
from pertoken.units import TOKENS_PER_MILLION

ROUNDING_USD: Final = Decimal("0.0005")  # at most, per price, of a whole statement
_LEAST_PLACES: Final = 6
_PRICE: Final = Context(prec=60)


@dataclass(frozen=True, slots=True)
class Prices:
    """USD per million tokens; None where no such token was charged."""

    input: Decimal | None = None
    cached_input: Decimal | None = None
    output: Decimal | None = None

    def usd(self, tokens: Tokens) -> Decimal:
        """What these tokens come to."""
        new, cached, output = whole_tokens(tokens)
        total = Decimal(0)
        for price, count in ((self.input, new), (self.cached_input, cached), (self.output, output)):
            if price is not None:
                total = EXACT.add(total, EXACT.multiply(price, count))
        return EXACT.divide(total, Decimal(TOKENS_PER_MILLION))


_NOTHING: Final = Bill()


@dataclass(frozen=True, slots=True)
class GpuTime:
    """A bill by what the GPUs did.

    Attributes:
        work: engines computed.
        idle: pods served and engines stood still.
        warming: bound to a node, not serving yet.
        unallocated: charged and held by nobody: rest of a whole node, unused commitment.
    """

    work: Bill = _NOTHING
    idle: Bill = _NOTHING
    warming: Bill = _NOTHING
    unallocated: Bill = _NOTHING

    @property
    def total(self) -> Bill:
        """All of it."""
        return total_bill((self.work, self.idle, self.warming, self.unallocated))


@dataclass(frozen=True)
class Statement:
    """The lines; they add up to `bill` exactly."""

    tokens: Tokens
    input: Bill
    cached_input: Bill
    output: Bill
    idle: Bill
    warming: Bill
    unallocated: Bill

    @derived
    def bill(self) -> Bill:
        """All lines together."""
        return total_bill((self.input, self.cached_input, self.output, self.idle, self.warming, self.unallocated))

    @derived
    def overhead(self) -> Bill:
        """The lines of which tokens are no part."""
        return total_bill((self.idle, self.warming, self.unallocated))

    @derived
    def work(self) -> Bill:
        """The lines that are charged to tokens."""
        return total_bill((self.input, self.cached_input, self.output))

    @property
    def prices(self) -> Prices | None:
        """Of the work alone: price x tokens + overhead = bill, within 3 x `ROUNDING_USD`; None without a GPU price."""
        return self._prices((self.input, self.cached_input, self.output))

    @property
    def loaded_prices(self) -> Prices | None:
        """Fully loaded: price x tokens = bill, except that without tokens or work the overhead stays a line."""
        parts = (self.input, self.cached_input, self.output)
        nothing = (Bill(),) * len(parts)
        extra = self.overhead.split([part.usd_microhours for part in parts]) if self._charged else nothing
        return self._prices(tuple(part + more for part, more in zip(parts, extra, strict=True)))

    @property
    def unloaded(self) -> Decimal:
        """USD that `loaded_prices` leave out: all of the overhead when there is no work to load it on, else 0."""
        return Decimal(0) if self._charged else self.overhead.usd

    @property
    def _charged(self) -> bool:
        return self.work.usd_microhours > 0

    def _prices(self, parts: tuple[Bill, ...]) -> Prices | None:
        if not self.bill.priced:
            return None
        prices = [_price(part.usd, count) for part, count in zip(parts, whole_tokens(self.tokens), strict=True)]
        return Prices(*prices)


def statement(time: GpuTime, tokens: Tokens, weights: Weights) -> Statement:
    """Charge the work of a window to its tokens.

    Args:
        time: the bill by what the GPUs did.
        tokens: finished in the window.
        weights: GPU-seconds per token, see `attribution`. Where none of the tokens that were finished has a weight,
            all kinds weigh alike.

    Raises:
        ValueError: a token count or weight is negative or not finite.
    """
    counts = whole_tokens(tokens)
    charges = _charges(weights, counts)
    if not any(charges):
        charges = _charges(EQUAL, counts)
    if not any(charges):
        return Statement(tokens, Bill(), Bill(), Bill(), time.work + time.idle, time.warming, time.unallocated)
    # The last part of a split takes the remainder, so it must be one that has tokens.
    order = sorted(range(len(charges)), key=lambda kind: charges[kind] > 0)
    parts = dict(zip(order, time.work.split([charges[kind] for kind in order]), strict=True))
    return Statement(tokens, parts[0], parts[1], parts[2], time.idle, time.warming, time.unallocated)


def whole_tokens(tokens: Tokens) -> tuple[Decimal, Decimal, Decimal]:
    """Computed input, cached input and output tokens, whole ones (engines count whole tokens).

    Raises:
        ValueError: a count is negative or not finite.
    """
    values = (tokens.input, tokens.cached, tokens.output)
    if any(not 0 <= value < inf for value in values):
        raise ValueError(f"tokens {values!r}: expected finite counts, none negative")
    whole, cached = round(tokens.input), round(min(tokens.cached, tokens.input))
    return Decimal(whole - cached), Decimal(cached), Decimal(round(tokens.output))


def _charges(weights: Weights, counts: tuple[Decimal, Decimal, Decimal]) -> tuple[Decimal, ...]:
    per_token = (weights.input, weights.cached_input, weights.output)
    return tuple(EXACT.multiply(Decimal(w), count) for w, count in zip(per_token, counts, strict=True))


def _price(usd: Decimal, count: Decimal) -> Decimal | None:
    """USD per million, with as many places as the window's tokens need to stay within `ROUNDING_USD`."""
    if count <= 0:
        return None
    exact = _PRICE.divide(_PRICE.multiply(usd, Decimal(TOKENS_PER_MILLION)), count)
    # Half a unit of the last place times the tokens in millions may come to ROUNDING_USD.
    needed = _PRICE.divide(count, Decimal(2 * TOKENS_PER_MILLION) * ROUNDING_USD)
    places = max(_LEAST_PLACES, needed.adjusted() + 1)
    return exact.quantize(Decimal(1).scaleb(-places), context=_PRICE)


def window_statement(sums: WindowSums) -> Statement | None:
    """An account's window as a statement that adds up to its bill; None without prices.

    The lines are kept in money alone, so their GPU time is all in the line of the work.
    """
    if not sums.bill.priced:
        return None
    whole, charged, tokens = sums.bill, sums.charged, sums.tokens
    left, lines = whole.usd_microhours, []
    for value in (sums.lines.unallocated, sums.lines.warming, sums.lines.idle):
        # Lines are rounded: together they may exceed a bill without work by a few units.
        amount = min(Decimal(value), left)
        left -= amount
        lines.append(Bill(0, amount))
    time = GpuTime(Bill(whole.gpu_microseconds, left), idle=lines[2], warming=lines[1], unallocated=lines[0])
    new = max(0.0, tokens.input - tokens.cached)
    per_token = Weights(
        charged.input / new if new > 0 else 0.0,
        charged.cached_input / tokens.cached if tokens.cached > 0 else 0.0,
        charged.output / tokens.output if tokens.output > 0 else 0.0,
    )
    return statement(time, tokens, per_token)
