"""Laws that hold for every world."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab import Deployment, node, plant, pool_spec, service_spec, serving_since, variant_spec

from pertoken.domain.plan import SetReplicas
from pertoken.planner.memory import EMPTY, from_json, to_json
from pertoken.planner.pipeline import plan

LAWS = settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])

rates = st.floats(0.0, 80.0)
some_cycles = st.integers(1, 30)
names = st.lists(st.sampled_from(["chat", "chat-large", "code", "mail"]), min_size=1, max_size=4, unique=True)


@st.composite
def plants(draw, cycles=some_cycles):
    chosen = draw(names)
    fleet = plant(*chosen, gpus=draw(st.integers(4, 24)), slow=draw(st.floats(0.7, 1.6)))
    for name in chosen:
        least = draw(st.integers(0, 2))
        spec = variant_spec(name, min_replicas=least, max_replicas=draw(st.integers(max(1, least), 12)))
        fleet.services[name] = service_spec(name, (spec,), priority=draw(st.integers(0, 2)))
        fleet.deployments[name] = Deployment(spec, draw(st.integers(0, 4)))
        fleet.rates[name] = draw(rates)
    fleet.pods.clear()
    serving_since(fleet, fleet.now - 3600)
    for _ in range(draw(cycles)):
        fleet.step()
        for name in chosen:
            fleet.rates[name] = max(0.0, fleet.rates[name] * draw(st.floats(0.8, 1.25)))
    return fleet


@LAWS
@given(fleet=plants())
def test_desired_replicas_stay_within_bounds(fleet):
    for decision in fleet.last.decisions:
        spec = fleet.services[decision.service.name].variants[0]
        for variant in decision.variants:
            assert variant.desired >= min(spec.min_replicas, variant.current)
            assert variant.desired <= max(spec.max_replicas, 0) or variant.desired <= variant.current


@LAWS
@given(fleet=plants())
def test_scale_ups_never_exceed_the_pool(fleet):
    world = fleet.world()
    held = sum(pod.gpus for pod in fleet.pods if pod.deleted is None)
    planned, _ = plan(world, fleet.memory, fleet.now)
    promised = sum(
        max(action.desired, len(fleet.living(action.service.name))) - len(fleet.living(action.service.name))
        for action in planned.actions
        if isinstance(action, SetReplicas) and action.desired > action.current
    )
    capacity = sum(node.allocatable["nvidia.com/gpu"] for node in fleet.nodes)

    assert promised == 0 or held + promised <= capacity


@LAWS
@given(fleet=plants(cycles=st.just(1)), more=st.floats(1.0, 3.0))
def test_more_demand_never_wants_fewer_replicas(fleet, more):
    def wanted(factor):
        other = plant(*fleet.services, gpus=64)
        for name, service in fleet.services.items():
            other.services[name] = service
            other.deployments[name] = Deployment(fleet.deployments[name].spec, 3)
            other.rates[name] = fleet.rates[name] * factor
        other.pods.clear()
        serving_since(other, other.now - 3600)
        for _ in range(4):
            other.reconcile()
            other.serve(15.0)
            planned, other.memory = plan(other.world(), other.memory, other.now)
            other.now += 15.0
        return {d.service.name: d.variants[0].desired for d in planned.decisions}

    less, greater = wanted(1.0), wanted(more)

    assert all(greater[name] >= less[name] for name in less)


@LAWS
@given(fleet=plants(), gap=st.sampled_from(["outage", "series_gone"]))
def test_without_data_nothing_falls_and_no_cap_changes(fleet, gap):
    setattr(fleet, gap, True)
    planned, _ = plan(fleet.world(), fleet.memory, fleet.now)

    for action in planned.actions:
        assert isinstance(action, SetReplicas)
        # What serves stays. Pods that start or crash tell nothing anyhow, and make way for a higher priority.
        assert action.desired > action.current or not fleet.ready(action.service.name)


@LAWS
@given(fleet=plants(), order=st.randoms(use_true_random=False))
def test_the_order_of_services_does_not_matter(fleet, order):
    world = fleet.world()
    views, nodes = list(world.services), list(world.pools[0].nodes)
    order.shuffle(views)
    order.shuffle(nodes)
    pools = (replace(world.pools[0], nodes=tuple(nodes)),)
    shuffled = replace(world, services=tuple(views), pools=pools)

    assert plan(world, fleet.memory, fleet.now) == plan(shuffled, fleet.memory, fleet.now)


@LAWS
@given(fleet=plants())
def test_what_was_carried_out_is_not_ordered_again(fleet):
    assert ordered_again(fleet) == []


def ordered_again(fleet):
    """What is ordered in the same instant after a plan was carried out, all that the instant teaches known before.

    A plan works with the calibration that earlier cycles left; its own observations count from the next plan on.
    """
    _, learnt = plan(fleet.world(), fleet.memory, fleet.now)
    planned, memory = plan(fleet.world(), learnt, fleet.now)
    fleet.apply(planned)
    again, _ = plan(fleet.world(), memory, fleet.now)
    return [action for action in again.actions if isinstance(action, SetReplicas)]


def test_a_first_calibration_under_overload_is_used_once():
    fleet = plant("mail", rate=15.0, replicas=1, gpus=7, slow=1.25)
    fleet.run(60)
    assert not fleet.memory.service(fleet.services["mail"].key).variants["a100"].calibration.samples

    assert ordered_again(fleet) == []


@LAWS
@given(fleet=plants())
def test_memory_survives_json_and_plans_alike(fleet):
    saved = to_json(fleet.memory)
    back = from_json(saved)

    assert back == fleet.memory
    assert plan(fleet.world(), back, fleet.now) == plan(fleet.world(), fleet.memory, fleet.now)


@LAWS
@given(fleet=plants())
def test_every_bill_is_what_the_pods_cost(fleet):
    for decision in fleet.last.decisions:
        hours = sum(
            max(0.0, min(pod.deleted or fleet.now, fleet.now - 15.0) - max(pod.bound, 1_000_000.0)) / 3600 * pod.gpus
            for pod in fleet.pods
            if pod.variant == decision.service.name and pod.bound is not None
        )
        assert abs(decision.cost.bill_usd - hours * 2.0) < 1e-6


def test_a_broken_service_does_not_fail_the_others():
    fleet = plant("chat", "code", rate=15, replicas=3)
    fleet.run(60)
    broken = replace(fleet.services["code"], behavior=None)
    fleet.services["code"] = broken
    fleet.run(300)

    assert fleet.decision("chat").reason.value != "PlanningFailed"
    assert fleet.decision("code").reason.value == "PlanningFailed"
    assert fleet.replicas("code") == 3


def test_an_empty_world_plans_nothing():
    fleet = plant()
    world = replace(fleet.world(), services=(), pools=(), pods=())

    assert plan(world, EMPTY, 0.0)[0].actions == ()


def test_a_replica_of_four_gpus_needs_four_on_one_node():
    fleet = plant(rate=60, replicas=1)
    fleet.nodes = [node("n0", 6), node("n1", 3), node("n2", 3)]
    fleet.deployments["chat"].gpus = 4
    fleet.pods.clear()
    serving_since(fleet, fleet.now - 3600)
    fleet.run(300)

    assert fleet.replicas() == 1
    assert "no node with 4 free GPUs" in fleet.decision().message


def test_priority_comes_first_and_equals_share():
    fleet = plant("first", "second", "third", rate=60, replicas=1, gpus=6)
    fleet.services["first"] = replace(fleet.services["first"], priority=10)
    fleet.run(300)
    replicas = {name: fleet.replicas(name) for name in fleet.services}

    assert replicas["first"] > max(replicas["second"], replicas["third"])
    assert abs(replicas["second"] - replicas["third"]) <= 1
    assert sum(replicas.values()) == 6


def test_prices_do_not_change_what_latency_needs():
    cheap, dear = plant(rate=20, replicas=3), plant(rate=20, replicas=3)
    dear.pools = [pool_spec(price_per_gpu_hour=Decimal(9))]
    cheap.run(600)
    dear.run(600)

    assert cheap.replicas() == dear.replicas()
