"""What the cluster holds: nodes, pods, workloads, parsed to small frozen values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import field

from pertoken.domain.identity import PodKey, WorkloadRef
from pertoken.domain.placement import ANYWHERE, PlacementRules, Taint
from pertoken.domain.reasons import Reason
from pertoken.frozen import dataclass

# Times are seconds since the epoch, as the API server stamped them.


@dataclass(frozen=True, slots=True)
class NodeFact:
    """One node.

    Attributes:
        allocatable: extended resources only, whole units.
        schedulable: Ready and not about to be deleted: a pod that is bound to it would start.
        taints: with the cordon, which is one.
    """

    name: str
    labels: Mapping[str, str]
    allocatable: Mapping[str, int]
    schedulable: bool = True
    taints: tuple[Taint, ...] = ()


@dataclass(frozen=True, slots=True)
class ClaimUse:
    """A ResourceClaim that a pod uses, or the template that its own is made from; empty for what is not named."""

    claim: str = ""
    template: str = ""


@dataclass(frozen=True, slots=True)
class PodFact:
    """One pod that requests GPUs or belongs to a service's workload.

    Attributes:
        requests: extended resources, whole units, summed over containers; with the devices of its claims.
        workload: the scalable workload that owns it, resolved through ReplicaSets; None if it has none.
        bound_at: when it got its node (PodScheduled=True), None while pending.
        engine_started_at: when the running engine container started; None before. A restarted container reads
            its batch cap anew, so this is the instant that tells which cap it runs with.
        ready_at: last transition to Ready, None when it is not ready.
        deleted_at: when the object vanished; None while it exists. Vanished pods are kept for the bill and for
            their last counters.
        terminating: deletion was asked for.
        finished: its containers have ended for good (phase Failed or Succeeded: evicted, refused by the node, done).
        finished_at: when that was; None where nothing tells.
        unschedulable_since: when the scheduler said Unschedulable, None otherwise.
        crashed: the engine container is waiting in CrashLoopBackOff or the like, or has restarted since it started.
        message: words of Kubernetes for what keeps it from serving: the kubelet's, else the scheduler's.
        placement: on which nodes it may run, with what admission added to its template.
        claims: of devices, by dynamic resource allocation.
        group: the replica that it is a part of, where that is a group of pods (LeaderWorkerSet); empty for others.
    """

    key: PodKey
    uid: str
    requests: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    workload: WorkloadRef | None = None
    node: str | None = None
    created_at: float = 0.0
    bound_at: float | None = None
    engine_started_at: float | None = None
    ready_at: float | None = None
    deleted_at: float | None = None
    terminating: bool = False
    finished: bool = False
    finished_at: float | None = None
    unschedulable_since: float | None = None
    crashed: bool = False
    restarts: int = 0
    message: str = ""
    placement: PlacementRules = ANYWHERE
    group: str = ""
    claims: tuple[ClaimUse, ...] = ()

    @property
    def ready(self) -> bool:
        """Serving: Ready, not terminating, not ended, still there."""
        return self.ready_at is not None and not self.terminating and not self.ended

    @property
    def ended(self) -> bool:
        """Finished or gone: it holds nothing any more, though the object of a finished pod may stay for days."""
        return self.finished or self.deleted_at is not None

    @property
    def ended_at(self) -> float | None:
        """When it let go of its GPUs; None while it holds them, or holds none since it never got a node.

        The scheduler gives a pod's devices away once its phase is Failed or Succeeded. Where nothing tells when that
        was, the pod is taken to have held nothing: a bill may miss a little, it never counts what was free.
        """
        if not self.finished:
            return self.deleted_at
        if self.finished_at is None:
            return self.bound_at
        return self.finished_at if self.deleted_at is None else min(self.finished_at, self.deleted_at)

    @property
    def holds_gpus(self) -> bool:
        """Bound to a node and not ended: its GPUs are occupied and billed."""
        return self.bound_at is not None and not self.ended


@dataclass(frozen=True, slots=True)
class BatchCap:
    """Batch cap and prefill chunk of one variant, from the ConfigMap that its engines read; one change is for both.

    Attributes:
        value: sequences, what an engine container that starts now reads (`max_num_seqs`).
        previous: value before the last change, for rolling back; None if never changed.
        chunk: tokens per step, what such a container reads (`max_num_batched_tokens`); None where none is set here.
        previous_chunk: the chunk before the last change; None if it was not set.
        changed_at: when the value changed; containers started later run with it. 0 for the first value.
        rolled_back: the last change was taken back.
        completed: every pod runs with `value`.
        foreign: whose it is, where pertoken only reads it; empty where pertoken set it.
    """

    value: int
    previous: int | None = None
    changed_at: float = 0.0
    rolled_back: bool = False
    completed: bool = True
    foreign: str = ""
    chunk: int | None = None
    previous_chunk: int | None = None


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What the engine of a workload runs with, whoever set it, per engine process (data-parallel rank).

    Attributes:
        max_sequences: sequences that it runs at most; None if that is not known.
        batched_tokens: tokens of one step at most (the prefill chunk of SGLang); None if that is not known.
        source: where `max_sequences` comes from, in words, or why it is not known.
        batched_tokens_source: the same of `batched_tokens`.
        ranks: data-parallel engine processes of one replica, as the command line asks for them.
        reads_chunk: `batched_tokens` is read from pertoken's ConfigMap.
        allocated: sequences that buffers and graphs are made for, where `max_sequences` only limits how many of them
            run; None where it is that number itself, or it is not known.
        mixes: an SGLang whose steps hold prompts and decoding sequences together.
    """

    max_sequences: int | None = None
    batched_tokens: int | None = None
    source: str = "unknown: the template was not read"
    batched_tokens_source: str = "unknown: the template was not read"
    ranks: int = 1
    reads_chunk: bool = False
    allocated: int | None = None
    mixes: bool = False


@dataclass(frozen=True, slots=True)
class WorkloadFact:
    """One scale target as the API server shows it.

    Attributes:
        replicas: spec.replicas.
        gpus_per_replica: from the pods' resource requests, unit: the pool's resource.
        settled: the controller has observed the newest generation and no rollout of a new template is under way.
        cap: the batch cap, None if the template does not read it from pertoken's ConfigMap.
        replicas_manager: field manager that last set spec.replicas, empty if unknown.
        foreign_autoscaler: an HPA or ScaledObject that targets the same workload, empty if none.
        resource_version: of the object from which `replicas` was read.
        failure: the controller's words for replicas that it could not create (quota, admission); empty if it could.
        engine: what a container that starts now runs with.
        placement: on which nodes its next pod may run.
        cap_certain: by the resolved command line the engine itself is given `cap`. Where a start script stands between,
            the engine's own figures have to confirm that it reads it.
        pod_gpus: GPUs of every pod of one replica; empty where the kind does not tell how many pods that are.
        deleting: deletion was asked for; it is there until its pods are gone.
    """

    ref: WorkloadRef
    uid: str
    replicas: int
    gpus_per_replica: int
    settled: bool = True
    cap: BatchCap | None = None
    replicas_manager: str = ""
    foreign_autoscaler: str = ""
    resource_version: str = ""
    failure: str = ""
    engine: EngineSettings = EngineSettings()
    placement: PlacementRules = ANYWHERE
    pod_gpus: tuple[int, ...] = ()
    cap_certain: bool = True
    deleting: bool = False

    @property
    def max_sequences(self) -> int | None:
        """Sequences that an engine process runs at most, whoever said so; None if that is not known."""
        return self.engine.max_sequences if self.cap is None else self.cap.value


@dataclass(frozen=True, slots=True)
class WorkloadMissing:
    """A scale target that cannot be used, with the reason in words.

    Attributes:
        replicas: spec.replicas where the target itself is known and something around it is not; else 0.
    """

    ref: WorkloadRef
    why: str
    reason: Reason = Reason.TARGET_NOT_FOUND
    replicas: int = 0


def pods_per_replica(workload: WorkloadFact, pods: Iterable[PodFact], resource: str) -> int:
    """More than one where a replica spans several pods (LeaderWorkerSet); only their leader has metrics.

    Pods without GPUs (a leader that only routes) are pods of the replica like all others.

    Args:
        workload: with the GPUs of a whole replica.
        pods: of the workload, as many as live; their GPUs tell where the workload does not.
        resource: the pool's extended resource.
    """
    if workload.pod_gpus:
        return len(workload.pod_gpus)
    units = max((pod.requests.get(resource, 0) for pod in pods), default=0)
    return max(1, workload.gpus_per_replica // units) if units else 1


def whole_replicas(pods: Iterable[PodFact], per_replica: int) -> int:
    """How many replicas these pods make: of a group, all pods have to be among them.

    Args:
        pods: of one workload, such as those that are Ready.
        per_replica: pods of one replica.
    """
    groups = [pod.group for pod in pods]
    if not any(groups):
        return len(groups) // per_replica
    sizes = Counter(groups)
    return sum(min(size // per_replica, 1) if group else size // per_replica for group, size in sizes.items())
