"""From the split that holds to the one that was solved: whether to go there, and how far in this cycle."""

from __future__ import annotations

from collections.abc import Sequence

from pertoken.frozen import dataclass
from pertoken.routing.split import Split, TierOffer, cost_of, quality_of
from pertoken.routing.tuning import Routing
from pertoken.units import TINY


@dataclass(frozen=True, slots=True)
class Terms:
    """What a split is judged by.

    Attributes:
        demand: requests per second.
        floor: least mean quality.
        for_quality: more quality is worth its price, within the cost target.
    """

    demand: float
    floor: float
    tuning: Routing
    for_quality: bool = False


def kept_or(
    before: Sequence[float] | None, solved: Split, offers: Sequence[TierOffer], terms: Terms
) -> tuple[float, ...]:
    """The target of before while it is about as good as the solved split, else the solved one."""
    if before is None or len(before) != len(offers) or not _allowed(before, solved, offers, terms):
        return solved.shares
    usd, over = cost_of(offers, before, terms.demand)
    if over > solved.over + terms.tuning.slack * terms.demand:
        return solved.shares
    worth = terms.tuning.worth * usd
    cheaper = usd - solved.usd_per_second > worth
    affordable = terms.for_quality or solved.usd_per_second - usd <= worth
    finer = affordable and solved.quality - quality_of(offers, before) > terms.tuning.worth
    return solved.shares if cheaper or finer else tuple(before)


def _allowed(before: Sequence[float], solved: Split, offers: Sequence[TierOffer], terms: Terms) -> bool:
    """Whether the target of before still is a split of these tiers that keeps the floor."""
    if abs(sum(before) - 1.0) > terms.tuning.slack:
        return False
    if quality_of(offers, before) < min(terms.floor, solved.quality) - TINY:
        return False
    for offer, share in zip(offers, before, strict=True):
        if (offer.shut and share > TINY) or share > offer.most + TINY:
            return False
        if offer.fixed is not None and abs(share - offer.fixed) > TINY:
            return False
    return True


def step(
    now: Sequence[float],
    target: Sequence[float],
    ready: Sequence[float | None],
    offers: Sequence[TierOffer],
    terms: Terms,
) -> tuple[float, ...]:
    """Shares of this cycle: towards the target by at most `most_shift`, and no further than replicas that serve carry.

    The floor comes first: a split below it moves at once as far as the floor asks.
    """
    moved = sum(abs(one - other) for one, other in zip(now, target, strict=True)) / 2
    if moved <= TINY:
        return tuple(target)
    part = min(1.0, terms.tuning.most_shift / moved)
    for share, goal, carried in zip(now, target, ready, strict=True):
        if carried is not None and goal > share:
            room = carried / terms.demand if terms.demand > TINY else 1.0
            part = min(part, max(0.0, (room - share) / (goal - share)))
    part = max(part, _to_floor(now, target, offers, terms.floor))
    return tuple(share + part * (goal - share) for share, goal in zip(now, target, strict=True))


def _to_floor(now: Sequence[float], target: Sequence[float], offers: Sequence[TierOffer], floor: float) -> float:
    """How far to go so that the floor is kept; 0 where it is."""
    here, there = quality_of(offers, now), quality_of(offers, target)
    if here >= floor - TINY or there <= here:
        return 0.0
    return min(1.0, (floor - here) / (there - here))
