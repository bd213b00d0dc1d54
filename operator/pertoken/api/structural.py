"""JSON schemas of the models in the structural form that the API server takes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from pertoken.api.v1alpha1.base import PRESERVE_UNKNOWN

VALIDATIONS: Final = "x-kubernetes-validations"

_DROPPED: Final = frozenset({"title", "additionalProperties", "propertyNames", "$defs"})
_ORDER: Final = (
    "description",
    "type",
    "format",
    "enum",
    "default",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    PRESERVE_UNKNOWN,
    VALIDATIONS,
    "required",
    "properties",
    "additionalProperties",
    "items",
)

Schema = dict[str, Any]


def structural(model: type[BaseModel]) -> Schema:
    """The model's JSON schema in the form that the API server takes: inlined, without nulls and titles."""
    schema = model.model_json_schema(by_alias=True)
    return _structural(schema, schema.get("$defs", {}))


def _structural(node: Schema, definitions: Mapping[str, Schema]) -> Schema:
    node = _resolve(node, definitions)
    out = {key: value for key, value in node.items() if key not in _DROPPED}
    if "const" in out:
        out["enum"] = [out.pop("const")]
    if "default" in out and out["default"] is None:
        del out["default"]
    if "properties" in node:
        out["properties"] = {name: _structural(child, definitions) for name, child in node["properties"].items()}
    if "items" in node:
        out["items"] = _structural(node["items"], definitions)
    values = node.get("additionalProperties")
    if isinstance(values, dict) and values:
        out["additionalProperties"] = _structural(values, definitions)
    elif values is True and "properties" not in node:
        out[PRESERVE_UNKNOWN] = True
    if node.get("type") == "string" and "enum" in out:
        out.pop("maxLength", None)
    if node.get("type") == "integer":
        out["format"] = "int64"
    if "description" in out:
        out["description"] = " ".join(out["description"].split())
    return {key: out[key] for key in sorted(out, key=_rank)}


def _resolve(node: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Follow references and drop the null alternative of optional fields; the outer words win over the inner ones."""
    node = copy.deepcopy(node)
    while "$ref" in node or "anyOf" in node:
        if "$ref" in node:
            target = copy.deepcopy(definitions[node.pop("$ref").rsplit("/", 1)[1]])
        else:
            [target] = [option for option in node.pop("anyOf") if option.get("type") != "null"]
        node = {**target, **node}
    return node


def _rank(key: str) -> tuple[int, str]:
    return (_ORDER.index(key), key) if key in _ORDER else (len(_ORDER), key)
