"""A leader that was stopped in the middle of a chain of writes makes none after another one has taken over."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from clusterlab import owned
from clusterlab.audit import OPERATOR_NAMESPACE, Write
from clusterlab.manifests import service

pytestmark = pytest.mark.e2e
SERVICES = 12
LEASE = 6  # seconds


def lease(lab) -> dict[str, str]:
    return (lab.cluster.get("Lease", OPERATOR_NAMESPACE, "pertoken") or {}).get("spec", {})


def writes_of(lab, account: str, after: str) -> list[Write]:
    """Writes of one operator anywhere, dry runs included, the lease apart, that were answered after an instant."""
    return [
        write
        for write in lab.stack.audit.writes()
        if write.user.endswith(f":{account}") and write.at > after and write.resource != "leases"
    ]


@pytest.fixture
def leader(lab) -> Iterator[None]:
    """The shared operator leads, with a short lease."""
    lab.operator.restart(LEASE_SECONDS=LEASE)
    lab.until(lambda: lab.operator.cycles() > 0, 60)
    yield
    lab.operator.resume()
    lab.operator.restart(LEASE_SECONDS=15)


@pytest.mark.usefixtures("leader")
def test_a_stopped_leader_writes_nothing_after_the_hand_over(lab):
    pool = lab.pool(nodes=[SERVICES])
    with lab.second_operator("standby", LEASE_SECONDS=LEASE) as standby:
        lab.until(lambda: standby.get("/readyz")[0] == 200, 60)
        first = lease(lab)["holderIdentity"]
        mark = lab.mark()
        for number in range(SERVICES):  # fast enough for one cycle to see them all
            lab.cluster.create(service(f"s{number}", owned(pool, maxReplicas=1)), lab.namespace)
        deadline = time.monotonic() + 30
        while not lab.audit(mark, resource="deployments") and time.monotonic() < deadline:
            pass  # a chain of writes lasts a second
        lab.operator.pause()
        written = {write.name for write in lab.audit(mark, resource="poddisruptionbudgets")}
        assert lab.audit(mark, resource="deployments")
        assert len(written) < SERVICES, "the chain was over before it could be stopped"

        lab.until(lambda: lease(lab)["holderIdentity"] not in {first, ""}, 40)
        handed_over = lease(lab)["acquireTime"]
        lab.until(lambda: writes_of(lab, "standby", handed_over))
        lost = lab.operator.log.count("not leading any more")
        lab.operator.resume()

        lab.until(lambda: lab.operator.log.count("not leading any more") > lost)
        goal = standby.cycles() + 4
        lab.until(lambda: standby.cycles() >= goal, 60, says="time for what may still be written")
        lab.until(lambda: all(lab.ready(f"s{number}-a") == 1 for number in range(SERVICES)), 60)
        late = writes_of(lab, "pertoken", handed_over)
        assert late == [], [(write.at, write.verb, write.resource, write.name) for write in late]
        # What could not be fenced by the process alone is fenced by the API server.
        scaled = lab.audit(mark, resource="deployments/scale")
        assert all(write.fenced for write in scaled)
