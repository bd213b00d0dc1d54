"""How checkpoints say their precision, by method and by tensor; what is not understood is never taken for narrow."""

from __future__ import annotations

from typing import Any

import pytest

from pertoken.catalog.architecture import Incomplete, from_mapping
from pertoken.catalog.models import Model

MODEL = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}


def scheme(quantization: dict[str, Any], key: str = "quantization_config") -> Model:
    read = from_mapping("m", {**MODEL, key: quantization})
    assert isinstance(read, Model), read
    return read


@pytest.mark.parametrize(
    ("quantization", "native"),
    [
        ({"quant_method": "fp8_per_block"}, "fp8"),
        ({"quant_method": "fp8_per_channel"}, "fp8"),
        ({"quant_method": "deepseek_v4_fp8"}, "fp8"),
        ({"quant_method": "int8_per_channel_weight_only"}, "w8a16"),
        ({"quant_method": "auto_gptq", "bits": 8}, "w8a16"),
        ({"quant_method": "sinq", "nbits": 4}, "int4"),
        ({"quant_method": "fp_quant", "forward_dtype": "nvfp4"}, "nvfp4"),
        ({"quant_method": "fp_quant", "forward_dtype": "mxfp4"}, "mxfp4"),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "int4"),
        ({"load_in_4bit": False, "load_in_8bit": True}, "w8a16"),
        ({"quant_method": "auto-round", "bits": 8, "data_type": "mx_fp", "act_bits": 8}, "fp8"),
        ({"quant_method": "auto-round", "bits": 4, "data_type": "mx_fp4"}, "mxfp4"),
        ({"quant_method": "inc", "bits": 4, "data_type": "nv_fp"}, "nvfp4"),
        ({"quant_method": "auto-round", "bits": 8, "data_type": "fp8", "act_bits": 8}, "fp8"),
        ({"quant_method": "auto-round", "bits": 8, "data_type": "fp8", "act_bits": 16}, "w8a16"),
        ({"quant_method": "quark", "layer_type_quant_config": {"Linear": {"weight": {"dtype": "fp8_e4m3"}}}}, "fp8"),
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "NVFP4InferenceConfig"}}}, "nvfp4"),
        ({"bits": 4, "group_size": 32, "mode": "mxfp4"}, "mxfp4"),
        ({"bits": 8, "group_size": 64, "mode": "affine"}, "w8a16"),
    ],
)
def test_methods_of_engines_and_of_those_who_publish(quantization: dict[str, Any], native: str):
    model = scheme(quantization)
    assert (model.native_quantization, model.doubts) == (native, ())


def test_a_scheme_beside_the_usual_key():
    assert scheme({"bits": 4, "group_size": 64}, "quantization").native_quantization == "int4"
    mistral = {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}
    assert scheme(mistral, "quantization").native_quantization == "fp8"


@pytest.mark.parametrize(
    ("books", "bits", "group", "native"), [(1, 16, 8, "int4"), (2, 8, 8, "int4"), (4, 16, 8, "w8a16")]
)
def test_codebooks_hold_a_group_of_weights_in_one_code(books: int, bits: int, group: int, native: str):
    figures = {"num_codebooks": books, "nbits_per_codebook": bits, "in_group_size": group, "out_group_size": 1}
    assert scheme({"quant_method": "aqlm", **figures}).native_quantization == native


def test_a_scheme_of_the_cache_alone_leaves_the_weights_wide():
    alone = {
        "quant_method": "compressed-tensors",
        "config_groups": {},
        "kv_cache_scheme": {"num_bits": 8, "type": "float"},
    }
    model = scheme(alone)
    assert (model.native_quantization, model.kv_quantization) == ("", "fp8")
    thinned = scheme({"quant_method": "compressed-tensors", "sparsity_config": {"format": "sparse-24-bitmask"}})
    assert thinned.native_quantization == ""
    assert "sparsity_config" in thinned.doubts[0]


@pytest.mark.parametrize(
    "names",
    [
        {"dynamic": {r"+:.*\.mlp\..*": {"bits": 8}}},
        {"dynamic": {r"-:.*\.mlp\..*": {}, "+:.*attn.*": {"bits": 4}}},
        {"extra_config": {f"model.layers.{index}.mlp.down_proj": {"bits": 8} for index in range(32)}},
        {"layer_quant_config": {"model.layers.*.mlp.*": {"weight_bits": 8}}},
    ],
)
def test_tensors_with_bits_of_their_own(names: dict[str, Any]):
    parts = dict(scheme({"quant_method": "gptq", "bits": 4, **names}).part_precisions)
    assert parts["dense"] in {"w8a16", "bf16"}
    assert parts["attention"] == "int4"


def test_a_few_layers_with_more_bits_change_nothing():
    first = {"model.layers.0.mlp.down_proj": {"bits": 8, "group_size": 64}, "lm_head": {"bits": 8}}
    model = scheme({"bits": 4, "group_size": 64, **first})
    assert dict(model.part_precisions)["dense"] == "int4"
    assert model.doubts == ()


@pytest.mark.parametrize("name", ["+:.*down.*", "model.block_7"])
def test_a_name_that_is_no_tensor_known_here_is_told(name: str):
    model = scheme({"quant_method": "gptq", "bits": 4, "dynamic": {name: {"bits": 8}}})
    assert [name in doubt for doubt in model.doubts] == [True]


@pytest.mark.parametrize(
    "quantization",
    [
        {"quant_method": "torchao", "quant_type": "autoquant"},
        {"quant_method": "modelslim"},
        {"quant_method": "exl3", "bits": 4.0},
        {"quant_method": "vptq"},
        {"quant_method": "inc"},
        {"quant_method": "aqlm", "num_codebooks": "two"},
    ],
)
def test_a_method_that_is_not_understood_is_an_error(quantization: dict[str, Any]):
    refused = from_mapping("m", {**MODEL, "quantization_config": quantization})
    assert isinstance(refused, Incomplete)
    assert "quantization_config" in str(refused)
