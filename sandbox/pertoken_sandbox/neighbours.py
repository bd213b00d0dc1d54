"""Real CRDs of the projects that share a cluster with pertoken, from their published Go modules.

Versions are the ``require`` lines of ``sandbox/tools/neighbours/go.mod``; its go.sum pins their content. To add a
neighbour: one ``require`` line, its two go.sum lines, one row in `NEIGHBOURS`.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pertoken_sandbox.gobuild import BuildFailed, go_command, go_environment, module_folder

_REQUIRE = re.compile(r"^\s*(?:require\s+)?(\S+)\s+(v\S+)\s*(?://.*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Neighbour:
    """Where a project keeps its CRDs: files of `folder` in `module` that match `pattern`."""

    module: str
    folder: str
    pattern: str = "*.yaml"


NEIGHBOURS: dict[str, Neighbour] = {
    "kserve": Neighbour("github.com/kserve/kserve", "config/crd/full", "**/serving.kserve.io_*.yaml"),
    "gateway-api": Neighbour("sigs.k8s.io/gateway-api", "config/crd/standard", "gateway.networking.k8s.io_*s.yaml"),
    "inference-extension": Neighbour("sigs.k8s.io/gateway-api-inference-extension", "config/crd/bases"),
    "karpenter": Neighbour("sigs.k8s.io/karpenter", "pkg/apis/crds"),
    "kueue": Neighbour("sigs.k8s.io/kueue", "config/components/crd/bases"),
    "prometheus-operator": Neighbour(
        "github.com/prometheus-operator/prometheus-operator",
        "example/prometheus-operator-crd",
        "monitoring.coreos.com_*s.yaml",
    ),
    "lws": Neighbour("sigs.k8s.io/lws", "config/crd/bases"),
}


def neighbour_versions() -> dict[str, str]:
    """The pinned version of every neighbour's module."""
    return dict(_REQUIRE.findall((module_folder("neighbours") / "go.mod").read_text()))


def neighbour_crds(name: str) -> list[Path]:
    """Files of a neighbour's CRDs.

    Raises:
        KeyError: no such neighbour in `NEIGHBOURS`.
        BuildFailed: Go is missing, the module cannot be fetched, or its content is not the pinned one.
    """
    neighbour = NEIGHBOURS[name]
    root = go_module_dir(neighbour.module, neighbour_versions()[neighbour.module])
    files = sorted((root / neighbour.folder).glob(neighbour.pattern))
    if not files:
        raise BuildFailed(f"{neighbour.module} has no {neighbour.folder}/{neighbour.pattern}")
    return files


def go_module_dir(module: str, version: str, tools: str = "neighbours") -> Path:
    """Folder of a Go module in the user's module cache, downloaded when absent; go.sum of `tools` is enforced by Go.

    Raises:
        BuildFailed: Go is missing, the module cannot be fetched, or its content is not the pinned one.
    """
    folder = module_folder(tools)
    if f"{module} {version} h1:" not in (folder / "go.sum").read_text():
        raise BuildFailed(f"{module}@{version} is not pinned in {folder / 'go.sum'}")
    done = subprocess.run(
        [go_command(), "mod", "download", "-json", f"{module}@{version}"],
        cwd=folder,
        env=go_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    answer = json.loads(done.stdout) if done.stdout.strip() else {"Error": done.stderr.strip()}
    if "Error" in answer:
        raise BuildFailed(f"{module}@{version}: {answer['Error']}")
    return Path(answer["Dir"])
