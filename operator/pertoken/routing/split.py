"""The split of least cost: a linear program over tiers with two constraints, solved by its one multiplier.

Each tier offers segments of requests per second at rising prices; what it holds anyway comes first and is free. The
shares minimise the cost subject to all of the demand being sent somewhere and to the mean quality keeping the floor. At
a multiplier `m` of the floor, filling the segments in the order of price - m x quality is optimal (Lagrangian duality);
the least `m` that keeps the floor is one at which two segments tie, and the optimum mixes the two orders of that tie.
A tier that can be without replicas is open or shut; the few combinations of these are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import inf
from typing import Final

from pertoken.frozen import dataclass
from pertoken.units import TINY

PRICE_DIGITS: Final = 12  # to which two prices are told apart


@dataclass(frozen=True, slots=True)
class Segment:
    """Requests per second that a tier takes at one price, USD per request."""

    room: float
    usd: float


@dataclass(frozen=True, slots=True)
class TierOffer:
    """What one tier offers in this cycle.

    Attributes:
        quality: expected, in [0, 1].
        segments: in the order in which they are used, prices rising.
        opening: USD per second of what must run before it takes a request; 0 where it runs anyway.
        shut: it can take nothing at all.
        fixed: share of the demand that it gets whatever it costs; None where the split decides.
        most: share of the demand that it may get.
    """

    name: str
    quality: float
    segments: tuple[Segment, ...]
    opening: float = 0.0
    shut: bool = False
    fixed: float | None = None
    most: float = 1.0

    @property
    def room(self) -> float:
        """Requests per second that it carries."""
        return sum(segment.room for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Split:
    """Shares by tier, in the order of the offers.

    Attributes:
        usd_per_second: of the segments used and the tiers opened, without the penalty of overload.
        over: requests per second that tiers get beyond their room.
        quality: mean.
        objective: what was minimised, the penalty of overload included.
    """

    shares: tuple[float, ...]
    usd_per_second: float
    over: float
    quality: float
    objective: float


@dataclass(frozen=True, slots=True)
class _Piece:
    """A segment of one of the tiers; the penalty is part of `price` alone."""

    tier: int
    room: float
    usd: float
    price: float
    quality: float


def quality_of(offers: Sequence[TierOffer], shares: Sequence[float]) -> float:
    """Mean quality of an answer."""
    return sum(offer.quality * share for offer, share in zip(offers, shares, strict=True))


def cheapest(offers: Sequence[TierOffer], demand: float, floor: float, overload: float) -> Split | None:
    """The split of least cost whose quality keeps the floor; without one, that of the best quality.

    Args:
        offers: by tier.
        demand: requests per second, above 0.
        floor: least mean quality.
        overload: price of a request beyond a tier's room, in multiples of the dearest one.

    Returns:
        None where every tier is shut.
    """
    penalty = overload * max((s.usd for offer in offers for s in offer.segments), default=0.0) + overload * TINY
    penalty = max(penalty, overload * max((offer.opening for offer in offers), default=0.0) / demand)
    choices = [(False,) if offer.shut else (True,) if _always(offer) else (True, False) for offer in offers]
    splits = []
    for opened in product(*choices):
        split = _of_open(offers, opened, (demand, floor, penalty))
        if split is not None:
            splits.append(split)
    kept = [split for split in splits if split.quality >= floor - TINY]
    if kept:
        return min(kept, key=lambda split: (_rounded(split.objective), -split.quality))
    return max(splits, key=lambda split: (_rounded(split.quality), -split.objective), default=None)


def _always(offer: TierOffer) -> bool:
    return offer.opening <= 0 or offer.fixed is not None


def _of_open(offers: Sequence[TierOffer], opened: Sequence[bool], terms: tuple[float, float, float]) -> Split | None:
    demand, floor, penalty = terms
    given = [0.0 if offer.fixed is None else offer.fixed * demand for offer in offers]
    pieces, base = [], 0.0
    for index, (offer, is_open) in enumerate(zip(offers, opened, strict=True)):
        if is_open:
            base += offer.opening
            pieces += _pieces(index, offer, (demand, given[index], penalty))
    free = [piece for piece in pieces if offers[piece.tier].fixed is None]
    left = demand - sum(given)
    if left > TINY and not free:
        return None
    fixed_quality = sum(offers[index].quality * amount for index, amount in enumerate(given))
    filled = _fill(free, left, floor * demand - fixed_quality)
    amounts = list(given)
    usd, over, objective = base, 0.0, base
    for piece, amount in filled:
        amounts[piece.tier] += amount
        usd += piece.usd * amount
        objective += piece.price * amount
        over += amount if piece.price > piece.usd else 0.0
    for index, amount in enumerate(given):
        cost, beyond = _cost_of(offers[index], amount)
        usd, over, objective = usd + cost, over + beyond, objective + cost + penalty * beyond
    shares = tuple(amount / demand for amount in amounts)
    return Split(shares, usd, over, quality_of(offers, shares), objective)


def _pieces(index: int, offer: TierOffer, terms: tuple[float, float, float]) -> list[_Piece]:
    """The segments of an open tier up to what it may get, and beyond them its overload."""
    demand, _, penalty = terms
    left, pieces, last = offer.most * demand, [], 0.0
    for segment in offer.segments:
        room = min(segment.room, left)
        if room > TINY:
            pieces.append(_Piece(index, room, segment.usd, segment.usd, offer.quality))
            left -= room
        last = segment.usd
    if left > TINY:
        pieces.append(_Piece(index, left, last, last + penalty, offer.quality))
    return pieces


def _fill(pieces: Sequence[_Piece], demand: float, quality: float) -> list[tuple[_Piece, float]]:
    """Amounts of the pieces that sum to the demand and to at least this quality, at the least price."""
    cheap = _greedy(pieces, demand, 0.0)
    if _quality(cheap) >= quality - TINY or demand <= TINY:
        return cheap
    ties = sorted(
        {
            (one.price - other.price) / (one.quality - other.quality)
            for one in pieces
            for other in pieces
            if one.quality > other.quality and one.price > other.price
        }
    )
    low, high = 0, len(ties) - 1
    if not ties or _quality(_greedy(pieces, demand, ties[-1])) < quality - TINY:
        return _greedy(pieces, demand, inf)
    while low < high:
        middle = (low + high) // 2
        if _quality(_greedy(pieces, demand, ties[middle])) >= quality - TINY:
            high = middle
        else:
            low = middle + 1
    better, worse = _greedy(pieces, demand, ties[low]), _greedy(pieces, demand, ties[low], best_first=False)
    most, least = _quality(better), _quality(worse)
    if least >= quality or most - least <= TINY:
        return better
    weight = (quality - least) / (most - least)
    return [(piece, amount * weight) for piece, amount in better] + [
        (piece, amount * (1.0 - weight)) for piece, amount in worse
    ]


def _greedy(
    pieces: Sequence[_Piece], demand: float, multiplier: float, *, best_first: bool = True
) -> list[tuple[_Piece, float]]:
    """Pieces filled in the order of price less multiplier times quality; of equal ones the better (or worse) first."""

    def place(piece: _Piece) -> tuple[float, float, float]:
        sign = -1.0 if best_first else 1.0
        if multiplier == inf:
            return -piece.quality, piece.price, 0.0
        return _rounded(piece.price - multiplier * piece.quality), sign * piece.quality, piece.price

    filled, left = [], demand
    for piece in sorted(pieces, key=place):
        amount = min(piece.room, left)
        if amount > 0:
            filled.append((piece, amount))
            left -= amount
    return filled


def _quality(filled: Sequence[tuple[_Piece, float]]) -> float:
    return sum(piece.quality * amount for piece, amount in filled)


def _rounded(value: float) -> float:
    return float(f"{value:.{PRICE_DIGITS}g}")


def _cost_of(offer: TierOffer, amount: float) -> tuple[float, float]:
    """USD per second of so many requests per second without opening, and those beyond the tier's room."""
    usd, left, last = 0.0, amount, 0.0
    for segment in offer.segments:
        used = min(segment.room, left)
        usd, left, last = usd + used * segment.usd, left - used, segment.usd
    return usd + max(left, 0.0) * last, max(left, 0.0)


def cost_of(offers: Sequence[TierOffer], shares: Sequence[float], demand: float) -> tuple[float, float]:
    """USD per second of a split that is given, and requests per second beyond the tiers' rooms."""
    usd = over = 0.0
    for offer, share in zip(offers, shares, strict=True):
        if share > TINY:
            cost, beyond = _cost_of(offer, share * demand)
            usd, over = usd + offer.opening + cost, over + beyond
    return usd, over
