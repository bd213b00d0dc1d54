"""Commands that other packages add to `pertoken`."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from typer.testing import CliRunner

from pertoken.cli import main


@pytest.fixture
def run():
    return lambda *words: CliRunner().invoke(main.app, [*words])


def test_the_benchmark_adds_its_command(run):
    assert main.added_commands()["bench"] == "pertoken_bench.cli.bench:bench_command"
    assert "Compare policies by simulation" in run("bench", "--help").stdout


@pytest.mark.parametrize("words", [("bench",), ("bench", "--scenario", "x.yaml"), ("bench", "--help")])
def test_without_the_benchmark_its_package_is_named(run, monkeypatch, words):
    monkeypatch.setattr(main, "entry_points", lambda group: ())  # noqa: ARG005 - as the library calls it
    answer = run(*words)
    assert answer.exit_code == 2
    assert answer.stderr == "pertoken bench: not installed; expected: pip install pertoken-bench\n"
    assert "bench" not in run("--help").stdout
    assert run("version", "--short").exit_code == 0


def test_no_package_takes_the_place_of_a_command(run, monkeypatch):
    foreign = EntryPoint("version", "nowhere:nothing", main.ENTRY_POINTS)
    monkeypatch.setattr(main, "entry_points", lambda group: (foreign,))  # noqa: ARG005 - as the library calls it
    assert run("version", "--short").exit_code == 0


def test_an_unknown_command_is_no_package(run):
    assert "No such command" in run("benhc").stderr
