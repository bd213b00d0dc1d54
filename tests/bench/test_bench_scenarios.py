"""Every shipped scenario runs, cut short, and in none of them does any policy cost less than the lower bound."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from pertoken_bench.benchmark import bench, names
from pertoken_bench.policies.ablations import ABLATIONS, FORESIGHT
from pertoken_bench.scenarios.scenario import parse

FOLDER = Path(__file__).resolve().parents[2] / "bench" / "scenarios"
FILES = sorted(FOLDER.glob("*.yaml"))
SHARE = 4
SECONDS = 240.0
BACKLOG_SECONDS = 600.0  # when the offline backlog arrives
RATE = 0.25  # of the larger scenarios' traffic


def cut(file):
    """The scenario's first minutes; large ones with a quarter of their traffic."""
    content = copy.deepcopy(yaml.safe_load(file.read_text()))
    for trace in content["traces"].values():
        if trace["file"].endswith("backlog.csv.gz"):
            trace["startSeconds"] = BACKLOG_SECONDS
        trace["durationSeconds"] = min(trace.get("durationSeconds", SECONDS), SECONDS)
        if trace.get("rateScale", 1) >= 8:
            trace["rateScale"] *= RATE
    content["warmupSeconds"] = 30
    content["coldStartSeconds"] = min(content.get("coldStartSeconds", 120), 60)
    return parse(content, file)


def policies_of(number):
    """In every scenario pertoken, the others in turn: each in several."""
    others = [name for name in (*names(), *ABLATIONS, FORESIGHT) if name != "pertoken"]
    return ["pertoken", *others[number % SHARE :: SHARE]]


@pytest.mark.parametrize(("number", "file"), list(enumerate(FILES)), ids=[file.stem for file in FILES])
def test_no_policy_beats_the_bound_in_any_scenario(number, file):
    scenario = cut(file)
    policies = policies_of(number)
    if len(scenario.services[0].variants) > 1 and FORESIGHT in policies:
        policies.remove(FORESIGHT)  # for one variant only
    result = bench(scenario, policies, [number])
    for row in result.rows:
        ratio = row["bound_ratio"]["mean"]
        assert ratio is None or ratio >= 1.0, (file.stem, row["policy"], ratio)
        assert row["requests"]["mean"] >= 1
        assert 0.0 <= row["slo_attainment"]["mean"] <= 1.0
        assert row["usd"]["mean"] >= 0.0


def test_the_law_is_asked_of_everyone():
    asked = {name for number in range(len(FILES)) for name in policies_of(number)}
    assert {*names(), *ABLATIONS, FORESIGHT} == asked
