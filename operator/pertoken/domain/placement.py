"""What decides on which nodes a pod may run: taints, and what a pod asks of its node."""

from __future__ import annotations

from enum import StrEnum

from pertoken.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Taint:
    """A node's objection to pods that do not tolerate it."""

    key: str
    effect: str
    value: str = ""

    def __str__(self) -> str:
        """As kubectl prints it: ``key=value:effect``."""
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"


@dataclass(frozen=True, slots=True)
class Toleration:
    """Taints that a pod puts up with. An empty key means every key, an empty effect every effect.

    For how long it puts up with NoExecute (`tolerationSeconds`) is no matter of where it may start.
    """

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


class Comparison(StrEnum):
    """How a requirement compares."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GREATER = "Gt"
    LESS = "Lt"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One expression over a label (or a field) of a node. An operator that is not known never holds."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeTerm:
    """One alternative of a required node affinity: all of it must hold. An empty one holds nowhere."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()


@dataclass(frozen=True, slots=True)
class PlacementRules:
    """What a pod's spec says of the nodes on which it may run.

    Attributes:
        node_selector: labels that the node must have.
        affinity: alternatives, one of which must hold; None without a required node affinity.
        node_name: the one node that it names; empty for none.
        narrowed_by: what else may keep it off nodes that this leaves, in words: a count of free GPUs is then an upper
            bound.
        unknown: why nothing can be said of where it may run, in words.
    """

    tolerations: tuple[Toleration, ...] = ()
    node_selector: tuple[tuple[str, str], ...] = ()
    affinity: tuple[NodeTerm, ...] | None = None
    node_name: str = ""
    narrowed_by: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def doubts(self) -> tuple[str, ...]:
        """Everything that the scheduler looks at and a count of free GPUs does not."""
        return (*self.unknown, *self.narrowed_by)


ANYWHERE = PlacementRules()
