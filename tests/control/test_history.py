"""What the debug view shows of the last cycles."""

from __future__ import annotations

from dataclasses import replace

from cycling import Cycling

from pertoken.control import history as module
from pertoken.control.actuate import Outcome, Result
from pertoken.control.cycle import CycleResult
from pertoken.control.history import History
from pertoken.domain.identity import ServiceKey, WorkloadRef
from pertoken.domain.plan import SetReplicas
from pertoken.domain.reasons import Reason
from pertoken.ports import CycleSummary

TARGET = WorkloadRef("apps/v1", "Deployment", "n", "chat-a")


async def result() -> CycleResult:
    return await Cycling().cycle().run_once(3)


async def test_the_last_plan_and_what_became_of_each_action():
    history = History()
    assert (history.last, history.entries) == (None, ())
    cycle = await result()
    action = SetReplicas(ServiceKey("n", "chat"), "a", TARGET, 1, 2, Reason.DEMAND_ROSE, "7")
    history.finished(replace(cycle, outcomes=(Outcome(action, Result.CONFLICT, "moved"),)))
    history.failed(CycleSummary(number=4, ok=False))

    assert history.last == (3, cycle.plan)
    (entry,) = history.entries
    assert entry == {
        "cycle": 3,
        "at": cycle.now,
        "service": "n/chat",
        "variant": "a",
        "kind": "scale_up",
        "reason": "DemandRose",
        "message": "scale Deployment n/chat-a from 1 to 2",
        "result": "conflict",
        "why": "moved",
    }


async def test_only_the_last_actions_are_kept():
    history, cycle = History(), await result()
    action = SetReplicas(ServiceKey("n", "chat"), "a", TARGET, 1, 2, Reason.DEMAND_ROSE, "7")
    history.finished(replace(cycle, outcomes=(Outcome(action, Result.DONE),) * (module.LENGTH + 5)))

    assert len(history.entries) == module.LENGTH
