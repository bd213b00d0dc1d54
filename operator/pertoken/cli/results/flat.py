"""Runs that are one flat object: vLLM's `bench serve`, SGLang's `bench_serving`, LLMPerf.

vLLM and SGLang share their names; SGLang tells the mean number of requests under way (`concurrency`), vLLM does not.
Formats as of vLLM 0.6 to 0.3x (`--save-result`, `--append-result`), SGLang 0.4 to 0.5, LLMPerf 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from pertoken.calculators.closed_fit import Point
from pertoken.calculators.closed_loop import Clients
from pertoken.cli.results.fields import MILLI, FailedRun, count_of, number_of


def serving_bench(run: Mapping[str, Any]) -> Point:
    """One run of vLLM or SGLang."""
    completed = count_of(run, "completed")
    inputs = number_of(run, "total_input_tokens") / completed
    outputs = number_of(run, "total_output_tokens") / completed
    ttft, step = _measured(run, "mean_ttft_ms") * MILLI, _measured(run, "mean_tpot_ms") * MILLI
    clients = _clients(run)
    if clients is None:
        # An open loop: requests under way by Little's law.
        clients = completed / number_of(run, "duration") * (ttft + max(outputs - 1.0, 0.0) * step)
    return Point(Clients(clients, inputs, outputs), step, ttft)


def _clients(run: Mapping[str, Any]) -> float | None:
    """Requests under way: as measured, else as limited; None where the run tells neither."""
    measured = run.get("concurrency")
    if isinstance(measured, int | float) and not isinstance(measured, bool) and isfinite(measured) and measured > 0:
        return float(measured)
    limit = run.get("max_concurrency")
    open_loop = str(run.get("request_rate", "inf")).lower() not in {"inf", "infinity"}
    if open_loop or isinstance(limit, bool) or not isinstance(limit, int | float) or limit <= 0:
        return None
    return float(limit)


def _measured(run: Mapping[str, Any], name: str) -> float:
    value = run.get(name)
    if isinstance(value, float) and not isfinite(value):
        raise FailedRun(f"{name}: {value}: nothing was measured")
    return number_of(run, name)


def llmperf(run: Mapping[str, Any]) -> Point:
    """One run of LLMPerf (`…_summary.json`)."""
    count_of(run, "results_num_completed_requests")
    return Point(
        Clients(
            number_of(run, "num_concurrent_requests"),
            number_of(run, "results_number_input_tokens_mean"),
            number_of(run, "results_number_output_tokens_mean"),
        ),
        number_of(run, "results_inter_token_latency_s_mean"),
        number_of(run, "results_ttft_s_mean"),
    )
