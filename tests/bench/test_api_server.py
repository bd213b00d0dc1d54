"""The simulated cluster behind the operator's ports: what it shows and refuses, and what the operator makes of it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from pertoken.adapters.alone import Alone
from pertoken.api.launch import CAP_VARIABLE
from pertoken.api.naming import cap_name
from pertoken.api.ownership import FIELD_MANAGER
from pertoken.control.actuate import Result
from pertoken.control.fence import Fence
from pertoken.control.inventory import Inventory
from pertoken.control.parse import KINDS
from pertoken.domain.identity import PodKey, WorkloadRef
from pertoken.domain.plan import Verdict
from pertoken.ports import AlreadyExists, Conflict, NotFound, Refused, Withheld
from pertoken.settings import Settings
from pertoken_bench.cluster.documents import autoscaler_document
from pertoken_bench.cluster.writer import Writer
from pertoken_bench.policies.fixed import Schedule
from pertoken_bench.policies.pertoken_policy import Pertoken, pertoken, shipped_settings
from pertoken_bench.policies.simulated_operator import scraped_every
from pertoken_bench.scenarios.prepare import prepare
from pertoken_bench.scenarios.scenario import parse
from pertoken_bench.simulation import Run

FOLDER = Path(__file__).resolve().parents[2] / "bench" / "scenarios"
BASE = yaml.safe_load((FOLDER / "azure-conv.yaml").read_text())
TARGET = WorkloadRef("apps/v1", "Deployment", "bench", "chat-a100")


def prepared(seconds=300, rate=2, **changes):
    content = copy.deepcopy(BASE)
    content["traces"]["chat"] |= {"durationSeconds": seconds, "rateScale": rate}
    return prepare(parse(content | {"warmupSeconds": 60} | changes, FOLDER / "short.yaml"), 0)


@pytest.fixture
def run():
    """A cluster of three replicas that stands still at the trace's start."""
    simulated = Run(prepared(), Schedule({}), {"chat/a100": 3})
    simulated.cluster.begin()
    return simulated


@pytest.fixture
def writer(run):
    fence = Fence(Alone())
    fence.enter(1)
    return Writer(run.server, fence)


class Seen:
    """A watcher that remembers events."""

    def __init__(self) -> None:
        self.events = []

    def put(self, plural, obj):
        self.events.append(("put", plural, obj["metadata"]["uid"]))

    def drop(self, plural, obj):
        self.events.append(("drop", plural, obj["metadata"]["uid"]))

    def take(self):
        events, self.events = self.events, []
        return events


# -- what it refuses ---------------------------------------------------------------------------------------------------


def test_a_stale_resource_version_is_refused(run, writer):
    [workload] = run.cluster.workloads
    seen = run.server.get(TARGET)["metadata"]["resourceVersion"]

    writer.set_replicas(TARGET, 5, seen)
    with pytest.raises(Conflict, match="is at version"):
        writer.set_replicas(TARGET, 9, seen)

    assert workload.replicas == 5
    assert run.server.scale(TARGET)["spec"]["replicas"] == 5


def test_a_status_makes_a_version_stale(run, writer):
    run.server.tell(Seen())
    seen = run.server.get(TARGET)["metadata"]["resourceVersion"]
    run.cluster.evict(run.cluster.workloads[0], [run.cluster.workloads[0].pods[0].name], 0.0)
    assert run.server.get(TARGET)["metadata"]["resourceVersion"] == seen  # its controller has not looked yet

    run.server.tell(Seen())

    with pytest.raises(Conflict):
        writer.set_replicas(TARGET, 9, seen)


def test_evictions_name_the_pod_and_respect_the_budget(run, writer):
    [workload] = run.cluster.workloads
    pod = workload.pods[0]
    key = PodKey("bench", pod.name)
    with pytest.raises(Conflict, match="has been replaced"):
        writer.evict(key, "another")
    with pytest.raises(NotFound):
        writer.evict(PodKey("bench", "nobody"), "1")
    workload.least_available = 3
    with pytest.raises(Refused, match="keeps 3 pods"):
        writer.evict(key, str(pod.uid))
    assert pod.terminating_since is None
    workload.least_available = 2
    writer.evict(key, str(pod.uid))
    assert pod.terminating_since is not None


def test_a_config_map_is_written_over_only_as_it_was_read(run, writer):
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": cap_name("chat-a100"), "namespace": "bench"},
        "data": {CAP_VARIABLE: "64"},
    }
    created = writer.create(manifest, FIELD_MANAGER)
    with pytest.raises(AlreadyExists):
        writer.create(manifest, FIELD_MANAGER)
    assert run.cluster.workloads[0].cap.value == 64

    identity = {name: created["metadata"][name] for name in ("uid", "resourceVersion")}
    changed = {**manifest, "metadata": {**manifest["metadata"], **identity}, "data": {CAP_VARIABLE: "96"}}
    writer.apply(changed, FIELD_MANAGER, dry_run=True)
    assert run.cluster.workloads[0].cap.value == 64
    writer.apply(changed, FIELD_MANAGER)
    with pytest.raises(Conflict, match="resourceVersion"):
        writer.apply(changed, FIELD_MANAGER)
    assert run.cluster.workloads[0].cap.value == 96
    with pytest.raises(Refused, match="Deployment"):
        writer.create({**manifest, "kind": "Deployment"}, FIELD_MANAGER)


def test_without_the_lease_nothing_is_written(run):
    writer = Writer(run.server, Fence(Alone()))
    with pytest.raises(Withheld):
        writer.set_replicas(TARGET, 9, "")
    assert run.cluster.workloads[0].replicas == 3


# -- what it shows -----------------------------------------------------------------------------------------------------


def test_the_operator_reads_what_is_there(run):
    inventory = Inventory(KINDS, run.clock)
    run.cluster.scale(run.cluster.workloads[0], 18, 0.0)
    run.cluster.reconcile(0.0)
    run.server.tell(inventory)
    snapshot = inventory.snapshot()

    assert not snapshot.unreadable
    [deployment] = snapshot.deployments
    assert (deployment.ref, deployment.replicas, deployment.requests) == (TARGET, 16, {"nvidia.com/gpu": 1})
    assert deployment.cap_key.name == cap_name("chat-a100")
    assert deployment.chunk_key.name == cap_name("chat-a100")
    assert run.cluster.workloads[0].cap.chunk == 2048
    assert deployment.observed
    assert len(snapshot.pods) == 16
    assert {pod.workload.name for pod in snapshot.pods} == {snapshot.replicasets[0].name}
    assert sum(pod.ready for pod in snapshot.pods) == 3
    assert sum(node.allocatable["nvidia.com/gpu"] for node in snapshot.nodes) == 16


def test_the_watch_tells_of_each_change_once(run):
    watcher = Seen()
    run.server.tell(watcher)
    assert len([event for event in watcher.take() if event[1] == "pods"]) == 3
    run.server.tell(watcher)
    assert watcher.take() == []

    [workload] = run.cluster.workloads
    run.cluster.evict(workload, [workload.pods[0].name], 0.0)
    run.cluster.reconcile(0.0)
    run.server.tell(watcher)

    events = watcher.take()
    assert ("drop", "pods", "1") in events
    assert ("put", "pods", "4") in events
    assert ("put", "deployments", "deployment-bench-chat-a100") in events


def test_settings_are_the_shipped_ones_and_fit_the_scrape_interval(monkeypatch):
    monkeypatch.setenv("PERTOKEN_RATE_WINDOW_SECONDS", "600")
    shipped = shipped_settings()
    fields = Settings.model_fields
    assert shipped.rate_window_seconds == fields["rate_window_seconds"].default
    assert scraped_every(shipped, 15.0) == shipped
    slow = scraped_every(shipped, 60.0).metrics_profile()
    assert (slow.scrape_seconds, slow.window_seconds, slow.fresh_seconds) == (60.0, 240.0, 240.0)
    tuned = pertoken({"headroom": 0.3, "min_index_requests": 5.0}).settings
    assert (tuned.headroom, tuned.min_index_requests, tuned.cycle_seconds) == (0.3, 5, shipped.cycle_seconds)
    with pytest.raises(ValueError, match="'speed'"):
        pertoken({"speed": 1.0})


# -- what the operator makes of it -------------------------------------------------------------------------------------


class Recording(Pertoken):
    """pertoken, and all its cycles; `meanwhile` is called with the second and the run before each."""

    meanwhile = staticmethod(lambda _second, _run: None)
    write = Writer

    def writer(self, server, fence):
        return self.write(server, fence)

    def decide(self, seen):
        self.meanwhile(round(seen.now - seen.start), self.run)
        orders = Pertoken.decide(self, seen)
        self.results.append(self.last)
        return orders


def recorded(meanwhile=Recording.meanwhile, seconds=300, rate=4, replicas=2, write=Writer):
    policy = Recording()
    policy.results, policy.meanwhile, policy.write = [], meanwhile, write
    policy.run = Run(prepared(seconds, rate), policy, {"chat/a100": replicas})
    policy.run.go()
    return policy.run, policy.results


class Raced(Writer):
    """A user scales just before the operator's first write arrives."""

    raced = False

    def set_replicas(self, target, replicas, resource_version):
        if not Raced.raced:
            Raced.raced = True
            self.server.cluster.scale(self.server.workload(target), 1, self.server.clock.seconds, "kubectl")
        Writer.set_replicas(self, target, replicas, resource_version)


def test_a_write_that_lost_a_race_is_a_conflict_and_is_planned_anew():
    run, results = recorded(seconds=400, rate=8, write=Raced)
    outcomes = [each for result in results for each in result.outcomes]

    assert outcomes[0].result is Result.CONFLICT
    assert "is at version" in outcomes[0].why
    assert {each.result for each in outcomes[1:]} == {Result.DONE}
    assert run.cluster.workloads[0].replicas > 2


def test_a_rival_autoscaler_makes_the_service_conflicted():
    def rival(second, run):
        if second == 120:
            run.server.autoscalers.append(autoscaler_document("chat", run.cluster.workloads[0]))

    _, results = recorded(rival)
    conflicted = [result.plan.decisions[0].conditions["Conflicted"] for result in results]

    assert conflicted[3].verdict is Verdict.FALSE
    assert conflicted[-1].verdict is Verdict.TRUE
    assert "HorizontalPodAutoscaler bench/chat" in conflicted[-1].message
    assert not [each for result in results[9:] for each in result.outcomes]


def test_a_workload_in_rollout_is_not_settled_and_not_scaled():
    def upgrade(second, run):
        if second == 60:
            run.cluster.roll(run.cluster.workloads[0], run.clock.seconds)
            run.server.tell(Seen())

    run, results = recorded(upgrade, seconds=600, replicas=4)
    [workload] = run.cluster.workloads
    settled = [result.world.services[0].variants[0].workload.settled for result in results]

    assert settled[0]
    assert not all(settled[5:10])
    assert settled[-1]
    assert {pod.template for pod in workload.pods} == {2}
    scaled = [each for result, calm in zip(results, settled, strict=True) if not calm for each in result.outcomes]
    assert scaled == []
