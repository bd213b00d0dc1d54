"""Model architectures: what the performance model needs of each `config.json`.

The rows are in `model_rows`; users add theirs by a catalog file (`rows`), by `--config config.json`, or inline
(`architecture`).
"""

from __future__ import annotations

from dataclasses import field

from pertoken.catalog.layered import Attention, Experts, Layer, Recurrent
from pertoken.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """How many parameters the publisher gives.

    Attributes:
        parameters: of the whole checkpoint, or of the main weights where only those are given.
        apart: how many of them are of prediction layers, vision and audio encoders, which a row does not count.
        source: where it stands.
    """

    parameters: int
    apart: int
    source: str

    @property
    def main(self) -> int:
        """Of the weights that a row counts."""
        return self.parameters - self.apart


@dataclass(frozen=True, slots=True)
class Model:
    """One transformer, or a hybrid of attention and recurrent layers.

    Attributes:
        id: Hugging Face id.
        layers, hidden, heads, kv_heads, head_dim: as in `config.json`; under latent attention `head_dim` is the mean of
            a query's and a value's width.
        ffn: width of the dense feed-forward; 0 where every layer has experts.
        vocab: rows of embedding and head.
        experts, experts_per_token, expert_ffn: routed experts per layer; 0 for dense models.
        shared_ffn: width of the experts that every token passes.
        dense_layers: layers with the dense feed-forward in a mixture-of-experts model.
        tied: embedding and head share their weights.
        kv_latent: numbers cached per token and layer under multi-head latent attention, None for MHA and GQA.
        attention_parameters: per attention layer, where they do not follow from heads; None otherwise.
        window, windowed_layers: sliding attention window in tokens and how many layers have it.
        sparse_tokens: cached tokens that a query attends to at most (learned sparse attention); None for all.
        indexer_bytes: bytes per token and layer that such attention keeps to choose them.
        latent_wide: numbers of `kv_latent` that stay at two bytes in an 8-bit cache.
        linear_layers: layers with a recurrent state (linear attention, Mamba) in place of a KV cache.
        linear_parameters: of one such layer.
        linear_state: numbers of state per sequence and such layer (kept in 32 bits).
        ffn_layers: layers with a feed-forward part (dense or experts), None for all.
        attention_layers: layers with attention, None for all that are not `linear_layers`.
        gated: the feed-forward has three matrices (SwiGLU and its kin); else two.
        lookup_parameters: of tables of which a token reads a row (embeddings per layer), beside the embedding.
        native_quantization: precision in which the weights are published, empty for bf16.
        kv_quantization: precision of the KV cache that the checkpoint asks for, empty for none.
        context: longest context in tokens.
        aliases: further names.
        source, as_of: where the figures come from.
        layout: the layers one by one, alike ones together, where they are not as the fields above say; `parts` has
            them for every model.
        part_precisions: precision of parts of a published checkpoint that is not `native_quantization`, by
            ``attention``, ``recurrent``, ``dense``, ``shared``, ``experts``.
        doubts: what its configuration says and nobody here understands: figures may be wrong by it.
        published: the publisher's own parameter count, None where there is none.
    """

    id: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    experts: int = 0
    experts_per_token: int = 0
    expert_ffn: int = 0
    shared_ffn: int = 0
    dense_layers: int = 0
    tied: bool = False
    kv_latent: int | None = None
    attention_parameters: int | None = None
    window: int | None = None
    windowed_layers: int = 0
    sparse_tokens: int | None = None
    indexer_bytes: int = 0
    latent_wide: int = 0
    linear_layers: int = 0
    linear_parameters: int = 0
    linear_state: int = 0
    ffn_layers: int | None = None
    attention_layers: int | None = None
    gated: bool = True
    lookup_parameters: int = 0
    native_quantization: str = ""
    kv_quantization: str = ""
    context: int = 131072
    aliases: tuple[str, ...] = ()
    source: str = "config.json on the Hugging Face hub"
    as_of: str = "2026-11-23"
    layout: tuple[Layer, ...] = ()
    part_precisions: tuple[tuple[str, str], ...] = ()
    doubts: tuple[str, ...] = ()
    published: Published | None = None
    parts: tuple[Layer, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out the parts: every figure of a replica is asked of them, many times a cycle."""
        layers = self.layout or tuple(layer for layer in (*self._mixers(), *self._feeds()) if layer.count)
        object.__setattr__(self, "parts", layers)

    @property
    def moe_layers(self) -> int:
        """Layers with routed experts."""
        return self.with_ffn - self.dense_layers if self.experts else 0

    @property
    def with_ffn(self) -> int:
        """Layers with a feed-forward part."""
        return self.layers if self.ffn_layers is None else self.ffn_layers

    @property
    def attending(self) -> int:
        """Layers with a KV cache."""
        return self.layers - self.linear_layers if self.attention_layers is None else self.attention_layers

    def _mixers(self) -> tuple[Layer, ...]:
        heads, kv_heads, width = self.heads, self.kv_heads, 2 * self.head_dim
        usual = 2 * self.hidden * heads * self.head_dim + 2 * self.hidden * kv_heads * self.head_dim
        parameters = self.attention_parameters or usual
        cache = (self.kv_latent, self.latent_wide, self.indexer_bytes)
        whole = Attention(heads, kv_heads, width, parameters, *cache)
        windowed = Attention(heads, kv_heads, width, parameters, *cache, window=self.window)
        return (
            Layer(self.attending - self.windowed_layers, whole),
            Layer(self.windowed_layers, windowed),
            Layer(self.linear_layers, recurrent=Recurrent(self.linear_parameters, self.linear_state)),
        )

    def _feeds(self) -> tuple[Layer, ...]:
        unit = (3 if self.gated else 2) * self.hidden
        dense = self.dense_layers if self.experts else self.with_ffn
        shared = unit * self.shared_ffn
        experts = Experts(
            self.experts, self.experts_per_token, unit * self.expert_ffn, self.hidden * self.experts, self.expert_ffn
        )
        return (
            Layer(dense, dense=unit * self.ffn, feeds=True),
            Layer(self.moe_layers, dense=shared, shared=shared, experts=experts, feeds=True),
        )
