import json

import pytest
import typer
from typer.testing import CliRunner

from pertoken.cli.breakeven import breakeven_command
from pertoken.cli.quote import quote_command

ON = ("-m", "llama-3.1-8b", "-g", "h100", "--price", "3.00")


@pytest.fixture
def run():
    app = typer.Typer()
    app.command("quote")(quote_command)
    app.command("breakeven")(breakeven_command)
    return lambda *args: CliRunner().invoke(app, [*args])


def answer(run, *args):
    found = run(*args, "-o", "json")
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


@pytest.mark.parametrize("rate", ["0.05", "2", "20"])
def test_full_prices_add_up_to_the_bill_of_the_replica(run, rate):
    found = answer(run, "quote", *ON, "--rate", rate, "--cached", "0.25", "--basis", "full")

    per_request = (
        750 * found["input_cost_per_token"]
        + 250 * found["cache_read_input_token_cost"]
        + 200 * found["output_cost_per_token"]
    )
    assert per_request == pytest.approx(found["usd_per_request_full"], rel=1e-4)
    assert per_request == pytest.approx(3.0 / 3600 / float(rate), rel=1e-4)


@pytest.mark.parametrize("rate", ["0.05", "2", "20"])
def test_a_further_request_costs_less_than_its_share_and_that_less_than_the_bill(run, rate):
    found = answer(run, "quote", *ON, "--rate", rate)

    assert 0 < found["usd_per_request_marginal"] <= found["usd_per_request_busy"] <= found["usd_per_request_full"]
    low, high = found["output_cost_per_token_interval"]
    shapley = answer(run, "quote", *ON, "--rate", rate, "--basis", "busy")["output_cost_per_token"]
    assert low <= shapley <= high


def test_marginal_prices_add_up_to_the_marginal_request(run):
    found = answer(run, "quote", *ON, "--rate", "4", "--cached", "0.5")

    assert found["basis"] == "marginal"
    assert 0 < found["cache_read_input_token_cost"] < found["input_cost_per_token"] < found["output_cost_per_token"]
    per_request = (
        500 * found["input_cost_per_token"]
        + 500 * found["cache_read_input_token_cost"]
        + 200 * found["output_cost_per_token"]
    )
    assert per_request == pytest.approx(found["usd_per_request_marginal"], rel=1e-4)


def test_without_a_rate_the_replica_is_used_to_the_full(run):
    found = answer(run, "quote", *ON, "--itl", "30")

    assert found["usd_per_request_full"] == pytest.approx(found["usd_per_request_new_replica"], rel=1e-4)


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
    found = run("quote", *ON, *args)

    assert found.exit_code == code
    assert words in found.stderr
    assert found.stdout == ""


def test_break_even_is_where_both_cost_the_same(run):
    found = answer(run, "breakeven", *ON, "--api-input", "0.05", "--api-output", "0.10", "--itl", "30")

    api = (1000 * 0.05 + 200 * 0.10) / 1e6
    assert found["break_even_requests_per_second"] == pytest.approx(3.0 / 3600 / api, rel=1e-4)
    assert found["break_even_tokens_per_second"] == pytest.approx(3.0 / 3600 / api * 1200, rel=1e-4)
    for row in found["loads"]:
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
    found = run("breakeven", *ON, "--api-input", "0.001", "--api-output", "0.001")

    assert found.exit_code == 1
    assert "own GPUs never pay" in found.stdout


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
    found = run("breakeven", *ON, *args)

    assert found.exit_code == 2
    assert words in found.stderr
    assert len(found.stderr.splitlines()) == 1
