"""Taints of nodes and placement rules of pod specs: Kubernetes objects to domain values."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pertoken.domain.placement import NodeTerm, PlacementRules, Requirement, Taint, Toleration
from pertoken.ports import Json

CORDONED = Taint("node.kubernetes.io/unschedulable", "NoSchedule")
DEFAULT_SCHEDULER = "default-scheduler"
CLAIMS_UNKNOWN = "resource claims (DRA)"  # until they are counted


def node_taints(spec: Json) -> tuple[Taint, ...]:
    """A node's taints. A cordon is one to the scheduler, whether or not the node controller has written it yet."""
    taints = [
        Taint(str(taint.get("key", "")), str(taint.get("effect", "")), str(taint.get("value") or ""))
        for taint in spec.get("taints") or ()
    ]
    if spec.get("unschedulable", False) and CORDONED not in taints:
        taints.append(CORDONED)
    return tuple(taints)


def placement_rules(spec: Json, *, claims: bool = False) -> PlacementRules:
    """What a pod spec says of its node.

    Args:
        spec: of a pod or a template.
        claims: volumes are added to every pod by its controller (volumeClaimTemplates).
    """
    affinity = spec.get("affinity") or {}
    required = (affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    return _shared(
        PlacementRules(
            tolerations=tuple(_toleration(toleration) for toleration in spec.get("tolerations") or ()),
            node_selector=tuple(sorted((str(k), str(v)) for k, v in (spec.get("nodeSelector") or {}).items())),
            affinity=None if required is None else tuple(map(_term, required.get("nodeSelectorTerms") or ())),
            node_name=str(spec.get("nodeName") or ""),
            narrowed_by=tuple(_narrowing(spec, affinity, claims=claims)),
            unknown=tuple(_unknown(spec)),
        )
    )


@lru_cache(maxsize=4096)
def _shared(rules: PlacementRules) -> PlacementRules:
    """One value for all pods of a workload: a cluster has many pods and few rules."""
    return rules


def _toleration(toleration: Json) -> Toleration:
    return Toleration(
        str(toleration.get("key") or ""),
        str(toleration.get("operator") or "Equal"),
        str(toleration.get("value") or ""),
        str(toleration.get("effect") or ""),
    )


def _term(term: Json) -> NodeTerm:
    return NodeTerm(_requirements(term.get("matchExpressions")), _requirements(term.get("matchFields")))


def _requirements(expressions: Any) -> tuple[Requirement, ...]:
    return tuple(
        Requirement(
            str(expression.get("key", "")),
            str(expression.get("operator", "")),
            tuple(map(str, expression.get("values") or ())),
        )
        for expression in expressions or ()
    )


def _narrowing(spec: Json, affinity: Json, *, claims: bool) -> Iterable[str]:
    """Rules that can only exclude nodes, and that cannot be checked with the node alone."""
    for kind, words in (("podAffinity", "pod affinity"), ("podAntiAffinity", "pod anti-affinity")):
        if (affinity.get(kind) or {}).get("requiredDuringSchedulingIgnoredDuringExecution"):
            yield f"required {words}"
    if any(
        constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule"
        for constraint in spec.get("topologySpreadConstraints") or ()
    ):
        yield "topology spread (DoNotSchedule)"
    if spec.get("schedulingGates"):
        yield "scheduling gates"
    if claims or any(
        "persistentVolumeClaim" in volume or "ephemeral" in volume for volume in spec.get("volumes") or ()
    ):
        yield "volumes bound to a topology"
    containers = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
    if any(port.get("hostPort") for container in containers for port in container.get("ports") or ()):
        yield "host ports"


def _unknown(spec: Json) -> Iterable[str]:
    """Rules under which it is not known on which nodes the pods can run."""
    scheduler = spec.get("schedulerName") or DEFAULT_SCHEDULER
    if scheduler != DEFAULT_SCHEDULER:
        yield f"scheduler {scheduler}"
    if spec.get("resourceClaims"):
        yield CLAIMS_UNKNOWN
