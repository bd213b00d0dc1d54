"""CustomResourceDefinitions from the models: structural schemas, CEL rules, printer columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from pertoken.api.kinds import ACCELERATOR_POOL, CAPACITY_PLAN, INFERENCE_SERVICE, KINDS, MODEL_ROUTE, Column, Kind
from pertoken.api.plan_rules import PLAN_RULES
from pertoken.api.route_rules import ROUTE_RULES
from pertoken.api.rules import POOL_RULES, SERVICE_RULES, Rule
from pertoken.api.structural import VALIDATIONS, Schema, structural
from pertoken.api.v1alpha1 import GROUP, VERSION

MAX_BYTES: Final = 256 * 1024
RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    INFERENCE_SERVICE.kind: SERVICE_RULES,
    ACCELERATOR_POOL.kind: POOL_RULES,
    CAPACITY_PLAN.kind: PLAN_RULES,
    MODEL_ROUTE.kind: ROUTE_RULES,
}


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
