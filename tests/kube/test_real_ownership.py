"""Whose an object is, on a real API server: what pertoken makes, takes over from earlier versions, and leaves."""

from __future__ import annotations

from typing import Any

import pytest

from pertoken.adapters.kube.client import APPLY_PATCH, ApiRequest, KubeClient
from pertoken.adapters.kube.reader import KubeReader
from pertoken.adapters.kube.writer import KubeWriter
from pertoken.api.ownership import SERVICE_LABEL, SERVICE_UID, VARIANT_LABEL, OwnershipClaim, marks_of, stranger
from pertoken.control.made import Looked, Maker, NameTaken, Wanted
from pertoken.domain.identity import ServiceKey, WorkloadRef
from pertoken.ports import Conflict

pytestmark = pytest.mark.e2e


@pytest.fixture
def maker(client, clock) -> Maker:
    return Maker(KubeReader(client), KubeWriter(client, clock))


@pytest.fixture
def uids(client, namespace) -> dict[str, str]:
    """Objects that stand for InferenceServices: what has an owner that does not exist is collected as garbage."""
    uid_by_name = {}
    for name in ("chat", "other"):
        body = {"metadata": {"name": name}}
        answer = client.call(ApiRequest("POST", f"/api/v1/namespaces/{namespace}/configmaps", body=body))
        uid_by_name[name] = answer["metadata"]["uid"]
    return uid_by_name


@pytest.fixture
def uid(uids) -> str:
    return uids["chat"]


def deployment(namespace: str, uid: str, *sidecars: str, orphan: bool = False, owner: str = "chat") -> dict[str, Any]:
    selector = {SERVICE_LABEL: "chat", VARIANT_LABEL: "a"}
    containers = [{"name": name, "image": "registry.invalid/i"} for name in ("engine", *sidecars)]
    meta: dict[str, Any] = {"name": "chat-a", "namespace": namespace, "labels": dict(selector)}
    controller = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uid, "controller": True}
    if orphan:
        meta["annotations"] = {SERVICE_UID: uid}
    else:
        meta["ownerReferences"] = [controller]
    template = {"metadata": {"labels": selector}, "spec": {"containers": containers, "schedulerName": "nobody"}}
    spec = {"selector": {"matchLabels": selector}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def wanted(manifest: dict[str, Any], uid: str) -> Wanted:
    claim = OwnershipClaim(ServiceKey(manifest["metadata"]["namespace"], "chat"), "a", uid)
    return Wanted(manifest, claim, {**manifest, "spec": {**manifest["spec"], "replicas": 0}})


def settle(maker: Maker, *objects: Wanted) -> list[Looked]:
    """All three passes; returns what had to be written. A controller's status may come in between: then again."""
    for _ in range(20):
        try:
            changed = maker.rehearse(maker.look(objects))
            for each in changed:
                maker.write(each)
        except Conflict:
            continue
        return changed
    pytest.fail("conflicts without end")


def live(client: KubeClient, namespace: str) -> dict[str, Any]:
    return client.call(ApiRequest("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/chat-a"))


def apply_as(client: KubeClient, manifest: dict[str, Any], manager: str) -> None:
    path = f"/apis/apps/v1/namespaces/{manifest['metadata']['namespace']}/deployments/chat-a"
    query = {"fieldManager": manager, "force": True}
    client.call(ApiRequest("PATCH", path, query=query, body=manifest, content_type=APPLY_PATCH))


def test_what_was_created_can_lose_a_field_and_keeps_its_replicas(client, maker, namespace, uid):
    """A creation is no apply: its fields must be handed over, or a sidecar that the user drops would stay for ever."""
    settle(maker, wanted(deployment(namespace, uid, "sidecar"), uid))
    assert live(client, namespace)["spec"]["replicas"] == 0
    ref = WorkloadRef("apps/v1", "Deployment", namespace, "chat-a")
    maker.writer.set_replicas(ref, 3, "")
    settle(maker, wanted(deployment(namespace, uid), uid))
    after = live(client, namespace)["spec"]
    assert [container["name"] for container in after["template"]["spec"]["containers"]] == ["engine"]
    assert after["replicas"] == 3


def test_a_creation_that_was_cut_off_is_handed_over_later(client, maker, namespace, uid):
    asked = wanted(deployment(namespace, uid, "sidecar"), uid)
    maker.writer.create(asked.new, "pertoken")
    settle(maker, asked)
    settle(maker, wanted(deployment(namespace, uid), uid))
    after = live(client, namespace)["spec"]
    assert [container["name"] for container in after["template"]["spec"]["containers"]] == ["engine"]
    assert after["replicas"] == 0


def test_what_is_as_it_should_be_is_not_written(client, maker, namespace, uid):
    settle(maker, wanted(deployment(namespace, uid), uid))
    before = live(client, namespace)["metadata"]["generation"]
    assert settle(maker, wanted(deployment(namespace, uid), uid)) == []
    assert live(client, namespace)["metadata"]["generation"] == before


@pytest.mark.parametrize("orphan", [False, True], ids=["owned", "orphan"])
def test_what_the_version_before_made_is_still_ours_and_not_restarted(client, maker, namespace, uid, orphan):
    """Version 0.1 applied with force, claimed the replicas for the scaler, and wrote no uid on orphans."""
    earlier = deployment(namespace, uid, orphan=orphan)
    earlier["metadata"].pop("annotations", None)
    apply_as(client, {**earlier, "spec": {**earlier["spec"], "replicas": 2}}, "pertoken")
    claim = {key: earlier[key] for key in ("apiVersion", "kind")}
    claim["metadata"] = {"name": "chat-a", "namespace": namespace}
    apply_as(client, {**claim, "spec": {"replicas": 2}}, "pertoken-scaler")
    apply_as(client, earlier, "pertoken")
    before = live(client, namespace)["spec"]
    settle(maker, wanted(deployment(namespace, uid, orphan=orphan), uid))
    after = live(client, namespace)
    assert before["replicas"] == 2
    assert after["spec"] == before
    assert stranger(marks_of(after), OwnershipClaim(ServiceKey(namespace, "chat"), "a", uid)) == ""


def test_orphans_change_to_owned_and_back(client, maker, namespace, uid):
    for orphan in (True, False, True):
        settle(maker, wanted(deployment(namespace, uid, orphan=orphan), uid))
        assert ("ownerReferences" in live(client, namespace)["metadata"]) is not orphan


def strangers(namespace: str, uids: dict[str, str]) -> dict[str, tuple[dict[str, Any], str]]:
    """Objects of the very name, with who wrote them."""
    bare = deployment(namespace, uids["chat"])
    del bare["metadata"]["ownerReferences"]
    return {
        "a user's": (bare, "kubectl"),
        "another controller's": (deployment(namespace, uids["other"], owner="other"), "pertoken"),
        "another's orphan": (deployment(namespace, uids["other"], orphan=True), "pertoken"),
    }


@pytest.mark.parametrize("whose", ["a user's", "another controller's", "another's orphan"])
def test_somebody_elses_object_is_refused_by_name(client, maker, namespace, uids, whose):
    uid = uids["chat"]
    manifest, manager = strangers(namespace, uids)[whose]
    apply_as(client, manifest, manager)
    before = live(client, namespace)
    with pytest.raises(NameTaken, match=f"Deployment {namespace}/chat-a exists and is not this InferenceService's"):
        settle(maker, wanted(deployment(namespace, uid, "sidecar"), uid))
    assert live(client, namespace)["spec"] == before["spec"]


def test_an_object_that_was_swapped_after_the_look_is_not_touched(client, maker, namespace, uid):
    settle(maker, wanted(deployment(namespace, uid), uid))
    [seen] = maker.look([wanted(deployment(namespace, uid, "sidecar"), uid)])
    client.call(ApiRequest("DELETE", f"/apis/apps/v1/namespaces/{namespace}/deployments/chat-a"))
    users_deployment = deployment(namespace, uid)
    del users_deployment["metadata"]["ownerReferences"]
    apply_as(client, users_deployment, "kubectl")
    with pytest.raises(NameTaken):
        maker.write(seen)
    containers = live(client, namespace)["spec"]["template"]["spec"]["containers"]
    assert [container["name"] for container in containers] == ["engine"]


def test_who_is_faster_after_the_look_keeps_the_name(client, maker, namespace, uid):
    [seen] = maker.look([wanted(deployment(namespace, uid, "sidecar"), uid)])
    users_deployment = deployment(namespace, uid)
    del users_deployment["metadata"]["ownerReferences"]
    apply_as(client, users_deployment, "kubectl")
    with pytest.raises(NameTaken):
        maker.write(seen)


def test_whether_pods_would_be_replaced_is_asked_before(client, maker, namespace, uid):
    """The server's defaults are no change; a label of the Deployment's own is one that replaces nothing."""
    asked = deployment(namespace, uid)
    settle(maker, wanted(asked, uid))
    labelled = {**asked, "metadata": {**asked["metadata"], "labels": {**asked["metadata"]["labels"], "more": "1"}}}
    told = [
        maker.would_roll(each)
        for each in maker.look(
            [wanted(asked, uid), wanted(labelled, uid), wanted(deployment(namespace, uid, "sidecar"), uid)]
        )
    ]
    assert told == [False, False, True]
    assert live(client, namespace)["metadata"]["generation"] == 1
