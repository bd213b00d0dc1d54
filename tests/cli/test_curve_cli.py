import csv
import io
import json
import subprocess
import sys

import pytest
import typer
import yaml
from typer.testing import CliRunner

from pertoken.cli.curve import curve_command

ARGS = ("-m", "llama-3.1-8b", "-g", "h100", "--price", "3.00", "--itl", "30", "--max-num-seqs", "256")


@pytest.fixture
def run():
    app = typer.Typer()
    app.command("curve")(curve_command)
    return lambda *args: CliRunner().invoke(app, [*args])


def test_cost_falls_and_latency_grows_with_the_batch(run):
    answer = run(*ARGS, "-o", "json")

    assert answer.exit_code == 0
    points = json.loads(answer.stdout)["points"]
    batches = [point["batch"] for point in points]
    assert batches == sorted(batches)
    assert (batches[0], batches[-1]) == (1.0, 256.0)
    costs = [point["usd_per_million_tokens"] for point in points]
    assert costs == sorted(costs, reverse=True)
    assert [point["itl_ms"] for point in points] == sorted(point["itl_ms"] for point in points)
    for point in points:
        tokens = point["requests_per_second"] * 1200
        assert point["usd_per_million_tokens"] == pytest.approx(3.0 / 3600 / tokens * 1e6, rel=1e-3)
        spread = (1000 * point["usd_per_million_input"] + 200 * point["usd_per_million_output"]) / 1200
        assert spread == pytest.approx(point["usd_per_million_tokens"], rel=1e-3)


def test_the_best_batch_is_where_the_objective_binds(run):
    answer = json.loads(run(*ARGS, "-o", "json").stdout)

    assert answer["binding"] == "inter-token"
    assert answer["best_batch"] == pytest.approx(answer["limits"]["inter-token"], rel=0.01)
    best = next(point for point in answer["points"] if point["best"])
    assert best["itl_tail_ms"] == pytest.approx(30.0, rel=0.01)
    assert best["breaks"] == []
    for point in answer["points"]:
        assert ("inter-token" in point["breaks"]) == (point["itl_tail_ms"] > 30.0)
        assert ("cap" in point["breaks"]) == (point["batch"] > 256 / 1.25)


def test_the_cache_binds_where_contexts_are_long(run):
    answer = json.loads(
        run("-m", "llama-3.1-8b", "-g", "l40s", "--price", "1", "--input-tokens", "16000", "-o", "json").stdout
    )

    assert answer["binding"] == "kv"
    assert all(("kv" in point["breaks"]) == (point["batch"] > answer["limits"]["kv"]) for point in answer["points"])
    assert max(point["kv_share"] for point in answer["points"]) <= 1.05


def test_the_same_rows_as_csv_and_yaml(run):
    rows = json.loads(run(*ARGS, "-o", "json").stdout)["points"]

    read = list(csv.DictReader(io.StringIO(run(*ARGS, "-o", "csv").stdout)))

    assert [float(row["usd_per_million_output"]) for row in read] == [row["usd_per_million_output"] for row in rows]
    assert yaml.safe_load(run(*ARGS, "-o", "yaml").stdout)["points"] == rows


def test_the_table_marks_what_binds(run):
    lines = run(*ARGS).stdout.splitlines()

    assert any("<- best; inter-token binds" in line for line in lines)
    assert lines[-1].startswith("best batch")
    assert "cap at 205" in lines[-1]


def test_an_objective_below_an_idle_replica_is_out_of_reach(run):
    answer = run("-m", "llama-3.1-70b", "-g", "h100", "--tp", "4", "--price", "3", "--itl", "1")

    assert answer.exit_code == 1
    assert "out of reach" in answer.stdout
    assert "the objective is 1 ms" in answer.stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("-m", "lama-3.1-8b", "-g", "h100"), ["--model: 'lama-3.1-8b': unknown model", "Llama-3.1-8B"]),
        (("-m", "llama-3.1-8b", "-g", "h1000"), ["--gpu: 'h1000': unknown GPU"]),
        (("-m", "nope", "-g", "nope"), ["--model: 'nope'", "--gpu: 'nope'"]),
        (("-m", "llama-3.1-405b", "-g", "h100"), ["--tp: 1: the weights", "do not fit"]),
        ((*ARGS, "--cached", "1.5"), ["--cached: 1.5: expected a share from 0 to 1"]),
        ((*ARGS, "--itl", "-3"), ["--itl: -3: expected milliseconds above 0"]),
        ((*ARGS, "--output-tokens", "0"), ["--output-tokens: 0: expected 1 to"]),
        (("-m", "unsloth/Qwen3-8B-GGUF", "-g", "h100"), ["--quantization: 'unsloth/Qwen3-8B-GGUF' hides the type"]),
        ((*ARGS, "--quantization", "fp5"), ["--quantization: 'fp5': expected one of", "fp8"]),
        (("-m", "llama-3.1-8b", "-g", "h100", "--price", "free"), ["--price: 'free' is not a decimal number"]),
        (("-m", "llama-3.1-8b", "-g", "a10g"), ["--price: missing: no list price of a10g"]),
        ((*ARGS, "--plot", "/nonexistent/c.png"), ["--plot: /nonexistent/c.png: cannot be written"]),
    ],
)
def test_mistakes_are_one_line_each(run, args, words):
    answer = run(*args)

    assert answer.exit_code == 2
    assert "Traceback" not in answer.output
    assert answer.stdout == ""
    for word in words:
        assert word in answer.stderr
    assert len(answer.stderr.splitlines()) == sum(word.startswith("--") for word in words)


def test_a_list_price_is_said_to_be_one(run):
    answer = run("-m", "llama-3.1-8b", "-g", "h100")

    assert "2.95 USD per GPU-hour (Nebius, on demand, 2026)" in answer.stdout


def test_a_picture_is_drawn(run, tmp_path):
    path = tmp_path / "curve.png"

    answer = run(*ARGS, "--plot", str(path))

    assert answer.exit_code == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 20_000


def test_without_matplotlib_the_extra_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    answer = run(*ARGS, "--plot", str(tmp_path / "c.png"))

    assert answer.exit_code == 2
    assert "expected the extra: pip install 'pertoken[plot]'" in answer.stderr


def test_starting_the_command_line_does_not_load_matplotlib():
    code = "import sys, pertoken.cli.main; sys.exit('matplotlib' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
