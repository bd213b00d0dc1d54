"""One target, one service: whoever comes second acts on nothing, and says whom the target belongs to."""

from __future__ import annotations

import pytest
from clusterlab import adopted, owned

pytestmark = pytest.mark.e2e


def test_the_younger_of_two_services_on_one_deployment_acts_on_nothing(lab):
    pool = lab.pool(nodes=[8])
    lab.load("chat", requests_per_second=2)
    lab.deployment("chat", pool, 4)
    lab.service("older", adopted("chat", pool, minReplicas=4))
    lab.until(lambda: lab.ready("chat") == 4)
    lab.until(lambda: lab.says("older", "Ready", "True"))
    mark = lab.mark()

    # Another spelling of the same target, and a service that would cut it down at once.
    lab.service("younger", adopted("chat", pool, maxReplicas=1))

    lab.until(lambda: lab.says("younger", "Conflicted", "True", "TargetTaken"))
    assert lab.says("younger", "Ready", "False", "TargetTaken")
    assert lab.says("younger", "Accepted", "True")
    words = lab.condition("younger", "Conflicted")["message"]
    assert f"{lab.namespace}/older" in words
    assert f"Deployment {lab.namespace}/chat" in words
    lab.throughout(5, lambda: lab.replicas("chat") == 4, says="the younger one changed the target")
    assert lab.says("older", "Conflicted", "False")
    assert lab.audit(mark, resource="deployments/scale", name="chat") == []

    lab.cluster.delete("InferenceService", lab.namespace, "older")

    lab.until(lambda: lab.says("younger", "Conflicted", "False"))
    lab.until(lambda: lab.replicas("chat") < 4, says="the younger one did not take over")


def test_names_that_meet_are_one_target(lab):
    """`a-b` + `c` and `a` + `b-c` make the same Deployment; a reference may name somebody's owned one, too."""
    pool = lab.pool(nodes=[4])
    lab.service("a-b", owned(pool, name="c"))
    lab.until(lambda: lab.replicas("a-b-c") == 1)
    uid = lab.get("Deployment", "a-b-c")["metadata"]["uid"]
    owner = lab.get("Deployment", "a-b-c")["metadata"]["ownerReferences"]

    lab.service("a", owned(pool, name="b-c", maxReplicas=2))
    lab.service("user", adopted("a-b-c", pool, maxReplicas=2))

    for name in ("a", "user"):
        lab.until(lambda name=name: lab.says(name, "Conflicted", "True", "TargetTaken"))
    lab.cycles(3)
    after = lab.get("Deployment", "a-b-c")["metadata"]
    assert (after["uid"], after["ownerReferences"]) == (uid, owner)
