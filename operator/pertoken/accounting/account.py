"""One cycle's accounting: the world in, every service's account out. Pure; it comes before the plan."""

from __future__ import annotations

from collections.abc import Mapping

from pertoken.accounting.attribution import charged, charged_by_list, mean_work
from pertoken.accounting.billed import billed_service
from pertoken.accounting.charges import Unallocated, charge
from pertoken.accounting.cost_state import cost_state
from pertoken.accounting.counters import finished_since
from pertoken.accounting.goodput import attained
from pertoken.accounting.ledger import Entry, Ledger, ServiceLedger, post
from pertoken.accounting.tuning import TUNING
from pertoken.accounting.window import sums
from pertoken.domain.cost import CostState, no_account
from pertoken.domain.identity import ServiceKey
from pertoken.domain.plan import Decision, Plan
from pertoken.domain.reasons import Reason
from pertoken.domain.world import ServiceView, World
from pertoken.frozen import replace
from pertoken.units import fault_words


def account(world: World, ledger: Ledger, now: float) -> tuple[Ledger, Mapping[ServiceKey, CostState]]:
    """Bring every service's account up to `now`.

    Which GPU time belongs to input and which to output depends on the operating points, which the plan of a cycle
    works out: finished tokens are charged at those of the cycle before (`with_token_work`). Where those are not
    known (no plan yet, no model of the engine), the price list says how the measured GPU time is spread.

    Args:
        world: the snapshot that the plan is made on.
        ledger: what the last cycle left; `pertoken.accounting.ledger.EMPTY` at first.
        now: seconds since the epoch.

    Returns:
        The new ledger, of the world's services alone, and what a plan may ask of each account. A service whose
        accounting raises keeps its account, which the next cycle brings up to date, and its state tells the fault.
    """
    accounts: dict[str, ServiceLedger] = {}
    costs: dict[ServiceKey, CostState] = {}
    unheld = Unallocated(world, now)
    for view in sorted(world.services, key=lambda view: view.spec.key):
        before = ledger.of(view.spec)
        try:
            after, state = _account(view, world, before, unheld)
        except Exception as error:  # noqa: BLE001 - one bad service must not fail the cycle
            after, state = before, no_account(fault_words(error))
        accounts[str(view.spec.key)] = after
        costs[view.spec.key] = state
    return Ledger(accounts), costs


def _account(
    view: ServiceView, world: World, before: ServiceLedger, unheld: Unallocated
) -> tuple[ServiceLedger, CostState]:
    cost, now = view.spec.cost, unheld.now
    window = TUNING.window_seconds if cost is None else float(cost.window_seconds)
    start = now if before.closed_at is None else min(before.closed_at, now)
    service = billed_service(view, world, now)
    tokens, counters = finished_since(before, service.pods, service.series())
    time = charge(service, unheld, start)
    work = mean_work(service, before.token_work)
    entry = Entry(
        bill=time.bill,
        tokens=tokens,
        judged_gpu_seconds=time.judged_gpu_seconds,
        busy_gpu_seconds=time.busy_gpu_seconds,
        lines=time.lines,
        charged=(charged_by_list(tokens, cost, time.worked_gpu_seconds) if work is None else charged(tokens, work)),
        energy=time.energy,
        attained=attained(service, tokens.requests, now - start),
    )
    after = replace(post(before, entry, now, window), counters=counters)
    return after, cost_state(service, sums(after, now, window), window, world.settings.min_index_requests)


def with_token_work(ledger: Ledger, plan: Plan) -> Ledger:
    """The ledger with the operating points that a plan worked out, for the tokens that finish until the next one.

    A variant whose operating point the plan did not know (its metrics are missing, say) keeps that of an earlier plan.
    """
    decisions = {str(decision.service): decision for decision in plan.decisions}
    return Ledger({name: _with_work(each, decisions.get(name)) for name, each in ledger.services.items()})


def _with_work(account: ServiceLedger, decision: Decision | None) -> ServiceLedger:
    if decision is None or decision.reason is Reason.PLANNING_FAILED:
        return account
    work = {v.variant: v.token_work or account.token_work.get(v.variant) for v in decision.variants}
    return replace(account, token_work={name: each for name, each in work.items() if each is not None})
