"""What pertoken made for variants that are no more: what of it is its to remove, and removing exactly that."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from kept import Cluster, service, surveyed

from pertoken.api.ownership import SERVICE_LABEL, VARIANT_LABEL
from pertoken.control.actuate import Actuator, Result
from pertoken.control.objects import ServiceObject
from pertoken.control.owned import Keeper
from pertoken.control.retired import left_behind, retired_targets, unowned_by
from pertoken.control.survey import Surveyed
from pertoken.domain.cluster import PodFact
from pertoken.domain.identity import PodKey, WorkloadRef
from pertoken.domain.plan import RemoveWorkload
from pertoken.domain.reasons import Reason
from pertoken_bench.policies.simulated_operator import ShippedCatalog

CHAT = WorkloadRef("apps/v1", "Deployment", "team", "chat-a")


def keeper_of(cluster: Cluster) -> Keeper:
    return Keeper(cluster, cluster, cluster, ShippedCatalog())


def made(orphan: bool = False) -> Cluster:
    cluster = Cluster()
    keeper_of(cluster).keep(surveyed(cluster, replace(service(), orphan=orphan)))
    return cluster


def renamed(**changes) -> ServiceObject:
    """The service, whose variant is called otherwise now."""
    before = service()
    (variant,) = before.spec.variants
    other = replace(variant, name="b", workload=replace(CHAT, name="chat-b"))
    return replace(before, spec=replace(before.spec, variants=(other,)), **changes)


def facts(cluster: Cluster):
    return tuple(surveyed(cluster).scalables.values())


def removal(cluster: Cluster, **changes) -> RemoveWorkload:
    uid = cluster.objects[CHAT]["metadata"]["uid"]
    action = RemoveWorkload(service().key, "chat-a", CHAT, "uid-chat", uid, Reason.VARIANT_REMOVED)
    return replace(action, **changes)


def remove(cluster: Cluster, action: RemoveWorkload) -> Result:
    cluster.calls.clear()
    [outcome] = Actuator(cluster, cluster, reader=cluster).carry_out([action], surveyed(cluster))
    return outcome.result


def test_a_renamed_variants_workload_is_to_go():
    [target] = retired_targets(renamed(), facts(made()), ())
    assert target.ref == CHAT
    assert retired_targets(service(), facts(made()), ()) == ()


@pytest.mark.parametrize("case", ["made to outlive it", "another service's", "an earlier service's of the name"])
def test_what_the_service_does_not_control_is_told_and_left(case):
    cluster = made(orphan=case == "made to outlive it")
    cluster.objects[CHAT]["spec"]["replicas"] = 2
    asked = renamed(uid="other") if "service" in case else renamed()
    assert retired_targets(asked, facts(cluster), ()) == ()
    assert left_behind(asked, facts(cluster)) == ("Deployment team/chat-a (2 replicas)",)


def test_everything_goes_and_the_workload_last_with_its_pods():
    cluster = made()
    assert remove(cluster, removal(cluster)) is Result.DONE
    assert cluster.writes == [
        "delete Service chat-a",
        "delete PodDisruptionBudget chat-a",
        "delete ConfigMap chat-a-batch",
        "delete Deployment chat-a in the foreground",
    ]


def test_what_an_operator_left_that_was_killed_in_between_goes_later():
    cluster = made()
    del cluster.objects[replace(CHAT, api_version="v1", kind="Service")]
    assert remove(cluster, removal(cluster)) is Result.DONE
    assert cluster.writes[-1] == "delete Deployment chat-a in the foreground"


def test_somebody_elses_object_of_the_name_stays():
    cluster = made()
    of_users = replace(CHAT, api_version="v1", kind="Service")
    cluster.own(of_users, ownerReferences=[])
    remove(cluster, removal(cluster))
    assert of_users in cluster.objects
    assert CHAT not in cluster.objects


@pytest.mark.parametrize("changes", [{"uid": "replaced"}, {"service_uid": "other"}], ids=str)
def test_a_workload_that_is_not_the_one_that_was_planned_for_stays(changes):
    cluster = made()
    assert remove(cluster, removal(cluster, **changes)) is Result.CONFLICT
    assert cluster.writes == []


def pod(maker: str = "chat-a-5d9c", kind: str = "ReplicaSet", **labels: str) -> PodFact:
    told = {"app.kubernetes.io/managed-by": "pertoken", SERVICE_LABEL: "chat", VARIANT_LABEL: "a", **labels}
    return PodFact(PodKey("team", "p"), "uid-p", labels=told, workload=WorkloadRef("apps/v1", kind, "team", maker))


@pytest.mark.parametrize(
    ("seen", "whose"),
    [
        (pod(), ("team", "chat")),
        (pod("chat-a", "Deployment"), ("team", "chat")),
        (pod("payments-7f"), None),
        (pod(**{"app.kubernetes.io/managed-by": "helm"}), None),
        (pod(**{VARIANT_LABEL: "b"}), None),
        (replace(pod(), workload=None), None),
    ],
)
def test_pods_without_a_workload_belong_to_whom_their_template_and_their_maker_name(seen, whose):
    assert unowned_by(seen, {}) == whose
    assert unowned_by(seen, surveyed(made()).scalables) is None


def released(keeper: Keeper, cluster: Cluster, asked: ServiceObject) -> bool:
    seen: Surveyed = surveyed(cluster, asked)
    seen = replace(seen, snapshot=replace(seen.snapshot, services=(asked,)))
    keeper.keep(seen)
    return asked.uid in keeper.released(seen)


def test_a_release_is_told_when_the_server_shows_it_and_not_before():
    cluster = made()
    orphan = replace(service(), orphan=True)
    keeper = keeper_of(cluster)
    assert not released(keeper, cluster, orphan), "the watch still shows an owner"
    assert released(keeper, cluster, orphan)
    assert not released(keeper, cluster, service()), "nothing is released that shall go with it"


def test_what_could_not_be_written_is_not_released():
    cluster = Cluster()
    keeper = keeper_of(cluster)
    changed = copy.deepcopy(replace(service(), orphan=True))
    cluster.fault = TimeoutError("slow")
    assert not released(keeper, cluster, changed)


def test_of_a_service_that_does_not_act_the_workloads_tell():
    paused = replace(service(), orphan=True)
    paused = replace(paused, spec=replace(paused.spec, paused=True))
    assert not released(keeper_of(made()), made(), paused)
    assert released(keeper_of(made()), made(orphan=True), paused)
