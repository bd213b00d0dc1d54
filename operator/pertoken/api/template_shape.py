"""The few parts of a pod template that pertoken reads, checked for their types.

The CRD keeps templates as they are; the API server judges them when the Deployment is applied. What pertoken reads
before that is checked here, so that a text in place of a list is refused and raises nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pertoken.api.errors import FieldError

_POD_FIELDS: Final = {"nodeSelector": dict, "tolerations": list, "resourceClaims": list}
_TEXT_LISTS: Final = ("command", "args")
_OBJECT_LISTS: Final = ("env", "ports")


def shape_errors(template: Mapping[str, Any], path: str) -> tuple[FieldError, ...]:
    """Wrong types in the parts of a podTemplate that pertoken reads."""
    return tuple(_errors(template, path))


def _errors(template: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    metadata = template.get("metadata") or {}
    labels = metadata.get("labels")
    if labels is not None and not isinstance(labels, dict):
        yield FieldError(f"{path}.metadata.labels", labels, "a mapping")
    spec = template["spec"]
    for name, kind in _POD_FIELDS.items():
        value = spec.get(name)
        if value is not None and not isinstance(value, kind):
            yield FieldError(f"{path}.spec.{name}", value, "a mapping" if kind is dict else "a list")
    for index, container in enumerate(spec["containers"]):
        yield from _container_errors(container, f"{path}.spec.containers[{index}]")


def _container_errors(container: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    for name in _TEXT_LISTS:
        value = container.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            yield FieldError(f"{path}.{name}", value, "a list of texts (numbers in quotes)")
    for name in _OBJECT_LISTS:
        value = container.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            yield FieldError(f"{path}.{name}", value, "a list of mappings")
        elif name == "ports" and not all(_is_port(item.get("containerPort")) for item in value):
            yield FieldError(f"{path}.{name}", value, "a containerPort from 1 to 65535 in each entry")
    resources = container.get("resources") or {}
    parts = [resources.get(part) or {} for part in ("limits", "requests")] if isinstance(resources, dict) else [None]
    if not all(isinstance(part, dict) for part in parts):
        yield FieldError(f"{path}.resources", resources, "a mapping with limits and requests")


def _is_port(value: Any) -> bool:
    return isinstance(value, int) and 0 < value < 2**16
