"""Raw objects of every watched kind to what the inventory keeps."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar

from pertoken.api.batch_cap import parse_cap
from pertoken.api.errors import FieldError, Rejected
from pertoken.api.ownership import marks_of
from pertoken.api.translate import translate_pool, translate_service
from pertoken.control.facts import namespace_fact, node_fact, pod_fact, replicaset_fact
from pertoken.control.kinds import Kinds, WatchedKind
from pertoken.control.objects import CapObject, PoolObject, ServiceObject
from pertoken.control.quantities import epoch
from pertoken.control.shapes import SHAPES, STATUS, require
from pertoken.control.unreadable import words
from pertoken.control.workloads import ScalableFact, autoscaler_fact, scalable_fact
from pertoken.domain.identity import ServiceKey
from pertoken.ports import Json
from pertoken.raw.values import MOST_DIGITS, Malformed, whole_number

LOGGER = logging.getLogger(__name__)

T = TypeVar("T")


def parse_service(obj: Json) -> ServiceObject:
    """An InferenceService; mistakes are kept as refusals, never raised."""
    meta = obj["metadata"]
    translated = _translated(translate_service, obj)
    common: dict[str, Any] = {
        "key": ServiceKey(meta["namespace"], meta["name"]),
        "uid": meta["uid"],
        "generation": _generation(meta),
        "deleting": "deletionTimestamp" in meta,
        "status": _status(obj),
        "created_at": epoch(meta.get("creationTimestamp")) or 0.0,
    }
    if isinstance(translated, Rejected):
        return ServiceObject(**common, spec=None, refusals=tuple(str(error) for error in translated.errors))
    return ServiceObject(
        **common,
        spec=translated.spec,
        not_acted_on=translated.not_acted_on,
        templates=translated.templates,
        orphan=translated.orphan,
    )


def parse_pool(obj: Json) -> PoolObject:
    """An AcceleratorPool, likewise."""
    meta = obj["metadata"]
    translated = _translated(translate_pool, obj)
    common: dict[str, Any] = {
        "name": meta["name"],
        "uid": meta["uid"],
        "generation": _generation(meta),
        "created_at": epoch(meta.get("creationTimestamp")) or 0.0,
        "status": _status(obj),
    }
    if isinstance(translated, Rejected):
        return PoolObject(**common, spec=None, refusals=tuple(str(error) for error in translated.errors))
    return PoolObject(**common, spec=translated.spec, not_acted_on=translated.not_acted_on)


def _translated(translate: Callable[[Json], T | Rejected], obj: Json) -> T | Rejected:
    """Whatever a user writes into a spec: the object keeps its place, so that the refusal reaches its conditions."""
    try:
        return translate(obj)
    except Exception as error:
        LOGGER.debug("a spec could not be translated", exc_info=error)
        return Rejected((FieldError("spec", obj.get("spec"), words(error)),))


def _generation(meta: Json) -> int:
    return whole_number(meta.get("generation", 0), 10**MOST_DIGITS) or 0


def _status(obj: Json) -> Json:
    """The status as it is shown; one that is not ours is taken for none, and written anew."""
    status = obj.get("status") or {}
    try:
        require(status, STATUS, "status")
    except Malformed:
        return {}
    return dict(status)


def parse_config_map(obj: Json) -> CapObject | None:
    """A batch cap; other ConfigMaps are of no interest."""
    cap = parse_cap(obj)
    if cap is None:
        return None
    marks = marks_of({"apiVersion": "v1", "kind": "ConfigMap", **obj})
    return CapObject(marks.ref.namespace, marks.ref.name, cap, marks)


def parse_deployment(obj: Json) -> ScalableFact:
    """A Deployment, whoever owns it: any may be a target."""
    return scalable_fact({"apiVersion": "apps/v1", "kind": "Deployment", **obj})


def _kind(plural: str, parse: Callable[[Json], T | None]) -> WatchedKind[T]:
    """A kind whose objects are held against its shape first, so that a wrong type is told by its field."""

    def checked(obj: Json) -> T | None:
        metadata = obj.get("metadata") if isinstance(obj, dict) else None
        if not metadata:
            raise Malformed("metadata", metadata, "required")
        require(obj, SHAPES[plural])
        return parse(obj)

    return WatchedKind(plural, checked)


KINDS: Final = Kinds(
    services=_kind("inferenceservices", parse_service),
    pools=_kind("acceleratorpools", parse_pool),
    pods=_kind("pods", pod_fact),
    nodes=_kind("nodes", node_fact),
    namespaces=_kind("namespaces", namespace_fact),
    deployments=_kind("deployments", parse_deployment),
    replicasets=_kind("replicasets", replicaset_fact),
    caps=_kind("configmaps", parse_config_map),
    autoscalers=_kind("horizontalpodautoscalers", autoscaler_fact),
)
