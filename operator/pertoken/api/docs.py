"""The reference page of the kinds, made from their schemas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pertoken.api.crd import RULES, object_schema
from pertoken.api.kinds import ACCELERATOR_POOL, INFERENCE_SERVICE, KINDS, Kind
from pertoken.api.not_acted_on import POOL_FIELDS, SERVICE_FIELDS
from pertoken.api.v1alpha1 import API_VERSION

_INTRODUCTION: Final = f"""# Reference: kinds of `{API_VERSION}`

Generated from the models in `operator/pertoken/api` by `make crds`; `kubectl explain` shows the same.
Amounts are decimal texts in US dollars, durations are whole seconds or milliseconds.
"""
_INERT: Final = {INFERENCE_SERVICE.kind: SERVICE_FIELDS, ACCELERATOR_POOL.kind: POOL_FIELDS}
_CELL: Final = str.maketrans({"|": "\\|", "\n": " "})


def reference() -> str:
    """The whole page as Markdown."""
    return "\n".join([_INTRODUCTION, *(line for kind in KINDS for line in _kind(kind))]).rstrip() + "\n"


def _kind(kind: Kind) -> Iterator[str]:
    schema = object_schema(kind)
    yield f"## {kind.kind}\n"
    yield f"{schema['description']}\n"
    scope = "Namespaced" if kind.namespaced else "Cluster-scoped"
    yield f"{scope}; `kubectl get {kind.short}` or `kubectl get {kind.plural}.{API_VERSION.split('/')[0]}`.\n"
    yield from _section(schema, "spec")
    yield "### Rules between fields\n"
    yield "| where | rule |\n| --- | --- |"
    for rule in RULES[kind.kind]:
        yield f"| `{rule.at or 'metadata.name'}` | {rule.message.translate(_CELL)} |"
    yield ""
    inert = _INERT.get(kind.kind)
    if inert:
        yield "### Taken, but without effect in this version\n"
        yield "The condition `Accepted` names those that an object sets (reason `FieldsNotActedOn`).\n"
        yield ", ".join(f"`{entry.at}.{entry.field}`" for entry in inert) + "\n"
    yield from _section(schema, "status")


def _section(schema: Mapping[str, Any], part: str) -> Iterator[str]:
    yield f"### {part.capitalize()}\n"
    yield "| field | type | default | meaning |\n| --- | --- | --- | --- |"
    node = schema["properties"][part]
    for path, child, required in _fields(node, part):
        default = f"`{child['default']}`" if "default" in child else "required" if required else ""
        yield f"| `{path}` | {_type(child)} | {default} | {child.get('description', '').translate(_CELL)} |"
    yield ""


def _fields(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    required = set(node.get("required", ()))
    for name, child in node.get("properties", {}).items():
        here = f"{path}.{name}"
        yield here, child, name in required
        yield from _fields(child.get("items", child), f"{here}[]" if "items" in child else here)


def _type(node: Mapping[str, Any]) -> str:
    if "enum" in node:
        return " \\| ".join(f"`{value}`" for value in node["enum"])
    if node["type"] == "array":
        return f"list of {_type(node['items'])}, at most {node['maxItems']}"
    if node["type"] != "integer" or not {"minimum", "maximum"} & set(node):
        return str(node["type"])
    low, high = node.get("minimum"), node.get("maximum")
    return f"integer, {low} … {high}" if high is not None else f"integer ≥ {low}"
