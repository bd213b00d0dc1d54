"""One's own past: the record is read and billed exactly, and replayed under other policies."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pertoken.cli.main import app
from pertoken.domain.service import Parallelism
from pertoken_bench.benchmark import bench
from pertoken_bench.cli.bench_history import manifests, summary
from pertoken_bench.hardware.catalog_times import catalog_times, times_of
from pertoken_bench.hardware.step_times import step_times
from pertoken_bench.history import (
    Replay,
    history_of,
    read_history,
    scenario_of,
    usd_per_hour,
    write_history,
    write_series,
)
from pertoken_bench.scenarios.prepare import prepare
from pertoken_bench.traces.files import TraceError

SERVICE = """
apiVersion: serving.pertoken.dev/v1alpha1
kind: InferenceService
metadata: {name: chat, namespace: llm}
spec:
  model: {id: meta-llama/Llama-3.1-8B-Instruct, servedName: chat, maxModelLen: 16384}
  objective:
    cost: {perMillionTokens: {blended: "0.15"}}
    latency: {ttftMilliseconds: 2000, interTokenMilliseconds: 50, percentile: 95}
  variants:
    - name: a100
      pool: a100
      minReplicas: 1
      maxReplicas: 8
      scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: chat-a100}
---
apiVersion: serving.pertoken.dev/v1alpha1
kind: AcceleratorPool
metadata: {name: a100}
spec:
  accelerator: a100-sxm-80gb
  pricePerGPUHour: "1.49"
  capacity: {fromNodes: {matchLabels: {gpu: a100}}}
"""
HEADER = "time_s,requests,input_tokens,output_tokens,replicas\n"


@pytest.fixture
def service(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text(SERVICE)
    return file


def spec(service):
    return manifests(service)[0]


def constant(path, replicas=3, bins=24, seconds=300, start=0):
    rows = (f"{start + i * seconds},600,660000,120000,{replicas}\n" for i in range(bins))
    path.write_text(HEADER + "".join(rows))
    return path


def invoke(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_three_constant_replicas_cost_what_they_cost(service, tmp_path):
    file = constant(tmp_path / "h.csv", start=1_700_000_000)
    done = invoke(
        "--service", service, "--history", file, "--policies", "static-best", "--seeds", 2, "--jobs", 1, "-o", "json"
    )
    assert done.exit_code == 0, done.output
    actual, other = json.loads(done.stdout)
    assert (actual["policy"], other["policy"]) == ("actual", "static-best")
    assert actual["usd"]["mean"] == pytest.approx(3 * 1.49 * 2.0, rel=1e-3)
    assert actual["replica_hours"]["mean"] == pytest.approx(6.0)
    assert actual["requests"]["mean"] == 24 * 600
    assert actual["usd_per_million_tokens"]["mean"] == pytest.approx(3 * 1.49 * 2.0 / (24 * 0.78), rel=1e-3)
    assert 0.9 < actual["slo_attainment"]["mean"] <= 1.0
    assert actual["bound_ratio"]["mean"] > 1.0
    assert other["requests"]["mean"] == pytest.approx(24 * 600, rel=0.03)
    assert other["usd"]["mean"] < actual["usd"]["mean"]
    words = summary([actual, other])
    assert words.splitlines()[0] == "paid: 8.94 USD, 6.0 replica-hours (recorded, not simulated)"
    assert words.splitlines()[1].startswith(f"static-best: {other['usd']['mean']:.2f} USD, -")


def test_simulated_bill_of_the_recorded_replicas_agrees_with_the_record(service, tmp_path):
    """The arithmetic and the simulated cluster bill the same schedule alike, but for draining pods."""
    owner, pools = manifests(service)
    file = tmp_path / "h.csv"
    rows = (f"{i * 300},300,330000,60000,{2 + (i // 4) % 2}\n" for i in range(24))
    file.write_text(HEADER + "".join(rows))
    history = read_history(file, owner)
    write_series(tmp_path / "s.csv", history)
    result = bench(scenario_of(owner, pools, history, tmp_path / "s.csv", Replay()), ["actual"], [0])
    recorded = history.replica_hours("a100") * usd_per_hour(owner.variants[0], pools)
    assert result.rows[0]["usd"]["mean"] == pytest.approx(recorded, rel=0.02)
    assert result.rows[0]["usd"]["mean"] >= recorded * 0.999


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time_s,requests,input_tokens,output_tokens\n0,1,1,1\n", ":1: column replicas: missing"),
        ("day,requests,input_tokens,output_tokens,replicas\n", ":1: column time_s: missing"),
        (HEADER + "0,1,1,1,3\n", "1 rows: expected at least two"),
        (HEADER + "0,1,1,1,3\n300,-1,1,1,3\n", ":3: requests: '-1': expected a number >= 0"),
        (HEADER + "0,1,1,1,3\n300,1,1,1,\n", ":3: replicas: '': expected a number >= 0"),
        (HEADER + "0,1,1,1,3\nyesterday,1,1,1,3\n", ":3: time_s: 'yesterday': expected seconds"),
        (HEADER + "300,1,1,1,3\n300,1,1,1,3\n", ":3: time_s: '300': expected a time after"),
        (HEADER + "0,1,nan,1,3\n300,1,1,1,3\n", ":2: input_tokens: 'nan'"),
    ],
)
def test_mistakes_name_file_line_column_and_expectation(service, tmp_path, text, words):
    file = tmp_path / "h.csv"
    file.write_text(text)
    with pytest.raises(TraceError) as caught:
        read_history(file, spec(service))
    assert str(caught.value).startswith(f"{file}{words}" if words.startswith(":") else f"{file}: {words}")


def test_commands_that_cannot_be_answered(service, tmp_path):
    good = constant(tmp_path / "h.csv", bins=2)
    two = tmp_path / "two.yaml"
    two.write_text(SERVICE.replace("name: a100}", "name: b200}"))
    free = tmp_path / "free.yaml"
    free.write_text(SERVICE.replace('  pricePerGPUHour: "1.49"\n', ""))
    other = tmp_path / "model.yaml"
    other.write_text(SERVICE.replace("meta-llama/Llama-3.1-8B-Instruct", "nobody/knows-this-model"))
    empty = tmp_path / "empty.csv"
    empty.write_text(HEADER + "0,0,0,0,1\n60,0,0,0,1\n")
    for arguments, words in (
        (["--service", service], "--history: missing"),
        (["--service", tmp_path / "no.yaml", "--history", good], "no.yaml: cannot be read"),
        (["--service", service, "--history", tmp_path / "no.csv"], "no.csv: cannot be read"),
        (["--service", two, "--history", good], "pool 'a100'"),
        (["--service", free, "--history", good], "pricePerGPUHour"),
        (["--service", other, "--history", good, "--jobs", 1], "knows-this-model"),
        (["--service", service, "--history", empty, "--jobs", 1], "no requests"),
        (["--service", service, "--history", good, "--lengths", tmp_path / "x.csv"], "--lengths"),
        (["--service", service, "--history", "prometheus"], "--prometheus-url: missing"),
        (["--service", service, "--history", "prometheus", "--prometheus-url", "ftp://x"], "http(s)"),
        (["--service", service, "--history", "prometheus", "--prometheus-url", "http://127.0.0.1:9"], "no connection"),
    ):
        done = invoke(*arguments)
        assert done.exit_code == 2, (arguments, done.output)
        assert words in done.stderr, (arguments, done.stderr)
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_model_without_tables_is_simulated_by_the_catalog_and_that_is_said(service, tmp_path):
    service.write_text(SERVICE.replace("meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-7B-Instruct"))
    file = constant(tmp_path / "h.csv", bins=4)
    done = invoke("--service", service, "--history", file, "--policies", "static-best", "--seeds", 1, "--jobs", 1)
    assert done.exit_code == 0, done.output
    assert "no measured step times for chat/a100" in done.stderr
    assert "paid: 1.49 USD" in done.stdout


def test_the_catalog_s_times_stand_near_the_measured_ones():
    measured = step_times("meta-llama/Llama-3.1-8B-Instruct", "h100-sxm", 1)
    parallel = Parallelism(tensor=1)
    spec = SimpleNamespace(id="meta-llama/Llama-3.1-8B-Instruct", architecture=None)
    modelled = catalog_times(spec, SimpleNamespace(quantization="", parallelism=parallel), "h100-sxm")
    for batch, context in ((1, 1000), (32, 1000), (128, 2000)):
        assert modelled.decode.plane(batch, context) == pytest.approx(measured.decode.plane(batch, context), rel=0.25)
    assert modelled.kv_blocks(80, 0.92) == pytest.approx(measured.kv_blocks(80, 0.92), rel=0.15)


def test_what_stands_in_is_bent_alike_every_time_and_never_far():
    spec = SimpleNamespace(id="Qwen/Qwen2.5-7B-Instruct", architecture=None)
    variant = SimpleNamespace(quantization="", parallelism=Parallelism(tensor=1))
    plain = catalog_times(spec, variant, "h100-sxm")
    (bent, measured), (again, _) = (times_of(spec, variant, "h100-sxm") for _ in range(2))

    assert not measured
    assert bent == again
    for kind in ("decode", "prefill"):
        pairs = zip(getattr(bent, kind).ms, getattr(plain, kind).ms, strict=True)
        ratios = {
            round(bent_ms / plain_ms, 6)
            for bent_row, plain_row in pairs
            for bent_ms, plain_ms in zip(bent_row, plain_row, strict=True)
        }
        assert len(ratios) > 4
        assert all(0.8 < ratio < 1.35 for ratio in ratios)


def test_measured_tables_serve_unquantized_models_alone():
    spec = SimpleNamespace(id="meta-llama/Llama-3.1-8B-Instruct", architecture=None)

    def measured(quantization):
        variant = SimpleNamespace(quantization=quantization, parallelism=Parallelism(tensor=1))
        return times_of(spec, variant, "h100-sxm")[1]

    assert measured("bf16")
    assert not measured("fp8")


def test_times_may_be_dates(service, tmp_path):
    file = tmp_path / "h.csv"
    text = HEADER.replace("time_s", "timestamp")
    file.write_text(text + "2025-03-01T10:00:00Z,5,50,5,2\n2025-03-01T11:00:00+01:00,5,50,5,2\n")
    with pytest.raises(TraceError, match="expected a time after"):
        read_history(file, spec(service))
    file.write_text(text + "2025-03-01T10:00:00Z,5,50,5,2\n2025-03-01T10:30:00Z,5,50,5,4\n")
    history = read_history(file, spec(service))
    assert history.seconds == 3600
    assert history.replica_hours("a100") == pytest.approx(3.0)


replicas = st.lists(st.integers(0, 9), min_size=2, max_size=12)


@settings(max_examples=40, deadline=None)
@given(replicas, st.lists(st.floats(1, 9000), min_size=12, max_size=12), st.integers(0, 2))
def test_what_is_written_is_read_back(tmp_path_factory, counts, gaps, kind):
    """Law: a record survives its file, and its bill is the sum over its bins."""
    folder = tmp_path_factory.mktemp("law")
    (folder / "my.yaml").write_text(SERVICE)
    owner = manifests(folder / "my.yaml")[0]
    starts = np.cumsum(gaps[: len(counts)]) + (0.0, 1e9, 12.5)[kind]
    columns = [np.array(counts, float) * factor for factor in (1.0, 1100.0, 200.0)]
    history = history_of(starts, columns, {"a100": np.array(counts, float)})
    write_history(folder / "h.csv", owner, history)
    again = read_history(folder / "h.csv", owner)
    assert np.array_equal(again.times, history.times)
    assert np.array_equal(again.input_tokens, history.input_tokens)
    lengths = np.diff(history.times)
    assert again.replica_hours("a100") == pytest.approx(float((lengths * counts).sum()) / 3600)


def test_drawn_lengths_keep_the_record_s_means(service, tmp_path):
    owner, pools = manifests(service)
    history = read_history(constant(tmp_path / "h.csv", bins=12), owner)
    write_series(tmp_path / "s.csv", history)
    trace = prepare(scenario_of(owner, pools, history, tmp_path / "s.csv", Replay()), 0).trace
    assert trace.input_tokens.mean() == pytest.approx(1100, rel=0.05)
    assert trace.output_tokens.mean() == pytest.approx(200, rel=0.05)
    assert trace.output_tokens.std() / trace.output_tokens.mean() == pytest.approx(0.77, rel=0.1)
    like = Replay(lengths=Path(__file__).resolve().parents[2] / "examples/traces/azure_2023_code.csv.gz")
    other = prepare(scenario_of(owner, pools, history, tmp_path / "s.csv", like), 0).trace
    assert other.output_tokens.mean() == pytest.approx(200, rel=0.1)
    assert other.output_tokens.std() / other.output_tokens.mean() > 1.5
