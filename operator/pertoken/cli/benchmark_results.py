"""Operating points out of what load generators write: vLLM's `bench serve`, GuideLLM, and inference-perf.

Each result says how many requests were under way, how long prompts and answers were, and the mean latencies. The number
of clients is the generator's own where the run was a closed loop, else by Little's law: rate x time in system.
Formats as of vLLM 0.1x-0.3x (`--save-result`), GuideLLM 0.3-0.5 (`benchmarks.json`), inference-perf 0.2
(`stage_N_lifecycle_metrics.json`, `summary_lifecycle_metrics.json`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from math import isfinite
from typing import Any

from pertoken.calculators.closed_fit import Point
from pertoken.calculators.closed_loop import Clients

MILLI = 1e-3


class Format(StrEnum):
    """Whose file it is."""

    AUTO = "auto"
    CSV = "csv"
    VLLM = "vllm"
    GUIDELLM = "guidellm"
    INFERENCE_PERF = "inference-perf"


class NoResult(ValueError):
    """The file does not hold what its format promises: field, value, expectation."""


def format_of(content: Any) -> Format:
    """Which generator wrote this JSON.

    Raises:
        NoResult: none that is known.
    """
    if isinstance(content, Mapping):
        if isinstance(content.get("benchmarks"), list):
            return Format.GUIDELLM
        if "load_summary" in content or "successes" in content:
            return Format.INFERENCE_PERF
        if "mean_ttft_ms" in content and "completed" in content:
            return Format.VLLM
    raise NoResult(
        "format: neither of vLLM (mean_ttft_ms), GuideLLM (benchmarks) nor inference-perf (successes); expected one of "
        "these, or CSV"
    )


def points_of(content: Any, kind: Format) -> list[Point]:
    """The operating points of one file.

    Raises:
        NoResult: a figure is missing or no positive number.
    """
    if kind is Format.AUTO:
        kind = format_of(content)
    if not isinstance(content, Mapping):
        raise NoResult(f"content: {type(content).__name__}; expected a JSON object")
    if kind is Format.VLLM:
        return [_vllm(content)]
    if kind is Format.INFERENCE_PERF:
        return [_inference_perf(content)]
    runs = content.get("benchmarks")
    if not isinstance(runs, list) or not runs:
        raise NoResult("benchmarks: missing or empty; expected a list of runs")
    return [_guidellm(run, f"benchmarks[{index}]") for index, run in enumerate(runs)]


def model_of(content: Any) -> str | None:
    """The model that the file names, if it does."""
    if isinstance(content, Mapping) and isinstance(content.get("model_id"), str):
        return str(content["model_id"])
    return None


def _vllm(result: Mapping[str, Any]) -> Point:
    completed = _number(result, "completed")
    inputs = _number(result, "total_input_tokens") / completed
    outputs = _number(result, "total_output_tokens") / completed
    ttft = _number(result, "mean_ttft_ms") * MILLI
    step = _number(result, "mean_tpot_ms") * MILLI
    clients = result.get("max_concurrency")
    open_loop = str(result.get("request_rate", "inf")) != "inf"
    if open_loop or not isinstance(clients, int | float) or clients <= 0:
        clients = completed / _number(result, "duration") * (ttft + max(outputs - 1.0, 0.0) * step)
    return Point(Clients(float(clients), inputs, outputs), step, ttft)


def _guidellm(run: Any, where: str) -> Point:
    metrics = run.get("metrics") if isinstance(run, Mapping) else None
    if not isinstance(metrics, Mapping):
        raise NoResult(f"{where}.metrics: missing; expected the run's metrics")

    def mean(name: str) -> float:
        found = metrics.get(name)
        good = found.get("successful") if isinstance(found, Mapping) else None
        return _number(good if isinstance(good, Mapping) else {}, "mean", f"{where}.metrics.{name}.successful.")

    clients = Clients(mean("request_concurrency"), mean("prompt_token_count"), mean("output_token_count"))
    return Point(clients, mean("inter_token_latency_ms") * MILLI, mean("time_to_first_token_ms") * MILLI)


def _inference_perf(result: Mapping[str, Any]) -> Point:
    good = _inner(result, "successes")
    latency = _inner(good, "latency", "successes.")

    def mean(name: str, group: Mapping[str, Any], where: str) -> float:
        return _number(_inner(group, name, where), "mean", f"{where}{name}.")

    rate = _number(_inner(good, "throughput", "successes."), "requests_per_sec", "successes.throughput.")
    inside = mean("request_latency", latency, "successes.latency.")
    prompts = "prompt_len" if "prompt_len" in good else "prompt_tokens"
    clients = Clients(rate * inside, mean(prompts, good, "successes."), mean("output_len", good, "successes."))
    step = mean("time_per_output_token", latency, "successes.latency.")
    return Point(clients, step, mean("time_to_first_token", latency, "successes.latency."))


def _inner(group: Mapping[str, Any], name: str, where: str = "") -> Mapping[str, Any]:
    found = group.get(name)
    if not isinstance(found, Mapping):
        raise NoResult(f"{where}{name}: {found!r}; expected an object")
    return found


def _number(group: Mapping[str, Any], name: str, where: str = "") -> float:
    value = group.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value <= 0:
        raise NoResult(f"{where}{name}: {value!r}; expected a number above 0")
    return float(value)
