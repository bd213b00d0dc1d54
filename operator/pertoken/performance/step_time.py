"""Iteration time of one replica: a smooth roofline over catalog data.

Every part of a step is the soft maximum of streaming its bytes and computing its arithmetic; the parts add up. The
form is that of a roofline; its constants were fitted to the kernel tables of aiconfigurator-core 0.12.0 (Apache-2.0)
by `pertoken_bench.accuracy.model`, which measures the errors that `docs/model.md` reports. All times in seconds, sizes
in bytes, tokens as counts.
"""

from __future__ import annotations

from typing import Final

from pertoken.catalog.engines import LARGEST_GRAPH, graph_ceiling
from pertoken.frozen import dataclass
from pertoken.performance.coefficients import EngineModel, engine_model
from pertoken.performance.memory import kv_bytes_per_token

__all__ = [
    "NO_GAINS",
    "EngineModel",
    "Gains",
    "decode_step",
    "engine_model",
    "iteration_time",
    "kv_bytes_per_token",
    "kv_sequences",
    "marginal_prefill_time",
    "mean_decode_step",
    "prefill_time",
    "smooth_max",
]

EXPERT_SPREAD: Final = 0.8  # tokens^0.8 independent draws: tokens of a batch prefer the same experts
EXPERT_PADDING: Final = 0.5  # of a tile of rows is empty on average
EXPERT_TILES: Final = (16.0, 128.0)  # smallest and largest tile of rows of a grouped product


def smooth_max(a: float, b: float) -> float:
    """Soft maximum of two bottlenecks: ``(a^4 + b^4)^(1/4)``."""
    a, b = a * a, b * b
    return float((a * a + b * b) ** 0.25)


@dataclass(frozen=True, slots=True)
class Gains:
    """Learnt corrections: factors on decode and prefill time, seconds added to the time to first token."""

    decode: float = 1.0
    prefill: float = 1.0
    ttft_offset: float = 0.0


NO_GAINS: Final = Gains()


def _attended(engine: EngineModel, tokens: float, sequences: float) -> float:
    """Tokens whose KV is read, sliding windows counted at their window."""
    if sequences <= 0:
        return tokens
    if engine.sparse_tokens is not None:
        tokens = min(tokens, engine.sparse_tokens * sequences)
    if engine.window is None:
        return tokens
    windowed = min(tokens, engine.window * sequences)
    return tokens * (1 - engine.windowed_share) + windowed * engine.windowed_share


def _expert_seconds(engine: EngineModel, tokens: float) -> float:
    """Routed experts of a step: the touched ones are read, and each computes whole tiles of rows.

    A batch touches ``E (1 - (1 - k/E)^(n^0.8))`` of E experts; real routing is skewed, hence the exponent below one.
    """
    pooled = tokens * engine.expert_ranks
    touched = engine.experts * (1.0 - (1.0 - engine.chosen / engine.experts) ** (pooled**EXPERT_SPREAD))
    if touched <= 0:
        return 0.0
    rows = engine.chosen * pooled / touched
    padded = rows + EXPERT_PADDING * min(max(rows, EXPERT_TILES[0]), EXPERT_TILES[1])
    stream = touched * engine.expert_bytes / engine.expert_bandwidth
    arithmetic = touched * engine.expert_flops * padded / engine.expert_compute
    return float((stream * stream + arithmetic * arithmetic) ** 0.5)


def _matrix_seconds(engine: EngineModel, tokens: float, heads: float) -> float:
    """Matrix products of a step of `tokens` tokens, `heads` of which need logits."""
    dense = smooth_max(
        (engine.body_bytes + engine.head_bytes) / engine.bandwidth,
        (engine.body_flops * tokens + engine.head_flops * heads) / engine.compute,
    )
    return dense + _expert_seconds(engine, tokens) if engine.experts else dense


def _cache_seconds(engine: EngineModel, resident: float, batch: float) -> float:
    """Reading the KV cache, and reading and writing recurrent state."""
    attended = _attended(engine, resident, batch) * (engine.kv_bytes * engine.kv_reads - engine.indexer_bytes)
    read = attended + resident * engine.indexer_bytes + 2.0 * batch * engine.state_bytes
    return read / engine.kv_bandwidth


def iteration_time(
    engine: EngineModel, prefill_tokens: float, past: float, batch: float, resident: float, cap: int = LARGEST_GRAPH
) -> float:
    """Seconds of one engine step.

    Args:
        engine: the replica's coefficients.
        prefill_tokens: prompt tokens computed in this step (a chunk).
        past: tokens already cached before the chunk.
        batch: decoding sequences; a pure decode step is padded to the next CUDA-graph size.
        resident: tokens of context of all decoding sequences together (K).
        cap: the engine's `max_num_seqs`, which bounds the captured sizes.

    Returns:
        0 for an empty step.
    """
    if prefill_tokens <= 0 and batch <= 0:
        return 0.0
    seconds = engine.layer_overhead
    padded = batch
    if prefill_tokens <= 0:
        if batch <= min(2 * cap, LARGEST_GRAPH):
            padded = float(graph_ceiling(batch))
        else:
            seconds += engine.eager_overhead
    tokens = prefill_tokens + padded
    heads = padded + (1.0 if prefill_tokens > 0 else 0.0)
    seconds += _matrix_seconds(engine, tokens, heads)
    seconds += _cache_seconds(engine, resident, batch)
    seconds += tokens * (engine.elementwise + engine.reduce_per_token)
    if prefill_tokens > 0:
        full = _attended(engine, past + prefill_tokens / 2, 1.0)
        seconds += engine.attention_flops * prefill_tokens * full / engine.attention_compute
    return seconds


def decode_step(engine: EngineModel, batch: float, context: float, cap: int = LARGEST_GRAPH) -> float:
    """Seconds of one decode step of `batch` sequences holding `context` tokens each."""
    return iteration_time(engine, 0.0, 0.0, batch, batch * context, cap)


def mean_decode_step(engine: EngineModel, batch: float, context: float) -> float:
    """Seconds of a decode step at a fluctuating batch with this mean: padding costs half a gap on average.

    Continuous and increasing in `batch`, so that fixed points over it exist.
    """
    padded = batch + min(4.0, batch / 8.0)
    seconds = engine.layer_overhead + _matrix_seconds(engine, padded, padded)
    seconds += _cache_seconds(engine, batch * context, batch)
    return seconds + padded * (engine.elementwise + engine.reduce_per_token)


def prefill_time(engine: EngineModel, tokens: float, past: float = 0.0) -> float:
    """Seconds to compute `tokens` prompt tokens alone, in chunks of the engine's token budget."""
    left, done, seconds = tokens, past, 0.0
    while left > 0:
        chunk = min(left, float(engine.batched_tokens))
        seconds += iteration_time(engine, chunk, done, 0.0, 0.0)
        done += chunk
        left -= chunk
    return seconds


def marginal_prefill_time(engine: EngineModel, tokens: float, batch: float, past: float = 0.0) -> float:
    """Seconds that the prompts add per `tokens` of prompt to the steps of an engine that decodes `batch` sequences.

    The weights are read anyway for the decoding sequences: only what exceeds that read counts, so prompts that share a
    step with decodes cost their arithmetic. An engine that decodes nothing pays the whole prefill.
    """
    if tokens <= 0:
        return 0.0
    if batch <= 0:
        return prefill_time(engine, tokens, past)
    # Below one sequence the engine stands still part of the time and a prompt starts a step of its own.
    alone = max(0.0, 1.0 - batch)
    room = max(256.0, engine.batched_tokens - batch)
    base = engine.layer_overhead + _matrix_seconds(engine, batch, batch)
    base += batch * (engine.elementwise + engine.reduce_per_token)
    left, done, seconds = tokens, past, 0.0
    while left > 0:
        chunk = min(left, room)
        step = iteration_time(engine, chunk, done, batch, 0.0)
        seconds += max(0.0, step - (1.0 - alone) * base)
        done += chunk
        left -= chunk
    return seconds


def kv_sequences(capacity: float, context: float, spread: float, z: float) -> float:
    """Sequences whose contexts fit the KV cache except with the probability that belongs to `z`.

    Solves ``b * mu + z * sigma * sqrt(b) <= capacity`` for b, mu the mean resident tokens of a sequence and sigma
    their standard deviation (chance constraint as in arXiv 2503.05248).

    Args:
        capacity: tokens.
        context: mu, tokens.
        spread: sigma / mu.
        z: standard normal quantile, e.g. 2.33 for 1 %.
    """
    if context <= 0:
        return float("inf")
    reach = z * spread * context
    root = (-reach + (reach * reach + 4.0 * context * capacity) ** 0.5) / (2.0 * context)
    return float(root * root)
