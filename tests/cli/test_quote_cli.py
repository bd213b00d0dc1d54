import copy
import json

import pytest
import typer
import yaml
from typer.testing import CliRunner

from pertoken.cli.breakeven import breakeven_command
from pertoken.cli.quote import quote_command

ON = ("-m", "llama-3.1-8b", "-g", "h100", "--price", "3.00")


@pytest.fixture
def run():
    app = typer.Typer()
    app.command("quote")(quote_command)
    app.command("breakeven")(breakeven_command)
    return lambda *args, stdin=None: CliRunner().invoke(app, [*args], input=stdin)


def answer(run, *args):
    outcome = run(*args, "-o", "json")
    assert outcome.exit_code == 0, outcome.output
    return json.loads(outcome.stdout)


@pytest.mark.parametrize("rate", ["0.05", "2", "20"])
def test_full_prices_add_up_to_the_bill_of_the_replica(run, rate):
    answered = answer(run, "quote", *ON, "--rate", rate, "--cached", "0.25", "--basis", "full")

    per_request = (
        750 * answered["input_cost_per_token"]
        + 250 * answered["cache_read_input_token_cost"]
        + 200 * answered["output_cost_per_token"]
    )
    assert per_request == pytest.approx(answered["usd_per_request_full"], rel=1e-4)
    assert per_request == pytest.approx(3.0 / 3600 / float(rate), rel=1e-4)


@pytest.mark.parametrize("rate", ["0.05", "2", "20"])
def test_a_further_request_costs_less_than_its_share_and_that_less_than_the_bill(run, rate):
    answered = answer(run, "quote", *ON, "--rate", rate)

    assert (
        0 < answered["usd_per_request_marginal"] <= answered["usd_per_request_busy"] <= answered["usd_per_request_full"]
    )
    low, high = answered["output_cost_per_token_interval"]
    shapley = answer(run, "quote", *ON, "--rate", rate, "--basis", "busy")["output_cost_per_token"]
    assert low <= shapley <= high


def test_marginal_prices_add_up_to_the_marginal_request(run):
    answered = answer(run, "quote", *ON, "--rate", "4", "--cached", "0.5")

    assert answered["basis"] == "marginal"
    assert (
        0
        < answered["cache_read_input_token_cost"]
        < answered["input_cost_per_token"]
        < answered["output_cost_per_token"]
    )
    per_request = (
        500 * answered["input_cost_per_token"]
        + 500 * answered["cache_read_input_token_cost"]
        + 200 * answered["output_cost_per_token"]
    )
    assert per_request == pytest.approx(answered["usd_per_request_marginal"], rel=1e-4)


def test_without_a_rate_the_replica_is_used_to_the_full(run):
    answered = answer(run, "quote", *ON, "--itl", "30")

    assert answered["usd_per_request_full"] == pytest.approx(answered["usd_per_request_new_replica"], rel=1e-4)


def test_the_table_explains_its_rows(run):
    text = run("quote", *ON, "--rate", "3").stdout

    assert "at 3 requests/s" in text
    assert "what one more request adds" in text
    assert "by either order of attribution" in text


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--rate", "0"), 2, "--rate: 0: expected requests per second above 0"),
        (("--rate", "1000"), 1, "a replica sustains"),
        (("--itl", "1"), 1, "the objective is 1 ms"),
        (("--gpu", "gpu9"), 2, "unknown GPU"),
    ],
)
def test_refusals(run, args, code, words):
    outcome = run("quote", *ON, *args)

    assert outcome.exit_code == code
    assert words in outcome.stderr
    assert outcome.stdout == ""


def test_break_even_is_where_both_cost_the_same(run):
    answered = answer(run, "breakeven", *ON, "--api-input", "0.05", "--api-output", "0.10", "--itl", "30")

    api = (1000 * 0.05 + 200 * 0.10) / 1e6
    assert answered["break_even_requests_per_second"] == pytest.approx(3.0 / 3600 / api, rel=1e-4)
    assert answered["break_even_tokens_per_second"] == pytest.approx(3.0 / 3600 / api * 1200, rel=1e-4)
    for row in answered["loads"]:
        own, there = row["own_usd_per_million"], row["api_usd_per_million"]
        assert row["cheaper"] == ("own" if own <= there else "API")
        assert there == pytest.approx(api / 1200 * 1e6, rel=1e-4)
        assert own == pytest.approx(row["replicas"] * 3.0 / 3600 / row["tokens_per_second"] * 1e6, rel=1e-4)


def test_peaks_make_own_gpus_dearer(run):
    prices = ("--api-input", "0.05", "--api-output", "0.10")
    flat = answer(run, "breakeven", *ON, *prices)
    peaked = answer(run, "breakeven", *ON, *prices, "--peak-to-mean", "2")

    assert peaked["utilization_at_break_even"] == pytest.approx(2 * flat["utilization_at_break_even"], rel=1e-3)


def test_an_api_below_full_use_is_never_beaten(run):
    outcome = run("breakeven", *ON, "--api-input", "0.001", "--api-output", "0.001")

    assert outcome.exit_code == 1
    assert "own GPUs never pay" in outcome.stdout


def test_cached_input_may_have_its_own_price(run):
    given = (*ON, "--cached", "0.5", "--api-input", "1", "--api-output", "1")
    alike, apart = answer(run, "breakeven", *given), answer(run, "breakeven", *given, "--api-cached", "0.1")

    assert alike["api_usd_per_thousand_requests"] == pytest.approx(1.2)
    assert apart["api_usd_per_thousand_requests"] == pytest.approx(0.5 + 0.05 + 0.2)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--api-input", "-1", "--api-output", "1"), "--api-input: '-1' is negative"),
        (("--api-input", "1", "--api-output", "x"), "--api-output: 'x' is not a decimal number"),
        (("--api-input", "1", "--api-output", "1", "--peak-to-mean", "0.5"), "--peak-to-mean: 0.5: expected 1 to 1000"),
        (("--api-input", "1", "--api-output", "1", "--itl", "1"), "--itl: 1: an idle replica takes"),
    ],
)
def test_break_even_refuses_bad_input_in_one_line(run, args, words):
    outcome = run("breakeven", *ON, *args)

    assert outcome.exit_code == 2
    assert words in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


STATE = {
    "kind": "List",
    "items": [
        {
            "kind": "InferenceService",
            "metadata": {"name": "chat", "namespace": "llm"},
            "spec": {
                "model": {"id": "meta-llama/Llama-3.1-8B-Instruct"},
                "objective": {"latency": {"interTokenMilliseconds": 60}},
                "variants": [{"name": "small", "pool": "h100", "batching": {"maxSequences": 128}}],
            },
            "status": {
                "variants": [
                    {
                        "name": "small",
                        "batchCap": 96,
                        "operatingBatch": "24.0",
                        "calibration": {"decodeGain": "1.25", "prefillGain": "1.10", "ttftOffsetMilliseconds": 30},
                    }
                ],
                "demand": {
                    "now": {
                        "requestsPerSecond": "6.00",
                        "inputTokensPerSecond": "6000.0",
                        "outputTokensPerSecond": "1200.0",
                    }
                },
            },
        },
        {
            "kind": "AcceleratorPool",
            "metadata": {"name": "h100"},
            "spec": {"accelerator": "h100-sxm", "pricePerGPUHour": "3.00"},
        },
    ],
}


@pytest.fixture
def state(tmp_path):
    def write(change=lambda _: None):
        document = copy.deepcopy(STATE)
        change(document["items"])
        path = tmp_path / "state.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return str(path)

    return write


def test_a_service_is_quoted_at_its_present_batch(run, state):
    answered = answer(run, "quote", "-f", state(), "--basis", "full")

    assert answered["batch"] == 24.0
    assert "1000 input and 200 output tokens" in answered["of"]
    assert "3.00 USD per GPU-hour" in answered["of"]
    prior = answer(run, "quote", *ON, "--max-num-seqs", "96", "--rate", str(answered["requests_per_second"]))
    assert (
        answered["usd_per_request_marginal"] > 1.05 * prior["usd_per_request_marginal"]
    )  # learnt: 25 % slower decodes


def test_the_present_state_comes_from_standard_input_too(run, state):
    with open(state(), encoding="utf-8") as file:  # noqa: PTH123 - handed to the runner
        outcome = run("quote", "-f", "-", "-o", "json", stdin=file.read())

    assert json.loads(outcome.stdout)["batch"] == 24.0


@pytest.mark.parametrize(
    ("change", "args", "words"),
    [
        (lambda items: items.pop(1), (), "spec.variants[].pool: 'h100': expected this AcceleratorPool"),
        (lambda items: items.pop(0), (), "holds none; expected the name of one InferenceService"),
        (len, ("--service", "code"), "--service: code"),
        (len, ("--variant", "large"), "expected variant 'large' that serves"),
        (lambda items: items[0]["status"].pop("variants"), (), "operatingBatch: missing"),
        (lambda items: items[0]["status"].pop("demand"), (), "requestsPerSecond: None: expected a number"),
        (
            lambda items: items[0]["status"]["demand"]["now"].update(requestsPerSecond="0.00"),
            (),
            "requestsPerSecond: 0: expected traffic",
        ),
        (lambda items: items[0]["spec"]["model"].update(id="nope"), (), "unknown model 'nope'"),
    ],
)
def test_what_the_present_state_lacks_is_named(run, state, change, args, words):
    outcome = run("quote", "-f", state(change), *args)

    assert outcome.exit_code == 2, outcome.output
    assert words in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


@pytest.mark.parametrize("text", ["a: [1", "\x00", "just words", ""])
def test_files_that_hold_no_objects_are_refused(run, tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")

    outcome = run("quote", "-f", str(path))

    assert outcome.exit_code == 2
    assert "Traceback" not in outcome.output
    assert len(outcome.stderr.splitlines()) == 1


def test_a_missing_file_and_a_missing_model_are_said(run, tmp_path):
    assert "cannot be read: No such file" in run("quote", "-f", str(tmp_path / "none")).stderr
    assert "expected both, or a service's present state" in run("quote", "-m", "llama-3.1-8b").stderr
