"""What a plan may ask of a service's account."""

from __future__ import annotations

from pertoken.accounting.billed import BilledService
from pertoken.accounting.budgets import miss_budget, money_budget
from pertoken.accounting.counters import all_told, lacks
from pertoken.accounting.figures import cost_figures
from pertoken.accounting.window import WindowSums
from pertoken.domain.cost import CostState


def cost_state(service: BilledService, sums: WindowSums, window_seconds: float, enough_requests: int) -> CostState:
    """The account as a value.

    Figures per token, and the money that is left, are given only while all serving pods tell their finished tokens.

    Args:
        service: in this cycle.
        sums: its account over the window that ends now.
        window_seconds: length of the cost window.
        enough_requests: finished requests below which no figure per token is given.
    """
    lacking = lacks(service)
    told = all_told(service, lacking)
    return CostState(
        figures=cost_figures(service, sums, enough=told and sums.tokens.requests >= enough_requests),
        window_seconds=window_seconds,
        priced=sums.bill.priced,
        money=money_budget(service.spec, sums, told=told),
        misses=miss_budget(service.spec, sums),
        lacks=lacking,
    )
