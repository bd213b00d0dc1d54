"""Tables and figures: nothing is cut, nothing has an exponent; what quick commands load."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from pertoken.cli.main import COMMANDS, app
from pertoken.cli.rendering import plain_figure, print_table

HEADS = ("name", "batch", "USD per million", "why")
ROWS = (("a-long-name", "1,024", "123456.789", "bound by the cap"), ("b", "1", "0.1", "-"))


@pytest.mark.parametrize("width", [20, 40, 80, None])
def test_no_width_cuts_a_cell(capsys, width):
    print_table(HEADS, ROWS, width=width)
    shown = capsys.readouterr().out
    assert "…" not in shown
    for cell in (*HEADS, *(cell for row in ROWS for cell in row)):
        assert cell in shown
    if width and width >= max(len(cell) for row in (HEADS, *ROWS) for cell in row) * 2 + 2:
        assert max(map(len, shown.splitlines())) <= width


def test_optional_columns_go_first_and_only_where_there_is_no_room(capsys):
    print_table(HEADS, ROWS, optional=("batch",), width=48)
    narrow = capsys.readouterr().out
    assert "batch" not in narrow
    assert "123456.789" in narrow
    print_table(HEADS, ROWS, optional=("batch",), width=120)
    assert "batch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (432_890.0, "432,890"),
        (0.0123456, "0.012346"),
        (0.0, "0"),
        (12.5, "12.5"),
        (1e-7, "0.0000001"),
    ],
)
def test_figures_have_no_exponent(value, text):
    assert plain_figure(value) == text


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_knows_the_short_help(command):
    answer = CliRunner().invoke(app, [command, "-h"])
    assert answer.exit_code == 0, answer.output


def test_the_version_is_an_option_too():
    answer = CliRunner().invoke(app, ["--version"])
    assert answer.exit_code == 0
    assert answer.output.startswith("pertoken ")


@pytest.mark.parametrize(
    "words", [("--output-tokens", "10"), ("--output", "10"), ("--output-tokens", "10", "--format", "json")]
)
def test_tokens_and_formats_of_estimate_by_todays_names_and_yesterdays(words):
    asked = ["estimate", "-m", "meta-llama/Llama-3.1-8B-Instruct", "-g", "h100", *words]
    answer = CliRunner().invoke(app, asked)
    assert answer.exit_code == 0, answer.output
    json_asked = CliRunner().invoke(app, [*asked[:5], "--output-tokens", "10", "-o", "json"])
    assert json.loads(json_asked.output)[0]["output_tokens"] == "10"


@pytest.mark.parametrize("price", ["3", "h100=3"])
@pytest.mark.parametrize("command", ["estimate", "curve", "quote"])
def test_prices_are_taken_in_both_forms(command, price):
    extra = ["--rate", "1"] if command == "quote" else []
    asked = [command, "-m", "meta-llama/Llama-3.1-8B-Instruct", "-g", "h100", "--price", price, *extra]
    answer = CliRunner().invoke(app, asked)
    assert answer.exit_code == 0, answer.output
    assert "3" in answer.output


HEAVY = ("kubernetes", "prometheus_api_client", "numpy", "scipy", "kopf", "pandas", "matplotlib", "aiohttp", "requests")
PARSERS = ("pydantic", "yaml", "rich")


@pytest.mark.parametrize(
    ("words", "left_out"),
    [
        (("--help",), (*HEAVY, *PARSERS)),
        (("validate", "--help"), HEAVY),
        (("validate", "examples/basic-owned.yaml", "examples/capacity-plan.yaml"), (*HEAVY, "rich")),
    ],
)
def test_quick_commands_load_no_heavy_library(words, left_out):
    code = f"""
import sys
sys.argv = ["pertoken", *{words!r}]
from pertoken.cli.main import main
try:
    main()
except SystemExit:
    pass
print("LOADED", sorted(set(name.split(".")[0] for name in sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stderr.rpartition("LOADED")[2]
    assert [name for name in left_out if f"'{name}'" in loaded] == []


def test_the_list_of_commands_says_what_each_is_for():
    shown = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    for words in ("Write commented manifests", "Check manifests without a cluster", "Say what pertoken lacks"):
        assert words in shown
