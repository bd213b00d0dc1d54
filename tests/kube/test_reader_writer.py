"""Reader, writer, discovery and events against a scripted API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pertoken.adapters.kube.client import APPLY_PATCH, MERGE_PATCH, ApiRequest
from pertoken.adapters.kube.errors import Expired
from pertoken.adapters.kube.events import EventRecorder
from pertoken.adapters.kube.fenced import FencedCaller
from pertoken.adapters.kube.reader import CHUNK, WATCHED, KubeReader
from pertoken.adapters.kube.writer import KubeWriter
from pertoken.control.fence import Fence
from pertoken.domain.identity import PodKey, WorkloadRef
from pertoken.ports import Conflict, EventNote, NotFound, Refused, Unavailable, Withheld

Answer = Callable[[ApiRequest], dict[str, Any]]


@dataclass
class Api:
    """Answers by (method, path); remembers every request."""

    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    seen: list[ApiRequest] = field(default_factory=list)

    def call(self, request: ApiRequest) -> dict[str, Any]:
        self.seen.append(request)
        answer = self.answers.get((request.method, request.path))
        if answer is None:
            if request.method == "GET":
                raise NotFound(f"{request}: not found")
            return {}
        return answer(request)

    def on(self, method: str, path: str, *answers: dict[str, Any] | Exception) -> None:
        queue = list(answers)

        def answer(_: ApiRequest) -> dict[str, Any]:
            response = queue.pop(0) if len(queue) > 1 else queue[0]
            if isinstance(response, Exception):
                raise response
            return response

        self.answers[(method, path)] = answer


@dataclass
class HandClock:
    at: float = 1_700_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


def page(*names: str, token: str = "", version: str = "40") -> dict[str, Any]:
    items = [{"metadata": {"name": name, "uid": name}} for name in names]
    return {"kind": "PodList", "metadata": {"resourceVersion": version, "continue": token}, "items": items}


def names(listing: Any) -> list[str]:
    return [item["metadata"]["name"] for item in listing.items]


def test_a_list_comes_in_chunks_and_typed():
    api = Api()
    api.on("GET", "/api/v1/pods", page("a", "b", token="t1"), page("c"))
    listing = KubeReader(api).list("pods")
    assert names(listing) == ["a", "b", "c"]
    assert listing.resource_version == "40"
    assert listing.items[2]["kind"] == "Pod"
    assert listing.items[2]["apiVersion"] == "v1"
    assert api.seen[0].query is not None
    assert api.seen[0].query["limit"] == CHUNK


def test_an_expired_list_begins_anew():
    api = Api()
    api.on("GET", "/api/v1/pods", page("old", token="t1"), Expired("410"), page("a", token="t2"), page("b"))
    assert names(KubeReader(api).list("pods")) == ["a", "b"]


def test_a_list_that_keeps_expiring_is_given_up():
    api = Api()
    api.on("GET", "/api/v1/pods", Expired("410"))
    with pytest.raises(Unavailable, match="expired 3 times"):
        KubeReader(api).list("pods")
    assert len(api.seen) == 3


def test_only_pertokens_configmaps_are_listed():
    api = Api()
    api.on("GET", "/api/v1/configmaps", page())
    KubeReader(api).list("configmaps")
    assert api.seen[0].query is not None
    assert api.seen[0].query["labelSelector"] == "app.kubernetes.io/managed-by=pertoken"


def test_namespaced_mode():
    api = Api()
    api.on("GET", "/api/v1/namespaces/a/pods", page("x"))
    api.on("GET", "/api/v1/namespaces/b/pods", page("y"))
    api.on("GET", "/api/v1/nodes", page("n"))
    for name in "ab":
        api.on("GET", f"/api/v1/namespaces/{name}", {"metadata": {"name": name}})
    reader = KubeReader(api, namespaces=["a", "b"])
    assert names(reader.list("pods")) == ["x", "y"]
    assert names(reader.list("nodes")) == ["n"]
    assert names(reader.list("namespaces")) == ["a", "b"]


def test_every_watched_kind_has_an_address():
    assert WATCHED["inferenceservices"].key == ("serving.pertoken.dev", "v1alpha1", "inferenceservices")
    assert {kind.resource.path() for kind in WATCHED.values()} >= {
        "/apis/serving.pertoken.dev/v1alpha1/acceleratorpools",
        "/apis/apps/v1/replicasets",
        "/apis/autoscaling/v2/horizontalpodautoscalers",
    }


LWS = WorkloadRef("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "prod", "big")
LWS_ROOT = "/apis/leaderworkerset.x-k8s.io/v1"
RESOURCES = [
    {"name": "leaderworkersets", "kind": "LeaderWorkerSet", "namespaced": True},
    {"name": "leaderworkersets/scale", "kind": "Scale", "namespaced": True},
]


def test_other_kinds_are_discovered_once():
    api = Api()
    api.on("GET", LWS_ROOT, {"resources": RESOURCES})
    api.on("GET", f"{LWS_ROOT}/namespaces/prod/leaderworkersets/big", {"kind": "LeaderWorkerSet"})
    api.on("GET", f"{LWS_ROOT}/namespaces/prod/leaderworkersets/big/scale", {"kind": "Scale"})
    reader = KubeReader(api)
    assert reader.get(LWS)["kind"] == "LeaderWorkerSet"
    assert reader.scale(LWS)["kind"] == "Scale"
    assert [request.path for request in api.seen].count(LWS_ROOT) == 1


def test_a_kind_that_is_installed_later_is_found_then():
    api = Api()
    reader = KubeReader(api)
    with pytest.raises(NotFound, match="does not serve"):
        reader.get(LWS)
    api.on("GET", LWS_ROOT, {"resources": []})
    with pytest.raises(NotFound, match="LeaderWorkerSet"):
        reader.get(LWS)
    api.on("GET", LWS_ROOT, {"resources": RESOURCES})
    api.on("GET", f"{LWS_ROOT}/namespaces/prod/leaderworkersets/big", {"kind": "LeaderWorkerSet"})
    assert reader.get(LWS)["kind"] == "LeaderWorkerSet"


@pytest.mark.parametrize(
    ("resources", "error"), [(RESOURCES, NotFound), (RESOURCES[:1], Refused)], ids=["gone", "kind"]
)
def test_a_target_that_is_gone_is_told_from_a_kind_that_cannot_be_scaled(resources, error):
    api = Api()
    api.on("GET", LWS_ROOT, {"resources": resources})
    api.on("PATCH", f"{LWS_ROOT}/namespaces/prod/leaderworkersets/big/scale", NotFound("404"))
    with pytest.raises(error) as caught:
        KubeWriter(api, HandClock()).set_replicas(LWS, 2, "7")
    assert ("has no scale subresource" in str(caught.value)) == (error is Refused)


def test_events_of_one_reason():
    api = Api()
    api.on("GET", "/api/v1/namespaces/prod/events", {"items": [{"message": "exceeded quota"}]})
    assert KubeReader(api).events("prod", "FailedCreate") == [{"message": "exceeded quota"}]
    assert api.seen[0].query == {"fieldSelector": "reason=FailedCreate", "limit": CHUNK}


CHAT = WorkloadRef("apps/v1", "Deployment", "prod", "chat")


def test_scaling_sends_the_precondition():
    api = Api()
    KubeWriter(api, HandClock()).set_replicas(CHAT, 4, "77")
    (request,) = api.seen
    assert request.path == "/apis/apps/v1/namespaces/prod/deployments/chat/scale"
    assert request.body == {"metadata": {"resourceVersion": "77"}, "spec": {"replicas": 4}}
    assert request.content_type == MERGE_PATCH
    assert request.query == {"fieldManager": "pertoken-scaler"}


def test_only_the_very_pod_is_evicted():
    api = Api()
    api.on("GET", "/api/v1/namespaces/prod/pods/p", {"metadata": {"uid": "u2"}})
    writer = KubeWriter(api, HandClock())
    with pytest.raises(Conflict, match="replaced"):
        writer.evict(PodKey("prod", "p"), "u1")
    assert all(request.method == "GET" for request in api.seen)
    writer.evict(PodKey("prod", "p"), "u2")
    assert api.seen[-1].path.endswith("/pods/p/eviction")
    assert api.seen[-1].body is not None
    assert api.seen[-1].body["deleteOptions"] == {"preconditions": {"uid": "u2"}}


MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "prod", "name": "m"}, "data": {"a": "b"}}


def test_apply():
    api = Api()
    writer = KubeWriter(api, HandClock())
    named = {**MAP, "metadata": {**MAP["metadata"], "uid": "u", "resourceVersion": "7"}}
    writer.apply(named, "pertoken", dry_run=True)
    writer.apply_status(MAP, "pertoken")
    dry, status = api.seen
    assert dry.body == named
    assert dry.query == {"fieldManager": "pertoken", "force": True, "dryRun": "All"}
    assert dry.content_type == APPLY_PATCH
    assert status.path == "/api/v1/namespaces/prod/configmaps/m/status"
    assert status.query == {"fieldManager": "pertoken", "force": True}


@pytest.mark.parametrize("meta", [{}, {"uid": "u"}, {"resourceVersion": "7"}], ids=str)
def test_an_apply_that_could_hit_any_object_is_never_sent(meta):
    api = Api()
    with pytest.raises(ValueError, match="could hit any object"):
        KubeWriter(api, HandClock()).apply({**MAP, "metadata": {**MAP["metadata"], **meta}}, "pertoken")
    assert api.seen == []


def test_a_new_object_is_posted():
    api = Api()
    KubeWriter(api, HandClock()).create(MAP, "pertoken", dry_run=True)
    (request,) = api.seen
    assert (request.method, request.path) == ("POST", "/api/v1/namespaces/prod/configmaps")
    assert request.query == {"fieldManager": "pertoken", "fieldValidation": "Strict", "dryRun": "All"}


@dataclass
class Lease:
    """Leads for so many questions, in a term."""

    left: int
    term: int = 1

    def valid(self) -> bool:
        self.left -= 1
        return self.left >= 0


POD = {"metadata": {"uid": "u"}}


def fenced(api: Api, lease: Lease) -> KubeWriter:
    fence = Fence(lease)
    fence.enter(1)
    return KubeWriter(FencedCaller(api, fence), HandClock())


WRITES = {
    "scale": lambda writer: writer.set_replicas(CHAT, 4, "7"),
    "evict": lambda writer: writer.evict(PodKey("prod", "p"), "u"),
    "create": lambda writer: writer.create(MAP, "pertoken"),
    "dry run": lambda writer: writer.create(MAP, "pertoken", dry_run=True),
    "apply": lambda writer: writer.apply(
        {**MAP, "metadata": {**MAP["metadata"], "uid": "u", "resourceVersion": "7"}}, "pertoken"
    ),
    "own fields": lambda writer: writer.own_fields(
        {**MAP, "metadata": {**MAP["metadata"], "uid": "u", "resourceVersion": "7"}}, []
    ),
    "status": lambda writer: writer.apply_status(MAP, "pertoken"),
    "delete": lambda writer: writer.delete(MAP),
    "event": lambda writer: writer.record(note()),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("lease", [Lease(0), Lease(99, term=2)], ids=["lost", "won again"])
def test_every_single_write_is_fenced(write, lease):
    api = Api()
    api.on("GET", "/api/v1/namespaces/prod/pods/p", POD)
    with pytest.raises(Withheld):
        write(fenced(api, replace(lease)))
    assert all(request.method == "GET" for request in api.seen)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_leader_writes(write):
    api = Api()
    api.on("GET", "/api/v1/namespaces/prod/pods/p", POD)
    write(fenced(api, Lease(1)))
    assert api.seen[-1].method != "GET"


def test_an_eviction_asks_for_the_lease_after_its_look_at_the_pod():
    """A process that is stopped between the two must not evict when it goes on."""
    api, lease = Api(), Lease(99)

    def stopped(_: ApiRequest) -> dict[str, Any]:
        lease.left = 0
        return POD

    api.answers["GET", "/api/v1/namespaces/prod/pods/p"] = stopped
    with pytest.raises(Withheld):
        fenced(api, lease).evict(PodKey("prod", "p"), "u")
    assert [request.method for request in api.seen] == ["GET"]


def test_deleting_what_is_gone_is_fine():
    api = Api()
    api.on("DELETE", "/api/v1/namespaces/prod/configmaps/m", NotFound("gone"))
    KubeWriter(api, HandClock()).delete({**MAP, "metadata": {**MAP["metadata"], "uid": "u"}})
    assert api.seen[0].body is not None
    assert api.seen[0].body["propagationPolicy"] == "Background"
    assert api.seen[0].body["preconditions"] == {"uid": "u"}


def note(message: str = "3 to 4 replicas", uid: str = "s1", **about: str) -> EventNote:
    regarding = {"apiVersion": "serving.pertoken.dev/v1alpha1", "kind": "InferenceService", "namespace": "prod"}
    return EventNote({**regarding, "name": "chat", "uid": uid, **about}, "Normal", "ReplicasIncreased", message)


def recorder() -> tuple[Api, HandClock, EventRecorder]:
    api, clock = Api(), HandClock()
    return api, clock, EventRecorder(api, clock, "pertoken-0")


def methods(api: Api) -> list[str]:
    return [request.method for request in api.seen]


def test_repeats_become_a_series_that_is_written_now_and_then():
    api, clock, events = recorder()
    for _ in range(40):
        events.record(note())
        clock.at += 15
    assert methods(api)[0] == "POST"
    assert methods(api).count("POST") == 1
    patches = [request for request in api.seen if request.method == "PATCH"]
    assert 8 <= len(patches) <= 11, "at most one write a minute"
    assert patches[0].body is not None
    assert patches[0].body["series"]["count"] == 2
    assert patches[-1].body is not None
    assert patches[-1].body["series"]["count"] > 35


def test_an_equal_event_after_a_long_pause_is_a_new_one():
    api, clock, events = recorder()
    events.record(note())
    clock.at += 601
    events.record(note())
    assert methods(api) == ["POST", "POST"]
    first, second = (request.body["metadata"]["name"] for request in api.seen if request.body)
    assert first != second


def test_other_messages_and_objects_are_other_events():
    api, _, events = recorder()
    events.record(note())
    events.record(note("4 to 5 replicas"))
    events.record(note(uid="s2"))
    assert methods(api) == ["POST"] * 3


def test_a_flood_about_one_object_is_cut_off_and_others_are_heard():
    api, clock, events = recorder()
    for number in range(200):
        events.record(note(f"message {number}"))
    assert len(api.seen) == 25
    events.record(note(uid="other"))
    assert len(api.seen) == 26
    clock.at += 60
    events.record(note("again"))
    assert len(api.seen) == 27


def test_a_series_whose_event_expired_starts_again():
    api, _, events = recorder()
    events.record(note())
    assert api.seen[0].body is not None
    api.on("PATCH", f"{api.seen[0].path}/{api.seen[0].body['metadata']['name']}", NotFound("expired"))
    events.record(note())
    assert methods(api) == ["POST", "PATCH", "POST"]


def test_limits_of_the_event_api():
    api, _, events = recorder()
    events.record(note("€" * 2000, name="n" * 253))
    body = api.seen[0].body
    assert body is not None
    assert len(body["note"].encode()) <= 1024
    assert len(body["metadata"]["name"]) <= 253


def test_events_of_cluster_scoped_objects_live_in_default():
    api, _, events = recorder()
    events.record(note(namespace=""))
    assert api.seen[0].path == "/apis/events.k8s.io/v1/namespaces/default/events"
