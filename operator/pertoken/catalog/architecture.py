"""Models described inline by the facts of their `config.json`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pertoken.catalog.lookup import Unknown
from pertoken.catalog.models import Model

Fact = int | float | str | bool


def from_config(model_id: str, facts: Iterable[tuple[str, Fact]]) -> Model | Unknown:
    """A catalog row from `config.json` facts with their Hugging Face names.

    Args:
        model_id: name to give it.
        facts: at least `num_hidden_layers`, `hidden_size`, `num_attention_heads`, `vocab_size`, and
            `intermediate_size` or the experts' figures.

    Returns:
        `Unknown` naming the model when a needed figure is missing or not a positive number.
    """
    known = dict(facts)
    layers = _number(known, "num_hidden_layers")
    hidden = _number(known, "hidden_size")
    heads = _number(known, "num_attention_heads")
    vocab = _number(known, "vocab_size")
    experts = _number(known, "num_experts", "num_local_experts", "n_routed_experts") or 0
    expert_ffn = _number(known, "moe_intermediate_size", "intermediate_size") or 0
    ffn = _number(known, "intermediate_size") or 0
    if not (layers and hidden and heads and vocab and (ffn or expert_ffn)):
        return Unknown("model", model_id, ())
    latent = _number(known, "kv_lora_rank")
    dense_layers = _number(known, "first_k_dense_replace") or 0
    return Model(
        id=model_id,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=_number(known, "num_key_value_heads") or heads,
        head_dim=_number(known, "head_dim") or hidden // heads,
        ffn=ffn if not experts or dense_layers else 0,
        vocab=vocab,
        experts=experts,
        experts_per_token=_number(known, "num_experts_per_tok") or (1 if experts else 0),
        expert_ffn=expert_ffn if experts else 0,
        shared_ffn=(_number(known, "n_shared_experts") or 0) * expert_ffn,
        dense_layers=dense_layers,
        tied=bool(known.get("tie_word_embeddings", False)),
        kv_latent=None if not latent else latent + (_number(known, "qk_rope_head_dim") or 0),
        context=_number(known, "max_position_embeddings") or 131072,
        source="inline architecture",
    )


def _number(known: Mapping[str, Fact], *names: str) -> int | None:
    for name in names:
        value = known.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return int(value)
    return None
