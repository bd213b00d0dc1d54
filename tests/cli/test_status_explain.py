"""What `status` and `explain` make of a status; reading a cluster is tested with the operator."""

import pytest
from typer.testing import CliRunner

from pertoken.cli.connection import ConnectionOptions
from pertoken.cli.explain import lines
from pertoken.cli.main import app
from pertoken.cli.status import row

SERVICE = {
    "metadata": {"namespace": "chat", "name": "assistant", "generation": 3},
    "status": {
        "observedGeneration": 2,
        "message": "a100: 2 -> 3 replicas, demand rose",
        "reason": "DemandRose",
        "replicas": 2,
        "desiredReplicas": 3,
        "costIndex": "1.20",
        "conditions": [
            {"type": "WithinCostTarget", "status": "False", "reason": "CostAboveTarget", "message": "index 1.20"},
            {"type": "Ready", "status": "True", "reason": "Accepted", "message": "under control"},
            {"type": "Novel", "status": "Unknown", "reason": "Unheard", "message": "of"},
        ],
        "variants": [
            {
                "name": "a100", "replicas": 2, "desiredReplicas": 3, "readyReplicas": 2, "reason": "DemandRose",
                "batchCap": 64, "operatingBatch": "21.0", "batchMessage": "cap 64 kept",
                "calibration": {"decodeGain": "1.18", "prefillGain": "1.05", "samples": 40},
            },
        ],
        "cost": {"index": "1.20", "blended": "0.60", "marginal": "0.20"},
        "demand": {"now": {"requestsPerSecond": "4.0"}, "leadSeconds": 90},
    },
}  # fmt: skip


def test_a_row_takes_figures_and_verdicts_from_the_status():
    columns = row(SERVICE)

    assert (columns["replicas"], columns["desiredReplicas"], columns["costIndex"]) == (2, 3, "1.20")
    assert (columns["withinCostTarget"], columns["withinLatencyTarget"], columns["ready"]) == ("False", None, "True")


def test_who_is_not_ready_is_told_why_first():
    lost = {"type": "Ready", "status": "False", "reason": "PrometheusUnreachable", "message": "no connection"}
    columns = row({**SERVICE, "status": {**SERVICE["status"], "conditions": [lost]}})

    assert (row(SERVICE)["reason"], columns["reason"]) == ("DemandRose", "PrometheusUnreachable")


def test_an_object_without_status_makes_a_row_without_figures():
    bare = {"metadata": {"namespace": "chat", "name": "new"}}

    assert [value for value in row(bare).values() if value is not None] == ["chat", "new", "Auto"]
    assert "is the operator running?" in next(lines(bare))


def test_the_explanation_names_what_an_operator_asks():
    text = "\n".join(lines(SERVICE))

    assert "chat/assistant: a100: 2 -> 3 replicas, demand rose" in text
    assert "saw generation 2, the object is at 3" in text
    assert "a100: 2 -> 3 replicas (2 ready): DemandRose" in text
    assert "batch 21.0 of at most 64: cap 64 kept" in text
    assert "decode 1.18, prefill 1.05 times the modelled time" in text
    assert "one more token USD/1M: 0.20" in text
    assert "4.0 requests/s, ? input and ? output tokens/s; ? requests wait" in text
    assert text.index("Ready=True") < text.index("WithinCostTarget=False") < text.index("Novel=Unknown")


@pytest.mark.parametrize("command", [["status"], ["explain", "x"], ["pause", "x"], ["resume", "x"]], ids=lambda c: c[0])
def test_without_a_cluster_one_line_says_so(command, tmp_path):
    missing = tmp_path / "kubeconfig"
    result = CliRunner().invoke(app, [*command, "--kubeconfig", str(missing)])

    assert result.exit_code == 2
    assert str(missing) in result.output
    assert len(result.output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "context", "namespace", "expected"),
    [
        ("current-context: a\ncontexts: [{name: a, context: {namespace: team}}]", None, None, "team"),
        ("current-context: a\ncontexts: [{name: a, context: {namespace: team}}]", None, "mine", "mine"),
        ("current-context: a\ncontexts: [{name: b, context: {namespace: other}}]", "b", None, "other"),
        ("current-context: a\ncontexts: [{name: a, context: {}}]", None, None, "default"),
        ("{broken", None, None, "default"),
    ],
)
def test_the_namespace_is_the_contexts_unless_given(text, context, namespace, expected, tmp_path):
    file = tmp_path / "kubeconfig"
    file.write_text(text)

    assert ConnectionOptions(file, context, namespace).own_namespace == expected


@pytest.mark.parametrize(
    ("spec", "annotations", "mode"),
    [
        ({"mode": "Recommend"}, {}, "Recommend"),
        ({"variants": [{"scaleTargetRef": {}}]}, {}, "Recommend"),
        ({"variants": [{"podTemplate": {"spec": {}}}]}, {}, "Auto"),
        ({"mode": "Auto"}, {"pertoken.dev/paused": "true"}, "Paused"),
    ],
)
def test_status_and_explain_say_who_is_paused(spec, annotations, mode):
    item = {"metadata": {"namespace": "n", "name": "s", "annotations": annotations}, "spec": spec, "status": {}}
    assert row(item)["mode"] == mode
    assert ("PAUSED" in "\n".join(lines(item))) is (mode == "Paused")
