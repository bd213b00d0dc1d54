"""CustomResourceDefinitions from the models: structural schemas, CEL rules, printer columns."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

import yaml
from pydantic import BaseModel

from pertoken.api.kinds import ACCELERATOR_POOL, CAPACITY_PLAN, INFERENCE_SERVICE, KINDS, MODEL_ROUTE, Column, Kind
from pertoken.api.plan_rules import PLAN_RULES
from pertoken.api.route_rules import ROUTE_RULES
from pertoken.api.rules import POOL_RULES, SERVICE_RULES, Rule
from pertoken.api.v1alpha1 import GROUP, VERSION
from pertoken.api.v1alpha1.base import PRESERVE_UNKNOWN

MAX_BYTES: Final = 256 * 1024
RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    INFERENCE_SERVICE.kind: SERVICE_RULES,
    ACCELERATOR_POOL.kind: POOL_RULES,
    CAPACITY_PLAN.kind: PLAN_RULES,
    MODEL_ROUTE.kind: ROUTE_RULES,
}
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


def _attach(schema: Schema, rule: Rule) -> None:
    node = schema
    for step in rule.at.split(".") if rule.at else ():
        node = node["properties"][step.removesuffix("[]")]
        if step.endswith("[]"):
            node = node["items"]
    node.setdefault(VALIDATIONS, []).append({"rule": rule.cel, "message": rule.message})


def object_schema(kind: Kind) -> Schema:
    """Schema of the whole object, rules included."""
    spec, status = structural(kind.spec), structural(kind.status)
    schema: Schema = {
        "description": kind.description,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": f"Group and version: {GROUP}/{VERSION}.", "type": "string"},
            "kind": {"description": f"Kind: {kind.kind}.", "type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }
    for rule in RULES[kind.kind]:
        if rule.cel is not None:
            _attach(schema, rule)
    return schema


def crd(kind: Kind) -> Schema:
    """One CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "pertoken"}},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short],
                "categories": ["pertoken"],
            },
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": object_schema(kind)},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(column) for column in kind.columns],
                }
            ],
        },
    }


def _column(column: Column) -> Schema:
    out: Schema = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.description:
        out["description"] = column.description
    if column.priority:
        out["priority"] = column.priority
    return out


class _Plain(yaml.SafeDumper):
    """YAML without anchors: the same value twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the base class sets the signature
        return True


def to_yaml(document: Any) -> str:
    """One document as stable, readable YAML."""
    return yaml.dump(document, Dumper=_Plain, sort_keys=False, width=110, allow_unicode=True)


def crd_yaml(kind: Kind) -> str:
    """The text that `crds/` holds for one kind."""
    return f"# Generated from the models in operator/pertoken/api by `make crds`.\n{to_yaml(crd(kind))}"


def all_crds_yaml() -> str:
    """All kinds as one multi-document text."""
    return "---\n".join(crd_yaml(kind) for kind in KINDS)
