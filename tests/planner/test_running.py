"""Replicas that do not run, and models that nobody knows: what conditions say of them, and what is planned then."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from lab import GPU, START, Deployment, Plant, Pod, generic, node, plant, pool_spec, ref, serving_since, variant_spec
from lab import service_spec as spec_of

from pertoken.api.conditions import accepted, ready
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.plan import Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.service import ModelSpec, ServiceSpec
from pertoken.domain.trace import Told
from pertoken.domain.world import ServiceView
from pertoken.planner.pipeline import plan

QUOTA = 'pods "chat-abc" is forbidden: exceeded quota: gpus, requested: 1, used: 2, limited: 2'


def conditions(fleet, name="chat"):
    conditions = fleet.decision(name).conditions
    return ready({"Accepted": accepted(), **conditions}), conditions["AbleToScale"]


def held(**changes):
    """Two replicas that serve, in a cluster that nothing scales."""
    return plant(rate=6.0, replicas=2, act=False, **changes)


def test_replicas_that_all_run_are_ready():
    fleet = held()
    fleet.run(120)

    summary, able = conditions(fleet)

    assert summary.verdict is Verdict.TRUE
    assert able.verdict is Verdict.TRUE


def refuse(fleet, name="chat", words=QUOTA):
    """Kubernetes creates no more pods of a workload that is asked for five more than it has."""
    fleet.deployments[name].replicas = len(fleet.living(name)) + 5
    reconcile, view = fleet.reconcile, fleet.view

    def reconciled():
        reconcile()
        for pod in [pod for pod in fleet.living(name) if pod.created > fleet.now - 1.0]:
            fleet.pods.remove(pod)

    def seen(which):
        shown = view(which)
        variants = [
            replace(each, workload=replace(each.workload, failure=words))
            if each.spec.workload == fleet.deployments[name].spec.workload
            else each
            for each in shown.variants
        ]
        return replace(shown, variants=tuple(variants))

    fleet.reconcile, fleet.view = reconciled, seen


def test_replicas_that_kubernetes_refuses_are_told_in_its_words_at_once():
    fleet = held()
    fleet.run(120)
    refuse(fleet)
    fleet.run(15)

    summary, able = conditions(fleet)

    assert (summary.verdict, summary.reason) == (Verdict.FALSE, Reason.REPLICA_FAILURE)
    assert "2 of 7 replicas" in summary.message
    assert QUOTA in summary.message
    assert able.reason is Reason.REPLICA_FAILURE
    assert fleet.decision().reason is Reason.REPLICA_FAILURE
    assert fleet.decision().variants[0].reason is Reason.REPLICA_FAILURE
    assert any(step.stage == "running" and step.detail == Told(QUOTA) for step in fleet.decision().trace)


def test_no_more_is_asked_of_what_kubernetes_refuses():
    fleet = plant(rate=6.0, replicas=2)
    fleet.run(120)
    refuse(fleet)
    fleet.rates["chat"] = 120.0
    fleet.run(300)

    assert fleet.replicas() == 7
    assert fleet.decision().reason is Reason.REPLICA_FAILURE
    assert QUOTA in fleet.decision().conditions["ScalingLimited"].message


def test_a_controller_without_words_is_told_by_its_missing_pods():
    fleet = held()
    fleet.run(120)
    refuse(fleet, words="")
    fleet.run(30)
    assert conditions(fleet)[0].verdict is Verdict.TRUE, "controllers take a moment"
    fleet.restart()
    fleet.run(90)

    summary, _ = conditions(fleet)

    assert (summary.verdict, summary.reason) == (Verdict.FALSE, Reason.REPLICA_FAILURE)
    assert "5 have no pod" in summary.message
    assert "events of Deployment" in summary.message


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        ({"crashed": True, "node": "n0", "bound": 0.0}, Reason.PODS_CRASHING, "CrashLoopBackOff"),
        ({"unschedulable": 301.0}, Reason.PODS_PENDING, "has no node for 301 s"),
        ({"unschedulable": 200.0}, Reason.WAITING_FOR_PODS, "has no node yet"),
        ({"created": 301.0}, Reason.PODS_PENDING, "has no node for 301 s"),
        ({"node": "n0", "bound": 30.0}, Reason.WAITING_FOR_PODS, "1 is starting"),
        ({"node": "n0", "bound": 181.0}, Reason.PODS_NOT_READY, "is not ready 181 s after it got its node"),
    ],
    ids=["crashes", "unschedulable", "not yet", "gated", "starts", "does not become ready"],
)
@pytest.mark.parametrize("serving", [2, 0])
def test_pods_that_do_not_serve(pod, reason, words, serving):
    fleet = held()
    fleet.run(120)  # a start-up of 60 s has been learnt
    if not serving:
        fleet.pods.clear()
    now = fleet.now
    fleet.reconcile = lambda: None
    fleet.deployments["chat"].replicas = serving + 1
    bound, unschedulable = pod.get("bound"), pod.get("unschedulable")
    fleet.pods.append(
        Pod(
            "late",
            "chat",
            now - pod.get("created", 400.0 if bound is None else 0.0),
            None,
            node=pod.get("node"),
            bound=None if bound is None else now - bound,
            unschedulable=None if unschedulable is None else now - unschedulable,
            crashed=pod.get("crashed", False),
        )
    )
    if reason is Reason.WAITING_FOR_PODS and unschedulable is not None:
        fleet.pods[-1].created = now - 200.0
    fleet.step()

    summary, able = conditions(fleet)

    assert able.reason is reason
    assert f"{serving} of {serving + 1} replicas of a100 run" in able.message
    assert words in able.message
    if reason is not Reason.WAITING_FOR_PODS:
        assert (summary.verdict, summary.reason) == (Verdict.FALSE, reason)
    else:
        assert summary.verdict is (Verdict.TRUE if serving else Verdict.UNKNOWN), "nothing serves yet"
        assert summary.reason is (Reason.ACCEPTED if serving else Reason.WAITING_FOR_PODS)


class Same(dict):
    """Every workload belongs to the one service."""

    def __missing__(self, _) -> ServiceSpec:
        return self["chat"]


class Both(Plant):
    """One service with two variants, each with half of the traffic."""

    def view(self, name):
        views = [super(Both, self).view(each) for each in self.deployments]
        return ServiceView(self.services[name], tuple(variant for view in views for variant in view.variants))


def both():
    variants = (variant_spec(name="cheap"), variant_spec(name="dear", pool="b", min_replicas=0))
    fleet = Both(
        services=Same(chat=spec_of("chat", variants)),
        deployments={v.name: Deployment(v, 2, manager="kubectl") for v in variants},
        nodes=[node("n0", 8), node("m0", 8, "b")],
        pools=[pool_spec(), pool_spec("b", price_per_gpu_hour=Decimal(4))],
        rates={"cheap": 6.0, "dear": 6.0},
    )
    serving_since(fleet, START - 3600)
    return fleet


def test_what_kubernetes_refuses_to_one_variant_goes_to_the_next():
    free, refused = both(), both()
    for fleet in (free, refused):
        fleet.run(120)
    refuse(refused, "cheap")
    for fleet in (free, refused):
        fleet.rates = {"cheap": 24.0, "dear": 24.0}
        fleet.run(300)

    assert free.replicas("cheap") > 2
    assert refused.replicas("cheap") == 7, "what was asked for stands: Kubernetes goes on trying"
    assert refused.replicas("dear") > free.replicas("dear")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": ModelSpec("acme/Llama-9.9-8B", "chat")}, Reason.UNKNOWN_MODEL),
        ({}, None),
    ],
)
def test_an_unknown_model_is_accepted_and_not_ready(change, reason):
    fleet = held()
    fleet.services["chat"] = replace(fleet.services["chat"], **change)
    fleet.run(120)

    shown = fleet.decision().conditions
    summary, _ = conditions(fleet)

    if reason is None:
        assert "Accepted" not in shown
        return
    assert (shown["Accepted"].verdict, shown["Accepted"].reason) == (Verdict.TRUE, reason)
    assert (summary.verdict, summary.reason) == (Verdict.FALSE, reason)
    assert "meta-llama/" in summary.message, "close names"
    assert "spec.model.architecture" in summary.message
    assert fleet.decision().variants[0].desired >= 1, "it is run all the same"


def in_pools(fleet, **changes):
    """The world as it is, with other pools over the same nodes."""
    world = fleet.world()
    return replace(world, pools=tuple(replace(pool, spec=pool_spec(**changes)) for pool in world.pools))


def test_a_generic_engine_needs_no_model():
    fleet = held()
    fleet.services["chat"] = generic(fleet.services["chat"])
    fleet.deployments["chat"] = Deployment(fleet.services["chat"].variants[0], 2, manager="kubectl")
    planned, _ = plan(in_pools(fleet, accelerator="abacus-9000"), fleet.memory, fleet.now)

    assert "Accepted" not in planned.decisions[0].conditions


def test_an_unknown_accelerator_is_told_by_service_and_pool():
    fleet = held()
    fleet.run(60)
    planned, _ = plan(in_pools(fleet, accelerator="h100-smx"), fleet.memory, fleet.now)

    told = planned.decisions[0].conditions["Accepted"]

    assert told.reason is Reason.UNKNOWN_ACCELERATOR
    assert "h100-sxm" in told.message
    assert planned.pools[0].condition == told


def test_a_workload_of_a_variant_that_is_no_more_is_told():
    fleet = held()
    fleet.run(60)
    world = fleet.world()
    left = f"{ref('chat-old')} (1 replicas)"
    (view,) = world.services
    planned, _ = plan(replace(world, services=(replace(view, left_behind=(left,)),)), fleet.memory, fleet.now)

    target = planned.decisions[0].conditions["TargetFound"]

    assert (target.verdict, target.reason) == (Verdict.TRUE, Reason.WORKLOAD_LEFT_BEHIND)
    assert left in target.message


def test_a_row_that_is_added_to_the_catalog_counts_at_once():
    fleet = held()
    fleet.run(60)
    world = in_pools(fleet, accelerator="abacus-9000")
    unknown, memory = plan(world, fleet.memory, fleet.now)
    row = replace(SHIPPED.gpu(GPU), id="abacus-9000", products=(), aliases=())
    known, _ = plan(replace(world, catalog=SHIPPED.extended(gpus=[row])), memory, fleet.now + 15.0)

    assert unknown.decisions[0].variants[0].capacity_per_replica is None
    assert "Accepted" not in known.decisions[0].conditions
    assert known.decisions[0].variants[0].capacity_per_replica > 0
