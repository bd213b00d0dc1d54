"""The chart's catalog rows reach the folder that the operator reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from pertoken.catalog.rows import parse_rows
from pertoken_sandbox.binaries import ensure

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "catalog.md"


@pytest.fixture(scope="module")
def render(tmp_path_factory):
    helm = ensure("helm")

    def rendered(catalog):
        values = tmp_path_factory.mktemp("values") / "values.yaml"
        values.write_text(yaml.safe_dump({"catalog": catalog}))
        command = [str(helm), "template", "pertoken", str(ROOT / "charts" / "pertoken"), "-f", str(values)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        documents = [document for document in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if document]
        return {(document["kind"], document["metadata"]["name"]): document for document in documents}

    return rendered


def mounted(manifests):
    """Name of the mounted ConfigMap and the folder that the settings name."""
    spec = manifests["Deployment", "pertoken"]["spec"]["template"]["spec"]
    volume = next(volume for volume in spec["volumes"] if volume["name"] == "catalog")
    mount = next(mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "catalog")
    settings = manifests["ConfigMap", "pertoken-settings"]["data"]
    assert mount["mountPath"] == settings["PERTOKEN_CATALOG_DIR"]
    return volume["configMap"]["name"]


def test_rows_of_the_values_are_written_mounted_and_read(render):
    example = yaml.safe_load(PAGE.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0])
    manifests = render({"rows": example})
    rows = parse_rows(yaml.safe_load(manifests["ConfigMap", mounted(manifests)]["data"]["rows.yaml"]))

    assert rows.mistakes == ()
    assert [gpu.id for gpu in rows.gpus] == ["h100-lab"]
    assert [model.id for model in rows.models] == ["acme/chat-3b"]


def test_an_own_config_map_is_mounted_instead(render):
    manifests = render({"existingConfigMap": "ours"})

    assert mounted(manifests) == "ours"
    assert ("ConfigMap", "pertoken-catalog") not in manifests


def test_without_rows_nothing_is_mounted(render):
    manifests = render({})

    assert "PERTOKEN_CATALOG_DIR" not in manifests["ConfigMap", "pertoken-settings"]["data"]
