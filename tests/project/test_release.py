"""How a release is made: pinned parts, one name for the image, one user, one version of the installer."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
DOCKERFILE = (ROOT / "Dockerfile").read_text()
VERSION_CHECK = ROOT / ".github" / "release_version.py"


def workflow(path: Path) -> dict[Any, Any]:
    return yaml.safe_load(path.read_text())


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in workflow(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit_and_says_its_version(path: Path):
    used = [line for line in path.read_text().splitlines() if "uses:" in line]
    assert used
    for line in used:
        assert re.search(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_only_read_unless_a_job_says_more(path: Path):
    steps = workflow(path)
    assert steps["permissions"] == {"contents": "read"}
    for name, job in steps["jobs"].items():
        contents = "write" if (path.name, name) == ("release.yaml", "release") else "read"
        assert job.get("permissions", {}).get("contents", "read") == contents
        assert "timeout-minutes" in job


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_script_of_a_workflow_pastes_expressions(path: Path):
    """A branch or tag name in `run:` would be a command of whoever chose it."""
    assert not [step["run"] for step in steps(path) if "${{" in step.get("run", "")]


def test_base_image_is_pinned_by_digest_and_nothing_else_is_pulled():
    sources = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    stages = set(re.findall(r" AS (\w+)$", DOCKERFILE, re.MULTILINE))
    pulled = [source for source in sources if source not in stages]
    assert len(pulled) == 1
    assert re.fullmatch(r"docker\.io/library/python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", pulled[0])
    assert set(re.findall(r"COPY --from=(\S+)", DOCKERFILE)) <= stages


def test_chart_installs_what_the_release_publishes():
    [release] = [path for path in WORKFLOWS if path.name == "release.yaml"]
    values = yaml.safe_load((ROOT / "charts/pertoken/values.yaml").read_text())
    push, plan = (step["with"] for step in steps(release) if "build-push-action" in step.get("uses", ""))
    assert workflow(release)["env"]["IMAGE"] == values["image"]["repository"]
    assert push["tags"] == "${{ env.IMAGE }}:${{ steps.version.outputs.number }}"
    assert workflow(release)["env"]["PLAN_IMAGE"] == values["capacityPlan"]["image"]["repository"]
    assert plan["tags"] == "${{ env.PLAN_IMAGE }}:${{ steps.version.outputs.number }}"
    assert (plan["file"], plan["platforms"]) == ("Dockerfile.plan", push["platforms"])
    assert values["image"]["tag"] == ""  # the chart's appVersion, which the release holds to be the tag
    assert set(push["platforms"].split(",")) == {"linux/amd64", "linux/arm64"}


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, VERSION_CHECK, *arguments], capture_output=True, text=True, check=False)


def test_a_release_is_refused_when_its_names_do_not_agree():
    number = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    values = yaml.safe_load((ROOT / "charts/pertoken/values.yaml").read_text())
    repository, plan = values["image"]["repository"], values["capacityPlan"]["image"]["repository"]
    assert check(number, repository, plan).returncode == 0
    other = check("9.9.9", "docker.io/other/name", "docker.io/other/plan")
    assert other.returncode == 1
    assert other.stderr.splitlines() == [
        f"pyproject.toml: project.version: '{number}'; expected '9.9.9'",
        f"bench/pyproject.toml: project.version: '{number}'; expected '9.9.9'",
        f"charts/pertoken/Chart.yaml: version: '{number}'; expected '9.9.9'",
        f"charts/pertoken/Chart.yaml: appVersion: '{number}'; expected '9.9.9'",
        f"charts/pertoken/values.yaml: image.repository: '{repository}'; expected 'docker.io/other/name'",
        f"charts/pertoken/values.yaml: capacityPlan.image.repository: '{plan}'; expected 'docker.io/other/plan'",
    ]


def test_the_second_image_has_the_base_the_user_and_the_installer_of_the_first():
    second = (ROOT / "Dockerfile.plan").read_text()
    for shared in (
        r"^FROM \S+@.*$",
        r"^USER .*$",
        r"^RUN python3 -m venv(?:.*\\\n)*.*$",
        r"^RUN groupadd(?:.*\\\n)*.*$",
    ):
        assert re.findall(shared, second, re.MULTILINE) == re.findall(shared, DOCKERFILE, re.MULTILINE) != []
    assert "--package pertoken-bench" in second
    bench = tomllib.loads((ROOT / "bench" / "pyproject.toml").read_text())["project"]["dependencies"]
    assert "pertoken[plan]" in bench


def test_image_runs_as_the_user_of_the_chart():
    [user] = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    template = (ROOT / "charts/pertoken/templates/deployment.yaml").read_text()
    assert re.findall(r"runAs(?:User|Group): (\d+)", template) == list(user)


def test_one_version_of_the_installer():
    [pinned] = re.findall(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    [image] = re.findall(r"^uv==(\S+)", (ROOT / "sandbox/tools/image/uv.txt").read_text(), re.MULTILINE)
    assert pinned == image


def test_everything_that_is_pushed_is_signed_and_has_provenance():
    [release] = [path for path in WORKFLOWS if path.name == "release.yaml"]
    publish = workflow(release)["jobs"]["publish"]["steps"]
    [signed] = [step["run"] for step in publish if "cosign sign" in step.get("run", "")]
    attested = {step["with"]["subject-name"] for step in publish if "actions/attest" in step.get("uses", "")}
    assert signed.split()[3:] == ['"$IMAGE@$DIGEST"', '"$PLAN_IMAGE@$PLAN_DIGEST"', '"$CHARTS/pertoken@$CHART_DIGEST"']
    assert attested == {"${{ env.IMAGE }}", "${{ env.PLAN_IMAGE }}", "${{ env.CHARTS }}/pertoken"}
    for step in publish:
        if "build-push-action" in step.get("uses", ""):
            assert (step["with"]["provenance"], step["with"]["sbom"]) == ("mode=max", True)


def test_the_krew_plugin_is_what_its_manifest_says(tmp_path: Path):
    script = ROOT / ".github" / "krew.py"
    for folder in ("one", "two"):
        subprocess.run([sys.executable, str(script), "1.2.3", str(tmp_path / folder)], check=True)
    plugin = yaml.safe_load((tmp_path / "one" / "pertoken.yaml").read_text())
    [platform] = plugin["spec"]["platforms"]
    archive = tmp_path / "one" / platform["uri"].rsplit("/", 1)[1]
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == platform["sha256"]
    assert archive.read_bytes() == (tmp_path / "two" / archive.name).read_bytes()
    assert (plugin["metadata"]["name"], plugin["spec"]["version"]) == ("pertoken", "v1.2.3")
    with tarfile.open(archive) as files:
        files.extractall(tmp_path, filter="data")
    uvx = tmp_path / "path" / "uvx"
    uvx.parent.mkdir()
    uvx.write_text('#!/bin/sh\necho "$@"\n')
    uvx.chmod(0o755)
    plugin_path = str(tmp_path / platform["bin"])
    run = [plugin_path, "status", "-n", "a b"]
    done = subprocess.run(run, env={"PATH": f"{uvx.parent}:/bin"}, capture_output=True, text=True, check=True)
    assert done.stdout == "--from pertoken[plan]==1.2.3 pertoken status -n a b\n"
    lacking = subprocess.run(run, env={"PATH": "/nowhere"}, capture_output=True, text=True, check=False)
    assert lacking.returncode == 2
    assert "neither uv nor pipx" in lacking.stderr


def test_the_whole_of_a_workflow_is_sound():
    """actionlint, where it is on the path (go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12)."""
    linter = shutil.which("actionlint")
    if linter is None:
        pytest.skip("no actionlint on the path")
    done = subprocess.run([linter, *map(str, WORKFLOWS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
