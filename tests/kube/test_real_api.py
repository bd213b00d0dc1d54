"""The adapter on a real API server: what its semantics really are."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pertoken.adapters.kube.client import APPLY_PATCH, MERGE_PATCH, ApiRequest, ClientOptions, KubeClient
from pertoken.adapters.kube.lease import LeaseElector, LeaseSpec
from pertoken.adapters.kube.reader import KubeReader
from pertoken.adapters.kube.writer import KubeWriter
from pertoken.control.facts import node_fact, pod_fact
from pertoken.control.workloads import scalable_fact
from pertoken.domain.identity import PodKey, WorkloadRef
from pertoken.ports import AdapterError, Conflict, EventNote, Forbidden, NotFound, Refused, Timeout, Unavailable

pytestmark = pytest.mark.e2e

STRATEGIC = "application/strategic-merge-patch+json"


@pytest.fixture
def reader(client) -> KubeReader:
    return KubeReader(client)


@pytest.fixture
def writer(client, clock) -> KubeWriter:
    return KubeWriter(client, clock, instance="pertoken-0")


@pytest.fixture
def limited(control_plane, kubectl, namespace, tmp_path: Path) -> Iterator[KubeClient]:
    """A client with the token of a service account that may do nothing."""
    kubectl("create", "serviceaccount", "nobody", "-n", namespace)
    path = control_plane.token_kubeconfig(namespace, "nobody", tmp_path / "nobody")
    client = KubeClient(ClientOptions(kubeconfig=path))
    yield client
    client.close()


def deployment(namespace: str, name: str = "chat", replicas: int = 2) -> dict[str, Any]:
    labels = {"app": name}
    engine = {"name": "engine", "image": "registry.invalid/vllm", "resources": {"limits": {"nvidia.com/gpu": "2"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [engine], "tolerations": [{"operator": "Exists"}]},
            },
        },
    }


def apply_as(client: KubeClient, manifest: dict[str, Any], manager: str, *, force: bool) -> None:
    """Server-side apply by somebody else, who names no version."""
    meta = manifest["metadata"]
    path = f"/apis/apps/v1/namespaces/{meta['namespace']}/deployments/{meta['name']}"
    query = {"fieldManager": manager, "force": force}
    client.call(ApiRequest("PATCH", path, query=query, body=manifest, content_type=APPLY_PATCH))


def until(ask: Any, seconds: float = 20.0) -> Any:
    """The first true answer."""
    end = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)
    return answer


def scaled_at_its_version(reader: KubeReader, writer: KubeWriter, ref: WorkloadRef, replicas: int) -> str:
    """Scale at the version just read; that version, or "" where a controller wrote a status in between."""
    version = scalable_fact(reader.get(ref)).resource_version
    if reader.scale(ref)["metadata"]["resourceVersion"] != version:
        return ""
    try:
        writer.set_replicas(ref, replicas, version)
    except Conflict:
        return ""
    return version


def test_a_stale_scale_is_a_conflict_and_a_current_one_is_ours(reader, writer, namespace):
    writer.create(deployment(namespace), "someone")
    ref = WorkloadRef("apps/v1", "Deployment", namespace, "chat")
    stale = until(lambda: scaled_at_its_version(reader, writer, ref, 3))
    with pytest.raises(Conflict, match="modified"):
        writer.set_replicas(ref, 9, stale)
    after = scalable_fact(reader.get(ref))
    assert after.replicas == 3
    assert after.replicas_manager == "pertoken-scaler"
    with pytest.raises(Refused, match=r"spec\.replicas"):
        writer.set_replicas(ref, -1, "")
    with pytest.raises(NotFound):
        writer.set_replicas(WorkloadRef("apps/v1", "Deployment", namespace, "other"), 1, "")
    with pytest.raises(NotFound, match="does not serve"):
        writer.set_replicas(WorkloadRef("apps/v1", "Teapot", namespace, "chat"), 1, "")


def test_who_reverts_is_named(client, reader, writer, namespace):
    apply_as(client, deployment(namespace), "gitops", force=True)
    ref = WorkloadRef("apps/v1", "Deployment", namespace, "chat")
    writer.set_replicas(ref, 4, "")
    with pytest.raises(Conflict, match="pertoken-scaler"):
        apply_as(client, deployment(namespace), "gitops", force=False)
    apply_as(client, deployment(namespace), "gitops", force=True)
    assert scalable_fact(reader.get(ref)).replicas_manager == "gitops"


@pytest.fixture
def running_pods(client, writer, reader, namespace) -> Iterator[list[str]]:
    """Two bound, ready pods: the scheduler is real, the kubelet is this fixture."""
    name = f"gpu-{namespace}"
    resources = {"cpu": "8", "memory": "8Gi", "pods": "10", "nvidia.com/gpu": "8"}
    node: dict[str, Any] = {"metadata": {"name": name, "labels": {"for": namespace}}}
    client.call(ApiRequest("POST", "/api/v1/nodes", body=node))
    conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}]
    status = {"status": {"capacity": resources, "allocatable": resources, "conditions": conditions}}
    client.call(ApiRequest("PATCH", f"/api/v1/nodes/{name}/status", body=status, content_type=MERGE_PATCH))
    manifest = deployment(namespace)
    manifest["spec"]["template"]["spec"] |= {"nodeSelector": {"for": namespace}, "terminationGracePeriodSeconds": 0}
    writer.create(manifest, "someone")
    names = until(lambda: bound(reader, namespace, 2))
    for pod in names:
        running = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        state = {"name": "engine", "image": "i", "imageID": "", "ready": True, "restartCount": 0, "state": running}
        ready = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}]
        body = {"status": {"phase": "Running", "conditions": ready, "containerStatuses": [state]}}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/status"
        client.call(ApiRequest("PATCH", path, body=body, content_type=STRATEGIC))
    yield names
    writer.delete(manifest)
    client.call(ApiRequest("DELETE", f"/api/v1/nodes/{name}"))


def bound(reader: KubeReader, namespace: str, count: int) -> list[str]:
    facts = [pod_fact(pod) for pod in reader.list("pods").items]
    names = [fact.key.name for fact in facts if fact and fact.key.namespace == namespace and fact.bound_at]
    return sorted(names) if len(names) == count else []


def test_facts_of_real_pods_and_nodes(client, running_pods, namespace):
    obj = client.call(ApiRequest("GET", f"/api/v1/namespaces/{namespace}/pods/{running_pods[0]}"))
    fact = pod_fact(obj)
    assert fact is not None
    assert fact.requests == {"nvidia.com/gpu": 2}
    assert fact.ready
    assert fact.holds_gpus
    assert fact.bound_at is not None
    assert fact.bound_at >= fact.created_at
    assert fact.engine_started_at is not None
    node = node_fact(client.call(ApiRequest("GET", f"/api/v1/nodes/gpu-{namespace}")))
    assert node.allocatable == {"nvidia.com/gpu": 8}


def budget(namespace: str, name: str = "keep-all") -> dict[str, Any]:
    spec = {"minAvailable": 2, "selector": {"matchLabels": {"app": "chat"}}}
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": spec}


def test_an_eviction_honours_budgets_and_identity(client, writer, running_pods, namespace):
    key = PodKey(namespace, running_pods[0])
    uid = client.call(ApiRequest("GET", f"/api/v1/namespaces/{namespace}/pods/{key.name}"))["metadata"]["uid"]
    writer.create(budget(namespace), "someone")
    with pytest.raises(Refused, match="disruption budget"):
        writer.evict(key, uid)
    began = time.monotonic()
    with pytest.raises(Conflict, match="replaced"):
        writer.evict(key, "another-uid")
    assert time.monotonic() - began < 5, "the server alone would take 10 s over this"
    writer.create(budget(namespace, "second"), "someone")
    with pytest.raises(Refused, match="more than one PodDisruptionBudget"):
        until(lambda: writer.evict(key, uid))
    writer.delete(budget(namespace))
    writer.delete(budget(namespace, "second"))
    until(lambda: evicted(writer, key, uid))
    with pytest.raises(NotFound):
        until(lambda: evicted(writer, key, uid))


def evicted(writer: KubeWriter, key: PodKey, uid: str) -> bool:
    try:
        writer.evict(key, uid)
    except Refused:  # the budgets' end has not reached the API server's cache yet
        return False
    return True


def test_status_conditions_of_other_managers_stay(client, writer, running_pods, namespace):
    """Pod conditions are a map keyed by type, as those of our own kinds are."""
    name = running_pods[0]

    def conditions(kind: str) -> dict[str, Any]:
        entry = {"type": kind, "status": "True", "reason": "Test", "message": ""}
        meta = {"name": name, "namespace": namespace}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": {"conditions": [entry]}}

    writer.apply_status(conditions("example.com/Other"), "other")
    writer.apply_status(conditions("example.com/Ours"), "pertoken")
    pod = client.call(ApiRequest("GET", f"/api/v1/namespaces/{namespace}/pods/{name}"))
    assert {entry["type"] for entry in pod["status"]["conditions"]} >= {
        "Ready",
        "example.com/Other",
        "example.com/Ours",
    }


def test_a_dry_run_finds_mistakes_and_writes_nothing(reader, writer, namespace):
    writer.create(deployment(namespace), "pertoken", dry_run=True)
    ref = WorkloadRef("apps/v1", "Deployment", namespace, "chat")
    with pytest.raises(NotFound):
        reader.get(ref)
    bad_name = deployment(namespace)
    bad_name["spec"]["template"]["spec"]["containers"][0]["name"] = "Not A Name"
    with pytest.raises(Refused, match=r"containers\[0\]\.name"):
        writer.create(bad_name, "pertoken", dry_run=True)
    unknown = deployment(namespace)
    unknown["spec"]["nonsense"] = 1
    with pytest.raises(Refused, match="nonsense"):
        writer.create(unknown, "pertoken", dry_run=True)


def test_delete_takes_dependents_and_respects_the_uid(reader, writer, namespace):
    manifest = deployment(namespace)
    writer.create(manifest, "pertoken")
    ref = WorkloadRef("apps/v1", "Deployment", namespace, "chat")
    with pytest.raises(Conflict):
        writer.delete({**manifest, "metadata": {**manifest["metadata"], "uid": "another"}})
    writer.delete(manifest)
    writer.delete(manifest)
    with pytest.raises(NotFound):
        reader.get(ref)


def test_forbidden_names_verb_resource_and_namespace(clock, limited, namespace):
    with pytest.raises(Forbidden, match=r'cannot list resource "pods".*cluster scope'):
        KubeReader(limited).list("pods")
    with pytest.raises(Forbidden, match=f'cannot list resource "pods".*namespace "{namespace}"'):
        KubeReader(limited, namespaces=[namespace]).list("pods")
    scale = WorkloadRef("apps/v1", "Deployment", namespace, "chat")
    with pytest.raises(Forbidden, match='cannot patch resource "deployments/scale"'):
        KubeWriter(limited, clock).set_replicas(scale, 1, "")


def test_a_role_in_the_namespace_suffices_for_namespaced_mode(limited, kubectl, namespace):
    kubectl("create", "role", "r", "--verb=get,list", "--resource=pods,namespaces", "-n", namespace)
    kubectl("create", "rolebinding", "r", "--role=r", f"--serviceaccount={namespace}:nobody", "-n", namespace)
    reader = KubeReader(limited, namespaces=[namespace])

    def listed() -> Any:
        try:
            return reader.list("namespaces").items
        except Forbidden:  # the authorizer's cache follows a moment later
            return None

    assert [item["metadata"]["name"] for item in until(listed)] == [namespace]
    assert reader.list("pods").items == []


@pytest.mark.usefixtures("limited")
def test_credentials_that_nobody_knows_are_forbidden(tmp_path):
    text = (tmp_path / "nobody").read_text()
    token = next(line for line in text.splitlines() if "token:" in line).split("token:")[1].strip().strip('"')
    (tmp_path / "forged").write_text(text.replace(token, token[:-8] + "AAAAAAAA"))
    forged = KubeClient(ClientOptions(kubeconfig=tmp_path / "forged"))
    with pytest.raises(Forbidden, match="credentials"):
        forged.call(ApiRequest("GET", "/api/v1/nodes"))
    forged.close()


def test_events_are_seen_by_kubectl(writer, kubectl, namespace):
    uid = kubectl.json("get", "namespace", namespace)["metadata"]["uid"]
    about = {"apiVersion": "v1", "kind": "Namespace", "namespace": namespace, "name": namespace, "uid": uid}
    for _ in range(3):
        writer.record(EventNote(about, "Normal", "ReplicasIncreased", "from 3 to 4 replicas: demand rose to 812 tok/s"))
    writer.record(EventNote(about, "Warning", "ScaleFailed", "é" * 2000))
    shown = kubectl("get", "events", "-n", namespace)
    assert "demand rose to 812 tok/s" in shown
    assert shown.count("ReplicasIncreased") == 1
    events = kubectl.json("get", "events.events.k8s.io", "-n", namespace)["items"]
    by_reason = {event["reason"]: event for event in events}
    assert by_reason["ReplicasIncreased"]["series"]["count"] == 2, "the third repeat is written a minute later"
    assert by_reason["ReplicasIncreased"]["reportingController"] == "pertoken"
    described = kubectl("describe", "namespace", namespace)
    assert described
    assert "ScaleFailed" in kubectl("events", "-n", namespace)


def test_a_long_list_comes_whole(client, reader, namespace):
    def create(numbers: range) -> None:
        for number in numbers:
            meta = {"name": f"m{number}", "labels": {"app.kubernetes.io/managed-by": "pertoken"}}
            client.call(ApiRequest("POST", f"/api/v1/namespaces/{namespace}/configmaps", body={"metadata": meta}))

    threads = [threading.Thread(target=create, args=(range(start, 1100, 4),)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    own = [item for item in reader.list("configmaps").items if item["metadata"]["namespace"] == namespace]
    assert len({item["metadata"]["name"] for item in own}) == 1100


FAST = {"duration_seconds": 4.0, "renew_deadline_seconds": 2.5, "retry_seconds": 0.4}


def test_two_candidates_one_leader_and_a_quick_handover(client, clock, kubectl, namespace):
    spec = LeaseSpec(namespace, identity="candidate", **FAST)
    first, second = (LeaseElector(client, spec, clock) for _ in range(2))
    first.start()
    until(first.valid)
    second.start()
    for _ in range(30):
        assert first.valid()
        assert not second.valid()
        time.sleep(0.1)
    shown = kubectl.json("get", "lease", "pertoken", "-n", namespace)["spec"]
    assert shown["holderIdentity"] == first.identity
    began = time.monotonic()
    first.stop()
    assert not first.valid()
    until(second.valid, 2.0)
    assert time.monotonic() - began < 2.0, "a released lease is taken at the next attempt"
    second.stop()
    assert kubectl.json("get", "lease", "pertoken", "-n", namespace)["spec"]["holderIdentity"] == ""


def test_an_outage_gives_typed_errors_in_time_and_ends_leadership(control_plane, client, clock, reader, namespace):
    spec = LeaseSpec(namespace, name="outage", **FAST)
    elector = LeaseElector(client, spec, clock)
    elector.start()
    until(elector.valid)
    control_plane.kill_apiserver()
    try:
        began = time.monotonic()
        calls = 0
        while elector.valid():
            with pytest.raises((Unavailable, Timeout)):
                reader.list("pods")
            calls += 1
            assert time.monotonic() - began < spec.renew_deadline_seconds + 1.0
            time.sleep(0.05)
        assert calls > 5, "a refused connection is an answer at once, not after retries"
        assert not client.reachable()
    finally:
        control_plane.restart_apiserver()
    until(elector.valid)
    assert recovered(reader)
    elector.stop()


def recovered(reader: KubeReader) -> bool:
    def ask() -> bool:
        try:
            reader.list("pods")
        except AdapterError:
            return False
        return True

    return bool(until(ask))
