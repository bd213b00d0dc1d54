"""Objects that pertoken makes, beside a controller that writes to them at the same time."""

import copy

from pertoken.control.made import Looked, Maker, OwnershipClaim, Wanted
from pertoken.domain.identity import ServiceKey
from pertoken.ports import Conflict

CLAIM = OwnershipClaim(ServiceKey("team", "chat"), "a", "uid-of-chat")
MANIFEST = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "chat-a", "namespace": "team"},
    "spec": {"paused": False},
}


def stored(version, **annotations):
    owner = {"kind": "InferenceService", "name": "chat", "uid": "uid-of-chat", "controller": True}
    meta = {"uid": "u", "resourceVersion": version, "annotations": annotations, "ownerReferences": [owner]}
    return {**copy.deepcopy(MANIFEST), "metadata": {**MANIFEST["metadata"], **meta}}


class Server:
    """Holds one object, which its controller changes as soon as it was looked at; applies change `spec` as told."""

    def __init__(self, changed=None) -> None:
        self.live, self.changed = stored("2", revision="1"), changed or {}

    def get(self, _ref):
        return self.live

    def apply(self, manifest, _manager, *, dry_run):
        assert dry_run
        if manifest["metadata"]["resourceVersion"] != self.live["metadata"]["resourceVersion"]:
            raise Conflict("the object has been modified")
        return {**self.live, "spec": {**self.live["spec"], **self.changed}}


def test_what_a_controller_writes_between_look_and_rehearsal_is_no_difference():
    server = Server()
    looked = [Looked(Wanted(MANIFEST, CLAIM), stored("1"))]
    assert Maker(server, server).rehearse(looked) == []


def test_what_an_apply_would_change_is_one():
    server = Server({"paused": True})
    looked = [Looked(Wanted(MANIFEST, CLAIM), stored("1"))]
    assert Maker(server, server).rehearse(looked) == looked
