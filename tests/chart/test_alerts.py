"""The chart's alerts: by promtool, in the rule that Helm renders, against what is exported and what is explained."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pertoken.cli.reference.metrics_out import exported
from pertoken_sandbox.binaries import ensure

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "pertoken"
ALERTS = CHART / "files" / "alerts.yaml"
TESTS = Path(__file__).with_name("alerts.test.yaml")
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
]
NAMES = [rule["alert"] for rule in RULES]
SERIES = {
    name + ending
    for family in exported()
    if family.stable
    for name in (family.name,)
    for ending in (("_sum", "_count", "_bucket") if family.type == "histogram" else ("",))
}


@pytest.mark.parametrize("command", [("check", "rules", str(ALERTS)), ("test", "rules", str(TESTS))], ids=str)
def test_promtool_agrees(command: tuple[str, ...]):
    done = subprocess.run([str(ensure("promtool")), *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_series_that_make_it_fire():
    fired = [case["name"] for case in yaml.safe_load(TESTS.read_text())["tests"][1:]]
    assert fired == NAMES


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_an_alert_uses_stable_metrics_and_says_what_is_wrong(rule: dict[str, Any]):
    used = set(re.findall(r"\bpertoken_\w+", rule["expr"]))
    assert used
    assert used <= SERIES
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert rule["annotations"].keys() == {"summary", "description"}


def test_every_alert_has_a_runbook_and_every_runbook_an_alert():
    headings = re.findall(r"^## (Pertoken\w+)$", (ROOT / "docs" / "runbooks.md").read_text(), re.MULTILINE)
    assert headings == NAMES


def test_the_rendered_rule_has_them_with_their_runbooks():
    chart = [str(ensure("helm")), "template", "pertoken", str(CHART), "--api-versions", "monitoring.coreos.com/v1"]
    chart += ["-f", str(CHART / "ci" / "everything-values.yaml"), "--show-only", "templates/monitoring.yaml"]
    done = subprocess.run(chart, capture_output=True, text=True, check=True)
    [rule] = [each for each in yaml.safe_load_all(done.stdout) if each["kind"] == "PrometheusRule"]
    rendered = {each["alert"]: each for group in rule["spec"]["groups"] for each in group["rules"]}
    assert set(rendered) == set(NAMES) - {"PertokenServicePaused"}
    for name, each in rendered.items():
        assert each["annotations"]["runbook_url"].endswith(f"/runbooks/#{name.lower()}")
        assert each["labels"]["team"] == "platform"
        assert each["labels"]["severity"]


def test_the_schema_knows_the_alerts_that_may_be_left_out():
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    assert schema["properties"]["prometheusRule"]["properties"]["disabled"]["items"]["enum"] == NAMES
