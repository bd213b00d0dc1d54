"""One step-time table for all three engines, slow enough that the real vLLM's own overhead does not count."""

from __future__ import annotations

from typing import Final

from pertoken_bench.hardware.step_times import StepTimes, Table
from pertoken_bench.hardware.truth import Truth
from pertoken_bench.reference_engine.step_clock import StepClock

BATCHES: Final = (1.0, 8.0, 16.0, 32.0, 64.0)
CONTEXTS: Final = (0.0, 1024.0, 2048.0, 4096.0)
CHUNKS: Final = (1.0, 256.0, 1024.0, 2048.0)
PASTS: Final = (0.0, 2048.0, 4096.0)

STEP_MS: Final = 30.0
SEQUENCE_MS: Final = 0.35
CONTEXT_MS: Final = 0.06  # per sequence and 1,024 tokens of its context
PROMPT_TOKEN_MS: Final = 0.03
ATTENTION_MS: Final = 0.004  # per 1,024 prompt tokens and token before them


def _decode_ms(batch: float, context: float) -> float:
    return STEP_MS + SEQUENCE_MS * batch + CONTEXT_MS * batch * context / 1024.0


def _prefill_ms(chunk: float, past: float) -> float:
    return STEP_MS + PROMPT_TOKEN_MS * chunk + ATTENTION_MS * (chunk / 1024.0) * (past + chunk / 2.0)


DECODE: Final = Table(BATCHES, CONTEXTS, tuple(tuple(_decode_ms(b, c) for c in CONTEXTS) for b in BATCHES))
PREFILL: Final = Table(CHUNKS, PASTS, tuple(tuple(_prefill_ms(c, p) for p in PASTS) for c in CHUNKS))
TIMES: Final = StepTimes("modelled", "modelled", 1, 1.0, 0.0, 1024, DECODE, PREFILL)
EXACT: Final = Truth(spread=0.0, noise=0.0, slow_start=0.0)


def step_clock(max_num_seqs: int, stretch: float) -> StepClock:
    """Durations of steps without noise, `stretch` times the table's, batches padded to CUDA-graph sizes as on a GPU."""
    clock = StepClock(TIMES, EXACT, "conformance", slow_factor=stretch)
    clock.configure(max_num_seqs, started=0.0)
    return clock
