"""The chart's part of the scaler for KEDA, as Helm renders it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pertoken.settings import Settings
from pertoken_sandbox.binaries import ensure

CHART = Path(__file__).parents[2] / "charts" / "pertoken"
NAME = "pertoken-scaler"


def helm(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [str(ensure("helm")), "template", "pertoken", str(CHART), "--namespace", "pertoken-system"]
    return subprocess.run([*command, *flags], capture_output=True, text=True, check=False)


def render(*values: str) -> dict[tuple[str, str], dict[str, Any]]:
    done = helm(*(flag for value in values for flag in ("--set", value)))
    assert done.returncode == 0, done.stderr
    documents = [document for document in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if document]
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def settings_of(monkeypatch, manifests) -> Settings:
    for name, value in manifests["ConfigMap", "pertoken-settings"]["data"].items():
        monkeypatch.setenv(name, value)
    return Settings()


def test_it_is_off_by_default():
    manifests = render()

    assert ("Service", NAME) not in manifests
    assert "SCALER" not in str(manifests["ConfigMap", "pertoken-settings"])
    assert [port["name"] for port in container(manifests)["ports"]] == ["http"]


def container(manifests) -> dict[str, Any]:
    return dict(manifests["Deployment", "pertoken"]["spec"]["template"]["spec"]["containers"][0])


def test_its_service_reaches_every_pod_at_the_port_that_is_listened_on(monkeypatch):
    manifests = render("scaler.enabled=true", "scaler.port=6100", "replicaCount=2")
    spec, settings = manifests["Service", NAME]["spec"], settings_of(monkeypatch, manifests)
    labels = manifests["Deployment", "pertoken"]["spec"]["template"]["metadata"]["labels"]
    (port,) = spec["ports"]
    named = {each["name"]: each["containerPort"] for each in container(manifests)["ports"]}

    assert spec["selector"].items() <= labels.items()
    assert (settings.scaler_enabled, settings.scaler_port) == (True, 6100)
    assert named[port["targetPort"]] == port["port"] == 6100
    assert (settings.scaler_cert_file, settings.scaler_client_ca_file) == (None, None)


def test_a_secret_gives_it_a_certificate_and_demands_one_of_clients(monkeypatch):
    manifests = render("scaler.enabled=true", "scaler.tlsSecret=scaler-tls", "scaler.clientCertificates=true")
    settings = settings_of(monkeypatch, manifests)
    pod = manifests["Deployment", "pertoken"]["spec"]["template"]["spec"]
    volume = next(each for each in pod["volumes"] if each["name"] == "scaler")
    mount = next(each for each in container(manifests)["volumeMounts"] if each["name"] == "scaler")
    files = (settings.scaler_cert_file, settings.scaler_key_file, settings.scaler_client_ca_file)

    assert volume["secret"]["secretName"] == "scaler-tls"
    assert [str(path) for path in files] == [f"{mount['mountPath']}/{key}" for key in ("tls.crt", "tls.key", "ca.crt")]


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        ((), ["http"]),
        (("scaler.enabled=true",), ["http", "scaler"]),
        (("scaler.enabled=true", "networkPolicy.scalerFrom=null"), ["http"]),
        (("scaler.enabled=true", "networkPolicy.from=null"), ["scaler"]),
        (("networkPolicy.from=null",), []),
    ],
    ids=["off", "on", "on for nobody", "metrics for nobody", "off and metrics for nobody"],
)
def test_the_network_policy_lets_keda_in(values, ports):
    policy = render("networkPolicy.enabled=true", *values)["NetworkPolicy", "pertoken"]["spec"]["ingress"]
    peers = {rule["ports"][0]["port"]: rule["from"] for rule in policy}

    assert list(peers) == ports
    if "scaler" in peers:
        assert peers["scaler"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}]


@pytest.mark.parametrize("bad", ["scaler.port=0", "scaler.tls=x", "scaler.clientCertificates=true"])
def test_the_schema_refuses(bad):
    assert helm("--set", "scaler.enabled=true", "--set", bad).returncode != 0
