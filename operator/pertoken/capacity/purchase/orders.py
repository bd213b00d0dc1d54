"""When reservations may begin, and the periods between which nothing begins or ends."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from pertoken.capacity.purchase.need import Need, whole_hours
from pertoken.capacity.purchase.options import Reserved
from pertoken.capacity.purchase.tuning import TUNING
from pertoken.units import HOURS_PER_DAY


@dataclass(frozen=True, slots=True)
class Order:
    """An offer taken at one begin: hours from the horizon's begin; `end` is the first hour without it."""

    offer: Reserved
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Period:
    """Hours in which the same orders run; counted from the horizon's begin, those after its end included."""

    begin: int
    end: int


def possible_orders(need: Need) -> tuple[Order, ...]:
    """Every offer at every begin up to the end of the longest term that begins first.

    Later begins stand a month apart (or a term, where it is shorter), so that a reservation can be renewed.
    """
    offers = need.options.reserved
    last = last_hour(need)
    orders = []
    for offer in offers:
        term = offer.term_days * HOURS_PER_DAY
        step = min(term, TUNING.renewal_days * HOURS_PER_DAY)
        first = whole_hours(offer.lead_seconds)
        orders += [Order(offer, begin, begin + term) for begin in range(first, last, step)]
    return tuple(orders)


def last_hour(need: Need) -> int:
    """Where the comparison ends: the horizon's end, or that of the longest term ordered now."""
    ends = [whole_hours(offer.lead_seconds) + offer.term_days * HOURS_PER_DAY for offer in need.options.reserved]
    return max([need.futures.hours, *ends])


def periods_of(need: Need, orders: tuple[Order, ...]) -> tuple[Period, ...]:
    """The hours up to `last_hour`, cut where an order begins or ends and at the horizon's end."""
    last = last_hour(need)
    cuts = {0, need.futures.hours, last}
    for order in orders:
        cuts |= {order.begin, min(order.end, last)}
    ordered = sorted(cut for cut in cuts if cut <= last)
    return tuple(Period(begin, end) for begin, end in pairwise(ordered))
