"""An account over its cost window: the sums, and the two ends that money is steered by."""

from __future__ import annotations

from itertools import takewhile
from typing import Final

from pertoken.accounting.bill import Bill
from pertoken.accounting.cost_index import Tokens
from pertoken.accounting.energy import Energy
from pertoken.accounting.ledger import (
    NO_BILL,
    NO_ENERGY,
    NO_LINES,
    NO_TOKENS,
    NOT_ATTAINED,
    NOT_CHARGED,
    Attained,
    Charged,
    Lines,
    ServiceLedger,
    bill_of,
    bucket_seconds,
    tokens_of,
    totals,
)
from pertoken.accounting.tuning import TUNING
from pertoken.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Ends:
    """The two ends of a window.

    Attributes:
        seconds: length of each, the horizon of money.
        leaving_bill, leaving_tokens: of the oldest part, which will have left the window in that time.
        latest_tokens: of the newest part.
        latest_seconds: of it that have been observed.
    """

    seconds: float = 0.0
    leaving_bill: Bill = NO_BILL
    leaving_tokens: Tokens = NO_TOKENS
    latest_tokens: Tokens = NO_TOKENS
    latest_seconds: float = 0.0


NO_ENDS: Final = Ends()


@dataclass(frozen=True, slots=True)
class WindowSums:
    """An account summed over its window; `seconds` of it have been observed."""

    bill: Bill
    tokens: Tokens
    seconds: float
    judged_gpu_seconds: float
    busy_gpu_seconds: float
    lines: Lines = NO_LINES
    charged: Charged = NOT_CHARGED
    energy: Energy = NO_ENERGY
    attained: Attained = NOT_ATTAINED
    ends: Ends = NO_ENDS

    @property
    def idle_share(self) -> float | None:
        """Share of the billed GPU time that did no work; None where use is not measured."""
        if self.judged_gpu_seconds <= 0:
            return None
        return min(1.0, max(0.0, 1.0 - self.busy_gpu_seconds / self.judged_gpu_seconds))


def sums(ledger: ServiceLedger, now: float, window_seconds: float) -> WindowSums:
    """The account summed over the window that ends now."""
    before = ledger.before_last
    whole = totals(ledger.buckets) if before is None else before.with_bucket(ledger.buckets[-1])
    opened = now if ledger.opened_at is None else ledger.opened_at
    seconds = min(now - opened, window_seconds)
    return WindowSums(
        whole.bill,
        whole.tokens,
        seconds,
        whole.judged_gpu_seconds,
        whole.busy_gpu_seconds,
        whole.lines,
        whole.charged,
        whole.energy,
        whole.attained,
        ends(ledger, now, window_seconds),
    )


def ends(ledger: ServiceLedger, now: float, window_seconds: float) -> Ends:
    """What leaves the window that ends at `now` within the horizon of money (`TUNING`), and what came in that time."""
    seconds = min(max(TUNING.horizon_share * window_seconds, TUNING.least_horizon), window_seconds)
    edge = now + seconds - window_seconds - bucket_seconds(window_seconds)
    oldest = tuple(takewhile(lambda bucket: bucket.start <= edge, ledger.buckets))
    newest = list(takewhile(lambda bucket: bucket.start >= now - seconds, reversed(ledger.buckets)))
    since = newest[-1].start if newest else now
    opened = now if ledger.opened_at is None else ledger.opened_at
    return Ends(seconds, bill_of(oldest), tokens_of(oldest), tokens_of(newest), now - max(since, opened))
