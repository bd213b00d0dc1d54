"""`config.json` of every kind of model, with the figures as published, against the catalog's own rows."""

from __future__ import annotations

import pytest

from pertoken.catalog.architecture import from_mapping
from pertoken.catalog.lookup import SHIPPED
from pertoken.performance.memory import active_parameters, context_bytes_per_token, count, kv_bytes_per_token

QWEN3_MOE = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "num_hidden_layers": 48,
    "hidden_size": 2048,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "vocab_size": 151936,
    "tie_word_embeddings": False,
}
MIXTRAL = {
    "model_type": "mixtral",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 32000,
}
DEEPSEEK = {
    "model_type": "deepseek_v3",
    "num_hidden_layers": 61,
    "hidden_size": 7168,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "n_shared_experts": 1,
    "first_k_dense_replace": 3,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 129280,
}
GPT_OSS = {
    "model_type": "gpt_oss",
    "num_hidden_layers": 36,
    "hidden_size": 2880,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "intermediate_size": 2880,
    "num_local_experts": 128,
    "num_experts_per_tok": 4,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 18,
    "vocab_size": 201088,
}


@pytest.mark.parametrize(
    ("config", "known"),
    [
        (QWEN3_MOE, "Qwen/Qwen3-30B-A3B"),
        (MIXTRAL, "mistralai/Mixtral-8x7B-v0.1"),
        (DEEPSEEK, "deepseek-ai/DeepSeek-V3"),
        (GPT_OSS, "openai/gpt-oss-120b"),
    ],
    ids=["experts", "experts, old spelling", "latent attention", "sliding window"],
)
def test_a_config_makes_the_catalogs_row(config, known):
    model, row = from_mapping("mine", config), SHIPPED.model(known)

    assert count(model).total == pytest.approx(count(row).total, rel=0.01)
    assert (model.experts, model.experts_per_token, model.moe_layers) == (
        row.experts,
        row.experts_per_token,
        row.moe_layers,
    )
    assert kv_bytes_per_token(model, 2) == kv_bytes_per_token(row, 2)
    assert (model.window, model.windowed_layers) == (row.window, row.windowed_layers)


def test_recurrent_layers_cache_nothing_and_keep_a_state():
    hybrid = {
        "model_type": "qwen3_next",
        "num_hidden_layers": 48,
        "hidden_size": 2048,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "head_dim": 256,
        "intermediate_size": 5120,
        "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512,
        "num_experts": 512,
        "num_experts_per_tok": 10,
        "full_attention_interval": 4,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "vocab_size": 151936,
    }
    model = from_mapping("mine", hybrid)

    assert (model.attending, model.linear_layers) == (12, 36)
    assert model.linear_state > 0
    assert kv_bytes_per_token(model) == 2 * 12 * 2 * 256 * 2
    assert count(model).total == pytest.approx(80e9, rel=0.03)  # published as 80B


def test_a_multimodal_config_is_read_at_its_text():
    inner = {key: value for key, value in MIXTRAL.items() if key != "model_type"}
    model = from_mapping("mine", {"model_type": "llava", "vision_config": {"hidden_size": 1}, "text_config": inner})

    assert model.hidden == 4096


@pytest.mark.parametrize("change", [{"hidden_size": 0}, {"num_hidden_layers": None}, {"vocab_size": "many"}])
def test_what_is_missing_is_named(change):
    model = from_mapping("mine", {**MIXTRAL, **change})

    assert model.missing == (next(iter(change)),)


SMALL = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
LAYER = 2 * 8 * 128 * 2


def without(*keys):
    return {key: value for key, value in SMALL.items() if key not in keys}


@pytest.mark.parametrize(
    ("config", "billions", "cached"),
    [
        (
            {
                "model_type": "dbrx",
                "d_model": 6144,
                "n_heads": 48,
                "n_layers": 40,
                "vocab_size": 100352,
                "attn_config": {"kv_n_heads": 8, "clip_qkv": 8, "rope_theta": 500000},
                "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4, "moe_jitter_eps": 0},
            },
            131.6,
            40 * LAYER,
        ),
        ({"model_type": "gpt2", "n_embd": 1600, "n_head": 25, "n_layer": 48, "vocab_size": 50257}, 1.56, 307_200),
        (
            {
                "model_type": "falcon",
                "hidden_size": 4544,
                "num_hidden_layers": 32,
                "num_attention_heads": 71,
                "multi_query": True,
                "vocab_size": 65024,
            },
            6.92,
            8_192,
        ),
        (
            {
                "dim": 4096,
                "n_layers": 32,
                "head_dim": 128,
                "hidden_dim": 14336,
                "n_heads": 32,
                "n_kv_heads": 8,
                "vocab_size": 32000,
                "tied_embeddings": False,
                "moe": {"num_experts": 8, "num_experts_per_tok": 2},
            },
            46.7,
            32 * LAYER,
        ),
    ],
    ids=["objects in objects", "width left out", "one head for keys, width left out", "Mistral's own file"],
)
def test_figures_that_other_files_keep_elsewhere(config, billions, cached):
    model = from_mapping("mine", config)

    assert count(model).total / 1e9 == pytest.approx(billions, rel=0.01)
    assert context_bytes_per_token(model) == cached
    assert model.doubts == ()


@pytest.mark.parametrize(
    ("keys", "attending"),
    [
        ({"layer_types": ["FullAttention", "SlidingWindow"] * 16, "sliding_window": 1024}, 16),
        ({"layer_types": ["deltanet", "m2", "attention", "deltanet"] * 8, "mamba_d_state": 16}, 8),
        ({"model_type": "bailing_moe_linear", "layer_group_size": 8}, 4),
        ({"model_type": "bailing_moe_linear", "layer_group_size": 7}, 8),
        ({"model_type": "afmoe", "global_attn_every_n_layers": 4, "sliding_window": 2048}, 8),
        ({"num_key_value_heads": None, "num_key_value_heads_per_layer": [4] * 16 + [8] * 16}, 24),
    ],
)
def test_layers_in_further_spellings(keys, attending):
    model = from_mapping("mine", {**SMALL, **keys})

    assert context_bytes_per_token(model) == attending * LAYER
    assert model.doubts == ()


def test_a_family_whose_windows_are_not_known_counts_as_full_attention():
    model = from_mapping("mine", {**SMALL, "model_type": "phi4flash", "sliding_window": 512, "mb_per_layer": 2})

    assert context_bytes_per_token(model) == 32 * LAYER
    assert [doubt.split(":")[0] for doubt in model.doubts] == ["mb_per_layer", "sliding_window"]


@pytest.mark.parametrize("key", ["parallel_attn_mlp_res", "residual_moe"])
def test_a_dense_feed_forward_beside_experts(key):
    alone = from_mapping("mine", {**SMALL, "num_local_experts": 8, "num_experts_per_tok": 2})
    beside = from_mapping("mine", {**SMALL, "num_local_experts": 8, "num_experts_per_tok": 2, key: True})

    assert count(beside).total - count(alone).total == 32 * 3 * 4096 * 14336


@pytest.mark.parametrize("family", ["apertus", "arcee", "jais2", "mpt"])
def test_feed_forwards_of_two_matrices(family):
    three, two = from_mapping("mine", SMALL), from_mapping("mine", {**SMALL, "model_type": family})

    assert count(three).total - count(two).total == 32 * 4096 * 14336


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"model_type": "rwkv7"}, "rwkv7"),
        ({"model_type": "llada"}, "llada"),
        ({"model_type": "bart", "is_encoder_decoder": True}, "encoder"),
        ({"expert_banks": 8}, "expert_banks"),
        ({"num_moe_groups": 16}, "num_moe_groups"),
        ({"layer_types": {"0": "full_attention"}}, "layer_types"),
        ({"attn_type_list": 3}, "attn_type_list"),
    ],
)
def test_what_would_be_counted_as_less_than_it_is_is_refused(keys, named):
    refused = from_mapping("mine", {**SMALL, **keys})

    assert named in str(refused)
    assert refused.unclear


def test_tables_of_token_sequences_weigh_and_are_not_read():
    plain = from_mapping("mine", {**SMALL, "vocab_size": 131072})
    model = from_mapping("mine", {**SMALL, "vocab_size": 131072, "oe_vocab_size_ratio": 78})

    assert count(model).total - count(plain).total == 78 * 131072 * 4096
    assert active_parameters(model) == active_parameters(plain)
