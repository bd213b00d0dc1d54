"""Carrying a plan out: in order, each outcome recorded, nothing retried blindly."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pertoken.control.cap_manifest import cap_manifest
from pertoken.control.remove import remove_made
from pertoken.control.survey import Surveyed
from pertoken.domain.plan import Action, CompleteBatchCap, EvictPod, RemoveWorkload, SetBatchCap, SetReplicas
from pertoken.ports import (
    AdapterError,
    Clock,
    ClusterReader,
    ClusterWriter,
    Conflict,
    Forbidden,
    NotFound,
    Refused,
    Withheld,
)

LOGGER = logging.getLogger(__name__)

ACTION_KINDS: Final = (
    "scale_up",
    "scale_down",
    "batch_cap",
    "batch_cap_rollback",
    "batch_cap_complete",
    "evict",
    "remove",
)


class Result(StrEnum):
    """What became of an action."""

    DONE = "done"
    CONFLICT = "conflict"  # the object changed meanwhile: the next cycle plans anew
    REFUSED = "refused"  # e.g. a disruption budget forbids the eviction now
    FORBIDDEN = "forbidden"
    FAILED = "failed"
    WITHHELD = "withheld"  # not the leader any more, or read-only


@dataclass(frozen=True, slots=True)
class Outcome:
    """One action with its result; `why` is empty when it is done."""

    action: Action
    result: Result
    why: str = ""


# The object to be evicted or scaled is gone (NotFound): as after a conflict, the next cycle plans anew.
_RESULTS: dict[type[AdapterError], Result] = {
    Conflict: Result.CONFLICT,
    NotFound: Result.CONFLICT,
    Refused: Result.REFUSED,
    Withheld: Result.WITHHELD,
    Forbidden: Result.FORBIDDEN,
}


@dataclass(slots=True)
class Actuator:
    """Writes a plan's actions to the cluster.

    Attributes:
        writer: fenced.
        reader: of what is to be removed; without one nothing is.
        field_manager: of server-side applied ConfigMaps.
    """

    writer: ClusterWriter
    clock: Clock
    read_only: bool = False
    reader: ClusterReader | None = None
    field_manager: str = "pertoken"

    def carry_out(self, actions: Sequence[Action], surveyed: Surveyed) -> tuple[Outcome, ...]:
        """Carry out the actions in order, on the surveyed objects. One that fails does not stop the others."""
        return tuple(self._one(action, surveyed) for action in actions)

    def _one(self, action: Action, surveyed: Surveyed) -> Outcome:
        if self.read_only:
            return Outcome(action, Result.WITHHELD, "read-only mode")
        try:
            self._write(action, surveyed)
        except AdapterError as error:
            return self._failed(action, _RESULTS.get(type(error), Result.FAILED), str(error))
        except Exception:
            LOGGER.exception("%s", describe(action), extra={"service": str(action.service)})
            return Outcome(action, Result.FAILED, "a fault of pertoken, told in the operator's log")
        LOGGER.info("%s", action.message or describe(action), extra={"service": str(action.service)})
        return Outcome(action, Result.DONE)

    def _write(self, action: Action, surveyed: Surveyed) -> None:
        match action:
            case SetReplicas():
                self.writer.set_replicas(action.target, action.desired, action.resource_version)
            case EvictPod():
                self.writer.evict(action.pod, action.uid)
            case SetBatchCap() | CompleteBatchCap():
                manifest = cap_manifest(action, surveyed, self.clock.now())
                self.writer.apply(manifest, self.field_manager)
            case RemoveWorkload():
                if self.reader is None:
                    raise Refused("nothing can be removed here")
                remove_made(action, self.reader, self.writer)

    @staticmethod
    def _failed(action: Action, result: Result, why: str) -> Outcome:
        LOGGER.warning("%s: %s: %s", describe(action), result.value, why, extra={"service": str(action.service)})
        return Outcome(action, result, why)


def describe(action: Action) -> str:
    """An action in words."""
    match action:
        case SetReplicas():
            return f"scale {action.target} from {action.current} to {action.desired}"
        case SetBatchCap():
            return f"set the batch cap of {action.target} to {action.value}"
        case CompleteBatchCap():
            return f"mark the batch cap {action.value} of {action.target} as rolled out"
        case EvictPod():
            return f"evict pod {action.pod} so that it starts with the new batch cap"
        case RemoveWorkload():
            return f"delete {action.target} with its Service, PodDisruptionBudget and batch cap"


def kind_of(action: Action) -> str:
    """Metric label of an action, one of `ACTION_KINDS`."""
    match action:
        case SetReplicas():
            return "scale_up" if action.desired > action.current else "scale_down"
        case SetBatchCap():
            return "batch_cap_rollback" if action.rolled_back else "batch_cap"
        case CompleteBatchCap():
            return "batch_cap_complete"
        case EvictPod():
            return "evict"
        case RemoveWorkload():
            return "remove"
