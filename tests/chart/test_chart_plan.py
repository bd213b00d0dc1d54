"""The chart's CronJob of the capacity plan, as Helm renders it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from pertoken.cli.plan import plan_command
from pertoken_sandbox.binaries import ensure

CHART = Path(__file__).parents[2] / "charts" / "pertoken"
ON = ("--set", "capacityPlan.enabled=true", "--set", "capacityPlan.plans={next-month}")


def template(*flags):
    command = [str(ensure("helm")), "template", "pertoken", str(CHART), "--namespace", "system", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rendered(*flags):
    done = template(*flags)
    assert done.returncode == 0, done.stderr
    documents = [document for document in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if document]
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def test_it_is_off_by_default():
    assert not [name for kind, name in rendered() if kind == "CronJob" or name.endswith("-plan")]


def test_its_account_may_read_and_write_the_status_of_plans_alone():
    manifests = rendered(*ON)
    rules = manifests["ClusterRole", "pertoken-plan"]["rules"]
    rights = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}

    assert {right for right in rights if right[1] not in {"get", "list"}} == {("capacityplans/status", "patch")}
    assert {resource for resource, verb in rights if verb in {"get", "list"}} == {
        *("capacityplans", "inferenceservices", "acceleratorpools", "nodes"),
    }
    binding = manifests["ClusterRoleBinding", "pertoken-plan"]
    assert [(each["name"], each["namespace"]) for each in binding["subjects"]] == [("pertoken-plan", "system")]
    operator = manifests["ClusterRole", "pertoken"]["rules"]
    assert not [rule for rule in operator if "capacityplans/status" in rule["resources"]]


def test_each_plan_has_a_job_with_the_second_image_and_arguments_that_the_command_takes():
    manifests = rendered(*ON, "--set", "capacityPlan.plans={next-month,next-year}")
    job = manifests["CronJob", "pertoken-plan-next-year"]["spec"]
    pod = job["jobTemplate"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    app = typer.Typer()
    app.command()(plan_command)

    assert ("CronJob", "pertoken-plan-next-month") in manifests
    assert (job["schedule"], pod["serviceAccountName"]) == ("0 6 * * 1", "pertoken-plan")
    assert container["image"].startswith("ghcr.io/pertoken/pertoken-plan:")
    assert container["command"][:3] == ["pertoken", "plan", "--from-cluster=next-year"]
    options = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout
    assert all(argument.split("=")[0] in options for argument in container["command"][2:])
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert not pod.get("volumes", [{}])[0].get("hostPath")


def test_pods_of_the_plan_are_not_selected_as_the_operators():
    manifests = rendered(*ON)
    selector = manifests["Deployment", "pertoken"]["spec"]["selector"]["matchLabels"]
    pod = manifests["CronJob", "pertoken-plan-next-month"]["spec"]["jobTemplate"]["spec"]["template"]

    assert not selector.items() <= pod["metadata"]["labels"].items()


def test_long_names_leave_room_for_the_jobs_time():
    long = "a" * 60
    names = [
        name for kind, name in rendered(*ON, "--set", f"capacityPlan.plans={{{long},{long}b}}") if kind == "CronJob"
    ]

    assert len(set(names)) == 2
    assert all(len(name) <= 52 for name in names)


@pytest.mark.parametrize(
    "flags",
    [
        ("--set", "capacityPlan.enabled=true"),
        (*ON, "--set", "capacityPlan.plans={Next_Month}"),
        (*ON, "--set", "capacityPlan.image.digest=abc"),
        (*ON, "--set", "capacityPlan.cron=daily"),
    ],
)
def test_what_cannot_work_is_refused(flags):
    assert template(*flags).returncode != 0


def test_secrets_and_catalog_are_mounted_as_for_the_operator(tmp_path):
    values = tmp_path / "values.yaml"
    values.write_text(
        yaml.safe_dump(
            {
                "capacityPlan": {"enabled": True, "plans": ["p"]},
                "prometheus": {"secret": "prom", "secretKeys": ["token"]},
                "metricsProfiles": {"b": {"url": "http://b:9090", "secret": "prom-b", "secretKeys": ["token"]}},
                "catalog": {"existingConfigMap": "rows"},
            }
        )
    )
    pod = rendered("-f", str(values))["CronJob", "pertoken-plan-p"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    container = pod["containers"][0]

    assert {volume["name"] for volume in pod["volumes"]} == {"tmp", "prometheus", "metrics-b", "catalog"}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert "--catalog=/etc/pertoken/catalog" in container["command"]
