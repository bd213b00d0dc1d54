"""The first half of a plan: what every service will be asked for. What-ifs about the fleet share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pertoken.capacity.asked import Asked, Mistake
from pertoken.capacity.demand import Demand, demand_of
from pertoken.capacity.forecast.backtest import Origins, origins_of
from pertoken.capacity.forecast.draw import Draws, draw
from pertoken.capacity.forecast.outlook import Outlook, outlook_of
from pertoken.capacity.tuning import BACKTEST
from pertoken.units import HOURS_PER_DAY


@dataclass(frozen=True, slots=True, eq=False)
class Foresight:
    """Demands and outlooks by service (``namespace/name``), and what all futures repeat.

    Attributes:
        unknown: services of which too little is known; they have no outlook.
    """

    demands: Mapping[str, Demand]
    outlooks: Mapping[str, Outlook]
    origins: Origins
    draws: Draws
    unknown: tuple[Mistake, ...]


def foresee(asked: Asked) -> Foresight:
    """Forecast every service and test the forecasts on its past.

    Raises:
        LibraryMissing: statsforecast is not installed.
    """
    budget = BACKTEST.origin_budget // max(len(asked.services), 1)
    most = max(BACKTEST.least_origins, min(BACKTEST.most_origins, budget))
    origins = origins_of(asked.history.hours, asked.hours, most)
    demands, outlooks, unknown = {}, {}, []
    for spec in asked.services:
        name = str(spec.key)
        demand = demand_of(asked.histories[name], asked.shape)
        outlook = outlook_of(demand.tokens, origins)
        if outlook is None:
            known = int(np.isfinite(demand.tokens).sum())
            least = BACKTEST.least_history_days * HOURS_PER_DAY
            unknown.append(Mistake(name, "history", f"{known} hours", f"{least} or more, half of them without gaps"))
        else:
            demands[name], outlooks[name] = demand, outlook
    return Foresight(demands, outlooks, origins, draw(origins, asked.resamples, asked.seed), tuple(unknown))
