"""Models described by their `config.json`, whole or inline, in the key spellings of the Hugging Face hub.

`config` finds the language model and its figures, `config_layers` says what each layer is, `config_mixers` and
`config_feeds` what it weighs and keeps, `config_quantization` in which precision. A key that none of them understands
is named among the model's `doubts`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pertoken.catalog.block_configs import read_blocks
from pertoken.catalog.bounds import PARAMETERS
from pertoken.catalog.config import Config, Unclear
from pertoken.catalog.config_feeds import Feeds, read_feeds, ungated
from pertoken.catalog.config_layers import LayerKinds, layer_kinds
from pertoken.catalog.config_mixers import Mixers
from pertoken.catalog.config_quantization import read_quantization
from pertoken.catalog.layered import Layer
from pertoken.catalog.models import Model
from pertoken.catalog.unknown import Unknown
from pertoken.frozen import dataclass, replace
from pertoken.raw.values import shown

Fact = Any
INLINE_CONFIG: Final = "config"

# Families that tie embedding and head unless they say otherwise.
_TIED: Final = (
    *("gemma", "recurrent_gemma", "gpt2", "gpt_bigcode", "opt", "bloom", "falcon", "cohere", "smollm3", "ernie4_5"),
    *("lfm2", "starcoder2", "t5", "zamba"),
)
_UNTIED: Final = ("falcon_h1", "falcon_mamba")
_DOUBLED: Final = ("longcat",)  # two attentions and two dense feed-forwards a layer
_OF_ANOTHER_MAKE: Final = ("rwkv", "retnet", "xlstm", "llada", "dream", "sdar", "diffusion")
_DEFAULT_CONTEXT: Final = 131072


def from_config(model_id: str, facts: Iterable[tuple[str, Fact]]) -> Model | Unknown:
    """A catalog row from `config.json` facts with their Hugging Face names.

    Args:
        model_id: name to give it.
        facts: at least `num_hidden_layers`, `hidden_size`, `num_attention_heads`, `vocab_size`, and
            `intermediate_size` or the experts' figures.

    Returns:
        `Unknown` naming the model when a needed figure is missing or not a positive number.
    """
    model = read_facts(model_id, facts)
    return model if isinstance(model, Model) else Unknown("model", model_id, ())


def read_facts(model_id: str, facts: Iterable[tuple[str, Fact]]) -> Model | Incomplete:
    """A row from inline facts; the fact `config` is a whole `config.json` as text, which the others add to."""
    given = dict(facts)
    content = json.loads(str(given.pop(INLINE_CONFIG, "{}")))
    whole = content if isinstance(content, dict) else {}
    return from_mapping(model_id, {**whole, **given}, "inline architecture")


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A configuration that lacks figures: `missing` names the keys, `unclear` says why where it is not absence."""

    model: str
    missing: tuple[str, ...]
    unclear: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """What is wrong, without the model's name."""
        if self.unclear:
            return "; ".join(self.unclear)
        return f"missing or not a positive number that a model can have: {', '.join(self.missing)}"

    def __str__(self) -> str:
        return f"{self.model}: {self.why}"


def from_mapping(model_id: str, config: Mapping[str, Any], source: str = "config.json") -> Model | Incomplete:
    """A catalog row from a whole `config.json`; a multimodal one is read at its language model, wherever it stands."""
    known = Config.of(config)
    unlike = _unlike(known)
    if unlike:
        return Incomplete(model_id, ("model_type",), (unlike,))
    missing = _missing(known)
    if missing:
        return Incomplete(model_id, missing)
    try:
        return _model(model_id, known, source)
    except Unclear as unclear:
        return Incomplete(model_id, (unclear.key,), (str(unclear),))


def _unlike(known: Config) -> str:
    """Why a model is none that this reader is made for: it does not decode token by token from a cache or state."""
    kind = shown(known.raw.get("model_type"))
    if known.flag("is_encoder_decoder"):
        return f"model_type: {kind}: an encoder and a decoder; expected a decoder alone"
    if known.family(*_OF_ANOTHER_MAKE):
        return f"model_type: {kind}: no attention, or generation by diffusion; not modelled"
    experts = "" if _any(known, "experts") else known.hidden_experts()
    return f"{experts}: not understood, and nothing else says how many experts there are" if experts else ""


def _missing(known: Config) -> tuple[str, ...]:
    """Needed figures that are not there, and known ones that are no figures."""
    unreadable = known.unreadable()
    blocks = bool(known.raw.get("block_configs"))
    needed = {
        "num_hidden_layers": known.layers(),
        "hidden_size": known.number("hidden"),
        "num_attention_heads": _any(known, "heads"),
        "vocab_size": known.number("vocab"),
        "intermediate_size": blocks or _any(known, "ffn") or _any(known, "expert_ffn") or _any(known, "shared_ffn"),
    }
    if _any(known, "experts") and not _any(known, "experts_per_token"):
        needed["num_experts_per_tok"] = None
    absent = (name for name, value in needed.items() if not value and name not in unreadable)
    return tuple(dict.fromkeys((*unreadable, *absent)))


def _any(known: Config, meaning: str) -> bool:
    layers = known.layers()
    try:
        return any(known.each(meaning, layers)) or known.number(meaning) is not None
    except Unclear:
        return True  # told when the layers are read


def _model(model_id: str, known: Config, source: str) -> Model:
    count = known.layers()
    if known.raw.get("block_configs"):
        layers: Sequence[Layer] = read_blocks(known, count)
        kinds = LayerKinds(())
    else:
        kinds = layer_kinds(known, count)
        layers = _layers(known, kinds)
    layers = _together(layers)
    quantization = read_quantization(known, _layers_by_part(layers))
    if quantization.errors:
        raise Unclear("quantization", "; ".join(quantization.errors))
    doubts = (*known.doubts(), *kinds.doubts, *quantization.doubts)
    tables = _tables(known, count)
    if any(_largest(layer) > PARAMETERS for layer in layers) or tables > PARAMETERS:
        raise Unclear("num_hidden_layers", "more parameters than a model can have")
    model = Model(
        id=model_id,
        layers=count,
        hidden=known.number("hidden") or 0,
        heads=0,
        kv_heads=0,
        head_dim=0,
        ffn=0,
        vocab=known.number("vocab") or 0,
        tied=known.flag("tie_word_embeddings", default=_tied(known)),
        sparse_tokens=_sparse_tokens(known),
        lookup_parameters=tables,
        native_quantization=quantization.native,
        part_precisions=quantization.parts,
        kv_quantization=quantization.cache,
        context=known.number("context") or _DEFAULT_CONTEXT,
        source=source,
        layout=layers,
        doubts=doubts,
    )
    return _summed(model, known, layers)


def _tables(known: Config, layers: int) -> int:
    """Parameters of tables of which a token reads a few rows: embeddings per layer, and of sequences of tokens.

    LongCat-Flash-Lite's tables of n-grams have so many times the vocabulary's rows, in all as wide as the model
    (arXiv 2601.21204).
    """
    per_layer, vocabulary = known.number("layer_input") or 0, known.number("vocab") or 0
    by_layer = (known.number("layer_vocab") or vocabulary) * per_layer * layers
    return by_layer + (known.number("ngram_tables") or 0) * vocabulary * (known.number("hidden") or 0)


def _tied(known: Config) -> bool:
    return known.flag("tied_embeddings", default=known.family(*_TIED) and not known.family(*_UNTIED))


def _layers_by_part(layers: Iterable[Layer]) -> Mapping[str, int]:
    """How many layers have attention, a recurrent mixer, a dense feed-forward, shared and routed experts."""
    parts: Counter[str] = Counter()
    for layer in layers:
        has = {
            "attention": layer.attention is not None,
            "recurrent": layer.recurrent is not None,
            "dense": layer.dense > layer.shared,
            "shared": layer.shared > 0,
            "experts": layer.experts is not None,
        }
        parts.update({part: layer.count for part, there in has.items() if there})
    return parts


def _layers(known: Config, kinds: LayerKinds) -> list[Layer]:
    mixers, feeds = Mixers.of(known, kinds.kinds), read_feeds(known, kinds.kinds)
    beside = _beside(known, len(kinds.kinds))
    if known.family(*_DOUBLED):
        return _doubled(mixers, feeds)
    return [
        replace(
            feed,
            attention=mixers.attention(index, kind),
            recurrent=mixers.recurrent(kind),
            dense=feed.dense + beside,
        )
        for index, (kind, feed) in enumerate(zip(kinds.kinds, feeds.layers, strict=True))
    ]


def _beside(known: Config, layers: int) -> int:
    """Parameters of each layer beside mixer and feed-forward (Gemma 3n and 4).

    A gate and a projection of the layer's own embedding and its share of the projection to all of them; the low-rank
    branch; the layer's share of what mixes parallel streams, a projection in and one out for each but the first.
    """
    hidden, per_layer = known.number("hidden") or 0, known.number("layer_input") or 0
    streams = max(1, known.number("altup") or 1)
    mixed = 2 * (streams - 1) * hidden * hidden // layers
    return 3 * hidden * per_layer + 2 * hidden * (known.number("laurel") or 0) + mixed


def _doubled(mixers: Mixers, feeds: Feeds) -> list[Layer]:
    """Each layer twice attends and twice has a dense feed-forward, and once has experts beside them."""
    doubled = []
    for index, layer in enumerate(feeds.layers):
        half = Layer(1, mixers.attention(index, mixers.kinds[index]), dense=feeds.dense(index), feeds=True)
        doubled += [half, half, replace(layer, dense=layer.shared)]
    return doubled


def _together(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """Alike layers as one with their count, in the order in which they first come."""
    counted: Counter[Layer] = Counter()
    for layer in layers:
        counted[layer if layer.count == 1 else replace(layer, count=1)] += layer.count
    return tuple(replace(layer, count=count) for layer, count in counted.items())


def _largest(layer: Layer) -> int:
    experts = layer.experts
    return max(
        layer.dense,
        layer.attention.parameters if layer.attention else 0,
        max(layer.recurrent.parameters, layer.recurrent.state) if layer.recurrent else 0,
        experts.parameters * experts.count if experts else 0,
    )


def _sparse_tokens(known: Config) -> int | None:
    """Tokens that a query reads at most, where every layer chooses among its cache."""
    nested = known.raw.get("sparse_attention_config")
    return None if isinstance(nested, Mapping) else known.number("sparse_tokens")


def _summed(model: Model, known: Config, layers: tuple[Layer, ...]) -> Model:
    """The fields of a model that has its layers one by one: those of most layers, and sums."""
    attending = [layer for layer in layers if layer.attention]
    most = max(attending, key=lambda layer: (layer.attention.window is None, layer.count), default=None)  # type: ignore[union-attr]
    attention = most.attention if most else None
    windowed = [layer for layer in attending if layer.attention and layer.attention.window]
    recurrent = [layer for layer in layers if layer.recurrent]
    routed = [layer for layer in layers if layer.experts]
    experts = max((layer.experts for layer in routed if layer.experts), key=lambda experts: experts.count, default=None)
    feeding = sum(layer.count for layer in layers if layer.feeds)
    moe = sum(layer.count for layer in routed)
    mixing = sum(layer.count for layer in recurrent)
    attends = sum(layer.count for layer in attending)
    unit = (2 if ungated(known) else 3) * model.hidden
    shared = max((layer.shared for layer in routed), default=0)
    dense = max((layer.dense for layer in layers if layer.feeds and not layer.experts), default=0)
    return replace(
        model,
        heads=attention.heads if attention else known.number("heads") or 1,
        kv_heads=attention.kv_heads if attention else 0,
        head_dim=(attention.cached_width // 2) if attention else 1,
        ffn=dense // unit,
        experts=experts.count if experts else 0,
        experts_per_token=experts.chosen if experts else 0,
        expert_ffn=experts.width if experts else 0,
        shared_ffn=shared // unit,
        dense_layers=feeding - moe if moe else 0,
        kv_latent=attention.latent if attention else None,
        attention_parameters=attention.parameters if attention else None,
        indexer_bytes=attention.indexer_bytes if attention else 0,
        latent_wide=attention.latent_wide if attention else 0,
        window=max((layer.attention.window or 0 for layer in windowed if layer.attention), default=None),
        windowed_layers=sum(layer.count for layer in windowed),
        linear_layers=mixing,
        linear_parameters=max((layer.recurrent.parameters for layer in recurrent if layer.recurrent), default=0),
        linear_state=max((layer.recurrent.state for layer in recurrent if layer.recurrent), default=0),
        ffn_layers=None if feeding == model.layers else feeding,
        attention_layers=None if attends == model.layers - mixing else attends,
        gated=unit == 3 * model.hidden,
    )
