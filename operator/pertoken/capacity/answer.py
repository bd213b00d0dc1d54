"""The whole answer: the plan, what it buys, where it falls short, and the same with something changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pertoken.capacity.asked import Asked
from pertoken.capacity.foresight import Foresight, foresee
from pertoken.capacity.futures import Futures
from pertoken.capacity.plan import Planned, plan
from pertoken.capacity.purchase.budget import Budget, within_budget
from pertoken.capacity.purchase.options import PurchaseOptions
from pertoken.capacity.purchase.plan import PurchasePlan, purchase
from pertoken.capacity.shortfall import Shortfall, shortfalls
from pertoken.capacity.whatif import WhatIf

if TYPE_CHECKING:  # it loads scipy, an extra of the plan
    from pertoken.capacity.advice import ServiceAdvice


@dataclass(frozen=True, slots=True, eq=False)
class Bought:
    """A plan with its purchase.

    Attributes:
        budget: None without one.
    """

    planned: Planned
    options: PurchaseOptions
    purchase: PurchasePlan
    shortfalls: tuple[Shortfall, ...]
    budget: Budget | None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What was asked, and each what-if beside it.

    Attributes:
        what_ifs: by the words of the user.
        advice: on the services that cost most.
    """

    plan: Bought
    what_ifs: Mapping[str, Bought]
    advice: tuple[ServiceAdvice, ...] = ()


def answer(asked: Asked, what_ifs: Sequence[WhatIf], now_s: int) -> Answer | Planned:
    """Plan, buy and compare; the plan alone where services could not be planned and nothing is left to buy for.

    Args:
        asked: the question.
        what_ifs: changes to try beside it.
        now_s: the present on the clock of the history: what had to be ordered before is overdue.

    Raises:
        LibraryMissing: statsforecast is not installed.
        PurchaseError: what can be bought cannot be read.
    """
    foresight = foresee(asked)
    planned = plan(asked, foresight)
    if not planned.services:
        return planned
    others = {each.words: _changed(asked, foresight, each) for each in what_ifs}
    options = asked.spec.options(asked.pools)
    from pertoken.capacity.advice import advice_of  # noqa: PLC0415 - loads scipy, an extra

    # A budget is compared with ways to serve that are bought at the same prices.
    futures = {
        words: other.to_buy_for
        for words, (changed, other) in others.items()
        if changed.pools == asked.pools and changed.spec.options(changed.pools) == options and not other.unplanned
    }
    return Answer(
        _buy(asked, planned, now_s, futures),
        {words: _buy(changed, other, now_s) for words, (changed, other) in others.items()},
        advice_of(asked, planned.services),
    )


def _changed(asked: Asked, foresight: Foresight, what_if: WhatIf) -> tuple[Asked, Planned]:
    changed = what_if.asked(asked)
    return changed, plan(changed, foresight, what_if.changes)


def _buy(asked: Asked, planned: Planned, now_s: int, others: Mapping[str, Futures] | None = None) -> Bought:
    options = asked.spec.options(asked.pools)
    bought = purchase(planned.to_buy_for, options)
    leads = {pool.name: asked.spec.lead_seconds(pool) for pool in asked.pools}
    short = shortfalls(planned.futures, leads, now_s)
    return Bought(planned, options, bought, short, within_budget(planned.to_buy_for, options, bought, others))
