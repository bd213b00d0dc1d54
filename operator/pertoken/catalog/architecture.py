"""Models described by their `config.json`, whole or inline, in the key spellings of the Hugging Face hub.

Dense models, mixtures of experts, multi-head latent attention, sliding windows, learned sparse attention, and hybrids
with linear attention or Mamba layers are told apart by the keys that they have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pertoken.catalog.config_keys import Config
from pertoken.catalog.layers import LatentHead, gated_attention, gated_delta, latent_attention, mamba1, mamba2
from pertoken.catalog.lookup import Unknown
from pertoken.catalog.models import Model

Fact = int | float | str | bool

# Families whose feed-forward has two matrices, and those that tie embedding and head unless they say otherwise.
_UNGATED: Final = ("gpt2", "gpt_bigcode", "gpt_neox", "gptj", "opt", "starcoder2", "bloom", "falcon", "nemotron", "phi")
_TIED: Final = ("gemma", "gpt2", "opt", "bloom", "falcon", "cohere")
_GATED_PHI: Final = ("phi3", "phi4", "phimoe")


def from_config(model_id: str, facts: Iterable[tuple[str, Fact]]) -> Model | Unknown:
    """A catalog row from `config.json` facts with their Hugging Face names.

    Args:
        model_id: name to give it.
        facts: at least `num_hidden_layers`, `hidden_size`, `num_attention_heads`, `vocab_size`, and
            `intermediate_size` or the experts' figures.

    Returns:
        `Unknown` naming the model when a needed figure is missing or not a positive number.
    """
    made = from_mapping(model_id, dict(facts), "inline architecture")
    return made if isinstance(made, Model) else Unknown("model", model_id, ())


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A configuration that lacks figures; `missing` names the keys."""

    model: str
    missing: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.model}: missing or not a positive number that a model can have: {', '.join(self.missing)}"


def from_mapping(model_id: str, config: Mapping[str, Any], source: str = "config.json") -> Model | Incomplete:
    """A catalog row from a whole `config.json`; multimodal ones are read at their `text_config`."""
    known = Config.of(config)
    layers, hidden = known.number("layers"), known.number("hidden")
    heads, vocab = known.number("heads"), known.number("vocab")
    experts, ffn = known.number("experts") or 0, known.number("ffn") or 0
    expert_ffn = known.number("expert_ffn") or ffn
    needed = {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "vocab_size": vocab,
        "intermediate_size": ffn or expert_ffn,
    }
    missing = tuple(name for name, value in needed.items() if not value)
    if missing or not (layers and hidden and heads and vocab):
        return Incomplete(model_id, missing)
    shape = _attention(known, hidden, heads)
    mixers = _mixers(known, layers, hidden)
    dense_layers = known.dense_layers(mixers.with_ffn) if experts else 0
    window, windowed = known.windows(mixers.attending)
    dense_ffn = known.number("dense_ffn") or ffn
    return Model(
        id=model_id,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        ffn=dense_ffn if not experts or dense_layers else 0,
        vocab=vocab,
        experts=experts,
        experts_per_token=(known.number("experts_per_token") or 1) if experts else 0,
        expert_ffn=expert_ffn if experts else 0,
        shared_ffn=known.shared_ffn(expert_ffn) if experts else 0,
        dense_layers=dense_layers,
        tied=known.flag("tie_word_embeddings", default=known.family(_TIED)),
        kv_latent=shape.latent,
        attention_parameters=shape.parameters,
        window=window,
        windowed_layers=windowed,
        sparse_tokens=known.number("sparse_tokens"),
        linear_layers=mixers.linear,
        linear_parameters=mixers.parameters,
        linear_state=mixers.state,
        ffn_layers=None if mixers.with_ffn == layers else mixers.with_ffn,
        attention_layers=None if mixers.attending == layers - mixers.linear else mixers.attending,
        gated=not (known.family(_UNGATED) and not known.family(_GATED_PHI)),
        native_quantization=known.quantization(),
        context=known.number("context") or 131072,
        source=source,
    )


@dataclass(frozen=True, slots=True)
class _Shape:
    """Of an attention layer."""

    kv_heads: int
    head_dim: int
    latent: int | None
    parameters: int | None


def _attention(known: Config, hidden: int, heads: int) -> _Shape:
    latent = known.number("latent")
    if latent:
        rotary, plain = known.number("rotary") or 0, known.number("plain") or known.number("head_dim") or 128
        value = known.number("value") or plain
        parameters = latent_attention(
            hidden, heads, known.number("query_rank") or 0, latent, LatentHead(plain, rotary, value)
        )
        return _Shape(heads, (plain + rotary + value) // 2, latent + rotary, parameters)
    head_dim = known.number("head_dim") or hidden // heads
    kv_heads = known.number("kv_heads") or (1 if known.flag("multi_query") else heads)
    gated = known.flag("attn_output_gate", default=known.family(("qwen3_next", "qwen3_5")))
    return _Shape(kv_heads, head_dim, None, gated_attention(hidden, heads, kv_heads, head_dim) if gated else None)


@dataclass(frozen=True, slots=True)
class _Mixers:
    """How many layers attend, how many are recurrent, and how many have a feed-forward part."""

    attending: int
    linear: int
    with_ffn: int
    parameters: int = 0
    state: int = 0


def _mixers(known: Config, layers: int, hidden: int) -> _Mixers:
    kinds = known.layer_kinds(layers)
    linear = kinds.count("linear")
    if not linear:
        return _Mixers(layers, 0, layers)
    attending = kinds.count("attention")
    # Pattern strings list feed-forwards as layers of their own; all other hybrids have one in every layer.
    own = kinds.count("feed-forward")
    parameters, state = _recurrent(known, hidden)
    return _Mixers(attending, linear, own or layers, parameters, state)


def _recurrent(known: Config, hidden: int) -> tuple[int, int]:
    """Parameters and numbers of state of one recurrent layer."""
    values = known.number("linear_value_heads")
    if values:
        keys = known.number("linear_key_heads") or values
        key_dim, value_dim = known.number("linear_key_dim") or 128, known.number("linear_value_dim") or 128
        return gated_delta(hidden, keys, values, key_dim, value_dim), values * key_dim * value_dim
    state = known.number("state") or 16
    heads = known.number("mamba_heads")
    inner = (known.number("expand") or 2) * hidden
    if heads:
        head_dim = known.number("mamba_head_dim") or inner // heads
        return mamba2(hidden, heads, head_dim, known.number("groups") or 1, state), heads * head_dim * state
    rank = known.number("dt_rank") or (hidden + 15) // 16
    return mamba1(hidden, inner, state, rank), inner * state
