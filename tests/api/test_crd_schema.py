from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pertoken.api.crd import MAX_BYTES, all_crds_yaml, crd, crd_yaml, object_schema
from pertoken.api.generate import artifacts
from pertoken.api.kinds import ACCELERATOR_POOL, INFERENCE_SERVICE, KINDS

ROOT = Path(__file__).parents[2]


def walk(node, path=""):
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    if "items" in node:
        yield from walk(node["items"], f"{path}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from walk(node["additionalProperties"], f"{path}{{}}")


@pytest.mark.parametrize(("path", "text"), list(artifacts()), ids=lambda value: str(value)[:60])
def test_generated_files_are_current(path, text):
    assert (ROOT / path).read_text() == text, "run `make crds`"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_each_crd_is_small_enough(kind):
    assert len(crd_yaml(kind).encode()) < MAX_BYTES


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_schema_is_structural_bounded_and_documented(kind):
    undocumented, unbounded = [], []
    for path, node in walk(object_schema(kind)):
        assert not {"anyOf", "oneOf", "$ref", "title", "$defs", "nullable"} & set(node), path
        assert node.get("type") in {"object", "array", "string", "integer", "boolean"}, path
        named = path.startswith((".spec.", ".status.")) and not path.endswith(("[]", "{}"))
        if named and not node.get("description"):
            undocumented.append(path)
        if path.startswith(".spec") and node["type"] == "array" and node.get("maxItems", 99) > 16:
            unbounded.append(path)
        if path.startswith(".spec") and node["type"] == "string" and "enum" not in node and "maxLength" not in node:
            unbounded.append(path)
    assert not undocumented
    assert not unbounded


def test_no_default_for_mode():
    spec = crd(INFERENCE_SERVICE)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert "default" not in spec["properties"]["mode"]
    assert spec["properties"]["minReplicas"]["default"] == 1


def test_names_and_columns():
    service = crd(INFERENCE_SERVICE)["spec"]
    assert service["names"]["shortNames"] == ["ptis"]
    assert service["names"]["categories"] == ["pertoken"]
    assert service["scope"] == "Namespaced"
    version = service["versions"][0]
    assert version["subresources"] == {"status": {}}
    columns = [(column["name"], column.get("priority", 0)) for column in version["additionalPrinterColumns"]]
    assert [name for name, priority in columns if priority == 0] == [
        *("Model", "Replicas", "Desired", "Batch", "USD/1M", "Index", "GPU%", "Ready", "Age"),
    ]
    assert [name for name, priority in columns if priority == 1] == ["Paused", "Reason"]
    assert crd(ACCELERATOR_POOL)["spec"]["scope"] == "Cluster"


def test_list_types():
    schema = object_schema(INFERENCE_SERVICE)["properties"]
    assert schema["spec"]["properties"]["variants"]["x-kubernetes-list-map-keys"] == ["name"]
    assert schema["status"]["properties"]["conditions"]["x-kubernetes-list-map-keys"] == ["type"]
    template = schema["spec"]["properties"]["variants"]["items"]["properties"]["podTemplate"]["properties"]["spec"]
    assert template["x-kubernetes-preserve-unknown-fields"] is True


def test_printed_text_is_all_kinds():
    assert [
        document["spec"]["names"]["kind"] for document in yaml.load_all(all_crds_yaml(), Loader=yaml.CSafeLoader)
    ] == [
        "InferenceService",
        "AcceleratorPool",
        "CapacityPlan",
        "ModelRoute",
    ]


def unbounded(node: dict[str, Any], path: str) -> Iterator[str]:
    """Every place of a schema where a value may be as large as its author likes."""
    kind = node.get("type")
    needed = {
        "integer": ("minimum", "maximum"),
        "number": ("minimum", "maximum"),
        "string": ("maxLength",),
        "array": ("maxItems",),
    }.get(str(kind), ())
    if "enum" not in node:
        yield from (f"{path}: {word}" for word in needed if word not in node)
    if "additionalProperties" in node and "maxProperties" not in node:
        yield f"{path}: maxProperties"
    for name, child in node.get("properties", {}).items():
        yield from unbounded(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield from unbounded(node[key], f"{path}[]")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_number_text_and_list_has_bounds(kind):
    schema = object_schema(kind)["properties"]
    assert [*unbounded(schema["spec"], "spec"), *unbounded(schema["status"], "status")] == []
