"""`pertoken plan --from-cluster` against a real API server, with the rights that the chart's account has."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner

from pertoken.cli.plan import plan_command
from pertoken_sandbox.binaries import ensure

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "pertoken"
API = "serving.pertoken.dev/v1alpha1"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def named(kind, name, spec, namespace=None):
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


POOL = named(
    "AcceleratorPool",
    "h100",
    {
        "accelerator": "h100-sxm",
        "pricePerGPUHour": "2.50",
        "capacity": {"fromNodes": {"matchLabels": {"gpu": "h100"}}},
    },
)
SERVICE = named(
    "InferenceService",
    "chat",
    {
        "model": {"id": LLAMA, "servedName": "chat"},
        "objective": {"latency": {"ttftMilliseconds": 2000, "interTokenMilliseconds": 50}},
        "variants": [{"name": "a", "pool": "h100", "maxReplicas": 99, "scaleTargetRef": {"name": "chat"}}],
    },
    "planned",
)
PLAN = named(
    "CapacityPlan",
    "next-month",
    {
        "horizonDays": 2,
        "services": [{"namespace": "planned", "name": "chat"}],
        "budgetPerMonth": "1",
        "pools": [{"pool": "h100", "leadSeconds": 3600}],
    },
)


@pytest.fixture(scope="module")
def kubeconfig(control_plane, tmp_path_factory):
    """Of the account that the chart makes for the CronJob, on a cluster with one pool, one service and two nodes."""
    kubectl = control_plane.kubectl
    kubectl.apply_files(sorted((ROOT / "crds").glob("*.yaml")))
    kinds = ("inferenceservices", "acceleratorpools", "capacityplans")
    kubectl.await_crd(*(f"{kind}.serving.pertoken.dev" for kind in kinds))
    flags = ("--set", "capacityPlan.enabled=true", "--set", "capacityPlan.plans={next-month}")
    command = [str(ensure("helm")), "template", "pertoken", str(CHART), "-n", "planned", *flags]
    shown = subprocess.run([*command, "--show-only", "templates/plan.yaml"], capture_output=True, text=True, check=True)
    documents = [each for each in yaml.safe_load_all(shown.stdout) if each]
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "planned"}})
    kubectl.apply(*documents)  # the real server takes the CronJob too
    for number in (1, 2):
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"plan-{number}", "labels": {"gpu": "h100"}}}
        kubectl.apply(node)
        status = {"status": {kind: {"nvidia.com/gpu": "8"} for kind in ("capacity", "allocatable")}}
        kubectl("patch", "node", f"plan-{number}", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    kubectl.apply(POOL, SERVICE, PLAN)
    yield control_plane.token_kubeconfig("planned", "pertoken-plan", tmp_path_factory.mktemp("plan") / "config")
    kubectl("delete", "node", "plan-1", "plan-2")


@pytest.fixture
def run(kubeconfig):
    app = typer.Typer()
    app.command("plan")(plan_command)
    access = ("--from-cluster", "next-month", "--kubeconfig", str(kubeconfig))
    return lambda *args: CliRunner().invoke(app, [*access, *args])


@pytest.fixture
def history(tmp_path):
    hours = np.arange(10 * 24)
    requests = 3600 * (6 + 4 * np.sin(hours / 24 * 2 * np.pi))
    rows = [f"{h * 3600},{n:.1f},{n * 900:.1f},{n * 150:.1f}" for h, n in zip(hours, requests, strict=True)]
    path = tmp_path / "past.csv"
    path.write_text("\n".join(["time_s,requests,input_tokens,output_tokens", *rows]) + "\n")
    return ("--history", f"planned/chat={path}")


def shown(control_plane):
    return control_plane.kubectl.json("get", "ptplan", "next-month")["status"]


def test_the_clusters_plan_is_answered_with_its_nodes(run, history):
    result = run(*history, "-o", "json")
    document = json.loads(result.stdout)

    assert result.exit_code == 1, result.stderr  # the budget of a dollar breaks
    assert document["horizon_days"] == 2
    assert [(pool["name"], pool["existing_gpus"], pool["gpus_per_node"]) for pool in document["pools"]] == [
        ("h100", 16, 8)
    ]


def test_the_status_is_written_with_the_charts_rights(run, history, control_plane):
    result = run(*history, "--write-status")
    status = shown(control_plane)
    conditions = {entry["type"]: entry["reason"] for entry in status["conditions"]}

    assert result.exit_code == 0, result.output
    assert (status["services"], status["peakGPUs"]) == (1, 1)
    assert conditions == {"Ready": "Planned", "CapacitySuffices": "CapacitySuffices", "WithinBudget": "OverBudget"}
    managers = control_plane.kubectl.json("get", "ptplan", "next-month", "--show-managed-fields")["metadata"]
    assert ("pertoken-plan", "status") in {
        (entry["manager"], entry.get("subresource")) for entry in managers["managedFields"]
    }


def test_a_plan_that_fails_says_why_in_its_status(run, control_plane, monkeypatch):
    monkeypatch.setenv("PERTOKEN_PROMETHEUS_URL", "http://127.0.0.1:9")
    result = run("--write-status")
    status = shown(control_plane)

    assert result.exit_code == 2
    assert [(entry["type"], entry["reason"]) for entry in status["conditions"]] == [("Ready", "PlanFailed")]
    assert status["message"].startswith("history: http://127.0.0.1:9")
    assert "costPerMonth" not in status


def test_the_account_can_write_nothing_else(kubeconfig, control_plane):
    kubectl = control_plane.kubectl
    account = "--as=system:serviceaccount:planned:pertoken-plan"
    for verb, resource in (("patch", "capacityplans"), ("patch", "inferenceservices/status"), ("get", "secrets")):
        asked = [str(kubectl.binary), f"--kubeconfig={kubectl.kubeconfig}", "auth", "can-i", verb, resource, account]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "no", (verb, resource)
    assert kubeconfig.is_file()


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--from-cluster", "none"), 1, "no CapacityPlan none"),
        (("-f", str(ROOT / "examples" / "basic-owned.yaml")), 2, "expected none with --from-cluster"),
    ],
)
def test_what_cannot_be_asked_is_one_line(run, history, args, code, said):
    result = run(*history, *args)

    assert result.exit_code == code
    assert said in result.stderr


def test_a_status_is_written_into_a_plan_of_the_cluster_alone(tmp_path):
    app = typer.Typer()
    app.command("plan")(plan_command)
    (tmp_path / "m.yaml").write_text(yaml.safe_dump_all([POOL, SERVICE]))
    result = CliRunner().invoke(app, ["-f", str(tmp_path / "m.yaml"), "--write-status"])

    assert result.exit_code == 2
    assert "--write-status: set; expected --from-cluster with it" in result.stderr
