"""What `config.json` files call their figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pertoken.catalog.bounds import CONTEXT, FFN, LAYERS, OF_CONFIG
from pertoken.catalog.precisions import find_precision

SPELLINGS: Final[dict[str, tuple[str, ...]]] = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv", "num_query_groups"),
    "head_dim": ("head_dim", "attention_head_dim", "kv_channels"),
    "ffn": ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"),
    "dense_ffn": ("intermediate_size_mlp",),
    "vocab": ("vocab_size", "padded_vocab_size"),
    "context": ("max_position_embeddings", "n_positions", "max_seq_len"),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    "experts_per_token": ("num_experts_per_tok", "num_experts_per_token", "experts_per_token", "moe_topk", "moe_k"),
    "expert_ffn": ("moe_intermediate_size", "expert_intermediate_size", "moe_ffn_hidden_size"),
    "latent": ("kv_lora_rank",),
    "query_rank": ("q_lora_rank",),
    "plain": ("qk_nope_head_dim",),
    "rotary": ("qk_rope_head_dim",),
    "value": ("v_head_dim",),
    "sparse_tokens": ("index_topk",),
    "linear_value_heads": ("linear_num_value_heads",),
    "linear_key_heads": ("linear_num_key_heads",),
    "linear_key_dim": ("linear_key_head_dim",),
    "linear_value_dim": ("linear_value_head_dim",),
    "mamba_heads": ("mamba_num_heads", "mamba_n_heads"),
    "mamba_head_dim": ("mamba_head_dim", "mamba_d_head"),
    "groups": ("mamba_n_groups", "n_groups"),
    "state": ("ssm_state_size", "mamba_d_state", "state_size"),
    "expand": ("mamba_expand", "expand"),
    "dt_rank": ("mamba_dt_rank",),
}
_LINEAR: Final = ("linear_attention", "mamba", "mamba2", "recurrent")
_WINDOWED: Final = ("sliding_attention", "chunked_attention", "local_attention")
_PATTERN: Final = {"M": "linear", "*": "attention", "-": "feed-forward", "E": "feed-forward", "O": "feed-forward"}
_INT8: Final = 8
_MOST_LISTED: Final = max(FFN, CONTEXT)


@dataclass(frozen=True, slots=True)
class Config:
    """A `config.json`, read by meaning."""

    raw: Mapping[str, Any]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Config:
        """The language model's part, with what only the whole says (quantization, tied embeddings) kept."""
        for name in ("text_config", "llm_config", "language_config"):
            text = config.get(name)
            if isinstance(text, Mapping):
                whole = {key: config[key] for key in ("quantization_config", "tie_word_embeddings") if key in config}
                return cls({**whole, **text})
        return cls(config)

    def number(self, meaning: str) -> int | None:
        """The figure of this meaning; None when absent, not a positive number, or beyond what a model can have."""
        for name in SPELLINGS[meaning]:
            value = self.raw.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= OF_CONFIG[meaning]:
                return int(value)
        return None

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A yes or no."""
        value = self.raw.get(name)
        return value if isinstance(value, bool) else default

    def family(self, prefixes: tuple[str, ...]) -> bool:
        """Whether `model_type` begins with one of these."""
        return str(self.raw.get("model_type", "")).startswith(prefixes)

    def _list(self, name: str) -> list[Any]:
        value = self.raw.get(name)
        return list(value) if isinstance(value, list | tuple) and len(value) <= LAYERS else []

    def _every(self, name: str) -> int:
        value = self.raw.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_LISTED else 0

    def dense_layers(self, with_ffn: int) -> int:
        """Layers of a mixture-of-experts model with an ordinary feed-forward part."""
        listed = self._list("moe_layers")
        if listed:
            return with_ffn - len(listed)
        dense = self._every("first_k_dense_replace") or len(self._list("mlp_only_layers"))
        every = (
            self._every("decoder_sparse_step")
            or self._every("interleave_moe_layer_step")
            or self._every("expert_layer_period")
            or 1
        )
        return dense + (with_ffn - dense) - (with_ffn - dense) // every

    def shared_ffn(self, expert_ffn: int) -> int:
        """Width of the experts that every token passes."""
        for name in (
            "shared_expert_intermediate_size",
            "moe_shared_expert_intermediate_size",
            "shared_intermediate_size",
        ):
            if self._every(name):
                return self._every(name)
        if self.family(("llama4",)):
            return expert_ffn
        return self._every("n_shared_experts") * expert_ffn

    def layer_kinds(self, layers: int) -> list[str]:
        """``attention``, ``linear`` or ``feed-forward``, layer by layer."""
        pattern = self.raw.get("hybrid_override_pattern")
        if isinstance(pattern, str) and len(pattern) <= LAYERS:
            return [_PATTERN.get(letter, "attention") for letter in pattern]
        listed = self._list("layer_types") or self._list("layers_block_type")
        if listed:
            return ["linear" if str(kind) in _LINEAR else "attention" for kind in listed]
        every = self._every("full_attention_interval") or self._every("attn_layer_period")
        if every and (self.number("linear_value_heads") or self.number("state")):
            attending = layers // every
            return ["attention"] * attending + ["linear"] * (layers - attending)
        return ["attention"] * layers

    def windows(self, attending: int) -> tuple[int | None, int]:
        """Sliding window in tokens, and how many attention layers have it."""
        window = self._every("sliding_window") or self._every("attention_chunk_size")
        if not window or self.raw.get("use_sliding_window") is False:
            return None, 0
        listed = [str(kind) for kind in self._list("layer_types")]
        if listed:
            count = sum(kind in _WINDOWED for kind in listed)
            return (window, count) if count else (None, 0)
        return window, attending - attending // self._global_every(attending)

    def _global_every(self, attending: int) -> int:
        """Every how many layers one attends to everything; more than all of them where none does."""
        families = ((("gemma2", "gpt_oss"), 2), (("gemma3",), 6), (("llama4",), 4))
        known = next((every for names, every in families if self.family(names)), attending + 1)
        return self._every("sliding_window_pattern") or known

    def quantization(self) -> str:
        """Precision in which the weights are published; empty for bf16."""
        config = self.raw.get("quantization_config")
        if not isinstance(config, Mapping):
            return ""
        named = config.get("quant_method")
        method = named.lower() if isinstance(named, str) else ""
        stated = config.get("quant_algo") or config.get("quantization")
        if isinstance(stated, Mapping):
            stated = stated.get("quant_algo")
        algorithm = stated.lower() if isinstance(stated, str) else ""
        for kind in ("nvfp4", "fp8"):
            if kind in algorithm:
                return kind
        if method == "compressed-tensors":
            return _compressed(config)
        found = find_precision(method)
        return "" if found is None else found.name


def _compressed(config: Mapping[str, Any]) -> str:
    """The `compressed-tensors` format: bits and type of the first group of weights."""
    groups = config.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            floats = weights.get("type") == "float"
            if weights.get("num_bits") == _INT8:
                return "fp8" if floats else "int8"
            return "nvfp4" if floats else "int4"
    return ""
