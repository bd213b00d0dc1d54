"""`pertoken advise`: what it asks for, what it prints, and what it refuses."""

import copy
import json
import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from pertoken.cli.advise import advise_command
from pertoken.cli.main import COMMANDS

PAGE = Path(__file__).parents[2] / "docs" / "advise.md"
ON = ("-m", "llama-3.1-8b", "-g", "h100", "--price", "3.00", "--rate", "40", "--itl", "40", "--ttft", "2000")
STATE = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        {
            "apiVersion": "serving.pertoken.dev/v1alpha1",
            "kind": "InferenceService",
            "metadata": {"name": "chat", "namespace": "llm"},
            "spec": {
                "model": {"id": "meta-llama/Llama-3.1-8B-Instruct", "maxModelLen": 16384},
                "objective": {
                    "cost": {"perMillionTokens": {"blended": "0.10"}},
                    "latency": {"ttftMilliseconds": 2000, "interTokenMilliseconds": 40},
                },
                "variants": [
                    {
                        "name": "small",
                        "pool": "h100",
                        "maxReplicas": 8,
                        "batching": {"maxSequences": 128},
                        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
                    }
                ],
            },
            "status": {
                "variants": [
                    {
                        "name": "small",
                        "readyReplicas": 4,
                        "batchCap": 96,
                        "batchedTokens": 4096,
                        "calibration": {
                            "decodeGain": "1.25",
                            "prefillGain": "1.10",
                            "ttftOffsetMilliseconds": 30,
                            "samples": 420,
                        },
                    }
                ],
                "demand": {
                    "now": {
                        "requestsPerSecond": "40.00",
                        "inputTokensPerSecond": "40000.0",
                        "outputTokensPerSecond": "8000.0",
                    }
                },
            },
        },
        {
            "apiVersion": "serving.pertoken.dev/v1alpha1",
            "kind": "AcceleratorPool",
            "metadata": {"name": "h100"},
            "spec": {"accelerator": "h100-sxm", "pricePerGPUHour": "3.00", "capacity": {"gpus": 16}},
        },
    ],
}


@pytest.fixture
def run():
    app = typer.Typer()
    app.command("advise")(advise_command)
    return lambda *args, stdin=None: CliRunner().invoke(app, [*args], input=stdin)


@pytest.fixture
def state(tmp_path):
    def write(change=lambda _: None):
        document = copy.deepcopy(STATE)
        change(document["items"])
        path = tmp_path / "state.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return str(path)

    return write


def answers(run, *args, code=0, stdin=None):
    outcome = run(*args, "-o", "json", stdin=stdin)
    assert outcome.exit_code == code, outcome.output
    return json.loads(outcome.stdout)["advice"]


def answer(run, *args, code=0):
    (one,) = answers(run, *args, code=code)
    return one


def changed(advice, kind, after):
    return next(row for row in advice["changes"] if row["change"] == kind and row["after"].startswith(after))


def test_the_worked_example_is_what_the_command_prints(run):
    (block,) = re.findall(r"```console\n\$ pertoken advise (.*?)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    outcome = run(*shlex.split(block[0]))

    assert outcome.exit_code == 0
    assert outcome.stdout == block[1]


def test_it_is_a_command_of_pertoken():
    assert COMMANDS["advise"] == "pertoken.cli.advise:advise_command"


def test_figures_add_up(run):
    advice = answer(run, *ON)
    present = advice["present"]

    assert present["usd_per_month"] == pytest.approx(present["replicas"] * 3.00 * 730)
    assert present["usd_per_million_tokens"] == pytest.approx(
        present["replicas"] * 3 / 3600 / 40 / 1200 * 1e6, rel=1e-4
    )
    for row in advice["changes"]:
        assert row["saved_usd_per_month"] == pytest.approx(present["usd_per_month"] - row["usd_per_month"], abs=0.02)
        assert row["usd_per_thousand_answers"]["p50"] < row["usd_per_thousand_answers"]["p95"]
    saved = [row["saved_usd_per_month"] for row in advice["changes"]]
    assert saved == sorted(saved, reverse=True)


OPTIONS = {
    "model": "-m",
    "quantization": "-q",
    "gpu": "-g",
    "tensor parallelism": "--tp",
    "batch cap": "--max-num-seqs",
    "prefill chunk": "--max-batched-tokens",
}


def test_a_change_that_is_made_gives_what_its_row_said(run):
    given = ("-m", "llama-3.1-70b", "-g", "h100", "--tp", "4", "--max-num-seqs", "64", "--rate", "20", "--itl", "50")
    advice = answer(run, *given, "--all", "--allow-model", "llama-3.1-8b")
    single = [row for row in advice["changes"] if row["change"] in OPTIONS and not row["and_tensor_parallelism"]]
    best = {row["change"]: row for row in reversed(single)}
    for row in best.values():
        value = row["after"].split()[0]
        made = answer(run, *given, OPTIONS[row["change"]], value)["present"]
        assert made == {key: row[key] for key in made}
    assert set(best) == set(OPTIONS)


def test_the_table_cuts_nothing_however_narrow_the_terminal_is(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text, advice = run(*ON).stdout, answer(run, *ON)

    assert "…" not in text
    for row in advice["changes"]:
        line = next(line for line in text.splitlines() if line.endswith(tuple(words_of(row))))
        assert f"{row['saved_usd_per_month']:,.2f}" in line
        assert f"{row['usd_per_million_tokens']:.4f}" in line
        assert row["how_sure"] in line


def words_of(row):
    words = f": {row['before']} -> {row['after']}"
    return [f"{words} ({row['note']})" if row["note"] else words]


def test_a_service_is_advised_on_as_its_status_shows_it(run, state):
    advice = answer(run, "--from", state())

    assert (advice["service"], advice["variant"]) == ("llm/chat", "small")
    assert (advice["requests_per_second"], advice["input_tokens"], advice["output_tokens"]) == (40.0, 1000.0, 200.0)
    assert advice["replicas_ready"] == 4
    assert advice["present"]["how_sure"] == "calibrated here"
    assert advice["present"]["cost_index"] == pytest.approx(
        advice["present"]["usd_per_million_tokens"] / 0.10, rel=1e-4
    )
    assert changed(advice, "batch cap", "")["before"] == "96 sequences"
    assert "batching.maxSequences, which is 128" in changed(advice, "batch cap", "")["note"]
    assert changed(advice, "prefill chunk", "")["before"] == "4096 tokens"
    assert changed(advice, "quantization", "fp8")["how_sure"] == "measured elsewhere"
    uncalibrated = answer(run, *ON, "--max-num-seqs", "96", "--max-batched-tokens", "4096")
    slower, modelled = (each["present"]["requests_per_second_per_replica"] for each in (advice, uncalibrated))
    assert slower < modelled


def test_standard_input_and_files_are_the_same(run, state):
    path = state()

    assert answers(run, "-f", "-", stdin=Path(path).read_text()) == answers(run, "-f", path)


def test_options_go_before_the_status(run, state):
    given = ("--rate", "80", "--output-tokens", "100", "--price", "h100=2.00")
    advice = answer(run, "-f", state(), *given)

    assert (advice["requests_per_second"], advice["input_tokens"], advice["output_tokens"]) == (80.0, 1000.0, 100.0)
    assert advice["present"]["usd_per_gpu_hour"] == "2.00"


def test_a_manifest_without_status_takes_its_load_from_options(run, state):
    advice = answer(run, "-f", state(lambda items: items[0].pop("status")), "--rate", "40")

    assert advice["replicas_ready"] is None
    assert advice["present"]["how_sure"] == "measured elsewhere"


def two_variants(items):
    large = copy.deepcopy(items[0]["spec"]["variants"][0])
    large.update(name="wide", parallelism={"tensor": 2})
    large["scaleTargetRef"]["name"] = "chat-wide"
    items[0]["spec"]["variants"].append(large)
    items[0]["status"]["variants"].append({"name": "wide", "readyReplicas": 1})


def test_variants_share_the_demand_by_what_their_ready_replicas_carry(run, state):
    small, wide = answers(run, "-f", state(two_variants))
    carried = [
        4 * small["present"]["requests_per_second_per_replica"],
        wide["present"]["requests_per_second_per_replica"],
    ]

    assert small["requests_per_second"] + wide["requests_per_second"] == pytest.approx(40.0, rel=1e-4)
    assert small["requests_per_second"] == pytest.approx(40.0 * carried[0] / sum(carried), rel=1e-4)
    assert [each["variant"] for each in answers(run, "-f", state(two_variants), "--variant", "wide")] == ["wide"]


def test_without_ready_replicas_the_cheapest_variant_takes_all(run, state):
    def started(items):
        two_variants(items)
        items[0].pop("status")

    (only,) = answers(run, "-f", state(started), "--rate", "10")
    assert (only["variant"], only["requests_per_second"]) == ("small", 10.0)


def test_idle_services_are_left_out_and_stop_no_other(run, state):
    def with_idle(items):
        idle = copy.deepcopy(items[0])
        idle["metadata"]["name"] = "idle"
        idle["spec"]["variants"][0]["scaleTargetRef"]["name"] = "idle"
        idle["status"]["demand"]["now"]["requestsPerSecond"] = "0.00"
        items.append(idle)

    outcome = run("-f", state(with_idle), "-o", "json")
    told = json.loads(outcome.stdout)

    assert outcome.exit_code == 0
    assert [each["service"] for each in told["advice"]] == ["llm/chat"]
    assert told["left_out"] == [
        "InferenceService llm/idle: status.demand.now.requestsPerSecond: '0.00': expected traffic, or --rate"
    ]
    assert outcome.stderr.startswith("left out: InferenceService llm/idle")
    refused = run("-f", state(with_idle), "--service", "idle")
    assert refused.exit_code == 2


def test_allowed_models_are_the_only_ones_named(run):
    unknown, allowed = (
        [row for row in answer(run, *ON, *more)["changes"] if row["change"] == "model"]
        for more in ((), ("--allow-model", "qwen2.5-3b"))
    )

    assert unknown
    assert all(row["note"].startswith("quality not known") for row in unknown)
    assert {row["after"].split(",")[0] for row in allowed} == {"Qwen/Qwen2.5-3B"}
    assert all(row["note"].startswith("allowed by --allow-model") for row in allowed)


def test_prices_of_gpus_are_the_options_then_the_pools_then_a_dated_lists(run, state):
    def with_l40s(items):
        pool = copy.deepcopy(items[1])
        pool["metadata"]["name"] = "cheap"
        pool["spec"].update(accelerator="l40s", pricePerGPUHour="0.10")
        items.append(pool)

    mine = ("--price", "h200=1.00")
    advice = answer(run, "-f", state(with_l40s), "--all", *mine)

    assert changed(advice, "gpu", "h200-sxm")["price"] == "1.00 USD per GPU-hour (--price)"
    assert changed(advice, "gpu", "l40s")["price"] == "0.10 USD per GPU-hour (pool cheap)"
    assert "2026" in changed(advice, "gpu", "gh200")["price"]


def test_a_budget_and_an_api_are_told_for_today_and_for_the_best_change(run):
    given = ("--budget", "12", "--api-input", "0.05", "--api-output", "0.20", "--cached", "0.5", "--api-cached", "0.01")
    advice, text = answer(run, *ON, *given), run(*ON, *given).stdout
    present = advice["present"]

    assert present["requests_per_second_at_budget"] == pytest.approx(
        4 * present["requests_per_second_per_replica"], rel=1e-4
    )
    api = (500 * 0.05 + 500 * 0.01 + 200 * 0.20) / 1e6
    assert present["against_api"]["api_usd_per_month"] == pytest.approx(api * 40 * 3600 * 730, rel=1e-4)
    assert present["against_api"]["break_even_requests_per_second"] == pytest.approx(3.0 / 3600 / api, rel=1e-4)
    assert len(re.findall(r"12 USD/hour carries [\d.]+ requests/s within the objectives", text)) == 2
    assert len(re.findall(r"USD/month at the API", text)) == 2


def test_free_gpus_carry_any_number(run):
    assert "12 USD/hour carries any number of requests/s" in run(*ON, "--price", "0", "--budget", "12").stdout


def test_a_free_api_is_never_beaten_and_has_no_utilization(run):
    given = (*ON, "--api-input", "0", "--api-output", "0")
    compared = answer(run, *given)["present"]["against_api"]

    assert compared["break_even_requests_per_second"] is None
    assert compared["utilization_at_break_even"] is None
    assert "own GPUs never pay at these prices" in run(*given).stdout


def test_yaml_has_the_same_figures(run):
    assert yaml.safe_load(run(*ON, "-o", "yaml").stdout)["advice"] == answers(run, *ON)


def test_nothing_that_keeps_the_objectives_is_exit_code_1(run):
    advice = answer(run, *ON, "--itl", "0.1", code=1)

    assert not advice["keeps_objectives"]
    assert "inter-token" in advice["present"]["missed"]
    text = run(*ON, "--itl", "0.1").stdout
    assert "missed as it runs: inter-token" in text
    assert "no single change keeps the latency objectives" in text


@pytest.mark.parametrize(
    ("args", "lines"),
    [
        ((), ["--model, --gpu, --rate: missing: expected --model, --gpu and --rate, or manifests by --from"]),
        (("-m", "llama-3.1-8b", "-g", "h100"), ["--rate: missing"]),
        ((*ON, "--rate", "0"), ["--rate: 0: expected requests per second above 0"]),
        ((*ON, "--rate", "nan"), ["--rate: nan: expected"]),
        ((*ON, "--input", "-1", "--cached", "2"), ["--input-tokens: -1: expected", "--cached: 2: expected a share"]),
        ((*ON, "--price", "gpu9=1"), ["--price: 'gpu9=1': unknown GPU 'gpu9'"]),
        ((*ON, "--price", "h200=x"), ["--price: 'x' is not a decimal number like 0.80; expected GPU=USD per GPU-hour"]),
        ((*ON, "--price", "-2"), ["--price: '-2' is negative"]),
        ((*ON, "--allow-model", "nope"), ["--allow-model: 'nope': unknown model 'nope'"]),
        ((*ON, "--budget", "lots"), ["--budget: 'lots' is not a decimal number like 0.80; expected USD per hour"]),
        ((*ON, "--api-output", "1"), ["--api-input: missing: expected USD per million tokens"]),
        ((*ON, "--peak-to-mean", "0.5"), ["--peak-to-mean: 0.5: expected 1 to 1000"]),
        ((*ON, "-m", "nope", "-g", "gpu9", "--budget", "-1"), ["--budget: '-1'", "--model: 'nope'", "--gpu: 'gpu9'"]),
        ((*ON, "-m", "llama-3.1-70b"), ["--tp: 1: the weights of meta-llama/Llama-3.1-70B"]),
        (("-f", "none.yaml"), ["none.yaml:0: cannot be read"]),
    ],
)
def test_mistakes_of_options_are_one_line_each(run, args, lines):
    outcome = run(*args)
    told = outcome.stderr.splitlines()

    assert outcome.exit_code == 2, outcome.output
    assert outcome.stdout == ""
    assert len(told) == len(lines)
    for line, words in zip(told, lines, strict=True):
        assert words in line


def zero(items):
    items[0]["status"]["variants"][0]["calibration"]["decodeGain"] = "0"


@pytest.mark.parametrize(
    ("change", "args", "words"),
    [
        (lambda items: items.pop(1), (), "spec.variants[0].pool: 'h100': expected this AcceleratorPool"),
        (lambda items: items.pop(0), (), "--service: missing: the files hold none"),
        (len, ("--service", "code"), "--service: code: the files hold llm/chat"),
        (len, ("--variant", "wide"), "--variant: wide: expected one that serves of small"),
        (len, ("--tp", "2"), "--tp: 2: expected without --from"),
        (len, ("--price", "2"), "--price: 2: expected without --from"),
        (lambda items: items[0].pop("status"), (), "requestsPerSecond: missing: expected live status"),
        (lambda items: items[0]["status"]["demand"]["now"].update(requestsPerSecond="much"), (), "'much': expected"),
        (lambda items: items[0]["status"]["demand"]["now"].update(requestsPerSecond="nan"), (), "'nan': expected"),
        (zero, (), "calibration.decodeGain: '0': expected a factor from 0.1 to 10"),
        (lambda items: items[0]["spec"]["model"].update(id="nope"), (), "spec.model.id: 'nope': expected a model"),
        (lambda items: items[1]["spec"].update(accelerator="gpu9"), (), "spec.accelerator: 'gpu9'"),
        (lambda items: items[1]["spec"].update(pricePerGPUHour="-1"), (), "spec.pricePerGPUHour"),
        (
            lambda items: items[0]["spec"]["variants"][0].update(engine="generic"),
            (),
            "engine: 'generic': expected vllm",
        ),
    ],
)
def test_mistakes_of_manifests_are_one_line_each(run, state, change, args, words):
    outcome = run("-f", state(change), *args)

    assert outcome.exit_code == 2, outcome.output
    assert words in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


def test_a_rate_for_several_services_is_refused(run, state):
    def two(items):
        other = copy.deepcopy(items[0])
        other["metadata"]["name"] = "code"
        items.append(other)

    outcome = run("-f", state(two), "--rate", "5")
    assert outcome.exit_code == 2
    assert "expected --service, whose rate it is" in outcome.stderr


@pytest.mark.parametrize(
    "status", [[], "x", {"variants": 3}, {"demand": 1}, {"variants": [None], "demand": {"now": []}}]
)
def test_a_status_of_another_shape_is_no_crash(run, state, status):
    outcome = run("-f", state(lambda items: items[0].update(status=status)), "--rate", "5")

    assert outcome.exit_code == 0, outcome.output
