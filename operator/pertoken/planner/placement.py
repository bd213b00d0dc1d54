"""Whether a node takes a pod, asked as the scheduler asks. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pertoken.domain.cluster import NodeFact
from pertoken.domain.placement import Comparison, NodeTerm, PlacementRules, Requirement, Taint, Toleration

NAME_FIELD = "metadata.name"
INT64_DIGITS: Final = 19  # of the largest number that the API server takes
INT64_BITS: Final = 63
REPELLING = frozenset({"NoSchedule", "NoExecute"})  # PreferNoSchedule repels nobody
# The usual taint of GPU nodes, whatever their resource is called (MIG slices, time-slicing).
GPU_TAINT = "nvidia.com/gpu"


def obstacle(node: NodeFact, rules: PlacementRules) -> str:
    """What keeps a pod with these rules off the node, in words; empty if nothing does."""
    if not node.schedulable:
        return "not ready"
    if rules.node_name and rules.node_name != node.name:
        return f"nodeName is {rules.node_name}"
    for key, value in rules.node_selector:
        if node.labels.get(key) != value:
            return f"nodeSelector {key}={value}"
    if rules.affinity is not None and not any(_holds(term, node) for term in rules.affinity):
        return "required node affinity"
    for taint in node.taints:
        if _repels(taint, node, rules.tolerations):
            return f"taint {taint} is not tolerated"
    return ""


def _repels(taint: Taint, node: NodeFact, tolerations: Sequence[Toleration]) -> bool:
    """Whether a taint keeps pods with these tolerations off.

    A taint named like a device of the node says "only pods that ask for the device". Clusters that use it commonly add
    the toleration at admission (ExtendedResourceToleration), where a template does not show it; all replicas here ask
    for devices, so that such a taint is no obstacle. A wrong guess shows as unschedulable pods, which are withdrawn.
    """
    if taint.effect not in REPELLING or taint.key == GPU_TAINT or taint.key in node.allocatable:
        return False
    return not any(tolerates(toleration, taint) for toleration in tolerations)


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether a toleration covers a taint."""
    if toleration.effect not in ("", taint.effect) or toleration.key not in ("", taint.key):
        return False
    match toleration.operator:
        case "Exists":
            return True
        case "Equal" | "":
            return toleration.value == taint.value
        case "Gt" | "Lt":
            return _compares(taint.value, toleration.operator, toleration.value)
    return False


def _holds(term: NodeTerm, node: NodeFact) -> bool:
    if not term.labels and not term.fields:
        return False
    return all(_meets(requirement, node.labels.get(requirement.key)) for requirement in term.labels) and all(
        requirement.key == NAME_FIELD and _meets(requirement, node.name) for requirement in term.fields
    )


def _meets(requirement: Requirement, value: str | None) -> bool:
    match requirement.operator:
        case Comparison.IN:
            return value is not None and value in requirement.values
        case Comparison.NOT_IN:
            return value is None or value not in requirement.values
        case Comparison.EXISTS:
            return value is not None
        case Comparison.DOES_NOT_EXIST:
            return value is None
        case Comparison.GREATER | Comparison.LESS:
            single = len(requirement.values) == 1
            return single and value is not None and _compares(value, requirement.operator, requirement.values[0])
    return False


def _compares(value: str, operator: str, limit: str) -> bool:
    """Numbers as the API server takes them: signed 64-bit integers; anything else never holds."""
    number, bound = _integer(value), _integer(limit)
    if number is None or bound is None:
        return False
    return number > bound if operator == Comparison.GREATER else number < bound


def _integer(text: str) -> int | None:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdecimal()) or len(digits.lstrip("0")) > INT64_DIGITS:
        return None
    number = int(text)
    return number if -(2**INT64_BITS) <= number < 2**INT64_BITS else None
