"""`pertoken replay` on recorded cycles of the benchmark, which drives the operator's own planner."""

from __future__ import annotations

import copy
import gzip
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pertoken.adapters.recording_files import RecordingFolder
from pertoken.cli.main import app
from pertoken.control.recording.recorder import Recorder
from pertoken.domain.world import PlannerSettings
from pertoken_bench.policies.pertoken_policy import Pertoken
from pertoken_bench.scenarios.prepare import prepare
from pertoken_bench.scenarios.scenario import parse
from pertoken_bench.simulation import Run

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "bench" / "scenarios"
CYCLES = 1000


@dataclass(slots=True)
class Recording(Pertoken):
    """The operator as a policy, with the flight recorder on."""

    recorder: Recorder | None = field(default=None, kw_only=True)

    def decide(self, seen):
        """One planning cycle, recorded."""
        orders = super(Recording, self).decide(seen)
        self.recorder.write(self.last)
        return orders


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Folder with the cycles of ten minutes of a service whose load doubles on the way."""
    folder = tmp_path_factory.mktemp("recorded")
    content = copy.deepcopy(yaml.safe_load((FOLDER / "azure-conv.yaml").read_text()))
    content["traces"]["chat"] |= {"durationSeconds": 600, "rateScale": 4}
    scenario = parse(content | {"warmupSeconds": 60}, FOLDER / "short.yaml")
    policy = Recording(recorder=Recorder(RecordingFolder(folder, 1 << 24, CYCLES), "0.1.0", 160, 1 << 24))
    Run(prepare(scenario, 0), policy, {"chat/a100": 2}).go()
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["replay", *map(str, arguments)])


def test_the_same_is_decided_bit_for_bit(recorded):
    result = run(recorded)

    assert result.exit_code == 0, result.output
    assert "the same, bit for bit" in result.stdout
    assert len(list(recorded.iterdir())) > 1, "segments follow each other"
    files = run(*sorted(recorded.iterdir()), "-o", "json")
    document = json.loads(files.stdout)
    assert (files.exit_code, document["same"], document["differences"]) == (0, True, [])
    assert document["cycles"] > 40


@pytest.mark.parametrize(
    ("change", "name", "stage"),
    [
        ("PERTOKEN_CAP_INTERVAL_SECONDS=60", "a100.desired_cap", "batch_cap"),
        ("knee.prior=0.4", "a100.desired", "size"),
    ],
)
def test_what_another_number_would_decide_is_named(recorded, change, name, stage):
    result = run(recorded, "--set", change, "-o", "json")

    assert result.exit_code == 1, result.output
    document = json.loads(result.stdout)
    rows = [each for each in document["differences"] if each["field"] == name]
    assert rows, document["differences"]
    assert {each["service"] for each in rows} == {"bench/chat"}
    assert all(int(each["after"]) != int(each["before"]) for each in rows)
    assert all(each["reason"] for each in rows)
    assert rows[0]["stage"] == stage
    table = run(recorded, "--set", change)
    assert table.exit_code == 1
    assert name in table.stdout
    assert "--all shows them" in table.stdout


def test_numbers_are_the_recorded_ones_unless_this_versions_own_are_asked_for(recorded, tmp_path):
    lines = [json.loads(line) for line in gzip.decompress(all_of(recorded)).splitlines()]
    for line in lines:
        if "tuning" in line:
            line["tuning"]["sizing"]["added_share"] = 3.0
            line["tuning"]["budget"]["of_an_older_version"] = 1
    file = tmp_path / "other.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))

    assert run(file).exit_code == 1, "other numbers, other decisions"
    assert run(file, "--numbers", "own").exit_code == 0


def test_yaml_and_a_single_service(recorded):
    document = yaml.safe_load(run(recorded, "--set", "attainment_margin=0.999", "-o", "yaml", "--all").stdout)
    assert document["differences"]
    assert run(recorded, "--set", "attainment_margin=0.999", "--service", "bench/other").exit_code == 0


def all_of(folder):
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda _: b"", "no cycle"),
        (lambda _: b"hello\n", "line 1: no JSON"),
        (lambda _: b"\x1f\x8bhello, this is no gzip data", "line 1: cannot be read"),
        (lambda recording: recording[:-9], "the file ends here"),
        (lambda recording: recording[:60_000] + b"\0" * 50 + recording[60_050:], "line"),
        (lambda recording: gzip.decompress(recording)[:-30], "no JSON"),
        (lambda recording: gzip.decompress(recording).replace(b'"format":1', b'"format":0'), "format: 0 of pertoken"),
        (lambda recording: gzip.decompress(recording).replace(b'"actions":[]', b'"actions":[7]'), "plan.actions.0"),
        (
            lambda recording: gzip.decompress(recording).replace(b'"decisions":[', b'"decisions":[{},'),
            "plan.decisions.0",
        ),
        (lambda recording: gzip.decompress(recording).replace(b'"saved":{', b'"saved":null,"s":{'), "saved: missing"),
        (lambda recording: gzip.decompress(recording).replace(b'"now":', b'"now":1e400,"n":'), "now: inf"),
        (lambda recording: gzip.decompress(recording).replace(b'"now":', b'"now":"noon","n":'), "now: noon"),
    ],
)
def test_a_file_that_is_no_recording_is_named_in_one_line(recorded, tmp_path, content, words):
    file = tmp_path / "recording"
    file.write_bytes(content(all_of(recorded)))
    result = run(file)

    assert result.exit_code == 2, result.output
    assert len(result.output.strip().splitlines()) == 1
    assert words in result.output
    assert not isinstance(result.exception, Exception) or isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.jsonl.gz"], "nowhere.jsonl.gz: line 1: cannot be read: No such file"),
        (["--set", "colour=3"], "attainment_margin"),
        (["--set", "size.colour=3"], "sizing"),
        (["--set", "sizing.colour=3"], "safe_share"),
        (["--set", "tolerance=much"], "tolerance=much"),
        (["--set", "tolerance"], "tolerance"),
    ],
)
def test_a_mistake_of_the_command_line_is_named(recorded, arguments, words):
    result = run(*arguments) if "--set" not in arguments else run(recorded, *arguments)

    assert result.exit_code == 2
    assert words in result.output


def test_a_gap_between_files_starts_from_what_was_recorded(recorded):
    first, *_, last = sorted(recorded.iterdir())

    assert run(first, last).exit_code == 0
    assert run(last, first).exit_code == 0


def test_settings_are_those_of_the_operator():
    """`--set` takes the names of PERTOKEN_… variables: fields of the planner's settings have the same names."""
    from pertoken.settings import Settings  # noqa: PLC0415

    assert set(PlannerSettings.__dataclass_fields__) <= set(Settings.model_fields)
