"""Published `config.json` of families that spell their layers in their own ways, against the right figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pertoken.catalog.architecture import Incomplete, from_mapping
from pertoken.catalog.lookup import SHIPPED
from pertoken.catalog.models import Model
from pertoken.performance.memory import (
    active_parameters,
    context_bytes_per_token,
    count,
    state_bytes,
    weight_bytes,
)

DATA = Path(__file__).parent / "data"
GIB = 2**30
LLAMA = {
    "model_type": "llama",
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
SMALL = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
LAYER = 2 * 8 * 128 * 2  # bytes per token of one of its layers


def published(name: str) -> dict[str, Any]:
    content = json.loads((DATA / f"{name}.json").read_text())
    assert isinstance(content, dict)
    return content


def read(config: dict[str, Any]) -> Model:
    model = from_mapping("m", config)
    assert isinstance(model, Model), model
    return model


def weights_gib(model: Model) -> float:
    counted, width = count(model), weight_bytes(model, model.native_quantization or "bf16")
    plain = counted.head + counted.embedding + counted.tables
    return (counted.body * width.dense + counted.experts * width.experts + 2 * plain) / GIB


@pytest.mark.parametrize(
    ("name", "billions", "active", "cached"),
    [
        ("kimi-linear", 49.1, 3.0, 7 * 576 * 2),
        ("ernie-4.5-moe", 21.83, 3.35, 57_344),
        ("gemma-3n", 6.87, 4.5, 4 * 2 * 256 * 2 * 2),
        ("gemma-3n-scalar", 6.87, 4.5, 8_192),
        ("hunyuan-a13b", 80.4, 12.75, 131_072),
        ("hunyuan-a13b-scalar", 80.4, 12.75, 131_072),
        ("longcat-flash", 560.0, 27.0, 56 * 576 * 2),
        ("minimax-text-01", 456.0, 45.9, 10 * 8 * 128 * 2 * 2),
        ("minimax-m3", 426.0, 24.7, 60 * 2048 + 57 * 256),
        ("chatglm", 9.4, 8.8, 40_960),
        ("nemotron-h-list", 31.6, 3.2, 6_144),
        ("nemotron-h-string", 31.6, 3.2, 6_144),
        ("nemotron-3-super", 120.6, 12.2, 8_192),
        ("nemotron-3-ultra", 550.0, 55.0, 12_288),
        ("nemotron-h-56b", 56.3, 55.2, 40_960),
        ("qwen3-omni", 30.53, 3.0, 98_304),
        ("qwen3.5-35b-a3b", 35.0, 3.0, 20_480),
        ("gemma-4-26b-a4b", 25.2, 3.8, 20_480),
        ("mimo-v2-flash", 309.0, 15.0, 9 * 4 * 320 * 2),
        ("deepseek-v3.2", 671.9, 37.5, 61 * (1152 + 132)),
        ("glm-5.2", 743.9, 40.3, 78 * 1152 + 21 * 132),
        ("step-3.7-flash", 196.0, 10.5, 49_152),
        ("kimi-k3", 2780.0, 104.0, 24 * 576 * 2),
    ],
)
def test_published_figures(name: str, billions: float, active: float, cached: float):
    """Parameters within 2 % of what the publishers say, cache in bytes per token of context exactly."""
    model = read(published(name))

    assert count(model).total / 1e9 == pytest.approx(billions, rel=0.02)
    assert active_parameters(model) / 1e9 == pytest.approx(active, rel=0.04)
    assert context_bytes_per_token(model) == cached


def test_a_list_says_what_a_figure_says():
    figures, lists = read(published("hunyuan-a13b-scalar")), read(published("hunyuan-a13b"))
    assert (figures.layout, figures.doubts) == (lists.layout, lists.doubts)


def test_recurrent_state():
    assert state_bytes(read(published("kimi-linear"))) == 20 * 32 * 128 * 128 * 4
    assert state_bytes(read(published("minimax-text-01"))) == 70 * 64 * 128 * 128 * 4


def test_an_indexers_keys_are_cached_beside_the_latent():
    fp8 = context_bytes_per_token(read(published("deepseek-v3.2")), 1, 1.0)
    assert fp8 == 61 * (656 + 132)


def test_the_catalogs_row_caches_what_its_config_says():
    row = SHIPPED.known_model("deepseek-ai/DeepSeek-V3.2")
    assert row is not None
    model = read(published("deepseek-v3.2"))
    for width in (1.0, 2.0):
        assert context_bytes_per_token(row, 1, width) == context_bytes_per_token(model, 1, width)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("kimi-linear", "moonshotai/Kimi-Linear-48B-A3B-Instruct"),
        ("ernie-4.5-moe", "baidu/ERNIE-4.5-21B-A3B-PT"),
        ("hunyuan-a13b", "tencent/Hunyuan-A13B-Instruct"),
        ("minimax-text-01", "MiniMaxAI/MiniMax-Text-01"),
        ("chatglm", "zai-org/glm-4-9b-chat"),
        ("qwen3.5-35b-a3b", "Qwen/Qwen3.5-35B-A3B"),
    ],
)
def test_the_catalogs_rows_weigh_what_their_configs_say(name: str, row: str):
    model, known = read(published(name)), SHIPPED.known_model(row)
    assert known is not None
    assert count(known).total == pytest.approx(count(model).total, rel=1e-3)
    assert active_parameters(known) == pytest.approx(active_parameters(model), rel=1e-3)
    assert context_bytes_per_token(known) == context_bytes_per_token(model)
    assert state_bytes(known) == state_bytes(model)


def test_layers_that_a_search_has_thinned():
    config = published("nemotron-nas")
    model = read(config)
    attending = sum(not block["attention"]["no_op"] for block in config["block_configs"])
    assert context_bytes_per_token(model) == attending * 2 * 8 * 128 * 2
    config["block_configs"][3]["attention"]["mamba"] = {"heads": 4}
    refused = from_mapping("m", config)
    assert isinstance(refused, Incomplete)
    assert "block_configs[3].attention.mamba" in str(refused)


@pytest.mark.parametrize(
    ("keys", "full"),
    [
        ({"layer_types": ["full_attention"] * 8 + ["sliding_attention"] * 24}, 8),
        ({"layer_types": "LLLG", "model_type": "exaone4"}, 8),
        ({"sliding_window_pattern": "LLLG", "model_type": "exaone4"}, 8),
        ({"sliding_window_pattern": 4}, 8),
        ({"sliding_window_pattern": [True, True, True, False] * 8}, 8),
        ({"hybrid_layer_pattern": [0, 1, 1, 1] * 8}, 8),
        ({"full_attn_idxs": [0, 15, 31]}, 3),
        ({"swa_layers": [1, 2, 3]}, 29),
        ({"model_type": "mistral"}, 0),
        ({"model_type": "qwen3"}, 32),
        ({"model_type": "qwen2", "use_sliding_window": True, "max_window_layers": 20}, 20),
        ({"sliding_window": [1024, None] * 16}, 16),
    ],
)
def test_windows_in_every_spelling(keys: dict[str, Any], full: int):
    model = read({**SMALL, "sliding_window": 1024, **keys})
    assert context_bytes_per_token(model) == full * LAYER
    assert not model.doubts


@pytest.mark.parametrize(
    ("keys", "attending"),
    [
        ({"attn_type_list": [0, 0, 0, 1] * 8}, 8),
        ({"layers_block_type": ["mamba"] * 28 + ["attention"] * 4}, 4),
        ({"layer_types": ["linear_attention", "full_attention"] * 16}, 16),
        ({"attn_layer_indices": [3, 12], "mamba_n_heads": 64, "mamba_d_head": 64, "mamba_d_state": 128}, 2),
        ({"attn_layer_period": 8, "attn_layer_offset": 4, "mamba_d_state": 16}, 4),
        ({"full_attention_interval": 4, "linear_num_value_heads": 32}, 8),
        ({"hybrid_override_pattern": "M-*-" * 8}, 8),
        ({"hybrid_override_pattern": list("M-*-") * 8}, 8),
        ({"layer_types": ["conv"] * 24 + ["full_attention"] * 8}, 8),
        ({"linear_attn_config": {"kda_layers": list(range(1, 31)), "full_attn_layers": [31, 32], "num_heads": 32}}, 2),
        ({"model_type": "falcon_h1", "mamba_d_ssm": 3072, "mamba_n_heads": 24, "mamba_d_state": 256}, 32),
    ],
)
def test_recurrent_layers_in_every_spelling(keys: dict[str, Any], attending: int):
    model = read({**SMALL, **keys})
    assert context_bytes_per_token(model) == attending * LAYER
    assert state_bytes(model) > 0


EXPERTS = {"num_experts": 16, "num_experts_per_tok": 2, "moe_intermediate_size": 1024}


@pytest.mark.parametrize(
    ("keys", "routed"),
    [
        ({}, 32),
        ({"first_k_dense_replace": 3}, 29),
        ({"moe_layer_start_index": 1, "moe_layer_end_index": 30, "moe_layer_interval": 1}, 30),
        ({"mlp_layer_types": ["dense"] * 2 + ["sparse"] * 30}, 30),
        ({"moe_layer_freq": [0] + [1] * 31}, 31),
        ({"moe_layers_enum": "4,5,6,7"}, 4),
        ({"is_moe_layer": [False] + [True] * 31}, 31),
        ({"first_last_k_dense_replace": 1}, 31),
        ({"moe_layer_frequency": 2}, 16),
        ({"moe_layers": [4, 5, 6]}, 3),
        ({"mlp_only_layers": [0, 1]}, 30),
        ({"decoder_sparse_step": 2}, 16),
        ({"expert_layer_period": 2, "expert_layer_offset": 1}, 16),
        ({"num_dense_layers": 2}, 30),
    ],
)
def test_layers_with_experts_in_every_spelling(keys: dict[str, Any], routed: int):
    assert read({**SMALL, **EXPERTS, **keys}).moe_layers == routed


@pytest.mark.parametrize("name", ["num_shared_experts", "n_shared_experts", "moe_num_shared_experts"])
def test_shared_experts_in_every_spelling(name: str):
    assert read({**SMALL, **EXPERTS, name: 2}).shared_ffn == 2048


def test_how_many_experts_a_token_takes_is_never_guessed():
    refused = from_mapping("m", {**SMALL, "num_experts": 16, "moe_intermediate_size": 1024})
    assert isinstance(refused, Incomplete)
    assert refused.missing == ("num_experts_per_tok",)


@pytest.mark.parametrize(
    "depth", [("text_config",), ("thinker_config", "text_config"), ("llm_config",), ("wrapped", "inner")]
)
def test_the_language_model_is_found_at_its_depth(depth: tuple[str, ...]):
    config: dict[str, Any] = SMALL
    for name in reversed(depth):
        config = {name: config, "vision_config": {"hidden_size": 8, "num_hidden_layers": 2}}
    assert read(config).hidden == 4096
    assert read(config).doubts == ("vision_config: its weights are not counted",)


@pytest.mark.parametrize(
    "keys",
    [{"attention_dropout": 0.1}, {"rope_scaling": {"factor": 8}}, {"torch_dtype": "bfloat16"}, {"eos_token_id": 2}],
)
def test_keys_that_change_nothing_are_passed_over(keys: dict[str, Any]):
    assert read({**SMALL, **keys}).doubts == ()


@pytest.mark.parametrize("key", ["cross_layer_latents", "num_memory_blocks", "attention_compressor"])
def test_a_key_that_nobody_understands_is_named(key: str):
    assert read({**SMALL, key: 4}).doubts == (f"{key}: not understood; figures may be wrong by it",)


def test_what_cannot_be_told_is_counted_as_the_larger():
    unknown_word = read({**SMALL, "layer_types": ["full_attention"] * 30 + ["holographic"] * 2})
    assert context_bytes_per_token(unknown_word) == 32 * LAYER
    assert "holographic" in unknown_word.doubts[0]
    unknown_window = read({**SMALL, "model_type": "brand_new", "sliding_window": 1024})
    assert context_bytes_per_token(unknown_window) == 32 * LAYER
    assert unknown_window.doubts[0].startswith("sliding_window")


@pytest.mark.parametrize(
    "keys",
    [
        {"num_key_value_heads": [8] * 31},
        {"num_key_value_heads": "8"},
        {"layer_types": ["full_attention"] * 31},
        {"kv_lora_rank": [512]},
        {"moe_layers": [99], **EXPERTS},
        {"linear_attn_config": {"kda_layers": [1, 2], "full_attn_layers": [3]}},
        {"quantization_config": {"quant_method": "brand-new"}},
        {"quantization_config": {"quant_method": "gptq"}},
        {"quantization_config": "fp8"},
    ],
)
def test_what_cannot_be_read_is_refused_and_named(keys: dict[str, Any]):
    refused = from_mapping("m", {**SMALL, **keys})
    assert isinstance(refused, Incomplete)
    assert next(iter(keys)).split("_", maxsplit=1)[0] in str(refused)


@pytest.mark.parametrize(
    ("method", "gib"),
    [
        ("gptq-int8", 67.7),
        ("bnb-4bit", 38),
        ("auto-round-4", 38),
        ("hqq-4", 38),
        ("torchao-int4", 38),
        ("fbgemm-fp8", 67.7),
        ("ct-mxfp4", 37.8),
        ("ct-nvfp4", 39.8),
        ("ct-w4a16", 37.8),
        ("ct-fp8-dynamic", 67.7),
        ("ct-w8a8-int8", 67.7),
        ("awq-int4", 37.8),
        ("gptq-int4", 37.8),
        ("fp8-block", 67.7),
        ("modelopt-fp8", 67.7),
        ("modelopt-nvfp4-nested", 39.8),
        ("mxfp4", 37.8),
    ],
)
def test_weights_by_quantization_method(method: str, gib: float):
    model = read({**LLAMA, "quantization_config": published("quantization")[method]})
    assert weights_gib(model) == pytest.approx(gib, rel=0.01)
    assert model.kv_quantization == ("fp8" if method.startswith("modelopt") else "")


def test_parts_left_out_stay_wide():
    whole = read({**LLAMA, "quantization_config": {"quant_method": "fp8"}})
    left = {"quant_method": "fp8", "modules_to_not_convert": [f"model.layers.{i}.self_attn" for i in range(80)]}
    wide = read({**LLAMA, "quantization_config": left})
    attention = count(wide).attention
    assert weights_gib(wide) - weights_gib(whole) == pytest.approx(attention / GIB, rel=1e-6)
    ends = {"quant_method": "fp8", "modules_to_not_convert": ["lm_head", "model.layers.0.mlp"]}
    assert weights_gib(read({**LLAMA, "quantization_config": ends})) == weights_gib(whole)


def test_a_hybrids_mixers_are_told_apart_by_their_projections():
    """Names of Nemotron-H's tensors: every mixer is called `mixer`, whatever it is."""
    config = published("nemotron-h-string")
    pattern = config["hybrid_override_pattern"]
    attention = [
        f"backbone.layers.{n}.mixer.{p}_proj" for n, kind in enumerate(pattern) if kind == "*" for p in ("q", "k", "v")
    ]
    some = [f"backbone.layers.{n}.mixer.in_proj" for n, kind in enumerate(pattern) if kind == "M"][:6]
    convolutions = [f"backbone.layers.{n}.mixer.conv1d" for n, kind in enumerate(pattern) if kind == "M"]
    scheme = {"quant_algo": "NVFP4", "exclude_modules": ["lm_head", *attention, *some, *convolutions]}
    parts = dict(read({**config, "quantization_config": {"quantization": scheme}}).part_precisions)
    assert (parts["attention"], parts["recurrent"], parts["experts"]) == ("bf16", "nvfp4", "nvfp4")
