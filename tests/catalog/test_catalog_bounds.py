"""Bounds of an architecture: wide enough for every model there is, and nothing that exhausts memory gets past them."""

from __future__ import annotations

from dataclasses import fields

import pytest

from pertoken.catalog.architecture import Incomplete, from_mapping
from pertoken.catalog.bounds import OF_CONFIG, OF_MODEL
from pertoken.catalog.config_keys import SPELLINGS
from pertoken.catalog.models import Model
from pertoken.catalog.rows import parse_rows
from pertoken.catalog.shipped_models import MODELS
from pertoken.raw.values import shown

ROOM = 2  # how many times larger than any shipped model a bound is at least
NUMBERS = [field.name for field in fields(Model) if str(field.type).startswith("int")]
ROW = {
    "id": "own/model",
    "layers": 32,
    "hidden": 4096,
    "heads": 32,
    "kvHeads": 8,
    "headDim": 128,
    "ffn": 14336,
    "vocab": 128_256,
    "source": "test",
    "asOf": "2026-01-01",
}
CONFIG = {
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "vocab_size": 128_256,
    "intermediate_size": 14336,
}
HOSTILE = (200_000_000, 10**30, 10**5000, 1e308, float("inf"), float("nan"), -1, True, "32", [32], None)


@pytest.mark.parametrize("name", NUMBERS)
def test_every_shipped_model_is_well_within_the_bounds(name: str):
    assert max(getattr(model, name) or 0 for model in MODELS) * ROOM <= OF_MODEL[name]


def test_every_figure_of_a_config_has_a_bound():
    assert OF_CONFIG.keys() == SPELLINGS.keys()


@pytest.mark.parametrize("value", HOSTILE, ids=shown)
@pytest.mark.parametrize("key", list(CONFIG))
def test_a_needed_figure_out_of_bounds_is_named(key: str, value: object):
    model = from_mapping("m", {**CONFIG, key: value})
    assert isinstance(model, Incomplete)
    assert model.missing == (key,)


@pytest.mark.parametrize("value", HOSTILE, ids=shown)
@pytest.mark.parametrize("names", SPELLINGS.values(), ids=list(SPELLINGS))
def test_no_figure_leaves_the_bounds(names: tuple[str, ...], value: object):
    model = from_mapping("m", {**CONFIG, "hybrid_override_pattern": "M*-" * 2000, names[0]: value})
    if isinstance(model, Model):
        assert all((getattr(model, name) or 0) <= OF_MODEL[name] for name in NUMBERS)


@pytest.mark.parametrize("value", [figure for figure in HOSTILE if figure is not None], ids=shown)
def test_a_row_out_of_bounds_is_left_out_and_told(value: object):
    rows = parse_rows({"models": [{**ROW, "layers": value}, ROW]})
    assert [model.id for model in rows.models] == ["own/model"]
    assert len(rows.mistakes) == 1
    assert rows.mistakes[0].startswith("models[0].layers: ")
    assert len(rows.mistakes[0]) < 200


@pytest.mark.parametrize("value", [10**400, 1e308, float("nan"), 0, -1, "80", None])
def test_a_gpu_out_of_bounds_is_left_out_and_told(value: object):
    gpu = {
        "id": "own",
        "memoryGib": value,
        "bandwidthGBps": 2000,
        "tflops": {"bf16": 300},
        "source": "t",
        "asOf": "2026",
    }
    rows = parse_rows({"gpus": [gpu]})
    assert not rows.gpus
    assert rows.mistakes[0].startswith("gpus[0].memoryGib: ")
