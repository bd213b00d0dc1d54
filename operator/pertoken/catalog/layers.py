"""Parameter counts of layers that do not follow from heads and widths alone; per layer, without biases and norms."""

from __future__ import annotations

from pertoken.frozen import dataclass


@dataclass(frozen=True, slots=True)
class LatentHead:
    """Widths of one head of latent attention.

    Attributes:
        plain: of query and key without position (`qk_nope_head_dim`).
        rotary: of query and key with rotary position (`qk_rope_head_dim`).
        value: of the value (`v_head_dim`).
    """

    plain: int
    rotary: int
    value: int


def latent_attention(hidden: int, heads: int, query: int, latent: int, head: LatentHead) -> int:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434).

    Args:
        hidden: model width.
        heads: query heads.
        query: rank of the query's compression, 0 for none (`q_lora_rank`).
        latent: rank of the cached latent (`kv_lora_rank`).
        head: widths of each.
    """
    wide = heads * (head.plain + head.rotary)
    queries = hidden * query + query * wide if query else hidden * wide
    return (
        queries
        + hidden * (latent + head.rotary)
        + latent * heads * (head.plain + head.value)
        + heads * head.value * hidden
    )


def gated_attention(hidden: int, heads: int, kv_heads: int, head_dim: int) -> int:
    """Grouped-query attention whose output is gated by a second query-sized projection (Qwen3-Next)."""
    return 3 * hidden * heads * head_dim + 2 * hidden * kv_heads * head_dim


def gated_delta(hidden: int, key_heads: int, value_heads: int, key_dim: int, value_dim: int) -> int:
    """Gated delta net (Qwen3-Next): projections to query, key, value, gate, two scalars per value head, and back."""
    keys, values = key_heads * key_dim, value_heads * value_dim
    return hidden * (2 * keys + 2 * values + 2 * value_heads) + values * hidden


def mamba2(hidden: int, heads: int, head_dim: int, groups: int, state: int) -> int:
    """Mamba-2 mixer (arXiv 2405.21060): one input projection to z, x, B, C and dt, one back."""
    inner = heads * head_dim
    return hidden * (2 * inner + 2 * groups * state + heads) + inner * hidden


def mamba1(hidden: int, inner: int, state: int, rank: int) -> int:
    """Mamba mixer (arXiv 2312.00752)."""
    return hidden * 2 * inner + inner * (rank + 2 * state) + rank * inner + inner * hidden


@dataclass(frozen=True, slots=True)
class GroupedHeads:
    """Heads of grouped-query attention.

    Attributes:
        queries, key_values: how many.
        key_width: numbers of one query, and of one key.
        value_width: numbers of one value.
    """

    queries: int
    key_values: int
    key_width: int
    value_width: int


def projections(
    hidden: int,
    heads: GroupedHeads,
    *,
    query_rank: int = 0,
    gated: bool = False,
    one_for_both: bool = False,
) -> int:
    """Grouped-query attention.

    Args:
        hidden: model width.
        heads: how many, and how wide.
        query_rank: rank of the query's compression, 0 for none.
        gated: a second projection as wide as the output gates it.
        one_for_both: keys and values are one projection.
    """
    all_queries = heads.queries * heads.key_width
    query = hidden * query_rank + query_rank * all_queries if query_rank else hidden * all_queries
    key_value = hidden * heads.key_values * (heads.key_width if one_for_both else heads.key_width + heads.value_width)
    return query + key_value + (2 if gated else 1) * hidden * heads.queries * heads.value_width


def indexer(hidden: int, heads: int, width: int, query_rank: int) -> int:
    """What chooses tokens in DeepSeek sparse attention: queries of all its heads, one key, a weight per head."""
    return (query_rank or hidden) * heads * width + hidden * width + hidden * heads


def delta_attention(hidden: int, heads: int, head_dim: int, *, full_gate: bool = False) -> int:
    """Kimi delta attention (arXiv 2510.26692): query, key, value, decay and output gates of low rank, and back."""
    inner = heads * head_dim
    low = hidden * head_dim + head_dim * inner
    gates = low + (hidden * inner if full_gate else low)
    return 4 * hidden * inner + gates + hidden * heads


def lightning(hidden: int, heads: int, head_dim: int) -> int:
    """Lightning attention (arXiv 2501.08313): query, key, value, output gate, and back."""
    return 5 * hidden * heads * head_dim


def gated_recurrent(hidden: int, width: int, heads: int) -> int:
    """Recurrent block of Griffin (arXiv 2402.19427): two branches in, two block-diagonal gates, one back."""
    return 3 * hidden * width + 2 * width * width // max(1, heads)
