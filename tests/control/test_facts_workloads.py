"""Scale targets and autoscalers, parsed to domain facts."""

from __future__ import annotations

from typing import Any

import pytest

from pertoken.control.facts import ReplicaSetFact
from pertoken.control.workloads import (
    AutoscalerFact,
    ConfigKey,
    Surroundings,
    autoscaler_fact,
    replicas_manager,
    scalable_fact,
    workload_fact,
)
from pertoken.domain.cluster import BatchCap, PodFact, pods_per_replica
from pertoken.domain.identity import PodKey, WorkloadRef
from pertoken.raw.values import Malformed

GPU = "nvidia.com/gpu"
CHAT = WorkloadRef("apps/v1", "Deployment", "prod", "chat")


def template(gpus: int, env: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    engine = {"name": "engine", "resources": {"limits": {GPU: str(gpus)}} if gpus else {}, "env": env or []}
    return {"spec": {"containers": [{"name": "proxy"}, engine]}}


def workload(kind: str = "Deployment", api: str = "apps/v1", **over: Any) -> dict[str, Any]:
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": "chat", "namespace": "prod", "uid": "d", "generation": 7, "resourceVersion": "991"}
        | over.get("metadata", {}),
        "spec": {"replicas": 3, "template": template(4)} | over.get("spec", {}),
        "status": {"observedGeneration": 7, "replicas": 3, "updatedReplicas": 3} | over.get("status", {}),
    }


def settled(obj: dict[str, Any], *replicasets: ReplicaSetFact) -> bool:
    return workload_fact(scalable_fact(obj), Surroundings(replicasets=replicasets)).settled


def replicaset(revision: int, replicas: int, owner: WorkloadRef = CHAT) -> ReplicaSetFact:
    return ReplicaSetFact("prod", f"chat-{revision}", f"rs{revision}", owner, replicas, revision)


def test_a_settled_deployment():
    cap = BatchCap(64)
    fact = workload_fact(scalable_fact(workload()), Surroundings(cap=cap))
    assert fact.ref == CHAT
    assert (fact.replicas, fact.gpus_per_replica, fact.resource_version) == (3, 4, "991")
    assert fact.settled
    assert fact.cap is cap
    assert fact.foreign_autoscaler == ""


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (workload(status={"observedGeneration": 6}), False),
        (workload(status={"replicas": 4, "updatedReplicas": 1}), False),
        # A scale-up whose pods the quota forbids is no rollout: scaling must stay possible.
        (workload(spec={"replicas": 9}), True),
        (workload(spec={"replicas": 0}, status={"replicas": 0, "updatedReplicas": 0}), True),
        (workload("StatefulSet", status={"currentRevision": "a", "updateRevision": "a"}), True),
        (workload("StatefulSet", status={"currentRevision": "a", "updateRevision": "b", "updatedReplicas": 1}), False),
        (
            workload(
                "StatefulSet",
                spec={"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}},
                status={"currentRevision": "a", "updateRevision": "b", "updatedReplicas": 1},
            ),
            True,
        ),
        (
            workload(
                "StatefulSet",
                spec={"updateStrategy": {"type": "OnDelete"}},
                status={"currentRevision": "a", "updateRevision": "b", "updatedReplicas": 0},
            ),
            True,
        ),
        (
            workload(
                "LeaderWorkerSet",
                "leaderworkerset.x-k8s.io/v1",
                status={"conditions": [{"type": "UpdateInProgress", "status": "True"}]},
            ),
            False,
        ),
        # Argo Rollouts write the observed generation as text.
        (workload("Rollout", "argoproj.io/v1alpha1", status={"observedGeneration": "7"}), True),
        (workload("Rollout", "argoproj.io/v1alpha1", status={"observedGeneration": "6"}), False),
    ],
)
def test_settled(obj: dict[str, Any], expected: bool):
    assert settled(obj) is expected


def test_a_deployment_without_any_status_is_not_settled():
    fresh = workload()
    fresh["status"] = {}
    assert not settled(fresh)


def test_old_replicasets_with_pods_unsettle():
    assert settled(workload(), replicaset(1, 0), replicaset(2, 3))
    assert not settled(workload(), replicaset(1, 1), replicaset(2, 3))
    other = WorkloadRef("apps/v1", "Deployment", "prod", "chat-large")
    assert settled(workload(), replicaset(1, 5, other), replicaset(2, 3))


def test_gpus_of_a_leader_worker_set_are_those_of_the_whole_group():
    group = {"size": 4, "leaderTemplate": template(8), "workerTemplate": template(4)}
    obj = workload("LeaderWorkerSet", "leaderworkerset.x-k8s.io/v1", spec={"leaderWorkerTemplate": group})
    fact = workload_fact(scalable_fact(obj), Surroundings())
    assert scalable_fact(obj).requests == {GPU: 8 + 3 * 4}
    assert (fact.gpus_per_replica, fact.pod_gpus) == (8 + 3 * 4, (8, 4, 4, 4))
    group.pop("leaderTemplate")
    assert workload_fact(scalable_fact(obj), Surroundings()).pod_gpus == (4, 4, 4, 4)
    group["size"] = 10**6
    with pytest.raises(Malformed, match="size"):
        scalable_fact(obj)


@pytest.mark.parametrize(
    ("leader", "worker", "size", "gpus"),
    [(0, 8, 3, (0, 8, 8)), (1, 8, 2, (1, 8)), (8, 0, 2, (8, 0)), (None, 4, None, (4,))],
)
def test_a_leader_without_gpus_is_a_pod_of_its_group(leader, worker, size, gpus):
    """lws#184: a leader that only routes, and workers with the GPUs."""
    group = {"size": size, "workerTemplate": template(worker)}
    if leader is not None:
        group["leaderTemplate"] = template(leader)
    obj = workload(
        "LeaderWorkerSet", "leaderworkerset.x-k8s.io/v1", spec={"template": None, "leaderWorkerTemplate": group}
    )
    fact = workload_fact(scalable_fact(obj), Surroundings())
    assert (fact.pod_gpus, fact.gpus_per_replica) == (gpus, sum(gpus))
    assert pods_per_replica(fact, (), GPU) == len(gpus)


def test_groups_of_a_kind_that_tells_no_template_are_known_by_their_pods():
    """An LLMInferenceService over several nodes: its controller makes a group of pods for every replica."""
    llm = workload(
        "LLMInferenceService", "serving.kserve.io/v1alpha1", spec={"template": None, "worker": {"containers": []}}
    )
    target = scalable_fact(llm)
    pods = [
        PodFact(
            PodKey("prod", f"{group}-{index}"),
            f"{group}-{index}",
            {GPU: 8} if index else {},
            workload=target.ref,
            group=group,
        )
        for group in ("0", "1")
        for index in range(3)
    ]
    fact = workload_fact(target, Surroundings(pods=pods))
    assert (fact.gpus_per_replica, sorted(fact.pod_gpus)) == (16, [0, 8, 8])
    assert workload_fact(target, Surroundings()).pod_gpus == ()


def test_injected_requests_of_a_group_are_those_of_its_largest_replica():
    group = {"size": 3, "leaderTemplate": template(0), "workerTemplate": template(0)}
    obj = workload(
        "LeaderWorkerSet", "leaderworkerset.x-k8s.io/v1", spec={"template": None, "leaderWorkerTemplate": group}
    )
    target = scalable_fact(obj)
    pods = [
        PodFact(PodKey("prod", name), name, {GPU: gpus} if gpus else {}, workload=target.ref, group=name[0])
        for name, gpus in (("0-l", 0), ("0-a", 4), ("0-b", 4), ("1-l", 0), ("1-a", 4))
    ]
    fact = workload_fact(target, Surroundings(pods=pods))
    assert (fact.gpus_per_replica, len(fact.pod_gpus)) == (8, 3)


def test_injected_requests_are_seen_in_the_pods():
    obj = workload(spec={"template": template(0)})
    pods = [
        PodFact(PodKey("prod", "a"), "a", {GPU: 2}, workload=CHAT),
        PodFact(PodKey("prod", "b"), "b", {GPU: 8}, workload=WorkloadRef("apps/v1", "Deployment", "prod", "other")),
    ]
    assert workload_fact(scalable_fact(obj), Surroundings(pods=pods)).gpus_per_replica == 2
    assert workload_fact(scalable_fact(obj), Surroundings()).gpus_per_replica == 0


def test_the_counted_resource_is_the_pools():
    assert workload_fact(scalable_fact(workload()), Surroundings(resource="amd.com/gpu")).gpus_per_replica == 0


def test_where_the_engine_reads_its_cap():
    variable = {"name": "PERTOKEN_MAX_NUM_SEQS", "valueFrom": {"configMapKeyRef": {"name": "chat-batch", "key": "cap"}}}
    assert scalable_fact(workload(spec={"template": template(4, [variable])})).cap_key == ConfigKey("chat-batch", "cap")
    literal = {"name": "PERTOKEN_MAX_NUM_SEQS", "value": "64"}
    assert scalable_fact(workload(spec={"template": template(4, [literal])})).cap_key is None
    in_proxy = template(4)
    in_proxy["spec"]["containers"][0]["env"] = [variable]
    assert scalable_fact(workload(spec={"template": in_proxy})).cap_key is None, "only the engine's own variable counts"


@pytest.mark.parametrize(
    ("sources", "key"),
    [
        ([{"configMapRef": {"name": "chat-batch"}}], ConfigKey("chat-batch", "PERTOKEN_MAX_NUM_SEQS")),
        ([{"prefix": "PERTOKEN_", "configMapRef": {"name": "caps"}}], ConfigKey("caps", "MAX_NUM_SEQS")),
        (
            [
                {"configMapRef": {"name": "chat-batch"}},
                {"configMapRef": {"name": "other"}},
                {"secretRef": {"name": "s"}},
            ],
            ConfigKey("chat-batch", "PERTOKEN_MAX_NUM_SEQS"),
        ),
        ([{"configMapRef": {"name": "one"}}, {"configMapRef": {"name": "two"}}], None),
        ([{"secretRef": {"name": "s"}}], None),
    ],
)
def test_a_cap_that_a_whole_config_map_brings(sources, key):
    reading = template(4)
    engine = reading["spec"]["containers"][1]
    engine |= {"args": ["--max-num-seqs=$(PERTOKEN_MAX_NUM_SEQS)"], "envFrom": sources}
    assert scalable_fact(workload(spec={"template": reading})).cap_key == key


def test_the_engine_of_a_group_is_its_leaders():
    leader, worker = template(4), template(4)
    leader["spec"]["containers"][1]["args"] = ["--max-num-seqs=16"]
    worker["spec"]["containers"][1]["args"] = ["--max-num-seqs=99"]
    group = {"leaderWorkerTemplate": {"size": 2, "leaderTemplate": leader, "workerTemplate": worker}}
    obj = workload("LeaderWorkerSet", "leaderworkerset.x-k8s.io/v1", spec={"template": None} | group)
    engine = workload_fact(scalable_fact(obj), Surroundings()).engine
    assert (engine.max_sequences, engine.source) == (16, "argument --max-num-seqs")


def test_pertokens_own_cap_is_what_the_engine_runs_with():
    variable = {"name": "PERTOKEN_MAX_NUM_SEQS", "valueFrom": {"configMapKeyRef": {"name": "chat-batch", "key": "cap"}}}
    reading = template(4, [variable])
    reading["spec"]["containers"][1]["args"] = ["--max-num-seqs=$(PERTOKEN_MAX_NUM_SEQS)"]
    fact = workload_fact(scalable_fact(workload(spec={"template": reading})), Surroundings(cap=BatchCap(88)))
    assert (fact.engine.max_sequences, fact.engine.source) == (88, "pertoken's ConfigMap")
    reading["spec"]["containers"][1]["args"].append("--max-num-seqs=16")
    scalable = scalable_fact(workload(spec={"template": reading}))
    assert scalable.cap_key is None
    assert workload_fact(scalable, Surroundings()).engine.max_sequences == 16


def _reads_both(name="chat-batch", key="PERTOKEN_MAX_NUM_BATCHED_TOKENS"):
    variables = [
        {"name": variable, "valueFrom": {"configMapKeyRef": {"name": owner, "key": under}}}
        for variable, owner, under in [
            ("PERTOKEN_MAX_NUM_SEQS", "chat-batch", "PERTOKEN_MAX_NUM_SEQS"),
            ("PERTOKEN_MAX_NUM_BATCHED_TOKENS", name, key),
        ]
    ]
    reading = template(4, variables)
    reading["spec"]["containers"][1]["args"] = [
        "--max-num-seqs=$(PERTOKEN_MAX_NUM_SEQS)",
        "--max-num-batched-tokens=$(PERTOKEN_MAX_NUM_BATCHED_TOKENS)",
    ]
    return scalable_fact(workload(spec={"template": reading}))


def test_the_chunk_that_engines_read():
    fact = workload_fact(_reads_both(), Surroundings(cap=BatchCap(88, chunk=512)))
    assert (fact.engine.batched_tokens, fact.engine.batched_tokens_source) == (512, "pertoken's ConfigMap")
    assert fact.engine.reads_chunk
    without = workload_fact(_reads_both(), Surroundings(cap=BatchCap(88)))
    assert without.engine.batched_tokens is None
    assert not without.engine.reads_chunk
    assert _reads_both("mine", "tokens").chunk_key == ConfigKey("mine", "tokens")


# As a real API server writes them: the entry of the scale subresource has no time.
APPLIED = {
    "manager": "argocd",
    "operation": "Apply",
    "time": "2026-11-23T10:00:00Z",
    "fieldsV1": {"f:spec": {"f:template": {}}},
}
SCALED = {
    "manager": "pertoken-scaler",
    "operation": "Update",
    "subresource": "scale",
    "fieldsV1": {"f:spec": {"f:replicas": {}}},
}
STATUS = {
    "manager": "kube-controller-manager",
    "operation": "Update",
    "subresource": "status",
    "time": "2026-11-23T11:00:00Z",
    "fieldsV1": {"f:status": {"f:replicas": {}}},
}


def test_who_set_the_replicas():
    assert replicas_manager([APPLIED, SCALED, STATUS]) == "pertoken-scaler"
    assert replicas_manager([APPLIED, STATUS]) == ""
    reverted = {**APPLIED, "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    assert replicas_manager([reverted, STATUS]) == "argocd"
    later = {**reverted, "manager": "kubectl-edit", "time": "2026-11-23T12:00:00Z"}
    assert replicas_manager([later, reverted]) == "kubectl-edit"


def hpa(kind: str = "Deployment", name: str = "chat", api: str = "apps/v1", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "my-hpa", "namespace": "prod", "labels": labels},
        "spec": {"scaleTargetRef": {"apiVersion": api, "kind": kind, "name": name}},
    }


@pytest.mark.parametrize(
    ("obj", "named"),
    [
        (hpa(), "HorizontalPodAutoscaler prod/my-hpa"),
        (hpa(api=""), "HorizontalPodAutoscaler prod/my-hpa"),
        (hpa(**{"scaledobject.keda.sh/name": "chat-so"}), "ScaledObject prod/chat-so"),
        (hpa(kind="StatefulSet"), ""),
        (hpa(name="chat-large"), ""),
        (hpa(api="argoproj.io/v1alpha1"), ""),
    ],
)
def test_foreign_autoscalers_are_named(obj: dict[str, Any], named: str):
    fact = workload_fact(scalable_fact(workload()), Surroundings(autoscalers=[autoscaler_fact(obj)]))
    assert fact.foreign_autoscaler == named


def test_an_autoscaler_of_another_namespace_is_none_of_ours():
    other = AutoscalerFact("HorizontalPodAutoscaler dev/h", "dev", "apps", "Deployment", "chat")
    assert workload_fact(scalable_fact(workload()), Surroundings(autoscalers=[other])).foreign_autoscaler == ""
