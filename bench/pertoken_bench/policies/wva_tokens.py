"""Saturation by tokens, the analyzer V2 of llm-d's workload-variant-autoscaler (its default in v0.9).

Source: llm-d/llm-d-workload-variant-autoscaler 2976e4e (Apache-2.0), written anew from its rules. All figures are
tokens unless named otherwise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

HISTORY = 10
BUCKETS = (100.0, 500.0)  # edges of mean output tokens that separate capacity records


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """`wva-saturation-scaling-config` of V2."""

    kv_threshold: float = 0.80
    queue_threshold: float = 5.0
    up: float = 0.85
    down: float = 0.70


@dataclass(frozen=True, slots=True)
class EngineFlags:
    """`--max-num-batched-tokens` and `--max-num-seqs`."""

    batched_tokens: int
    sequences: int


@dataclass(frozen=True, slots=True)
class ReplicaTokens:
    """One Ready replica.

    Attributes:
        kv_total: KV cache size.
        in_use: of it, largest of the last minute.
        queue: waiting requests, largest of the last minute.
        input, output: mean tokens per request.
    """

    kv_total: float
    in_use: float
    queue: float
    input: float
    output: float

    @property
    def demand(self) -> float:
        """Tokens resident and to come."""
        return self.in_use + waiting_tokens(self.queue, self.input, self.output)


def waiting_tokens(queue: float, prompt: float, answer: float, *, prefill_only: bool = False) -> float:
    """Tokens that waiting requests will need."""
    return max(queue, 0.0) * (prompt if prefill_only else prompt + answer)


@dataclass(frozen=True, slots=True)
class HeldQueue:
    """Requests that the gateway holds: their number, the bytes of their bodies, mean lengths, prefix-cache hits."""

    requests: float
    bytes: float
    input: float
    output: float
    hit_rate: float

    @property
    def demand(self) -> float:
        """A body of four bytes is taken as a token; the larger of the two estimates of the prompts counts."""
        prompts = max(self.bytes / 4.0, self.requests * self.input)
        return prompts * (1.0 - self.hit_rate) + self.requests * self.output


def formula_capacity(flags: EngineFlags, prompt: float, answer: float) -> float:
    """Tokens resident when the token budget per step is full: ``N (I + O/2)``, ``N = min(B O / (I + O), S)``."""
    if answer <= 0:
        return 0.0
    sequences = min(flags.batched_tokens * answer / (prompt + answer), flags.sequences)
    return sequences * (prompt + answer / 2)


@dataclass(slots=True)
class CapacityRecords:
    """What replicas held when five or more requests waited, by model, accelerator, GPUs and output bucket.

    Kept as shipped: a cold burst teaches a small capacity that stands for ten observations.
    """

    settings: TokenSettings = TokenSettings()
    observed: dict[tuple[str, int], deque[float]] = field(default_factory=dict)

    def capacity(self, kind: str, replica: ReplicaTokens, flags: EngineFlags | None) -> int:
        """Tokens that one replica carries: the lesser of memory and compute bound."""
        by_memory = int(replica.kv_total * self.settings.kv_threshold)
        return int(min(by_memory, self._by_compute(kind, replica, flags, by_memory)))

    def _by_compute(self, kind: str, replica: ReplicaTokens, flags: EngineFlags | None, otherwise: float) -> float:
        key = (kind, sum(replica.output >= edge for edge in BUCKETS))
        if replica.queue >= self.settings.queue_threshold and replica.in_use > 0:
            self.observed.setdefault(key, deque(maxlen=HISTORY)).append(replica.in_use)
            return replica.in_use
        if key in self.observed:
            return sum(self.observed[key]) / len(self.observed[key])
        derived = formula_capacity(flags, replica.input, replica.output) if flags is not None else 0.0
        return derived if derived > 0 else otherwise


@dataclass(frozen=True, slots=True)
class ZeroReplica:
    """What is known of a variant without replicas.

    Attributes:
        live: last capacity measured on one of its replicas.
        effective: capacity on record from its flags.
        compatible: measured capacity of a like variant.
        kv_total: its KV cache size.
    """

    live: float | None = None
    effective: float | None = None
    flags: EngineFlags | None = None
    compatible: float | None = None
    kv_total: float | None = None

    def capacity(self, prompt: float, answer: float, settings: TokenSettings) -> float:
        """Measured wins; else the formula, bounded by a like variant's and its own memory; else the record."""
        if self.live is not None:
            return self.live
        derived = formula_capacity(self.flags, prompt, answer) if self.flags is not None else 0.0
        if derived <= 0:
            return self.effective or (self.flags.batched_tokens if self.flags is not None else 0.0)
        bounds = [derived]
        if self.compatible is not None:
            bounds.append(self.compatible)
        if self.kv_total is not None:
            bounds.append(int(self.kv_total * settings.kv_threshold))
        return min(bounds)


def without_cache_info(stored: float, kv: float, waiting: float, settings: TokenSettings) -> tuple[int, float]:
    """Capacity and demand of a replica whose engine does not tell its cache size."""
    capacity = int(stored * settings.kv_threshold)
    return capacity, int(kv * capacity) + waiting


def median(values: Sequence[float]) -> int:
    """Integer median, 0 of nothing."""
    ordered = sorted(values)
    if not ordered:
        return 0
    middle = len(ordered) // 2
    return int(ordered[middle]) if len(ordered) % 2 else int((ordered[middle - 1] + ordered[middle]) / 2)


@dataclass(frozen=True, slots=True)
class Balance:
    """Tokens that are short (`required`) or to spare."""

    required: float
    spare: float


def balance(demand: float, supply: float, anticipated: float, settings: TokenSettings) -> Balance:
    """Compare demand with the capacity of Ready replicas (`supply`) and of those on their way too (`anticipated`)."""
    return Balance(max(0.0, demand / settings.up - anticipated), max(0.0, supply - demand / settings.down))
