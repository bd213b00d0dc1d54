"""What a layer's mixer weighs and keeps: attention of every kind, linear attention, Mamba, convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pertoken.catalog.bounds import HEAD_WIDTH, HEADS
from pertoken.catalog.config import Config, Unclear
from pertoken.catalog.config_layers import LayerKind
from pertoken.catalog.layered import Attention, Recurrent
from pertoken.catalog.layers import (
    GroupedHeads,
    LatentHead,
    delta_attention,
    gated_delta,
    gated_recurrent,
    indexer,
    latent_attention,
    lightning,
    mamba1,
    mamba2,
    projections,
)
from pertoken.frozen import dataclass

_GATED: Final = ("qwen3_next", "qwen3_5", "qwen3_6")  # a second query-sized projection gates the output
_ONE_KV_HEAD: Final = ("gpt_bigcode",)
_INDEX_SCALE: Final = 4  # bytes beside an 8-bit indexer key
_USUAL_STATE: Final = 16


@dataclass(frozen=True, slots=True)
class Mixers:
    """The mixers of one configuration, layer by layer."""

    known: Config
    kinds: tuple[LayerKind, ...]
    hidden: int
    heads: tuple[int | None, ...]
    kv_heads: tuple[int | None, ...]
    head_dims: tuple[int | None, ...]
    windows: tuple[int | None, ...]

    @classmethod
    def of(cls, known: Config, kinds: tuple[LayerKind, ...]) -> Mixers:
        """Read what may differ from layer to layer."""
        layers = len(kinds)
        by_layer = (known.each(meaning, layers) for meaning in ("heads", "kv_heads", "head_dim", "window"))
        return cls(known, kinds, known.number("hidden") or 0, *by_layer)

    def attention(self, index: int, kind: LayerKind) -> Attention | None:
        """The layer's attention; None for a layer without."""
        if kind not in {LayerKind.FULL, LayerKind.WINDOW, LayerKind.BOTH}:
            return None
        window = self.windows[index] if kind is LayerKind.WINDOW else None
        if kind is LayerKind.WINDOW and not window:
            raise Unclear("sliding_window", "missing, though layers have it")
        heads = self.heads[index] or 1
        if self.known.number("latent"):
            return self._latent(heads, window, index)
        return self._plain(index, kind, heads, window)

    def _plain(self, index: int, kind: LayerKind, heads: int, window: int | None) -> Attention:
        known = self.known
        head_dim = self.head_dims[index] or known.number("head_dim") or max(1, self.hidden // heads)
        kv_heads = self.kv_heads[index] or (1 if self._one_kv_head() else heads)
        value = known.number("value") or head_dim
        if kind is LayerKind.WINDOW:
            heads = known.number("window_heads") or self._other("num_attention_heads") or heads
            kv_heads = known.number("window_kv_heads") or self._other("num_attention_groups") or kv_heads
            own = known.number("window_head_dim")
            head_dim, value = own or head_dim, known.number("window_value") or (own or value)
        elif known.number("global_head_dim") and known.family("gemma4"):
            head_dim = value = known.number("global_head_dim") or head_dim
        if kind is LayerKind.FULL:
            kv_heads = known.number("global_kv_heads") or kv_heads
        parameters = self._projected(kind, GroupedHeads(heads, kv_heads, head_dim, value))
        own_bytes, own_parameters = self._index_keys(index)
        return Attention(
            heads,
            kv_heads,
            head_dim + value,
            parameters + own_parameters,
            indexer_bytes=own_bytes,
            window=window,
            owns_cache=self._owns_cache(index),
        )

    def _projected(self, kind: LayerKind, heads: GroupedHeads) -> int:
        known = self.known
        one_for_both = known.flag("attention_k_eq_v") and kind is LayerKind.FULL
        gated = known.flag("attn_output_gate", default=known.family(*_GATED)) or known.flag("attention_output_gate")
        return projections(
            self.hidden,
            heads,
            query_rank=known.number("query_rank") or 0,
            gated=gated,
            one_for_both=one_for_both,
        )

    def _latent(self, heads: int, window: int | None, index: int) -> Attention:
        known = self.known
        latent, rotary = known.number("latent") or 0, known.number("rotary") or 0
        plain = known.number("plain") or known.number("head_dim") or 128
        value = known.number("value") or plain
        rank = known.number("query_rank") or 0
        parameters = latent_attention(self.hidden, heads, rank, latent, LatentHead(plain, rotary, value))
        if known.flag("mla_use_output_gate"):
            parameters += self.hidden * heads * value
        own_bytes, own_parameters = self._indexer(index, rank)
        return Attention(
            heads,
            heads,
            plain + rotary + value,
            parameters + own_parameters,
            latent=latent + rotary,
            latent_wide=rotary if known.number("sparse_tokens") else 0,
            indexer_bytes=own_bytes,
            window=window,
            owns_cache=self._owns_cache(index),
        )

    def _indexer(self, index: int, rank: int) -> tuple[int, int]:
        """Bytes per token and parameters of what chooses the tokens that sparse attention reads."""
        heads, width = self.known.number("index_heads"), self.known.number("index_dim")
        if not self.known.number("sparse_tokens") or not width:
            return 0, 0
        kinds = self.known.listed("indexer_types")
        if kinds and len(kinds) == len(self.kinds) and str(kinds[index]).lower() == "shared":
            return 0, 0
        return width + _INDEX_SCALE, indexer(self.hidden, heads or 1, width, rank)

    def _index_keys(self, index: int) -> tuple[int, int]:
        """The same beside keys and values by head (MiniMax-M3)."""
        nested = self.known.raw.get("sparse_attention_config")
        if not isinstance(nested, Mapping) or nested.get("use_sparse_attention") is False:
            return 0, 0
        width = _inner(nested, "sparse_index_dim", HEAD_WIDTH, 0)
        heads = _inner(nested, "sparse_num_index_heads", HEADS, 1)
        active = nested.get("sparse_attention_freq")
        if isinstance(active, list) and index < len(active) and not active[index]:
            return 0, 0
        return 2 * width, self.hidden * (heads + 1) * width

    def _one_kv_head(self) -> bool:
        known = self.known
        if known.flag("new_decoder_architecture"):
            return False
        return known.flag("multi_query", default=known.family(*_ONE_KV_HEAD)) or known.flag("multi_query_attention")

    def _other(self, name: str) -> int | None:
        """A figure of window layers that has an object of its own (Step-3.5)."""
        nested = self.known.raw.get("attention_other_setting")
        return (_inner(nested, name, HEADS, 0) or None) if isinstance(nested, Mapping) else None

    def _owns_cache(self, index: int) -> bool:
        """Whether the layer caches keys and values of its own, rather than reading an earlier layer's."""
        shared = self.known.number("cache_sharers") or 0
        if shared and index >= len(self.kinds) - shared:
            return False
        factor = self.known.number("cache_share_factor") or 1
        return index % factor == 0 if self.known.flag("use_cla") else True

    def recurrent(self, kind: LayerKind) -> Recurrent | None:
        """The layer's recurrent mixer; None for a layer without."""
        if kind is LayerKind.LINEAR:
            return self._linear()
        if kind in {LayerKind.MAMBA, LayerKind.BOTH}:
            return self._mamba()
        if kind is LayerKind.CONV:
            kept = max(1, (self.known.number("conv") or 3) - 1)
            return Recurrent(4 * self.hidden * self.hidden, self.hidden * kept)
        if kind is LayerKind.GATED_RECURRENT:
            width = self.known.number("recurrent_width") or self.hidden
            return Recurrent(gated_recurrent(self.hidden, width, self.known.number("heads") or 1), width)
        return None

    def _linear(self) -> Recurrent:
        known, hidden = self.known, self.hidden
        nested = known.raw.get("linear_attn_config")
        if isinstance(nested, Mapping):
            heads = _inner(nested, "num_heads", HEADS, known.number("heads") or 1)
            head_dim = _inner(nested, "head_dim", HEAD_WIDTH, 128)
            full = nested.get("use_full_rank_gate") is True
            return Recurrent(delta_attention(hidden, heads, head_dim, full_gate=full), heads * head_dim * head_dim)
        values = known.number("linear_value_heads")
        if values:
            keys = known.number("linear_key_heads") or values
            key_dim, value_dim = known.number("linear_key_dim") or 128, known.number("linear_value_dim") or 128
            return Recurrent(gated_delta(hidden, keys, values, key_dim, value_dim), values * key_dim * value_dim)
        if known.number("state") or known.number("mamba_heads"):
            return self._mamba()
        heads = known.number("heads") or 1
        head_dim = known.number("head_dim") or max(1, hidden // heads)
        return Recurrent(lightning(hidden, heads, head_dim), heads * head_dim * head_dim)

    def _mamba(self) -> Recurrent:
        known, hidden = self.known, self.hidden
        state = known.number("state") or _USUAL_STATE
        heads = known.number("mamba_heads")
        inner = known.number("recurrent_width") or (known.number("expand") or 2) * hidden
        if heads:
            head_dim = known.number("mamba_head_dim") or max(1, inner // heads)
            groups = known.number("groups") or 1
            return Recurrent(mamba2(hidden, heads, head_dim, groups, state), heads * head_dim * state)
        rank = known.number("dt_rank") or (hidden + 15) // 16
        return Recurrent(mamba1(hidden, inner, state, rank), inner * state)


def _inner(nested: Mapping[str, Any], name: str, most: int, absent: int) -> int:
    """A figure of a nested object.

    Raises:
        Unclear: it is there and no figure.
    """
    value = nested.get(name)
    if value is None:
        return absent
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
        raise Unclear(name, f"expected a whole number from 1 to {most}")
    return value
