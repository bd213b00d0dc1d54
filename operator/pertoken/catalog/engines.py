"""Serving engines: which batch sizes they capture as CUDA graphs and what memory they keep for themselves.

vLLM 0.2x/0.3x: graphs at 1, 2, 4, multiples of 8 below 256, then of 16 up to min(2 x max_num_seqs, 512)
(vLLM source and documentation, read 2026-11-23). Memory figures: aiconfigurator-core 0.12.0 (Apache-2.0).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

LARGEST_GRAPH: Final = 512
GRAPH_SIZES: Final[tuple[int, ...]] = (1, 2, 4, *range(8, 256, 8), *range(256, LARGEST_GRAPH + 1, 16))
MEMORY_UTILIZATION: Final = 0.90  # vLLM's --gpu-memory-utilization
RESERVE_GIB: Final = 3.5  # CUDA context, graphs, workspace
COLLECTIVES_GIB: Final = 0.4  # NCCL buffers with tensor parallelism
# Prefill chunks worth trying: powers of two and the middle between them, as the engines' defaults and guides have them.
CHUNK_SIZES: Final = (256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12_288, 16_384)
DEFAULT_BATCHED_TOKENS: Final = 8192  # vLLM's max_num_batched_tokens on data-centre GPUs


def largest_graph(cap: int) -> int:
    """Largest captured batch size of an engine that runs at most `cap` sequences."""
    return graph_floor(min(2 * cap, LARGEST_GRAPH))


def graph_ceiling(batch: float) -> int:
    """Smallest captured size that holds `batch` sequences (the largest one when none does)."""
    return GRAPH_SIZES[min(bisect_left(GRAPH_SIZES, batch), len(GRAPH_SIZES) - 1)]


def graph_floor(batch: float) -> int:
    """Largest captured size not above `batch`; at least 1."""
    return GRAPH_SIZES[max(bisect_right(GRAPH_SIZES, batch) - 1, 0)]
