"""The largest figures that an architecture may state: several times those of any published model.

Times, memory and lists grow with them, so that a figure from elsewhere must be held against its bound before use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LAYERS: Final = 1_000
WIDTH: Final = 131_072  # of the residual stream
HEADS: Final = 4_096
HEAD_WIDTH: Final = 8_192
FFN: Final = 2_097_152
VOCABULARY: Final = 8_388_608
CONTEXT: Final = 67_108_864  # tokens
EXPERTS: Final = 65_536
STATE: Final = 65_536
CONFIG_KEYS: Final = 512  # of an inline config.json
CONFIG_LETTERS: Final = 65_536
PARAMETERS: Final = 10**13  # of one layer, and numbers of state of one sequence

# By the meanings of `config_keys.SPELLINGS`.
OF_CONFIG: Final[Mapping[str, int]] = {
    "layers": LAYERS,
    "hidden": WIDTH,
    "heads": HEADS,
    "kv_heads": HEADS,
    "head_dim": HEAD_WIDTH,
    "ffn": FFN,
    "dense_ffn": FFN,
    "vocab": VOCABULARY,
    "context": CONTEXT,
    "experts": EXPERTS,
    "experts_per_token": EXPERTS,
    "expert_ffn": FFN,
    "latent": WIDTH,
    "query_rank": WIDTH,
    "plain": HEAD_WIDTH,
    "rotary": HEAD_WIDTH,
    "value": HEAD_WIDTH,
    "expert_width": WIDTH,
    "shared_experts": EXPERTS,
    "shared_ffn": FFN,
    "zero_experts": EXPERTS,
    "sparse_tokens": CONTEXT,
    "index_heads": HEADS,
    "index_dim": HEAD_WIDTH,
    "window": CONTEXT,
    "window_heads": HEADS,
    "window_kv_heads": HEADS,
    "window_head_dim": HEAD_WIDTH,
    "window_value": HEAD_WIDTH,
    "global_kv_heads": HEADS,
    "global_head_dim": HEAD_WIDTH,
    "cache_sharers": LAYERS,
    "cache_share_factor": LAYERS,
    "layer_input": WIDTH,
    "layer_vocab": VOCABULARY,
    "ngram_tables": 4_096,
    "altup": 64,
    "laurel": WIDTH,
    "linear_value_heads": HEADS,
    "linear_key_heads": HEADS,
    "linear_key_dim": HEAD_WIDTH,
    "linear_value_dim": HEAD_WIDTH,
    "recurrent_width": FFN,
    "mamba_heads": HEADS,
    "mamba_head_dim": HEAD_WIDTH,
    "groups": HEADS,
    "state": STATE,
    "expand": 64,
    "dt_rank": WIDTH,
    "conv": 4_096,
}
# By the fields of `models.Model`.
OF_MODEL: Final[Mapping[str, int]] = {
    "layers": LAYERS,
    "hidden": WIDTH,
    "heads": HEADS,
    "kv_heads": HEADS,
    "head_dim": HEAD_WIDTH,
    "ffn": FFN,
    "vocab": VOCABULARY,
    "experts": EXPERTS,
    "experts_per_token": EXPERTS,
    "expert_ffn": FFN,
    "shared_ffn": FFN,
    "dense_layers": LAYERS,
    "kv_latent": WIDTH,
    "attention_parameters": PARAMETERS,
    "window": CONTEXT,
    "windowed_layers": LAYERS,
    "sparse_tokens": CONTEXT,
    "indexer_bytes": WIDTH,
    "latent_wide": WIDTH,
    "lookup_parameters": PARAMETERS,
    "linear_layers": LAYERS,
    "linear_parameters": PARAMETERS,
    "linear_state": PARAMETERS,
    "ffn_layers": LAYERS,
    "attention_layers": LAYERS,
    "context": CONTEXT,
}
