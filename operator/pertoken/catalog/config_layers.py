"""Which mixer and which feed-forward each layer has, from every spelling that configurations have for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

from pertoken.catalog.bounds import LAYERS
from pertoken.catalog.config import Config, Unclear
from pertoken.catalog.config_keys import PATTERN_KEYS, SPELLINGS
from pertoken.frozen import dataclass
from pertoken.raw.values import shown


class LayerKind(StrEnum):
    """What a layer does; `FEED` and `EXPERTS` are feed-forwards that a pattern lists as layers of their own."""

    FULL = "full"
    WINDOW = "window"
    LINEAR = "linear"
    MAMBA = "mamba"
    CONV = "conv"
    GATED_RECURRENT = "gated recurrent"
    BOTH = "attention and Mamba side by side"
    FEED = "feed-forward"
    EXPERTS = "experts"
    NOTHING = "nothing"


_WORDS: Final = {
    LayerKind.FULL: "* a g full full_attention attention global global_attention attn full_attn self_attention softmax"
    " deepseek_sparse_attention sparse_attention dsa mla gqa dense_attention hybrid_attention",
    LayerKind.WINDOW: "l s w sliding sliding_attention sliding_window_attention sliding_window local local_attention"
    " chunked chunked_attention swa window window_attention",
    LayerKind.LINEAR: "linear linear_attention gla gdn kda gated_deltanet gated_delta_net lightning lightning_attention"
    " linear_attn kimi_delta_attention deltanet delta_net",
    LayerKind.MAMBA: "m m1 m2 mamba mamba1 mamba2 ssm",
    LayerKind.CONV: "c conv short_conv shortconv",
    LayerKind.GATED_RECURRENT: "r recurrent rglru rg_lru",
    LayerKind.BOTH: "h hybrid parallel parallel_hybrid",
    LayerKind.FEED: "- mlp ffn dense feed_forward feedforward",
    LayerKind.EXPERTS: "e o moe sparse experts",
    LayerKind.NOTHING: "no_op noop identity skip none",
}
WORDS: Final[Mapping[str, LayerKind]] = {word: kind for kind, words in _WORDS.items() for word in words.split()}
# Lists of numbers say a kind by 0 and 1, and which is which depends on the key.
_NUMBERS: Final[Mapping[str, tuple[LayerKind, LayerKind]]] = {
    "attn_type_list": (LayerKind.LINEAR, LayerKind.FULL),
    "hybrid_layer_pattern": (LayerKind.FULL, LayerKind.WINDOW),
    "sliding_window_pattern": (LayerKind.FULL, LayerKind.WINDOW),
    "layer_types": (LayerKind.FULL, LayerKind.WINDOW),
    "attention_types": (LayerKind.FULL, LayerKind.WINDOW),
}
_CAPITAL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_MOST_LETTERS: Final = 64
_OTHERS_ARE: Final[Mapping[str, LayerKind]] = {  # lists of the indices of layers with full attention
    "attn_layer_indices": LayerKind.MAMBA,
    "full_attention_layers": LayerKind.LINEAR,
    "full_attn_layers": LayerKind.LINEAR,
    "full_attn_idxs": LayerKind.WINDOW,
    "global_attn_idx": LayerKind.WINDOW,
}
_REPEATED: Final = frozenset({"sliding_window_pattern", "layer_pattern", "block_types", "attention_types"})
_NUMBER_OF_LAYERS: Final = frozenset({"sliding_window_pattern"})
_RECURRENT_KEYS: Final = ("linear_value_heads", "state")
# Families that have a window in one layer of so many, or in every one, without saying so.
_GLOBAL_EVERY: Final = (
    (("gemma2", "gpt_oss"), 2),
    (("gemma3n",), 5),
    (("gemma3", "gemma4"), 6),
    (("llama4", "cohere2", "exaone4", "olmo3"), 4),
)
_ALL_WINDOWED: Final = (
    "mistral",
    "mixtral",
    "ministral",
    "starcoder2",
    "phi3",
    "phimoe",
    "phi4mm",
    "phi4_",
    "phi-msft",
)
_WINDOW_BY_FLAG: Final = ("qwen2", "qwen3")  # without `use_sliding_window` there is none
_PARALLEL: Final = ("falcon_h1", "hymba")


@dataclass(frozen=True, slots=True)
class LayerKinds:
    """Layer by layer, and what of it had to be guessed (never towards less memory)."""

    kinds: tuple[LayerKind, ...]
    doubts: tuple[str, ...] = ()


def layer_kinds(config: Config, layers: int) -> LayerKinds:
    """The kind of each layer.

    Raises:
        Unclear: a pattern does not fit the number of layers.
    """
    if config.family(*_PARALLEL):
        return LayerKinds((LayerKind.BOTH,) * layers)
    doubts: list[str] = []
    for key in PATTERN_KEYS:
        kinds = _pattern(config, key, layers, doubts)
        if kinds:
            return LayerKinds(_windowed(config, kinds), tuple(dict.fromkeys(doubts)))
    kinds = _by_index(config, layers) or _by_interval(config, layers)
    if kinds:
        return LayerKinds(kinds)
    return _by_window(config, layers)


def _pattern(config: Config, key: str, layers: int, doubts: list[str]) -> tuple[LayerKind, ...]:
    value = config.raw.get(key)
    if isinstance(value, str):
        items: list[Any] = value.replace(",", " ").split() if _separated(value) else list(value.strip().strip("|"))
        items = [item for item in items if item != "|"]
    elif isinstance(value, list | tuple):
        items = list(value)
        if key == "block_types" and any(isinstance(item, list) for item in items):
            raise Unclear(key, "nested lists; expected one word a layer")
    elif value and not (key in _NUMBER_OF_LAYERS and isinstance(value, int)):
        raise Unclear(key, f"{shown(value)}: expected a list or a text with a kind for each layer")
    else:
        return ()
    if not items:
        return ()
    if len(items) > LAYERS:
        raise Unclear(key, f"{len(items)} items; expected at most {LAYERS}")
    kinds = tuple(_kind(key, item, doubts) for item in items)
    if len(kinds) == layers:
        return kinds
    if (key in _REPEATED or isinstance(value, str)) and len(kinds) < layers and not _lists_feeds(kinds):
        return tuple(kinds[index % len(kinds)] for index in range(layers))
    if len(kinds) > layers and config.family("deepseek_v4", "mimo", "longcat"):
        return kinds[:layers]
    raise Unclear(key, f"{len(items)} items; expected one for each of {layers} layers")


def _separated(text: str) -> bool:
    return any(mark in text for mark in ", ") or text.strip().lower() in WORDS


def _kind(key: str, item: Any, doubts: list[str]) -> LayerKind:
    if isinstance(item, bool | int) and item in (0, 1) and key in _NUMBERS:
        return _NUMBERS[key][int(item)]
    text = _CAPITAL.sub("_", item.strip()[:_MOST_LETTERS]) if isinstance(item, str) else ""
    word = text.lower().replace("-", "_").replace(" ", "_")
    word = "-" if word == "_" else word
    if word in WORDS:
        return WORDS[word]
    doubts.append(f"{key}: {shown(item)} is no kind of layer known here; counted as full attention")
    return LayerKind.FULL


def _lists_feeds(kinds: Iterable[LayerKind]) -> bool:
    return any(kind in {LayerKind.FEED, LayerKind.EXPERTS} for kind in kinds)


def _windowed(config: Config, kinds: tuple[LayerKind, ...]) -> tuple[LayerKind, ...]:
    """Recurrent Gemma's attention sees a window, whatever its pattern calls it."""
    if config.family("recurrent_gemma"):
        return tuple(LayerKind.WINDOW if kind is LayerKind.FULL else kind for kind in kinds)
    return kinds


def indices(config: Config, key: str, layers: int, values: Any = None) -> frozenset[int]:
    """Layers that a list of indices names, counted from 0; one that names the last as `layers` counts from 1.

    Raises:
        Unclear: no such layer.
    """
    listed = config.listed(key) if values is None else values
    if isinstance(listed, str):
        listed = [int(part) for part in listed.replace(" ", "").split(",") if part.isdecimal() and len(part) <= 4]
    if not isinstance(listed, list | tuple) or len(listed) > LAYERS:
        raise Unclear(key, f"{shown(listed)}: expected a list of layers")
    numbers = [item for item in listed if isinstance(item, int) and not isinstance(item, bool)]
    if len(numbers) != len(listed) or any(not -1 <= item <= layers for item in numbers):
        raise Unclear(key, f"{shown(listed)}: expected indices of {layers} layers")
    first = 1 if layers in numbers else 0
    return frozenset((item - first) % layers for item in numbers)


def _by_index(config: Config, layers: int) -> tuple[LayerKind, ...]:
    nested = config.raw.get("linear_attn_config")
    if isinstance(nested, Mapping):
        return _kimi(nested, layers)
    for key, other in _OTHERS_ARE.items():
        if config.listed(key):
            full = indices(config, key, layers)
            return tuple(LayerKind.FULL if index in full else other for index in range(layers))
    if config.listed("swa_layers"):
        windowed = indices(config, "swa_layers", layers)
        return tuple(LayerKind.WINDOW if index in windowed else LayerKind.FULL for index in range(layers))
    return ()


def _kimi(nested: Mapping[str, Any], layers: int) -> tuple[LayerKind, ...]:
    """Two lists that together name every layer, counted from 1."""
    lists = {name: value for name, value in nested.items() if isinstance(value, list | tuple)}
    linear = [item for name, value in lists.items() if not name.startswith("full") for item in value]
    full = [item for name, value in lists.items() if name.startswith("full") for item in value]
    named = linear + full
    where = "linear_attn_config"
    if not linear or not all(isinstance(item, int) and not isinstance(item, bool) for item in named):
        raise Unclear(where, "expected lists of layers with linear and with full attention")
    if (
        len(named) != layers
        or len(set(named)) != layers
        or set(named)
        not in (
            set(range(layers)),
            set(range(1, layers + 1)),
        )
    ):
        raise Unclear(where, f"names {len(set(named))} layers; expected each of {layers} once")
    first = min(named)
    return tuple(LayerKind.LINEAR if index + first in set(linear) else LayerKind.FULL for index in range(layers))


def _by_interval(config: Config, layers: int) -> tuple[LayerKind, ...]:
    group = config.every("layer_group_size")
    if group > 1:  # Ling and Ring: linear attention but for the last of each group and what is left at the end
        whole = layers // group * group
        return tuple(LayerKind.FULL if (i + 1) % group == 0 or i >= whole else LayerKind.LINEAR for i in range(layers))
    every = config.every("full_attention_interval") or config.every("attn_layer_period")
    if not every or not any(config.number(key) for key in _RECURRENT_KEYS):
        return ()
    recurrent = LayerKind.LINEAR if config.number("linear_value_heads") else LayerKind.MAMBA
    offset = config.every("attn_layer_offset") if config.every("attn_layer_period") else every - 1
    return tuple(LayerKind.FULL if index % every == offset % every else recurrent for index in range(layers))


def _by_window(config: Config, layers: int) -> LayerKinds:
    """No pattern at all: attention everywhere, with the windows that the family has."""
    listed = any(isinstance(config.raw.get(key), list) for key in SPELLINGS["window"])
    if listed:
        return LayerKinds(tuple(LayerKind.WINDOW if size else LayerKind.FULL for size in config.each("window", layers)))
    full = LayerKinds((LayerKind.FULL,) * layers)
    if config.number("window") is None or config.raw.get("use_sliding_window") is False:
        return full
    stated = config.flag("use_sliding_window")
    if config.family(*_WINDOW_BY_FLAG) and not stated:
        return full
    if stated and "max_window_layers" in config.raw:
        first = config.every("max_window_layers")
        return LayerKinds(tuple(LayerKind.WINDOW if index >= first else LayerKind.FULL for index in range(layers)))
    return _by_family(config, layers, full)


def _by_family(config: Config, layers: int, full: LayerKinds) -> LayerKinds:
    implied = next((every for names, every in _GLOBAL_EVERY if config.family(*names)), 0)
    every = config.every("sliding_window_pattern") or config.every("global_attn_every_n_layers") or implied
    if every:
        return LayerKinds(
            tuple(LayerKind.FULL if (index + 1) % every == 0 else LayerKind.WINDOW for index in range(layers))
        )
    if config.family(*_ALL_WINDOWED) or config.flag("use_sliding_window"):
        return LayerKinds((LayerKind.WINDOW,) * layers)
    return LayerKinds(full.kinds, ("sliding_window: which layers have it is not said; counted as full attention",))


def expert_layers(config: Config, layers: int) -> tuple[bool, ...]:
    """Whether each layer's feed-forward has routed experts, in a model that has them.

    Raises:
        Unclear: a list does not fit the number of layers.
    """
    listed = _listed_experts(config, layers)
    if listed:
        return listed
    first = max(config.every(key) for key in _FIRST)
    last = config.every("moe_layer_end_index") if config.raw.get("moe_layer_end_index") is not None else layers - 1
    last = layers - 1 if last <= 0 else last
    every = max(1, *(config.every(key) for key in _EVERY))
    offset = config.every("expert_layer_offset") if config.every("expert_layer_period") else None
    plain = indices(config, "mlp_only_layers", layers) if config.listed("mlp_only_layers") else frozenset()

    def routed(index: int) -> bool:
        if index in plain or not first <= index <= last:
            return False
        if offset is not None:
            return index % every == offset % every
        return (index - first if config.every("moe_layer_freq") else index + 1) % every == 0 or every == 1

    return tuple(routed(index) for index in range(layers))


_FIRST: Final = (
    "first_k_dense_replace",
    "first_last_k_dense_replace",
    "num_dense_layers",
    "n_dense_layers",
    "moe_layer_start_index",
    "moe_layer_num_skipped",
)
_EVERY: Final = (
    "decoder_sparse_step",
    "interleave_moe_layer_step",
    "expert_layer_period",
    "moe_layer_interval",
    "moe_layer_freq",
    "moe_layer_frequency",
    "route_every_n",
)


def _listed_experts(config: Config, layers: int) -> tuple[bool, ...]:
    words = config.listed("mlp_layer_types")
    key_of_flags = next((key for key in ("moe_layer_freq", "is_moe_layer") if config.listed(key)), "moe_layer_freq")
    flags = config.listed(key_of_flags)
    for key, items in (("mlp_layer_types", words), (key_of_flags, flags)):
        if items and len(items) != layers:
            raise Unclear(key, f"{len(items)} items; expected one for each of {layers} layers")
    if words:
        return tuple(str(word).lower() not in {"dense", "mlp"} for word in words)
    if flags:
        return tuple(bool(flag) for flag in flags)
    for key in ("moe_layers", "moe_layers_enum"):
        value = config.raw.get(key)
        if isinstance(value, str | list | tuple) and value:
            routed = indices(config, key, layers, value)
            return tuple(index in routed for index in range(layers))
    return ()
