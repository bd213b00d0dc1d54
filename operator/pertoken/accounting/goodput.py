"""Cost per good token: tokens of requests that kept every latency objective."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pertoken.units import usd_per_million


@dataclass(frozen=True, slots=True)
class Share:
    """Bounds on a share in [0, 1]; histograms rarely say more."""

    low: float = 0.0
    high: float = 1.0


def good_share(shares: Iterable[Share]) -> Share:
    """Share of requests that keep all objectives, from the share that keeps each (Frechet's bounds).

    Nothing says how misses of one objective fall together with those of another: at worst they never do, at best the
    fewer are among the more.
    """
    found = tuple(shares)
    misses = sum(1.0 - share.low for share in found)
    return Share(max(0.0, 1.0 - misses), min((share.high for share in found), default=1.0))


def usd_per_million_good(usd: float, tokens: float, good: Share) -> tuple[float | None, float | None]:
    """Least and most USD per million good tokens; good requests are taken to be as long as all others.

    None where no token is surely (most) or possibly (least) good.
    """
    return usd_per_million(usd, tokens * good.high), usd_per_million(usd, tokens * good.low)
