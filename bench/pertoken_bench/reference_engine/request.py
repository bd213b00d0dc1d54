"""What the reference engine serves, its limits, and what one of its steps did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

PREFIX_TOKENS: Final = 512  # tokens covered by one id of a request's `prefix_ids`


class Request:
    """One generation request; times are seconds, ``-1`` until the event happened."""

    __slots__ = (
        "admitted_at", "arrival", "cached_tokens", "computed", "decode_base", "decoding", "finished_at",
        "first_scheduled_at", "first_token_at", "generated", "input_tokens", "last_token_at", "left_blocks",
        "left_until", "order", "output_tokens", "preemptions", "prefix_ids", "shown_ids", "target",
    )  # fmt: skip

    def __init__(
        self,
        input_tokens: int,
        output_tokens: int,
        arrival: float,
        prefix_ids: tuple[int, ...] = (),
    ) -> None:
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens
        self.arrival = arrival
        self.prefix_ids = prefix_ids
        self.reset()

    def reset(self) -> None:
        """Forget everything an engine did, so that another engine can take the request from the start."""
        self.admitted_at = self.first_scheduled_at = self.first_token_at = -1.0
        self.last_token_at = self.finished_at = -1.0
        self.order = 0
        self.computed = 0  # tokens in the KV cache while prefilling
        self.target = self.input_tokens  # tokens to compute before the next token comes out
        self.generated = 0  # tokens out when the present decode began; see ReferenceEngine.generated_tokens
        self.decode_base = 0
        self.decoding = False
        self.cached_tokens = 0
        self.preemptions = 0
        self.left_blocks = (0, 0)  # blocks given back when preempted: all, and those that were full
        self.left_until = 0  # the engine's count of blocks given out up to which all of them are still there
        self.shown_ids = 0  # leading ids of `prefix_ids` that the engine's running requests offer to others through it


@dataclass(frozen=True)
class EngineConfig:
    """Limits of one engine: sequences, tokens per step, KV blocks of 16 tokens, longest context in tokens."""

    max_num_seqs: int
    max_num_batched_tokens: int
    kv_blocks: int
    max_model_len: int
    max_num_active_seqs: int | None = None
    prefix_caching: bool = True

    @property
    def cap(self) -> int:
        """Most sequences that may run at once."""
        return min(self.max_num_seqs, self.max_num_active_seqs or self.max_num_seqs)


@dataclass(slots=True)
class StepResult:
    """What one step does; its effects on the outside (tokens, finishes) happen at ``end``."""

    start: float
    duration: float
    decodes: int
    """Sequences that decoded one token; all had their previous token at ``start``."""
    context_tokens: int
    """KV tokens the decodes read."""
    chunks: list[tuple[int, int]]
    """Prompt chunks computed: (tokens, tokens before them)."""
    first_tokens: list[Request] = field(default_factory=list)
    resumed: list[tuple[Request, float]] = field(default_factory=list)
    """Requests that went on after preemption, with the seconds since their last token."""
    finished: list[Request] = field(default_factory=list)
    preempted: int = 0
    waiting: int = 0
    """Requests left in the queue when the step was scheduled: what vLLM's gauge shows after it."""
    admitted: list[Request] = field(default_factory=list)

    @property
    def end(self) -> float:
        """Instant at which the step's tokens come out."""
        return self.start + self.duration

    @property
    def prefill_tokens(self) -> int:
        """Prompt tokens computed in the step (recomputation included)."""
        return sum(tokens for tokens, _ in self.chunks)
