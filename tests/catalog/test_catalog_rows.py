"""Rows that users add: by file, by folder, and through the chart."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import yaml

from pertoken.adapters.catalog_files import read_catalog
from pertoken.catalog.gpu_rows import GPUS
from pertoken.catalog.gpus import Basis
from pertoken.catalog.lookup import SHIPPED, Catalog, Unknown
from pertoken.catalog.rows import parse_rows
from pertoken.catalog.shipped_models import MODELS
from pertoken.cli.catalog_page import page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "catalog.md"
GPU = {
    "id": "h100-lab",
    "memoryGib": 80,
    "bandwidthGBps": 3350,
    "tflops": {"bf16": 989, "fp8": 1979},
    "linkGBps": 450,
    "linked": True,
    "products": ["NVIDIA-H100-LAB"],
    "source": "measured in our rack",
    "asOf": "2026-11-01",
}
CONFIG = {
    "num_hidden_layers": 28,
    "hidden_size": 3072,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "intermediate_size": 8192,
    "vocab_size": 128256,
}
MODEL = {"id": "acme/chat-3b", "config": CONFIG, "source": "config.json of ours", "asOf": "2026-11-01"}


def test_a_gpu_is_parsed_in_the_catalogs_units():
    (gpu,) = parse_rows({"gpus": [{**GPU, "like": "h100-sxm"}]}).gpus

    assert (gpu.bandwidth, gpu.flops_bf16, gpu.flops_fp4, gpu.link_bandwidth) == (3.35e12, 989e12, None, 450e9)
    assert gpu.efficiency.bandwidth == SHIPPED.gpu("h100-sxm").efficiency.bandwidth
    assert gpu.efficiency.basis is Basis.NONE


def test_a_models_config_and_its_fields_make_the_same_row():
    fields = {
        "id": "acme/chat-3b",
        "layers": 28,
        "hidden": 3072,
        "heads": 24,
        "kvHeads": 8,
        "headDim": 128,
        "ffn": 8192,
        "vocab": 128256,
        "source": "config.json of ours",
        "asOf": "2026-11-01",
    }
    configured, given = parse_rows({"models": [MODEL, fields]}).models

    assert (configured.layers, configured.head_dim, configured.ffn) == (given.layers, given.head_dim, given.ffn)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([], "content: list: expected an object"),
        ({"gpu": []}, "gpu: unknown; expected gpus or models"),
        ({"gpus": {}, "models": {"a": 1}}, "models: dict: expected a list"),
        ({"gpus": [3]}, "gpus[0]"),
        ({"gpus": [{**GPU, "memoryGib": -1}]}, "gpus[0].memoryGib: -1: expected a number above 0"),
        ({"gpus": [{**GPU, "memory": 80}]}, "gpus[0].memory: unknown; expected one of"),
        ({"gpus": [{**GPU, "like": "h9"}]}, "gpus[0].like"),
        ({"gpus": [{**GPU, "source": ""}]}, 'gpus[0].source: "": expected a text'),
        ({"gpus": [{**GPU, "efficiency": {"speed": 1}}]}, "gpus[0].efficiency.speed: unknown"),
        ({"models": [{"id": "x"}]}, "models[0]: missing layers"),
        ({"models": [{**MODEL, "config": {}}]}, "models[0].config: missing or not a positive number"),
        ({"models": [{**MODEL, "nativeQuantization": "fp3"}]}, 'models[0].nativeQuantization: "fp3"'),
        ({"models": [{**MODEL, "aliases": "chat"}]}, 'models[0].aliases: "chat": expected a list of texts'),
    ],
)
def test_every_mistake_names_field_value_and_expectation(content, told):
    rows = parse_rows(content)

    assert any(told in mistake for mistake in rows.mistakes), rows.mistakes
    assert not rows.models


def test_a_wrong_row_does_not_take_the_others_with_it(tmp_path):
    (tmp_path / "ours.yaml").write_text(yaml.safe_dump({"gpus": [GPU, {**GPU, "id": "", "linkGBps": "fast"}]}))
    (tmp_path / "broken.yaml").write_text("gpus: [")
    (tmp_path / "models.json").write_text('{"models": []}')
    (tmp_path / "notes.txt").write_text("not read")
    (tmp_path / "..data").mkdir()
    rows = read_catalog(tmp_path)

    assert rows.catalog.gpu("NVIDIA-H100-LAB").id == "h100-lab"
    assert len(rows.mistakes) == 2
    assert all(mistake.startswith(str(tmp_path)) for mistake in rows.mistakes)


def test_own_rows_win_over_shipped_ones(tmp_path):
    path = tmp_path / "rows.yaml"
    path.write_text(yaml.safe_dump({"gpus": [{**GPU, "id": "h100-sxm", "memoryGib": 94}], "models": [MODEL]}))
    catalog = read_catalog(path).catalog

    assert catalog.gpu("h100-sxm").memory_gib == 94
    assert catalog.model("chat-3b").id == "acme/chat-3b"
    assert SHIPPED.gpu("h100-sxm").memory_gib != 94
    assert isinstance(SHIPPED.model("chat-3b"), Unknown)


def test_catalogs_of_the_same_rows_are_the_same_value():
    rows = parse_rows({"gpus": [GPU]})
    catalog, same = rows.catalog, Catalog(SHIPPED.gpus, SHIPPED.models).extended(rows.gpus)

    assert catalog == same
    assert hash(catalog) == hash(same)
    assert catalog != SHIPPED
    assert pickle.loads(pickle.dumps(catalog)) == catalog  # noqa: S301 - our own bytes
    assert copy.deepcopy(catalog).gpu("h100-lab") == rows.gpus[0]


@pytest.mark.parametrize("field", ["gpus", "models", "_gpus", "_models", "more"])
def test_a_catalog_cannot_be_changed(field):
    with pytest.raises((FrozenInstanceError, TypeError)):
        setattr(SHIPPED, field, ())


def test_a_catalogs_index_cannot_be_changed():
    with pytest.raises(TypeError):
        SHIPPED._gpus["mine"] = SHIPPED.gpus[0]
    with pytest.raises(TypeError):
        SHIPPED._models.exact["mine"] = SHIPPED.models[0]


def test_an_unreadable_file_is_a_mistake(tmp_path):
    (mistake,) = read_catalog(tmp_path / "nowhere.yaml").mistakes

    assert "nowhere.yaml: cannot be read" in mistake


def test_the_pages_example_is_good():
    block = PAGE.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    rows = parse_rows(yaml.safe_load(block))

    assert rows.mistakes == ()
    assert rows.gpus
    assert rows.models


def test_the_page_lists_every_row():
    text = PAGE.read_text(encoding="utf-8")

    assert text == page(text), "run `make docs`"

    assert [gpu.id for gpu in GPUS if f"| `{gpu.id}` | {gpu.memory_gib:g} |" not in text] == []
    assert [model.id for model in MODELS if f"| `{model.id}` |" not in text] == []
