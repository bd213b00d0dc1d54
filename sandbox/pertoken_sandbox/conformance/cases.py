"""What all engines are given: requests cut from real traces to a context of 4,096 tokens, and the engine's limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pertoken_bench.reference_engine.request import PREFIX_TOKENS, EngineConfig
from pertoken_sandbox.fleet.trace import Arrival, load_arrivals

ROOT: Final = Path(__file__).parents[3]
CONVERSATION: Final = ROOT / "examples" / "traces" / "azure_2023_conv.csv.gz"
BLOCKS: Final = ROOT / "bench" / "scenarios" / "data" / "mooncake_synthetic_blocks.csv.gz"

CONTEXT: Final = 4096
BATCHED_TOKENS: Final = 2048
LONGEST_PROMPT: Final = 3200
VOCABULARY: Final = 512
FIRST_TOKEN: Final = 8  # ids below are left to special tokens


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison.

    Attributes:
        kv_blocks: usable blocks of 16 tokens (vLLM itself keeps one more).
        requests: by arrival.
        stretch: step times are the table's times this, where the real model's own prefill on a CPU needs the room.
    """

    name: str
    about: str
    max_num_seqs: int
    kv_blocks: int
    requests: tuple[Arrival, ...]
    stretch: float = 1.0

    def limits(self) -> EngineConfig:
        """The same limits as the sandbox's engine reads them."""
        return EngineConfig(self.max_num_seqs, BATCHED_TOKENS, self.kv_blocks, CONTEXT)


@dataclass(frozen=True, slots=True)
class TracePart:
    """Part of a trace: `seconds` from `start` (s), lengths times `scale`, `speed` times as many requests a second."""

    start: float
    seconds: float
    scale: float
    speed: float = 1.0


def conversation(cut: TracePart) -> tuple[Arrival, ...]:
    """A part of the Azure conversation trace with shorter texts."""
    return tuple(
        Arrival(
            (arrival.at - cut.start) / cut.speed,
            max(1, min(round(arrival.input_tokens * cut.scale), LONGEST_PROMPT)),
            max(1, min(round(arrival.output_tokens * cut.scale), CONTEXT - LONGEST_PROMPT)),
        )
        for arrival in load_arrivals(CONVERSATION)
        if cut.start <= arrival.at < cut.start + cut.seconds
    )


def shared_prefixes(cut: TracePart) -> tuple[Arrival, ...]:
    """A part of the Mooncake trace: prompts end where the context of 4,096 tokens does; what they share stays."""
    return tuple(
        replace(
            arrival,
            at=(arrival.at - cut.start) / cut.speed,
            input_tokens=min(arrival.input_tokens, LONGEST_PROMPT),
            output_tokens=max(1, min(round(arrival.output_tokens * cut.scale), CONTEXT - LONGEST_PROMPT)),
            prefix_ids=arrival.prefix_ids[: -(-min(arrival.input_tokens, LONGEST_PROMPT) // PREFIX_TOKENS)],
        )
        for arrival in load_arrivals(BLOCKS)
        if cut.start <= arrival.at < cut.start + cut.seconds
    )


def _conversation_case() -> Case:
    return Case(
        "conversation",
        "100 s of the Azure 2023 conversation trace, lengths x 0.35; 22 sequences, KV cache ample",
        max_num_seqs=22,
        kv_blocks=4000,
        requests=conversation(TracePart(600.0, 100.0, 0.35)),
    )


def _pressure_case() -> Case:
    return Case(
        "kv-pressure",
        "80 s of the same trace from another part, lengths x 0.5, rate x 0.6; 64 sequences, KV cache of 10,400 tokens",
        max_num_seqs=64,
        kv_blocks=650,
        requests=conversation(TracePart(1500.0, 48.0, 0.5, speed=0.6)),
    )


def _prefix_case() -> Case:
    return Case(
        "prefix-cache",
        "45 s of the Mooncake synthetic trace, prompts cut at 3,200 tokens, arrivals and steps four times as slow; "
        "24 sequences, KV cache of 80,000 tokens",
        max_num_seqs=24,
        kv_blocks=5000,
        requests=shared_prefixes(TracePart(920.0, 45.0, 0.35, speed=0.25)),
        stretch=4.0,
    )


CASES: Final[dict[str, Callable[[], Case]]] = {
    "conversation": _conversation_case,
    "kv-pressure": _pressure_case,
    "prefix-cache": _prefix_case,
}


def prompt_tokens(index: int, request: Arrival) -> list[int]:
    """Token ids of a prompt: equal where two requests name the same 512-token block, else peculiar to the request."""
    tokens: list[int] = []
    for block in request.prefix_ids:
        tokens += _text(f"block {block}", PREFIX_TOKENS)
    if len(tokens) < request.input_tokens:
        tokens += _text(f"request {index}", request.input_tokens - len(tokens))
    return tokens[: request.input_tokens]


def _text(seed: str, count: int) -> Sequence[int]:
    """`count` token ids that depend on nothing but the seed (a linear congruential generator)."""
    state = int.from_bytes(seed.encode(), "big") % (1 << 61) or 1
    ids = []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        ids.append(FIRST_TOKEN + (state >> 33) % (VOCABULARY - FIRST_TOKEN))
    return ids
