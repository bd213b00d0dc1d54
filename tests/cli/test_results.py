"""Result files of load generators as they are written: appended, as lines, empty, failed, not streamed."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from pertoken.cli.calibrate import calibrate_command
from pertoken.cli.results.documents import documents_of
from pertoken.cli.results.fields import NoResult
from pertoken.cli.results.formats import Format, format_of, measured

VLLM = {
    "backend": "vllm",
    "model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "request_rate": "inf",
    "max_concurrency": 8,
    "duration": 34.0,
    "completed": 200,
    "total_input_tokens": 200_000,
    "total_output_tokens": 40_000,
    "mean_ttft_ms": 60,
    "mean_tpot_ms": 8.2,
}
SGLANG = {**VLLM, "backend": "sglang", "request_rate": float("inf"), "max_concurrency": 16, "concurrency": 15.9}
LLMPERF = {
    "model": "llama",
    "num_concurrent_requests": 8,
    "results_number_input_tokens_mean": 1000.0,
    "results_number_output_tokens_mean": 200.0,
    "results_inter_token_latency_s_mean": 0.0082,
    "results_ttft_s_mean": 0.06,
    "results_num_completed_requests": 200,
}
AIPERF = {
    "input_config": {"endpoint": {"model_names": ["llama"]}},
    "request_count": {"unit": "requests", "avg": 200},
    "request_throughput": {"unit": "requests/sec", "avg": 5.0},
    "request_latency": {"unit": "ms", "avg": 1600.0},
    "time_to_first_token": {"unit": "ms", "avg": 60.0},
    "inter_token_latency": {"unit": "us", "avg": 8200.0},
    "input_sequence_length": {"unit": "tokens", "avg": 1000.0},
    "output_sequence_length": {"unit": "tokens", "avg": 200.0},
}
MEAN = {"mean": 1.0}
INFERENCE_PERF = {
    "successes": {
        "count": 90,
        "latency": {
            "request_latency": {"mean": 1.6},
            "time_per_output_token": {"mean": 0.0082},
            "time_to_first_token": {"mean": 0.06},
        },
        "throughput": {"requests_per_sec": 5.0},
        "prompt_len": {"mean": 1000.0},
        "output_len": {"mean": 200.0},
    }
}


@pytest.mark.parametrize(
    ("run", "kind", "clients", "model"),
    [
        (VLLM, Format.VLLM, 8.0, VLLM["model_id"]),
        (SGLANG, Format.SGLANG, 15.9, VLLM["model_id"]),
        (LLMPERF, Format.LLMPERF, 8.0, "llama"),
        (AIPERF, Format.AIPERF, 8.0, "llama"),
        (INFERENCE_PERF, Format.INFERENCE_PERF, 8.0, ""),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_every_generators_run_is_read(run, kind, clients, model):
    assert format_of(run) is kind
    for asked in (Format.AUTO, kind):
        runs = measured([run], asked)
        (point,) = runs.points
        assert (point.clients.concurrency, point.clients.input_tokens, point.clients.output_tokens) == pytest.approx(
            (clients, 1000.0, 200.0)
        )
        assert (point.inter_token, point.ttft) == pytest.approx((0.0082, 0.06))
        assert runs.model == model


@pytest.mark.parametrize("join", ["\n", "", ",\n", "\r\n\r\n"], ids=["lines", "in a row", "commas", "blank lines"])
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_appended_runs_are_all_read(tmp_path, join, suffix):
    path = tmp_path / f"results{suffix}"
    path.write_text("\ufeff" + join.join(json.dumps({**VLLM, "max_concurrency": n}) for n in (8, 32, 64)) + "\n")
    runs = measured(documents_of(path), Format.AUTO)

    assert [point.clients.concurrency for point in runs.points] == [8.0, 32.0, 64.0]


def test_an_array_of_runs_is_read_as_well(tmp_path):
    path = tmp_path / "runs.json"
    path.write_text(json.dumps([VLLM, SGLANG]))

    assert len(measured(documents_of(path), Format.AUTO).points) == 2


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ({**VLLM, "completed": 0, "mean_ttft_ms": 0.0, "mean_tpot_ms": 0.0}, "completed: 0 requests completed"),
        ({**VLLM, "mean_tpot_ms": float("nan")}, "mean_tpot_ms: nan: nothing was measured"),
        ({**SGLANG, "completed": 0}, "completed: 0 requests completed"),
        ({**LLMPERF, "results_num_completed_requests": 0}, "0 requests completed"),
        ({**AIPERF, "request_count": {"avg": 0}}, "request_count.avg: 0 requests completed"),
        ({"successes": {"count": 0, "latency": None}}, "successes.count: 0 requests succeeded"),
        (
            {"benchmarks": [{"metrics": {"request_totals": {"successful": 0}}}]},
            "benchmarks[0].left out: metrics.request_totals.successful: 0 requests completed",
        ),
    ],
)
def test_a_run_that_measured_nothing_is_left_out_with_a_line(run, words):
    runs = measured([run, VLLM], Format.AUTO)

    assert len(runs.points) == 1
    (line,) = runs.left_out
    assert words in line


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (
            {"successes": {**INFERENCE_PERF["successes"], "latency": {"request_latency": MEAN}}},
            "did not stream its answers; expected a run with `api: {streaming: true}`",
        ),
        ({**AIPERF, "time_to_first_token": None}, "expected --streaming"),
        ({**AIPERF, "request_latency": {"unit": "days", "avg": 1}}, "request_latency.unit: 'days'"),
        ({**VLLM, "mean_ttft_ms": "fast"}, "mean_ttft_ms: 'fast'; expected a number above 0"),
        ({**VLLM, "total_input_tokens": True}, "total_input_tokens: True"),
        ({"something": 1}, "no load generator's result is recognized"),
        (7, "no load generator's result is recognized"),
    ],
)
def test_what_cannot_be_read_is_named(run, words):
    with pytest.raises(NoResult, match=r".") as mistake:
        measured([run], Format.AUTO)
    assert words in str(mistake.value)


def test_the_run_of_a_mistake_is_named_where_there_are_several():
    with pytest.raises(NoResult, match=r"^run 2: mean_ttft_ms"):
        measured([VLLM, {**VLLM, "mean_ttft_ms": -1}], Format.AUTO)


def test_left_out_runs_are_told_beside_what_was_learnt(tmp_path):
    app = typer.Typer()
    app.command()(calibrate_command)
    path = tmp_path / "results.json"
    path.write_text("\n".join(json.dumps(entry) for entry in (VLLM, {**VLLM, "completed": 0})))
    outcome = CliRunner().invoke(app, [str(path), "-g", "h100", "-o", "json"])

    assert outcome.exit_code == 0
    assert "run 2: left out: completed: 0 requests completed" in outcome.stderr
    (learnt,) = json.loads(outcome.stdout)["deployments"]
    assert learnt["model"]
