"""Model architectures: what the performance model needs of each `config.json`.

The rows are in `model_rows`; users add theirs by a catalog file (`rows`), by `--config config.json`, or inline
(`architecture`).
"""

from __future__ import annotations

from dataclasses import dataclass


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
        linear_layers: layers with a recurrent state (linear attention, Mamba) in place of a KV cache.
        linear_parameters: of one such layer.
        linear_state: numbers of state per sequence and such layer (kept in 32 bits).
        ffn_layers: layers with a feed-forward part (dense or experts), None for all.
        attention_layers: layers with attention, None for all that are not `linear_layers`.
        gated: the feed-forward has three matrices (SwiGLU and its kin); else two.
        native_quantization: precision in which the weights are published, empty for bf16.
        context: longest context in tokens.
        aliases: further names.
        source, as_of: where the figures come from.
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
    linear_layers: int = 0
    linear_parameters: int = 0
    linear_state: int = 0
    ffn_layers: int | None = None
    attention_layers: int | None = None
    gated: bool = True
    native_quantization: str = ""
    context: int = 131072
    aliases: tuple[str, ...] = ()
    source: str = "config.json on the Hugging Face hub"
    as_of: str = "2026-11-23"

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
