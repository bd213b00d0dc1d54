"""Good tokens and requests: those that kept every latency objective, as far as latency histograms tell."""

from __future__ import annotations

from collections.abc import Iterable

from pertoken.accounting.billed import BilledService
from pertoken.accounting.ledger import NOT_ATTAINED, Attained
from pertoken.domain.service import LatencyObjective
from pertoken.domain.signal import LatencyKind
from pertoken.frozen import dataclass
from pertoken.performance.histogram import share_within
from pertoken.units import PLACES, usd_per_million


@dataclass(frozen=True, slots=True)
class ShareBounds:
    """Bounds on a share in [0, 1]; histograms rarely say more."""

    low: float = 0.0
    high: float = 1.0


def good_share(shares: Iterable[ShareBounds]) -> ShareBounds:
    """Share of requests that keep all objectives, from the share that keeps each (Frechet's bounds).

    Nothing says how misses of one objective fall together with those of another: at worst they never do, at best the
    fewer are among the more.
    """
    each = tuple(shares)
    misses = sum(1.0 - share.low for share in each)
    return ShareBounds(max(0.0, 1.0 - misses), min((share.high for share in each), default=1.0))


def usd_per_million_good(usd: float, tokens: float, good: ShareBounds) -> tuple[float | None, float | None]:
    """Least and most USD per million good tokens; good requests are taken to be as long as all others.

    None where no token is surely (most) or possibly (least) good.
    """
    return usd_per_million(usd, tokens * good.high), usd_per_million(usd, tokens * good.low)


def objectives(latency: LatencyObjective) -> dict[LatencyKind, float]:
    """The objectives, in seconds, by the distribution that judges them; stalls by the share of all gaps."""
    each = {
        LatencyKind.TTFT: latency.ttft_seconds,
        LatencyKind.TIME_PER_OUTPUT_TOKEN: latency.inter_token_seconds,
        LatencyKind.INTER_TOKEN: latency.stall_seconds,
    }
    return {kind: seconds for kind, seconds in each.items() if seconds is not None}


def shares_now(service: BilledService) -> tuple[ShareBounds, ...]:
    """Share of requests within each objective that is measured at present."""
    shares = []
    for kind, objective in objectives(service.spec.latency).items():
        histogram = service.histogram(kind)
        if histogram is not None and histogram.cumulative[-1] > 0:
            shares.append(ShareBounds(*share_within(histogram, objective)))
    return tuple(shares)


def attained(service: BilledService, requests: float, seconds: float) -> Attained:
    """How many of the requests that finished in the last `seconds` kept every objective.

    They are taken to be like all requests of the metrics' rate window; of a longer time only that part is known, and
    nothing while an objective's latency is not measured.
    """
    shares = shares_now(service)
    if not shares or len(shares) < len(objectives(service.spec.latency)):
        return NOT_ATTAINED
    known = requests * min(1.0, service.window / seconds) if seconds > 0 else 0.0
    good = good_share(shares)
    return Attained(*(round(count, PLACES) for count in (known, known * good.low, known * good.high)))
