"""vLLM's command line, as far as it changes what the emulated engine does."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from pertoken_sandbox.fleet.stats import BUCKET_FAMILIES

_LARGE_GPU_GIB = 70


class EngineArgsError(ValueError):
    """The engine would exit at start; the message is what its log says."""


@dataclass(frozen=True)
class EngineArgs:
    """Parsed flags; None where vLLM picks a default from the GPU or the model."""

    model: str
    served_model_name: str
    max_num_seqs: int | None = None
    max_num_active_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    tensor_parallel_size: int = 1
    max_model_len: int | None = None
    gpu_memory_utilization: float = 0.92
    enable_prefix_caching: bool = True
    enforce_eager: bool = False
    buckets: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def limits(self, product: str, gpu_memory_gib: float) -> tuple[int, int]:
        """``(max_num_seqs, max_num_batched_tokens)`` with vLLM's defaults for the GPU.

        vLLM serves with 1024 sequences and 8192 tokens per step on GPUs of 70 GiB and more other than the A100, and
        with 256 and 2048 elsewhere.

        Raises:
            EngineArgsError: the two do not go together.
        """
        large = gpu_memory_gib >= _LARGE_GPU_GIB and "a100" not in product.lower()
        tokens = self.max_num_batched_tokens or (8192 if large else 2048)
        seqs = self.max_num_seqs or min(1024 if large else 256, tokens)
        if tokens < seqs:
            raise EngineArgsError(
                f"max_num_batched_tokens ({tokens}) must be greater than or equal to max_num_seqs ({seqs})",
            )
        return seqs, tokens


def _positive_int(flag: str, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise EngineArgsError(f"argument {flag}: invalid int value: {text!r}") from None
    if value < 1:
        raise EngineArgsError(f"argument {flag}: {value} must be at least 1")
    return value


def _fraction(flag: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise EngineArgsError(f"argument {flag}: invalid float value: {text!r}") from None
    if not 0 < value <= 1:
        raise EngineArgsError(f"argument {flag}: {text} must be in (0, 1]")
    return value


def _length(flag: str, text: str) -> int:
    """Whole tokens, with vLLM's human-readable forms: ``8k`` is 8000, ``8K`` is 8192."""
    scale = {"k": 1000, "K": 1024, "m": 10**6, "M": 1 << 20}.get(text[-1:], 0)
    if not scale:
        return _positive_int(flag, text)
    try:
        return int(float(text[:-1]) * scale)
    except ValueError:
        raise EngineArgsError(f"argument {flag}: invalid value: {text!r}") from None


def _buckets(flag: str, text: str) -> dict[str, tuple[float, ...]]:
    try:
        raw = json.loads(text)
    except json.JSONDecodeError:
        raise EngineArgsError(f"argument {flag}: not valid JSON: {text!r}") from None
    if not isinstance(raw, dict):
        raise EngineArgsError(f"argument {flag}: expected an object of bucket families")
    parsed = {}
    for family, edges in raw.items():
        if family not in BUCKET_FAMILIES:
            raise EngineArgsError(f"argument {flag}: unknown bucket family {family!r}")
        if not (isinstance(edges, list) and edges and all(_is_edge(e) for e in edges) and _increasing(edges)):
            raise EngineArgsError(f"argument {flag}: {family} must be positive, finite and strictly increasing")
        parsed[family] = tuple(float(e) for e in edges)
    return parsed


def _is_edge(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _increasing(edges: list[float]) -> bool:
    return all(a < b for a, b in pairwise(edges))


_VALUES: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "--model": ("model", lambda _, text: text),
    "--served-model-name": ("served_model_name", lambda _, text: text),
    "--max-num-seqs": ("max_num_seqs", _positive_int),
    "--max-num-active-seqs": ("max_num_active_seqs", _positive_int),
    "--max-num-batched-tokens": ("max_num_batched_tokens", _length),
    "--tensor-parallel-size": ("tensor_parallel_size", _positive_int),
    "-tp": ("tensor_parallel_size", _positive_int),
    "--max-model-len": ("max_model_len", _length),
    "--gpu-memory-utilization": ("gpu_memory_utilization", _fraction),
    "--custom-histogram-buckets": ("buckets", _buckets),
}
_SWITCHES = {
    "--enable-prefix-caching": ("enable_prefix_caching", True),
    "--no-enable-prefix-caching": ("enable_prefix_caching", False),
    "--enforce-eager": ("enforce_eager", True),
}


def parse_engine_args(words: Sequence[str]) -> EngineArgs:
    """Read the flags of ``vllm serve [MODEL] …`` or ``… --model MODEL`` (command and args in one list).

    Underscores in flag names are taken as dashes, as vLLM does. Flags that do not matter to the emulation are skipped.

    Raises:
        EngineArgsError: a value is missing or wrong, or no model is named.
    """
    arguments: dict[str, Any] = {}
    rest = _split_equals(words)
    position = 0
    while position < len(rest):
        word = rest[position]
        position += 1
        if word in _SWITCHES:
            name, value = _SWITCHES[word]
            arguments[name] = value
        elif word in _VALUES:
            if position >= len(rest):
                raise EngineArgsError(f"argument {word}: expected one argument")
            name, parse = _VALUES[word]
            arguments[name] = parse(word, rest[position])
            position += 1
        elif word == "serve" and position < len(rest) and not rest[position].startswith("-"):
            arguments.setdefault("model", rest[position])
            position += 1
    if not arguments.get("model"):
        raise EngineArgsError("no model named: pass --model or `vllm serve MODEL`")
    arguments.setdefault("served_model_name", arguments["model"])
    return EngineArgs(**arguments)


def _split_equals(words: Sequence[str]) -> list[str]:
    rest: list[str] = []
    for word in words:
        if not word.startswith("--"):
            rest.append(word)
            continue
        flag, equals, value = word.partition("=")
        rest.append(flag.replace("_", "-"))
        if equals:
            rest.append(value)
    return rest
