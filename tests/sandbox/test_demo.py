"""What the demo plays and how it is judged, without running it."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from pertoken.settings import Settings
from pertoken_sandbox import cli
from pertoken_sandbox.binaries import BinaryUnavailable
from pertoken_sandbox.controlplane import PROGRAMS
from pertoken_sandbox.demo import main, stage
from pertoken_sandbox.demo.attainment import of_log
from pertoken_sandbox.demo.main import Terms
from pertoken_sandbox.demo.record import Happening, Record
from pertoken_sandbox.demo.setting import EXAMPLES, Setting
from pertoken_sandbox.demo.summary import Baseline, DemoOutcome, PromisedLatency, StaticCost, checks, show_differences
from pertoken_sandbox.demo.watch import Account, Watcher

PLACES = {"PROMETHEUS_URL", "OPERATOR_NAMESPACE", "HTTP_HOST", "HTTP_PORT", "DEBUG_PORT", "LOG_FORMAT"}
CLOCK = {"CYCLE_SECONDS", "SCRAPE_INTERVAL_SECONDS", "RATE_WINDOW_SECONDS", "FRESH_SECONDS"}
GOOD = DemoOutcome(0.93, 0.95, 0.961, 0.5, 0.044, 0.05, "cap 256 kept")


def operator_settings(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in setting.operator("http://127.0.0.1:9090", 1, 2).items():
        monkeypatch.setenv(name, value)
    return Settings()


def test_the_operator_gets_addresses_and_the_traces_clock_alone():
    names = {name.removeprefix("PERTOKEN_") for name in Setting().operator("http://127.0.0.1:9090", 1, 2)}
    assert names == PLACES | CLOCK


def test_the_operator_plans_with_what_ships(monkeypatch):
    shipped = Settings().planner()
    assert operator_settings(Setting(speed=1.0), monkeypatch).planner() == shipped
    assert operator_settings(Setting(), monkeypatch).planner() == replace(shipped, cycle_seconds=15.0 / 12.0)


def test_the_summary_names_what_does_not_ship(capsys):
    show_differences(Console(width=200), Setting())
    said = capsys.readouterr().out
    for part in ("cycle: 1.25 s instead of 15 s", "rate window: 7.5 s instead of 90 s", "25 s instead of 300 s"):
        assert part in said


class Applied:
    """Stands for a cluster; keeps what kubectl was given."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []

    def kubectl(self, *_args: str, stdin: str) -> None:
        self.documents = list(yaml.safe_load_all(stdin))


def stage_on(cluster: Any, setting: Setting) -> stage.Stage:
    nothing: Any = None
    return stage.Stage(setting, cluster, EXAMPLES, print, nothing, "", "", nothing)


def test_the_manifests_are_the_examples_but_for_price_and_windows():
    cluster = Applied()
    stage_on(cluster, Setting()).apply_examples(Decimal("0.07"))
    (service,) = (document for document in cluster.documents if document["kind"] == "InferenceService")
    assert service["spec"].pop("behavior") == {"scaleDown": {"stabilizationWindowSeconds": 25}}
    assert service["spec"]["objective"].pop("cost") == {"perMillionTokens": {"blended": "0.07"}, "windowSeconds": 300}
    shipped = yaml.safe_load((EXAMPLES / "service.yaml").read_text())
    del shipped["spec"]["objective"]["cost"]
    assert service == shipped


@pytest.mark.parametrize(
    ("existing", "programs"),
    [(False, {*PROGRAMS, "prometheus"}), (True, {"kubectl", "prometheus", "helm"})],
)
def test_helm_is_prepared_only_for_somebody_elses_cluster(existing, programs, monkeypatch):
    asked: set[str] = set()
    monkeypatch.setattr(stage, "ensure_all", asked.update)
    stage.prepare(existing=existing)
    assert asked == programs


def test_nothing_starts_before_every_program_is_there(tmp_path, monkeypatch):
    def missing(**_more: object) -> None:
        raise BinaryUnavailable("no Go")

    def started(*_args: object, **_more: object) -> None:
        pytest.fail("nothing was to be started")

    monkeypatch.setattr(main, "prepare", missing)
    for name in ("find_baseline", "ControlPlane", "set_up"):
        monkeypatch.setattr(main, name, started)
    with pytest.raises(BinaryUnavailable), ExitStack():
        main._play(Setting(), main._Folders(tmp_path / "out", tmp_path), None, Console())


def record() -> Record:
    return Record([], [Happening(20, "scale-up", ""), Happening(180, "scale-down", "")])


@pytest.mark.parametrize(
    ("measured", "missed"),
    [
        (GOOD, []),
        (replace(GOOD, attained=0.9499), ["at least 95%"]),
        (replace(GOOD, attained=None), ["at least 95%"]),
        (replace(GOOD, index=1.01), ["cost index"]),
        (replace(GOOD, operator_index=None), ["the operator's own index"]),
    ],
)
def test_a_missed_line_fails_the_demo(measured, missed, monkeypatch, tmp_path):
    done = checks(record(), measured)
    assert [check.text for check in done if not check.ok and not check.text.startswith(tuple(missed or ("-",)))] == []
    assert sum(not check.ok for check in done) == len(missed)
    monkeypatch.setattr(main, "draw", lambda *_: None)
    static = StaticCost(18, 0.085, 2.26, 0.997)
    terms = Terms(Setting(), Baseline(static, static), PromisedLatency(2.0, 0.05), 0.07)
    watcher = Watcher(stage_on(SimpleNamespace(), Setting()), Account(1.49), record())
    assert main._conclude(watcher, measured, terms, tmp_path, Console(width=200)) == (1 if missed else 0)


def test_unfinished_and_refused_requests_are_misses(tmp_path):
    log = tmp_path / "requests.jsonl"
    requests = [{"ttft_ms": 1999, "itl_ms": 50}, {"ttft_ms": 2001, "itl_ms": 9}, {"ttft_ms": 5, "itl_ms": 51}]
    log.write_text("".join(json.dumps(request) + "\n" for request in [*requests, {"ttft_ms": 5, "itl_ms": None}]))
    assert of_log(log, 1, PromisedLatency(2.0, 0.05)) == pytest.approx(2 / 5)


@pytest.mark.parametrize("app", [main.app, cli.app])
def test_help_and_version_are_asked_for_as_of_pertoken(app):
    answers = [CliRunner().invoke(app, [word]) for word in ("-h", "--help", "--version")]
    assert [answer.exit_code for answer in answers] == [0, 0, 0]
    assert answers[0].output == answers[1].output
    assert answers[2].output.startswith("pertoken ")
