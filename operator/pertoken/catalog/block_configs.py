"""Models whose layers a search has thinned one by one (`block_configs`: Nemotron-NAS, Puzzle)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pertoken.catalog.bounds import CONTEXT, FFN, HEADS
from pertoken.catalog.config import Config, Unclear
from pertoken.catalog.layered import Attention, Layer
from pertoken.catalog.layers import GroupedHeads, projections

_MULTIPLE: Final = 256  # a feed-forward's width is rounded up to it
_MOST_FACTOR: Final = 64.0
_ATTENTION: Final = frozenset(
    {
        "n_heads_in_group",
        "num_key_value_heads",
        "no_op",
        "replace_with_linear",
        "window_length",
    }
)
_FEED: Final = frozenset({"ffn_mult", "intermediate_size", "no_op", "replace_with_linear", "hidden_act", "gated"})


def read_blocks(known: Config, layers: int) -> list[Layer]:
    """Every layer.

    Raises:
        Unclear: a block says something that is not understood.
    """
    blocks = known.listed("block_configs")
    if len(blocks) != layers:
        raise Unclear("block_configs", f"{len(blocks)} blocks; expected one for each of {layers} layers")
    return [_layer(known, index, block) for index, block in enumerate(blocks)]


def _layer(known: Config, index: int, block: Any) -> Layer:
    where = f"block_configs[{index}]"
    attention, feed = (_part(block, name, where) for name in ("attention", "ffn"))
    hidden = known.number("hidden") or 0
    mixer, plain = _attention(known, attention, hidden, f"{where}.attention")
    width = _width(feed, hidden, f"{where}.ffn")
    dense = hidden * hidden if feed.get("replace_with_linear") else 3 * hidden * width
    return Layer(1, mixer, dense=dense + plain, feeds=bool(dense + plain))


def _part(block: Any, name: str, where: str) -> Mapping[str, Any]:
    part = block.get(name) if isinstance(block, Mapping) else None
    if not isinstance(part, Mapping):
        raise Unclear(f"{where}.{name}", "expected an object")
    for key, value in part.items():
        if key not in (_ATTENTION if name == "attention" else _FEED) and value:
            raise Unclear(f"{where}.{name}.{key}", "not understood")
    return part


def _attention(known: Config, part: Mapping[str, Any], hidden: int, where: str) -> tuple[Attention | None, int]:
    """The mixer, or the parameters of the product that stands for it."""
    if part.get("no_op"):
        return None, 0
    if part.get("replace_with_linear"):
        return None, hidden * hidden
    heads = known.number("heads") or 1
    head_dim = known.number("head_dim") or max(1, hidden // heads)
    group, stated = part.get("n_heads_in_group"), part.get("num_key_value_heads")
    if stated is not None:
        kv_heads = _whole(stated, HEADS, f"{where}.num_key_value_heads")
    elif group is not None:
        kv_heads = max(1, heads // _whole(group, HEADS, f"{where}.n_heads_in_group"))
    else:
        kv_heads = known.number("kv_heads") or heads
    window = part.get("window_length")
    return Attention(
        heads,
        kv_heads,
        2 * head_dim,
        projections(hidden, GroupedHeads(heads, kv_heads, head_dim, head_dim)),
        window=None if window is None else _whole(window, CONTEXT, f"{where}.window_length"),
    ), 0


def _width(part: Mapping[str, Any], hidden: int, where: str) -> int:
    if part.get("no_op"):
        return 0
    if part.get("intermediate_size") is not None:
        return _whole(part["intermediate_size"], FFN, f"{where}.intermediate_size")
    factor = part.get("ffn_mult")
    if part.get("replace_with_linear"):
        return 0
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor <= _MOST_FACTOR:
        raise Unclear(f"{where}.ffn_mult", "expected a factor of the model's width")
    width = int(2 * factor * hidden / 3)
    return -(-width // _MULTIPLE) * _MULTIPLE


def _whole(value: Any, most: int, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
        raise Unclear(where, f"expected a whole number from 1 to {most}")
    return value
