"""GPU time that a request takes in a well filled batch, by the simulated hardware's own tables."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pertoken.catalog.engines import GRAPH_SIZES, LARGEST_GRAPH
from pertoken.domain.service import VariantSpec
from pertoken_bench.compiled_engine.fleet import VariantEngine
from pertoken_bench.compiled_engine.layout import Reals
from pertoken_bench.hardware.truth import EAGER_FACTOR, Truth
from pertoken_bench.scenarios.prepare import Prepared
from pertoken_bench.traces.trace import Trace

COMFORT = 0.8  # of the inter-token objective that a well filled batch takes in a pure decode step


@dataclass(frozen=True, slots=True)
class Times:
    """Noise-free step times of one kind of engine, seconds."""

    kind: VariantEngine
    truth: Truth

    def decode(self, batch: float, context: float) -> float:
        """A decode step of `batch` sequences (a graph size) with `context` tokens each."""
        eager = EAGER_FACTOR if batch > LARGEST_GRAPH else 1.0
        return self.kind.times.decode.at(batch, context) * self.truth.decode * eager / 1000.0

    def prefill(self, chunk: float, past: float) -> float:
        """A step that computes `chunk` prompt tokens behind `past`."""
        return self.kind.times.prefill.at(chunk, past) * self.truth.prefill / 1000.0


def request_seconds(prepared: Prepared, index: int, variant: VariantSpec, trace: Trace) -> Reals:
    """GPU-seconds (of one replica) per request at a comfortable batch: its prompt alone, its share of decode steps."""
    kind = prepared.config.kinds[prepared.kinds[index, variant.name]]
    times = Times(kind, prepared.config.truth)
    inputs, outputs = trace.input_tokens.astype(np.float64), trace.output_tokens.astype(np.float64)
    if not len(trace):
        return np.zeros(0)
    context = float((outputs * (inputs + outputs / 2.0)).sum() / outputs.sum())
    batch = comfortable_batch(times, context, variant.batching.max_sequences, prepared.config.objectives[index].between)
    grid = np.array([1.0, 64, 256, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072])
    prompt = np.array([_prompt_seconds(times, tokens) for tokens in grid])
    per_token = times.decode(batch, context) / batch
    seconds: Reals = np.interp(inputs, grid, prompt) + (outputs - 1.0) * per_token
    return seconds


def decode_seconds(prepared: Prepared, index: int, variant: VariantSpec, trace: Trace) -> Reals:
    """How long each request decodes in a well filled batch."""
    kind = prepared.config.kinds[prepared.kinds[index, variant.name]]
    times = Times(kind, prepared.config.truth)
    inputs, outputs = trace.input_tokens.astype(np.float64), trace.output_tokens.astype(np.float64)
    context = float((outputs * (inputs + outputs / 2.0)).sum() / outputs.sum())
    batch = comfortable_batch(times, context, variant.batching.max_sequences, prepared.config.objectives[index].between)
    seconds: Reals = (outputs - 1.0) * times.decode(batch, context)
    return seconds


def comfortable_batch(times: Times, context: float, cap: int, objective: float) -> int:
    """Largest graph size whose step leaves room in the objective, fits the KV cache and the cap."""
    most = min(cap, int(times.kind.kv_blocks * 16 / max(context, 1.0)))
    fitting = [
        size
        for size in GRAPH_SIZES
        if size <= most and (math.isinf(objective) or times.decode(size, context) <= COMFORT * objective)
    ]
    return max(fitting, default=1)


def _prompt_seconds(times: Times, tokens: float) -> float:
    """One prompt in full chunks; the weights' read is shared with the decodes, so it is left out."""
    floor = times.kind.times.prefill.ms[0][0] * times.truth.prefill / 1000.0
    total, done = 0.0, 0.0
    while done < tokens:
        chunk = min(tokens - done, float(times.kind.budget))
        total += max(0.0, times.prefill(chunk, done) - floor)
        done += chunk
    return total
