"""Model architectures: what the performance model needs of each `config.json`.

Figures are the published `config.json` facts of each model on the Hugging Face hub (read 2026-11-23).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Model:
    """One transformer.

    Attributes:
        id: Hugging Face id.
        layers, hidden, heads, kv_heads, head_dim: as in `config.json`.
        ffn: width of the dense feed-forward (gated: three matrices); 0 where every layer has experts.
        vocab: rows of embedding and head.
        experts, experts_per_token, expert_ffn: routed experts per layer; 0 for dense models.
        shared_ffn: width of the experts that every token passes.
        dense_layers: leading layers with the dense feed-forward in a mixture-of-experts model.
        tied: embedding and head share their weights.
        kv_latent: numbers cached per token and layer under multi-head latent attention, None for MHA and GQA.
        attention_parameters: per layer, where they do not follow from heads (latent attention); None otherwise.
        window, windowed_layers: sliding attention window in tokens and how many layers have it.
        native_quantization: precision in which the weights are published, empty for bf16.
        context: longest context in tokens.
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
    native_quantization: str = ""
    context: int = 131072
    aliases: tuple[str, ...] = ()
    source: str = "config.json on the Hugging Face hub"
    as_of: str = "2026-11-23"

    @property
    def moe_layers(self) -> int:
        """Layers with routed experts."""
        return self.layers - self.dense_layers if self.experts else 0


_QWEN_VOCAB: Final = 151936
_LLAMA3_VOCAB: Final = 128256

MODELS: Final[tuple[Model, ...]] = (
    Model(
        "meta-llama/Llama-3.1-8B", 32, 4096, 32, 8, 128, 14336, _LLAMA3_VOCAB, aliases=("meta-llama/Meta-Llama-3-8B",)
    ),
    Model(
        "meta-llama/Llama-3.1-70B", 80, 8192, 64, 8, 128, 28672, _LLAMA3_VOCAB, aliases=("meta-llama/Meta-Llama-3-70B",)
    ),
    Model("meta-llama/Llama-3.3-70B", 80, 8192, 64, 8, 128, 28672, _LLAMA3_VOCAB),
    Model("meta-llama/Llama-3.1-405B", 126, 16384, 128, 8, 128, 53248, _LLAMA3_VOCAB),
    Model("meta-llama/Llama-3.2-1B", 16, 2048, 32, 8, 64, 8192, _LLAMA3_VOCAB, tied=True),
    Model("meta-llama/Llama-3.2-3B", 28, 3072, 24, 8, 128, 8192, _LLAMA3_VOCAB, tied=True),
    Model("meta-llama/Llama-2-70b", 80, 8192, 64, 8, 128, 28672, 32000, context=4096),
    Model("Qwen/Qwen2.5-0.5B", 24, 896, 14, 2, 64, 4864, _QWEN_VOCAB, tied=True, context=32768),
    Model("Qwen/Qwen2.5-7B", 28, 3584, 28, 4, 128, 18944, 152064, context=32768, aliases=("Qwen/Qwen2-7B",)),
    Model("Qwen/Qwen2.5-72B", 80, 8192, 64, 8, 128, 29568, 152064, context=32768, aliases=("Qwen/Qwen2-72B",)),
    Model("Qwen/Qwen3-0.6B", 28, 1024, 16, 8, 128, 3072, _QWEN_VOCAB, tied=True, context=40960),
    Model("Qwen/Qwen3-8B", 36, 4096, 32, 8, 128, 12288, _QWEN_VOCAB, context=40960),
    Model("Qwen/Qwen3-14B", 40, 5120, 40, 8, 128, 17408, _QWEN_VOCAB, context=40960),
    Model("Qwen/Qwen3-32B", 64, 5120, 64, 8, 128, 25600, _QWEN_VOCAB, context=40960),
    Model(
        "Qwen/Qwen3-30B-A3B",
        layers=48,
        hidden=2048,
        heads=32,
        kv_heads=4,
        head_dim=128,
        ffn=0,
        vocab=_QWEN_VOCAB,
        experts=128,
        experts_per_token=8,
        expert_ffn=768,
        context=40960,
    ),
    Model(
        "Qwen/Qwen3-235B-A22B",
        layers=94,
        hidden=4096,
        heads=64,
        kv_heads=4,
        head_dim=128,
        ffn=0,
        vocab=_QWEN_VOCAB,
        experts=128,
        experts_per_token=8,
        expert_ffn=1536,
        context=40960,
    ),
    Model(
        "mistralai/Mistral-7B-v0.3",
        32,
        4096,
        32,
        8,
        128,
        14336,
        32768,
        context=32768,
        aliases=("mistralai/Mistral-7B", "mistralai/Mistral-7B-v0.1", "mistralai/Mistral-7B-v0.2"),
    ),
    Model(
        "mistralai/Mixtral-8x7B-v0.1",
        layers=32,
        hidden=4096,
        heads=32,
        kv_heads=8,
        head_dim=128,
        ffn=0,
        vocab=32000,
        experts=8,
        experts_per_token=2,
        expert_ffn=14336,
        context=32768,
        aliases=("mistralai/Mixtral-8x7B",),
    ),
    Model("microsoft/phi-4", 40, 5120, 40, 10, 128, 17920, 100352, context=16384),
    Model(
        "openai/gpt-oss-20b",
        layers=24,
        hidden=2880,
        heads=64,
        kv_heads=8,
        head_dim=64,
        ffn=0,
        vocab=201088,
        experts=32,
        experts_per_token=4,
        expert_ffn=2880,
        window=128,
        windowed_layers=12,
        native_quantization="mxfp4",
    ),
    Model(
        "openai/gpt-oss-120b",
        layers=36,
        hidden=2880,
        heads=64,
        kv_heads=8,
        head_dim=64,
        ffn=0,
        vocab=201088,
        experts=128,
        experts_per_token=4,
        expert_ffn=2880,
        window=128,
        windowed_layers=18,
        native_quantization="mxfp4",
    ),
    Model(
        "deepseek-ai/DeepSeek-V3",
        layers=61,
        hidden=7168,
        heads=128,
        kv_heads=128,
        head_dim=128,
        ffn=18432,
        vocab=129280,
        experts=256,
        experts_per_token=8,
        expert_ffn=2048,
        shared_ffn=2048,
        dense_layers=3,
        kv_latent=576,
        # q_a 7168x1536, q_b 1536x128x192, kv_a 7168x576, kv_b 512x128x256, o 128x128x7168
        attention_parameters=187_105_280,
        native_quantization="fp8",
        context=163840,
        aliases=("deepseek-ai/DeepSeek-R1",),
    ),
)
