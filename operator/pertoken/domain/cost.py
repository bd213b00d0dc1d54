"""What a service costs over its cost window, and what is left of its two budgets: money, and requests that may miss.

Accounting computes these values before the plan, from the same world. Stages of the plan read them as they read any
other state; reports show them.
"""

from __future__ import annotations

from typing import Final

from pertoken.domain.needs import Lack
from pertoken.domain.signal import Missing
from pertoken.frozen import dataclass
from pertoken.units import SECONDS_PER_HOUR


@dataclass(frozen=True, slots=True)
class AttributionFigures:
    """The bill by what it bought; the shares add up to 1.

    Attributes:
        input, cached_input, output: USD per million tokens of the work alone, by GPU time; None without such tokens.
        output_low, output_high: output price if decodes are said to come second, and first.
        work, idle, warming, unallocated: shares of the bill.
    """

    input: float | None = None
    cached_input: float | None = None
    output: float | None = None
    output_low: float | None = None
    output_high: float | None = None
    work: float = 0.0
    idle: float = 0.0
    warming: float = 0.0
    unallocated: float = 0.0


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """USD per million tokens of each kind."""

    input: float
    cached_input: float
    output: float


@dataclass(frozen=True, slots=True)
class CostFigures:
    """Money of one service over its cost window (or what of it has been seen).

    Attributes:
        index: bill / tokens at the price list; None without enough traffic or price.
        bill_usd: all GPU time of pods from bound to their end, in the window.
        window_seconds: part of the window that has been observed.
        finished_requests, input_tokens, cached_input_tokens, output_tokens: of finished requests in the window.
        blended: USD per million tokens, input and output counted alike.
        input, cached_input, output: prices that add up to the bill: the price list scaled by the index, without a list
            the attributed prices with idle and starting GPUs loaded on them.
        marginal: USD per million tokens of one more unit of load at the operating point.
        idle_share: share of billed GPU time that did no work, in [0, 1].
        per_thousand_requests: USD.
        reachable: lowest USD per million tokens (blended) that the model reaches within the objectives.
        reachable_index: the index at that price.
        spend_per_hour: USD per hour of the GPUs held now.
        attribution: the bill by what it bought, None without prices or traffic.
        good_low, good_high: least and most USD per million tokens of requests that kept the latency objectives.
        joules_per_token: of the GPUs whose power is measured, None if that is not all of them.
        one_more: prices of one more token now: `replica` times the share of the capacity that is in use.
        replica: prices of tokens that take a further replica, used to what it carries.
    """

    index: float | None = None
    bill_usd: float | None = None
    window_seconds: float = 0.0
    finished_requests: float = 0.0
    input_tokens: float = 0.0
    cached_input_tokens: float = 0.0
    output_tokens: float = 0.0
    blended: float | None = None
    input: float | None = None
    cached_input: float | None = None
    output: float | None = None
    marginal: float | None = None
    idle_share: float | None = None
    per_thousand_requests: float | None = None
    reachable: float | None = None
    reachable_index: float | None = None
    spend_per_hour: float | None = None
    attribution: AttributionFigures | None = None
    good_low: float | None = None
    good_high: float | None = None
    joules_per_token: float | None = None
    one_more: TokenPrices | None = None
    replica: TokenPrices | None = None


NO_FIGURES: Final = CostFigures()


@dataclass(frozen=True, slots=True)
class TokenWork:
    """GPU-seconds per token of each kind at an operating point: the proportions in which work is charged to tokens.

    Attributes:
        input, cached_input, output: Shapley values of prefill and decode (`pertoken.accounting.attribution`).
        output_low, output_high: output when decodes are said to come second, and first.
    """

    input: float
    cached_input: float
    output: float
    output_low: float
    output_high: float


@dataclass(frozen=True, slots=True)
class MoneyBudget:
    """Money of the cost window so far, USD.

    Attributes:
        value: of the finished tokens at the price list: what they may cost.
        spent: the bill.
        horizon_seconds: time in which what is left is to be spent, or what was overspent is to be made up for.
        leaving: value less bill of the part of the window that will have left it by then.
        latest: value of what finished in the latest part of the window, as long as the horizon.
        latest_seconds: of that part that have been observed.
    """

    value: float
    spent: float
    horizon_seconds: float = 0.0
    leaving: float = 0.0
    latest: float = 0.0
    latest_seconds: float = 0.0

    @property
    def earned_per_hour(self) -> float | None:
        """Mean value of the tokens that finished of late, USD per hour; None before half a horizon has been seen."""
        if self.latest_seconds < self.horizon_seconds / 2 or self.latest_seconds <= 0:
            return None
        return self.latest * SECONDS_PER_HOUR / self.latest_seconds

    @property
    def left(self) -> float:
        """What may still be spent before the window's tokens cost more than their list price; negative beyond that."""
        return self.value - self.spent

    def affordable(self, value_per_hour: float) -> float:
        """USD per hour that may be spent until the horizon so that the index of the window is 1 there; 0 at least.

        The window at the horizon holds what stays of the present one and what is to come. A part of the day that is
        dear per token is thus paid for by the others, as soon as one window has been seen: what it cost a window ago
        leaves as it comes again.

        Args:
            value_per_hour: of the tokens that are expected, USD per hour at the price list.
        """
        if self.horizon_seconds <= 0:
            return max(0.0, value_per_hour)
        stays = self.left - self.leaving
        return max(0.0, value_per_hour + stays * SECONDS_PER_HOUR / self.horizon_seconds)


@dataclass(frozen=True, slots=True)
class MissBudget:
    """Requests of the cost window so far against the latency objectives, estimated from latency histograms.

    Histograms bound the share within an objective, so counts come as least and most.

    Attributes:
        known: finished requests whose latencies were told.
        unknown: finished requests of which nobody told: they may be within the objectives or not.
        within_low, within_high: least and most of `known` that kept every objective.
        allowed_share: of requests that may miss, in [0, 1]: 1 - the objectives' percentile.
    """

    known: float
    unknown: float
    within_low: float
    within_high: float
    allowed_share: float

    @property
    def outside(self) -> tuple[float, float]:
        """Least and most of the known requests that missed an objective."""
        return self.known - self.within_high, self.known - self.within_low

    @property
    def share_within(self) -> tuple[float, float]:
        """Least and most of the share of the known requests that kept every objective."""
        return self.within_low / self.known, self.within_high / self.known

    @property
    def left(self) -> tuple[float, float]:
        """Least and most further misses that the known requests leave room for; negative where they are overspent."""
        allowed, (least, most) = self.allowed_share * self.known, self.outside
        return allowed - most, allowed - least


@dataclass(frozen=True, slots=True)
class CostState:
    """One service's account at the beginning of a plan.

    Attributes:
        figures: index, bill, tokens, prices and shares over the window so far; those that need the plan's models
            (`marginal`, `reachable`) are None.
        window_seconds: length of the cost window; `figures.window_seconds` of it have been observed.
        priced: all GPU time of the window has a price.
        money: what is left to spend.
        misses: what is left to miss.
        lacks: which serving pods do not tell their finished tokens; while there are any, no figure per token is given.
        fault: why the account could not be kept in this cycle, in Python's words; empty if it was.
    """

    figures: CostFigures
    window_seconds: float
    priced: bool
    money: MoneyBudget | Missing
    misses: MissBudget | Missing
    lacks: tuple[Lack, ...] = ()
    fault: str = ""


def no_account(why: str) -> CostState:
    """The state of a service whose account could not be kept: nothing is known."""
    unknown = Missing(why)
    return CostState(NO_FIGURES, 0.0, priced=False, money=unknown, misses=unknown, fault=why)
