"""The feed-forward of each layer: dense, or routed experts with or without shared ones beside them."""

from __future__ import annotations

from math import ceil
from typing import Final

from pertoken.catalog.config import Config, Unclear
from pertoken.catalog.config_layers import LayerKind, expert_layers
from pertoken.catalog.layered import Experts, Layer
from pertoken.frozen import dataclass

# Families whose feed-forward has two matrices.
_UNGATED: Final = ("gpt2", "gpt_bigcode", "gpt_neox", "gptj", "opt", "starcoder2", "bloom", "falcon", "nemotron", "phi")
_UNGATED_TOO: Final = (
    "gpt_neo",
    "codegen",
    "mpt",
    "apertus",
    "arcee",
    "jais2",
    "bert",
    "roberta",
    "xlm-roberta",
    "xlm_",
)
_GATED: Final = ("phi3", "phi4", "phimoe", "phi-moe", "falcon_h1", "falcon3", "nemotron-nas", "nemotron_nas")
_BESIDE_EXPERTS: Final = ("gemma4",)  # a dense feed-forward and experts in the same layer
_BESIDE_FLAGS: Final = ("parallel_attn_mlp_res", "residual_moe")  # Arctic, Grok
_SHARED_IS_AN_EXPERT: Final = ("llama4",)
_SHARED_WHERE_NO_EXPERTS: Final = ("granitemoe",)
_LISTED: Final = (LayerKind.FEED, LayerKind.EXPERTS)


def ungated(known: Config) -> bool:
    """Whether a feed-forward has two matrices rather than three."""
    return known.family(*_UNGATED, *_UNGATED_TOO) and not known.family(*_GATED)


@dataclass(frozen=True, slots=True)
class Feeds:
    """One `Layer` with its feed-forward alone for each layer of the model, and the width of each dense one."""

    layers: tuple[Layer, ...]
    unit: int
    widths: tuple[int, ...]

    def dense(self, index: int) -> int:
        """Parameters of a layer's ordinary feed-forward."""
        return self.unit * self.widths[index]


@dataclass(frozen=True, slots=True)
class _Figures:
    """By layer."""

    experts: tuple[int | None, ...]
    chosen: tuple[int | None, ...]
    width: tuple[int | None, ...]
    shared: tuple[int, ...]


def read_feeds(known: Config, kinds: tuple[LayerKind, ...]) -> Feeds:
    """The feed-forward of each layer.

    Raises:
        Unclear: a list does not fit the model, or a width is missing.
    """
    layers = len(kinds)
    unit = (2 if ungated(known) else 3) * (known.number("hidden") or 0)
    figures = _figures(known, layers)
    widths = _dense_widths(known, layers)
    listed = any(kind in _LISTED for kind in kinds)
    routed = expert_layers(known, layers) if any(figures.experts) else (False,) * layers
    feeds = []
    for index, kind in enumerate(kinds):
        if kind is LayerKind.NOTHING or (listed and kind not in _LISTED):
            feeds.append(Layer(1))
            continue
        has_experts = kind is LayerKind.EXPERTS if listed else routed[index]
        if has_experts and figures.experts[index]:
            feeds.append(_routed(known, figures, index, unit))
        else:
            if not widths[index]:
                raise Unclear("intermediate_size", f"missing for layer {index}, which has no experts")
            feeds.append(Layer(1, dense=unit * widths[index], feeds=True))
    return Feeds(tuple(feeds), unit, widths)


def _figures(known: Config, layers: int) -> _Figures:
    experts = known.each("experts", layers)
    if known.raw.get("enable_moe_block") is False or known.raw.get("use_moe") is False:
        experts = (None,) * layers
    usual = known.each("ffn", layers)
    own = known.each("expert_ffn", layers)
    width = tuple(stated or default for stated, default in zip(own, usual, strict=True))
    counts, shared = known.each("shared_experts", layers), known.each("shared_ffn", layers)
    if known.family(*_SHARED_IS_AN_EXPERT):
        counts = tuple(count or 1 for count in counts)
    each = zip(counts, shared, width, strict=True)
    return _Figures(
        experts,
        known.each("experts_per_token", layers),
        width,
        tuple(stated or (count or 0) * (expert or 0) for count, stated, expert in each),
    )


def _dense_widths(known: Config, layers: int) -> tuple[int, ...]:
    own, usual = known.each("dense_ffn", layers), known.each("ffn", layers)
    widths = tuple(stated or default or 0 for stated, default in zip(own, usual, strict=True))
    if known.family(*_SHARED_WHERE_NO_EXPERTS) and not known.number("experts"):
        return tuple(
            stated or default for stated, default in zip(known.each("shared_ffn", layers), widths, strict=True)
        )
    if known.flag("block_auto_adjust_ff_dim"):
        return tuple(_adjusted(known, width) for width in widths)
    if known.flag("use_double_wide_mlp"):
        shared = known.number("cache_sharers") or 0
        return tuple(2 * width if index >= layers - shared else width for index, width in enumerate(widths))
    return widths


def _adjusted(known: Config, width: int) -> int:
    """Two thirds, rounded up to a multiple (LFM2)."""
    factor = known.raw.get("block_ffn_dim_multiplier")
    scaled = int(2 * width / 3 * (factor if isinstance(factor, int | float) and 0 < factor <= 64 else 1))
    multiple = known.every("block_multiple_of") or 1
    return ceil(scaled / multiple) * multiple


def _routed(known: Config, figures: _Figures, index: int, unit: int) -> Layer:
    count, chosen, width = figures.experts[index] or 0, figures.chosen[index], figures.width[index]
    if not width or not chosen:
        raise Unclear("moe_intermediate_size", f"width or choice of experts missing for layer {index}")
    hidden = known.number("hidden") or 0
    nothing = known.number("zero_experts") or 0
    if nothing:  # experts without weights: the choice falls on them as often as on the others
        chosen = max(1, round(chosen * count / (count + nothing)))
    matrices = unit // hidden
    narrow = known.number("expert_width")
    expert = matrices * (narrow or hidden) * width
    shared = unit * figures.shared[index]
    dense = shared + (2 * hidden * narrow if narrow else 0)
    if known.family(*_BESIDE_EXPERTS) or any(known.flag(name) for name in _BESIDE_FLAGS):
        dense += unit * (known.number("ffn") or 0)
    router = hidden * (count + nothing)
    return Layer(
        1, dense=dense, shared=shared, experts=Experts(count, min(chosen, count), expert, router, width), feeds=True
    )
