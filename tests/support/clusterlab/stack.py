"""What all black-box tests share: chart, fleet, Prometheus, operator, audit log, on the run's control plane."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from clusterlab.audit import OPERATOR_NAMESPACE, AuditLog, log_of
from clusterlab.cluster import Cluster
from clusterlab.fleet import Fleet
from clusterlab.operator import OperatorProcess
from pertoken_sandbox.binaries import ensure
from pertoken_sandbox.controlplane import ControlPlane
from pertoken_sandbox.prometheus import PrometheusServer, Scraping

TARGET_KINDS = [
    {"kind": "Deployment", "group": "apps", "resource": "deployments"},
    {"kind": "StatefulSet", "group": "apps", "resource": "statefulsets"},
    {"kind": "LeaderWorkerSet", "group": "leaderworkerset.x-k8s.io", "resource": "leaderworkersets"},
    {"kind": "LLMInferenceService", "group": "serving.kserve.io", "resource": "llminferenceservices"},
]
CHART = Path(__file__).parents[3] / "charts/pertoken"


class Stack:
    """Context manager; see `clusterlab.lab.Lab` for what tests use.

    Args:
        control_plane: started with `clusterlab.audit.audited`.
        folder: for logs and data.
    """

    def __init__(self, control_plane: ControlPlane, folder: Path) -> None:
        self.control_plane = control_plane
        self.kubectl = control_plane.kubectl
        self.folder = folder
        self.fleet = Fleet(control_plane.kubeconfig)
        self.cluster = Cluster(self.fleet)
        self.audit = AuditLog(log_of(control_plane.state_dir))
        self.prometheus: PrometheusServer
        self.operator: OperatorProcess
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def operator_process(self, name: str, account: str = "pertoken", **settings: Any) -> OperatorProcess:
        """Another operator, not started, under a service account of the operator's namespace."""
        token = self.folder / f"{account}.kubeconfig"
        if not token.is_file():
            self.control_plane.token_kubeconfig(OPERATOR_NAMESPACE, account, token)
        kinds = ",".join(f"{each['kind']}.{each['group']}" for each in TARGET_KINDS)
        own = {"KUBECONFIG": token, "PROMETHEUS_URL": self.prometheus.url, "TARGET_KINDS": kinds}
        process = OperatorProcess(name, self.folder, {**own, **settings})
        self._undo.callback(process.stop)
        return process

    def twin_account(self, name: str) -> str:
        """A second service account with all the rights of the chart's, so that the audit log tells them apart."""
        where = {"name": name, "namespace": OPERATOR_NAMESPACE}
        subject = {"kind": "ServiceAccount", **where}
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": where}
        bindings = []
        for listed in ("clusterrolebindings", "rolebindings"):
            for binding in self.kubectl.json("get", listed, "-n", OPERATOR_NAMESPACE)["items"]:
                subjects = binding.get("subjects") or []
                if any(each["name"] == "pertoken" and each["kind"] == "ServiceAccount" for each in subjects):
                    meta = {"name": f"{binding['metadata']['name']}-{name}"}
                    if listed == "rolebindings":
                        meta["namespace"] = OPERATOR_NAMESPACE
                    copy = {key: binding[key] for key in ("apiVersion", "kind", "roleRef")}
                    bindings.append({**copy, "metadata": meta, "subjects": [subject]})
        self.kubectl.apply(account, *bindings)
        return name

    def _start(self) -> None:
        self._helm("upgrade", "--install", "--create-namespace", "--take-ownership", "--force-conflicts")
        self._undo.callback(self._helm, "uninstall")
        self.fleet.start()
        self._undo.callback(self.fleet.stop)
        scraping = Scraping(self.fleet.urls(), interval_seconds=1.0)
        self.prometheus = PrometheusServer(ensure("prometheus"), self.folder / "prometheus", scraping)
        self.prometheus.start()
        self._undo.callback(self.prometheus.stop)
        self.operator = self.operator_process("operator")
        self.operator.start()

    def _helm(self, *words: str) -> None:
        kinds = ("--set-json", f"targetKinds={json.dumps(TARGET_KINDS)}")
        given = ("--set", "replicaCount=0", "--set", "ownedWorkloads=All")
        chart = (*given, *kinds, str(CHART)) if "--install" in words else ()
        command, *flags = words
        subprocess.run(
            [
                ensure("helm"),
                command,
                *flags,
                "pertoken",
                *chart,
                "--namespace",
                OPERATOR_NAMESPACE,
                "--kubeconfig",
                self.control_plane.kubeconfig,
            ],
            check=True,
            capture_output=True,
        )
