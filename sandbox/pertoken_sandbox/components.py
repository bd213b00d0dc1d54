"""What a running sandbox consists of: a list of components, started in order and stopped in reverse.

One more process in ``sandbox up`` is one more entry in `components`.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pertoken_sandbox.binaries import ensure, ensure_all
from pertoken_sandbox.cluster import Cluster, ExistingCluster
from pertoken_sandbox.controlplane import PROGRAMS, ControlPlane
from pertoken_sandbox.fleet.process import fleet_server
from pertoken_sandbox.operator import Operator
from pertoken_sandbox.processes import ManagedProcess
from pertoken_sandbox.progress import say
from pertoken_sandbox.prometheus import PrometheusServer, Scraping

DEFAULT_STATE_DIR = Path(".sandbox")
STATE_FILE = "state.json"


@dataclass(frozen=True)
class Options:
    """What a sandbox is made of; kept in its state file so that every later command sees the same.

    Args:
        state_dir: folder of everything that belongs to it.
        existing_kubeconfig: use this cluster rather than boot one.
        fleet: configuration of the emulated GPU fleet; None for none.
        fleet_port: where the fleet listens.
        scrape_interval_seconds: time between scrapes.
        operator_port: where the operator listens; 0 for none.
    """

    state_dir: Path
    existing_kubeconfig: Path | None = None
    fleet: Path | None = None
    fleet_port: int = 0
    scrape_interval_seconds: float = 2.0
    operator_port: int = 0

    def save(self) -> None:
        """Write them to the state file."""
        record = {
            "existing_kubeconfig": None if self.existing_kubeconfig is None else str(self.existing_kubeconfig),
            "fleet": None if self.fleet is None else str(self.fleet),
            "fleet_port": self.fleet_port,
            "scrape_interval_seconds": self.scrape_interval_seconds,
            "operator_port": self.operator_port,
        }
        self.state_dir.mkdir(parents=True, exist_ok=True)
        (self.state_dir / STATE_FILE).write_text(json.dumps(record, indent=2) + "\n")

    @classmethod
    def load(cls, state_dir: Path) -> Options | None:
        """Read them back; None when there is no sandbox in the folder."""
        try:
            record: dict[str, Any] = json.loads((state_dir / STATE_FILE).read_text())
        except FileNotFoundError:
            return None
        existing, fleet = record["existing_kubeconfig"], record["fleet"]
        return cls(
            state_dir,
            None if existing is None else Path(existing),
            None if fleet is None else Path(fleet),
            int(record["fleet_port"]),
            float(record["scrape_interval_seconds"]),
            int(record.get("operator_port", 0)),
        )


def default_state_dir() -> Path:
    """``$PERTOKEN_SANDBOX_DIR``, else ``.sandbox`` in the current folder."""
    return Path(os.environ.get("PERTOKEN_SANDBOX_DIR") or DEFAULT_STATE_DIR).absolute()


class Component(Protocol):
    """One part of the sandbox."""

    def start(self) -> None:
        """Start what does not run yet and wait until it is ready."""

    def stop(self) -> None:
        """Stop it; fine when it does not run."""


@dataclass(frozen=True)
class SandboxPart:
    """A component with its name, its processes and what a user wants to know of it."""

    name: str
    component: Component
    processes: Sequence[ManagedProcess]
    facts: Mapping[str, str] = field(default_factory=dict)


def cluster(options: Options) -> Cluster:
    """The sandbox's cluster, running or not."""
    if options.existing_kubeconfig is not None:
        return ExistingCluster(options.state_dir, options.existing_kubeconfig)
    return ControlPlane(options.state_dir / "controlplane", detached=True)


def prometheus(options: Options, targets: tuple[str, ...] = ()) -> PrometheusServer:
    """The sandbox's Prometheus, running or not; it finds what to scrape at `targets`."""
    scraping = Scraping(targets, interval_seconds=options.scrape_interval_seconds)
    return PrometheusServer(ensure("prometheus"), options.state_dir / "prometheus", scraping, detached=True)


def components(options: Options) -> list[SandboxPart]:
    """All parts, in the order of their start; every program that they need is there when this returns."""
    ensure_all(("kubectl", "prometheus") if options.existing_kubeconfig else (*PROGRAMS, "prometheus"))
    kube = cluster(options)
    processes = kube.processes if isinstance(kube, ControlPlane) else ()
    parts = [
        SandboxPart(
            "cluster", kube, processes, {"kubeconfig": str(kube.kubeconfig), "kubectl": str(kube.kubectl.binary)}
        ),
    ]
    targets: tuple[str, ...] = ()
    if options.fleet is not None:
        gpus = fleet_server(
            kube.kubeconfig, options.fleet, options.fleet_port, options.state_dir / "fleet", detached=True
        )
        parts.append(SandboxPart("fleet", gpus, (gpus.process,), {"url": gpus.url}))
        targets = gpus.urls
    metrics = prometheus(options, targets)
    parts.append(SandboxPart("prometheus", metrics, (metrics.process,), {"url": metrics.url}))
    if options.operator_port:
        operator = Operator(kube, options.state_dir / "operator", metrics.url, options.operator_port)
        parts.append(SandboxPart("operator", operator, (operator.process,), {"url": operator.url}))
    return parts


def start_all(parts: Sequence[SandboxPart]) -> None:
    """Start the parts in order; if one fails, those that ran not before are stopped again."""
    begun: list[SandboxPart] = []
    try:
        for part in parts:
            fresh = not any(process.running for process in part.processes)
            started = time.monotonic()
            if fresh:
                begun.append(part)
            part.component.start()
            say(f"{part.name}: ready after {time.monotonic() - started:.1f} s")
    except BaseException:
        stop_all(begun)
        raise


def stop_all(parts: Sequence[SandboxPart]) -> None:
    """Stop the parts in reverse order."""
    for part in reversed(parts):
        part.component.stop()


def remove_state(state_dir: Path) -> None:
    """Remove the state folder of a stopped sandbox, and nothing that is not one."""
    if (state_dir / STATE_FILE).is_file():
        shutil.rmtree(state_dir)
