"""Runs whose figures are objects of statistics: GuideLLM, inference-perf, AIPerf and its forerunner genai-perf.

Formats as of GuideLLM 0.3 to 0.5 (`benchmarks.json`), inference-perf 0.2 (`stage_N_lifecycle_metrics.json`,
`summary_lifecycle_metrics.json`), genai-perf 0.0.1x and AIPerf 0.x (`profile_export_genai_perf.json`,
`profile_export_aiperf.json`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pertoken.calculators.closed_fit import Point
from pertoken.calculators.closed_loop import Clients
from pertoken.cli.results.fields import MILLI, FailedRun, NoResult, count_of, group_of, number_of

STREAMED: Final = ("time_to_first_token", "time_per_output_token")
UNITS: Final = {"ms": MILLI, "s": 1.0, "sec": 1.0, "us": 1e-6, "ns": 1e-9}


def guidellm(run: Any) -> Point:
    """One entry of `benchmarks`."""
    metrics = run.get("metrics") if isinstance(run, Mapping) else None
    if not isinstance(metrics, Mapping):
        raise NoResult("metrics: missing; expected the run's metrics")
    totals = metrics.get("request_totals")
    if isinstance(totals, Mapping):
        count_of(totals, "successful", "metrics.request_totals.")

    def mean(name: str) -> float:
        statistics = metrics.get(name)
        good = statistics.get("successful") if isinstance(statistics, Mapping) else None
        return number_of(good if isinstance(good, Mapping) else {}, "mean", f"metrics.{name}.successful.")

    clients = Clients(mean("request_concurrency"), mean("prompt_token_count"), mean("output_token_count"))
    return Point(clients, mean("inter_token_latency_ms") * MILLI, mean("time_to_first_token_ms") * MILLI)


def inference_perf(run: Mapping[str, Any]) -> Point:
    """One stage, or the summary of all."""
    good = group_of(run, "successes")
    if good.get("count") == 0:
        raise FailedRun("successes.count: 0 requests succeeded")
    latency = group_of(good, "latency", "successes.")
    for name in STREAMED:
        if latency.get(name) is None:
            raise NoResult(
                f"successes.latency.{name}: not measured: the run did not stream its answers; expected a run with "
                "`api: {streaming: true}`"
            )

    def mean(name: str, group: Mapping[str, Any], where: str) -> float:
        return number_of(group_of(group, name, where), "mean", f"{where}{name}.")

    rate = number_of(group_of(good, "throughput", "successes."), "requests_per_sec", "successes.throughput.")
    inside = mean("request_latency", latency, "successes.latency.")
    prompts = "prompt_len" if "prompt_len" in good else "prompt_tokens"
    clients = Clients(rate * inside, mean(prompts, good, "successes."), mean("output_len", good, "successes."))
    step = mean("time_per_output_token", latency, "successes.latency.")
    return Point(clients, step, mean("time_to_first_token", latency, "successes.latency."))


def aiperf(run: Mapping[str, Any]) -> Point:
    """One run of AIPerf or genai-perf; requests under way by Little's law."""
    requests = run.get("request_count")
    if isinstance(requests, Mapping):
        count_of(requests, "avg", "request_count.")
    for name in ("time_to_first_token", "inter_token_latency"):
        if run.get(name) is None:
            raise NoResult(f"{name}: not measured: the run did not stream its answers; expected --streaming")
    rate = number_of(group_of(run, "request_throughput"), "avg", "request_throughput.")
    clients = Clients(rate * _seconds(run, "request_latency"), _mean(run, "input_sequence_length"), _outputs(run))
    return Point(clients, _seconds(run, "inter_token_latency"), _seconds(run, "time_to_first_token"))


def _outputs(run: Mapping[str, Any]) -> float:
    return _mean(run, "output_sequence_length")


def _mean(run: Mapping[str, Any], name: str) -> float:
    return number_of(group_of(run, name), "avg", f"{name}.")


def _seconds(run: Mapping[str, Any], name: str) -> float:
    unit = group_of(run, name).get("unit", "ms")
    if unit not in UNITS:
        raise NoResult(f"{name}.unit: {unit!r}; expected one of {', '.join(UNITS)}")
    return _mean(run, name) * UNITS[unit]
