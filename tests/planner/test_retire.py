"""Workloads of removed variants: they serve until the others do, make room where there is none, and are billed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lab import Deployment, Plant, plant, ref, variant_spec

from pertoken.domain.plan import RemoveWorkload, SetReplicas
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Mode
from pertoken.domain.world import ServiceView


class Renamed(Plant):
    """A plant whose `chat` had a variant `old`, which is no more and gets all of the traffic."""

    deleting = False
    stood_in = 0  # new replicas that served when the old ones went

    def view(self, name: str) -> ServiceView:
        if name != "chat":
            return super().view(name)
        view = super().view("chat")
        old = self.deployments.get("old")
        if old is None:
            return view
        kept = self.services
        self.services = {**kept, "old": kept["chat"]}
        made = super().view("old")
        self.services = kept
        (variant,) = made.variants
        workload = replace(variant.workload, deleting=self.deleting)
        spec = replace(variant.spec, name="chat-old", max_replicas=0)
        return replace(view, retired=(replace(variant, workload=workload, spec=spec),))

    def apply(self, plan):
        for action in plan.actions:
            if isinstance(action, RemoveWorkload):
                self.actions.append((self.now, action))
                self.stood_in = len(self.ready("chat"))
                self.deleting = True
                self.deployments["old"].replicas = 0
        super().apply(replace(plan, actions=tuple(a for a in plan.actions if not isinstance(a, RemoveWorkload))))


def renamed(replicas: int = 0, gpus: int = 16, rate: float = 20.0, **changes) -> Plant:
    """Three old replicas serve everything; the new variant has `replicas`."""
    fleet = plant("chat", rate=0.0, replicas=replicas, gpus=gpus)
    fleet.__class__ = Renamed
    spec = variant_spec("chat", "old", workload=ref("chat-old"))
    fleet.deployments["old"] = Deployment(spec, 3, manager="pertoken-scaler")
    fleet.rates["old"] = rate
    then = fleet.now
    fleet.now = then - 3600
    fleet.reconcile()
    fleet.now = then - 3600 + fleet.start_seconds
    fleet.reconcile()
    fleet.now = then
    service = fleet.services["chat"]
    fleet.services["chat"] = replace(service, **changes)
    return fleet


def removals(fleet: Plant) -> list[RemoveWorkload]:
    return [action for _, action in fleet.actions if isinstance(action, RemoveWorkload)]


def told(fleet: Plant) -> str:
    condition = fleet.decision().conditions["TargetFound"]
    assert condition.reason is Reason.VARIANT_REMOVED
    return condition.message


def test_the_old_workload_goes_once_the_others_can_serve_what_it_serves():
    fleet = renamed()
    fleet.run(45)
    assert removals(fleet) == []
    assert "stays until the others serve" in told(fleet)
    fleet.run(600)
    [removal] = removals(fleet)
    assert (removal.target, removal.uid) == (ref("chat-old"), "uid-old")
    assert fleet.stood_in >= 3, "as many as served before, and were busy"


def test_its_gpu_time_is_on_the_bill():
    fleet = renamed(mode=Mode.RECOMMEND)
    fleet.run(600)
    bill = fleet.ledger.services["llm/chat"].buckets
    assert sum(each.gpu_microseconds for each in bill) == pytest.approx(3 * 600e6, rel=0.05)
    assert sum(each.requests for each in bill) > 0
    assert "stays while decisions are not carried out" in told(fleet)


def test_on_a_full_pool_it_makes_room_one_replica_at_a_time_and_never_goes_before_the_others_serve():
    fleet = renamed(gpus=3)
    fleet.run(1200)
    steps = [a for _, a in fleet.actions if isinstance(a, SetReplicas) and a.target == ref("chat-old")]
    assert steps, "it makes room"
    assert all(a.current - a.desired == 1 for a in steps)
    assert removals(fleet)
    assert fleet.stood_in >= 2


@pytest.mark.parametrize("change", [{"paused": True}, {"mode": Mode.RECOMMEND}], ids=["paused", "recommends"])
def test_who_does_not_act_removes_nothing(change):
    fleet = renamed(replicas=4, **change)
    fleet.run(300)
    assert removals(fleet) == []


def test_without_metrics_nothing_goes():
    fleet = renamed(replicas=4)
    fleet.outage = True
    fleet.run(600)
    assert removals(fleet) == []


def test_one_without_replicas_goes_at_once_and_once():
    fleet = renamed(replicas=2)
    fleet.deployments["old"].replicas = 0
    fleet.run(120)
    assert len(removals(fleet)) == 1
