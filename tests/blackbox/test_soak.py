"""Whatever people hand to the API server: it is refused with its field, or lived with, and no cycle is lost."""

from __future__ import annotations

import contextlib

import pytest
from clusterlab import adopted
from clusterlab.bad import Bad, bad_services
from clusterlab.cluster import path
from clusterlab.fuzz import stream

from pertoken_sandbox.fleet.kube import ApiError

pytestmark = pytest.mark.e2e

FUZZED = 300


def test_bad_manifests_and_fuzzed_objects_cost_no_cycle(lab):
    pool = lab.pool(nodes=[4])
    lab.load("chat", requests_per_second=2)
    lab.deployment("chat", pool, 1)
    lab.service("chat", adopted("chat", pool))
    identity, failed = lab.operator.process.identity, lab.operator.cycles("failed")

    taken = _refused_or_taken(lab, pool)
    fuzzed = _fuzzed(lab, pool)

    def pending() -> list[str]:
        return [str(bad) for name, bad in taken.items() if not lab.says(name, "Accepted", "False")]

    lab.until(lambda: not pending(), 40, says="what the API server took is refused by the operator")
    for name, bad in taken.items():
        message = lab.condition(name, "Accepted")["message"]
        assert bad.named_in(message) or "podTemplate" in message, f"{bad}: {message}"
        assert not lab.says(name, "Ready", "True"), str(bad)

    lab.cycles(4)
    assert lab.operator.process.identity == identity, "the operator ended"
    assert lab.operator.cycles("failed") == failed
    assert lab.operator.get("/healthz")[0] == 200
    assert not lab.operator.tracebacks()
    lab.load("chat", requests_per_second=40, step_seconds=0.04, batch=64)
    lab.until(lambda: lab.replicas("chat") > 1, 40, says="the healthy service beside them is served")
    for obj in fuzzed:
        if obj["kind"] in {"Node", "AcceleratorPool"}:
            lab.cluster.delete(obj["kind"], lab.namespace, obj["metadata"]["name"])


def _refused_or_taken(lab, pool: str) -> dict[str, Bad]:
    """Hand in 200 bad manifests; by name those that the API server took."""
    manifests = list(bad_services(pool))
    assert len(manifests) >= 200
    where, unnamed, taken = path("InferenceService", lab.namespace), [], {}
    for bad in manifests:
        try:
            lab.stack.fleet.request("POST", where, bad.manifest, params={"fieldValidation": "Strict"})
        except ApiError as error:
            if error.status not in {400, 403, 422} or not bad.named_in(str(error)):
                unnamed.append(f"{bad}: {error}"[:300])
        else:
            taken[bad.manifest["metadata"]["name"]] = bad
    assert not unnamed
    return taken


def _fuzzed(lab, pool: str) -> list[dict]:
    """What the API server took of a stream of fuzzed objects of all watched kinds."""
    created = []
    for obj in stream(20_261_128, FUZZED, pool):
        with contextlib.suppress(ApiError):
            lab.cluster.create(obj, lab.namespace)
            created.append(obj)
    kinds = {obj["kind"] for obj in created}
    assert len(kinds) == 8, kinds
    assert len(created) > FUZZED / 4
    return created
