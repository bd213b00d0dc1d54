"""The pure middle of a cycle: account, plan, route. Operator, benchmark and tests drive the same steps.

Routes come after the plan, whose prices and capacities they need; what a split will send to a service beyond its
present traffic goes into the next plan as demand. So split and replicas are solved together, from cycle to cycle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pertoken.accounting.account import account, with_token_work
from pertoken.control.saved import Saved
from pertoken.control.schedules import with_schedules
from pertoken.domain.plan import Plan
from pertoken.domain.world import World
from pertoken.performance.results import Results
from pertoken.planner.pipeline import plan as make_plan
from pertoken.planner.tuning import TUNING, Tuning
from pertoken.routing.stage import route, with_routes


def _untimed(_phase: str) -> None:
    pass


def account_and_plan(
    world: World,
    saved: Saved,
    now: float,
    finished: Callable[[str], None] = _untimed,
    tuning: Tuning = TUNING,
    results: Results | None = None,
) -> tuple[Plan, Saved]:
    """Bring the accounts up to date, then plan on the world that holds them.

    Args:
        world: the snapshot.
        saved: what the last cycle returned; `pertoken.control.saved.NOTHING` at first.
        now: seconds since the epoch.
        finished: told of each phase's end by its name, for its duration.
        tuning: the numbers that decide.
        results: of the performance model, kept from cycle to cycle; they save time and change nothing.

    Returns:
        The plan, and what the next cycle starts from.
    """
    world = with_routes(with_schedules(world, now), saved.routes)
    ledger, costs = account(world, saved.ledger, now)
    finished("account")
    plan, memory = make_plan(replace(world, costs=costs), saved.memory, now, tuning, results)
    plan, routes = route(world, plan, saved.routes, now)
    finished("plan")
    return plan, Saved(memory, with_token_work(ledger, plan), routes)
