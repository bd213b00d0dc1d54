"""One live run: the demo's stage with one autoscaler on it, looked at once a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from pertoken_sandbox.controlplane import ControlPlane
from pertoken_sandbox.demo.attainment import of_log
from pertoken_sandbox.demo.setting import NAMESPACE, SERVICE
from pertoken_sandbox.demo.stage import NOTHING_FURTHER, Stage, StageError, get_json, set_up
from pertoken_sandbox.demo.summary import PromisedLatency
from pertoken_sandbox.peers import adapter, keda
from pertoken_sandbox.peers.aggregation import await_available, registration
from pertoken_sandbox.peers.setting import (
    LEAST,
    METRIC,
    MOST,
    SPEED,
    TRACE_SECONDS,
    autoscaler,
    control_plane_settings,
    demo_setting,
    deployment,
    example,
    scaled_object,
)
from pertoken_sandbox.pki import Authority, CertificateSubject
from pertoken_sandbox.processes import ManagedProcess, ProcessCommand, free_ports
from pertoken_sandbox.progress import Progress, say

START_SECONDS: Final = 120.0
SETTLE_SECONDS: Final = 5.0  # for discovery and the first scrapes
METRICS_NAMESPACE: Final = "custom-metrics"


@dataclass(frozen=True, slots=True)
class LiveRun:
    """What one autoscaler did.

    Attributes:
        seconds, bound, ready, draining: once a second since the trace began: pods that hold a GPU, and of these
            those that serve and those that finish what they have.
        started: pods that were seen.
        replica_hours: of pods that held a GPU, until the trace's end.
        attained: share of the requests within both objectives; unfinished ones are misses.
    """

    peer: str
    seconds: list[float]
    bound: list[int]
    ready: list[int]
    replica_hours: float
    usd: float
    tokens: int
    requests: int
    attained: float
    ttft_p95_ms: float | None
    itl_p95_ms: float | None
    draining: list[int] = field(default_factory=list)
    started: int = 0

    @property
    def cold_start(self) -> float | None:
        """Mean seconds from a pod's first sight to its readiness, by Little's law; None where pods were not told apart.

        The replicas of the beginning were ready before.
        """
        begun = self.started - self.bound[0]
        waited = sum(self.bound) - sum(self.ready) - sum(self.draining)
        span = self.seconds[-1] / max(1, len(self.seconds) - 1)
        return waited * span / begun if self.draining and begun > 0 else None

    @property
    def usd_per_million(self) -> float:
        """USD per million tokens of finished requests."""
        return self.usd / self.tokens * 1e6 if self.tokens else 0.0


@dataclass(slots=True)
class _Account:
    seconds: list[float] = field(default_factory=list)
    bound: list[int] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)
    draining: list[int] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    pod_seconds: float = 0.0

    def look(self, stage: Stage, seconds: float) -> None:
        """One sample; the pods seen now held their GPUs since the last one."""
        pods = [pod for pod in get_json(f"{stage.fleet_url}/state")["pods"] if pod["namespace"] == NAMESPACE]
        mine = [pod for pod in pods if pod["gpus"]]
        elapsed = seconds - (self.seconds[-1] if self.seconds else 0.0)
        self.pod_seconds += elapsed * len(mine)
        self.seconds.append(round(seconds, 3))
        self.bound.append(len(mine))
        self.ready.append(sum(1 for pod in mine if pod["serving"]))
        self.draining.append(sum(1 for pod in mine if pod["draining"]))
        self.names |= {pod["name"] for pod in mine}


def run(peer: str, state_dir: Path) -> LiveRun:
    """Play the whole trace under one autoscaler, with everything started for it and stopped after it.

    Raises:
        StageError, ProcessFailed, KubectlFailed, BuildFailed: a part did not come up.
    """
    starts: dict[str, Callable[[Stage, ExitStack], None]] = {
        "hpa-queue": _start_hpa,
        "keda-waiting": _start_keda,
        "pertoken": _start_pertoken,
    }
    with ExitStack() as stack:
        return play(peer, prepared(state_dir, stack), stack, starts[peer])


def prepared(state_dir: Path, stack: ExitStack, further: Mapping[str, str] = NOTHING_FURTHER) -> Stage:
    """Everything that no autoscaler is part of; `further` is environment of the operator.

    Raises:
        StageError, ProcessFailed, KubectlFailed: a part did not come up.
    """
    cluster = ControlPlane(state_dir, control_plane_settings())
    return set_up(demo_setting(), cluster, stack, lambda text: say(f"  starting {text}"), further)


def play(peer: str, stage: Stage, stack: ExitStack, start: Callable[[Stage, ExitStack], None]) -> LiveRun:
    """Play the whole trace on a prepared stage under the autoscaler that `start` starts.

    Raises:
        StageError, ProcessFailed, KubectlFailed, BuildFailed: a part did not come up.
    """
    start(stage, stack)
    _await_replicas(stage)
    time.sleep(SETTLE_SECONDS)
    account = _play(peer, stage)
    _check_autoscaler(stage)
    return _result(peer, stage, account)


def _start_hpa(stage: Stage, stack: ExitStack) -> None:
    cluster = stage.cluster
    pair = Authority(cluster.state_dir / "adapter-certs", "ca").issue(
        "adapter", CertificateSubject("metrics-adapter", hosts=("localhost", "127.0.0.1"))
    )
    (port,) = free_ports(1)
    argv = (
        sys.executable,
        "-m",
        "pertoken_sandbox.peers.adapter",
        f"--prometheus={stage.prometheus.url}",
        f"--port={port}",
        f"--certificate={pair.certificate}",
        f"--key={pair.key}",
        f"--client-authority={cluster.state_dir / 'pki' / 'front-proxy-ca.crt'}",
        f"--metric={METRIC}",
    )
    process = ManagedProcess(ProcessCommand("metrics-adapter", argv), cluster.state_dir)
    stack.callback(process.stop)
    process.start()
    cluster.kubectl.apply(*registration(adapter.GROUP, adapter.VERSION, METRICS_NAMESPACE, port))
    await_available(cluster, f"{adapter.VERSION}.{adapter.GROUP}")
    deploy(stage)
    cluster.kubectl.apply(autoscaler())


def _start_keda(stage: Stage, stack: ExitStack) -> None:
    keda.start(stage.cluster, stack)
    deploy(stage)
    stage.cluster.kubectl.apply(scaled_object(stage.prometheus.url))


def _start_pertoken(stage: Stage, _: ExitStack) -> None:
    """The demo's manifests with the bounds that all have here, and the demo's own cost target."""
    target = example("InferenceService")["spec"]["objective"]["cost"]["perMillionTokens"]["blended"]
    stage.apply_examples(Decimal(target))
    service = stage.cluster.kubectl.json("get", "inferenceservices.serving.pertoken.dev", "-n", NAMESPACE, SERVICE)
    variants = service["spec"]["variants"]
    variants[0] |= {"minReplicas": LEAST, "maxReplicas": MOST}
    patch = {
        "apiVersion": service["apiVersion"],
        "kind": service["kind"],
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {**service["spec"], "variants": variants},
    }
    stage.cluster.kubectl.apply(patch)
    stage.start_operator()


def deploy(stage: Stage) -> None:
    """The plain Deployment, as somebody has it without pertoken."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    stage.cluster.kubectl.apply(namespace)
    # Client-side, so that no field manager but the autoscaler's owns spec.replicas afterwards.
    stage.cluster.kubectl.apply(deployment(), server_side=False)


def _await_replicas(stage: Stage) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        pods: list[dict[str, Any]] = get_json(f"{stage.fleet_url}/state")["pods"]
        if sum(1 for pod in pods if pod["serving"] and pod["namespace"] == NAMESPACE) >= LEAST:
            return
        time.sleep(0.5)
    raise StageError(f"fewer than {LEAST} replicas were ready after {START_SECONDS:.0f} s")


def _play(peer: str, stage: Stage) -> _Account:
    account = _Account()
    length = TRACE_SECONDS / SPEED
    with Progress(f"{peer}: {length:.0f} s of traffic") as progress:
        stage.start_traffic()
        began = time.monotonic()
        while (seconds := time.monotonic() - began) < length:
            account.look(stage, seconds)
            progress.tick()
            time.sleep(max(0.0, 1.0 - (time.monotonic() - began - seconds)))
        account.look(stage, length)
    return account


def _check_autoscaler(stage: Stage) -> None:
    """An autoscaler that lost its metric stood still: such a run says nothing."""
    for scaler in stage.cluster.kubectl.json("get", "horizontalpodautoscalers", "-n", NAMESPACE)["items"]:
        for condition in scaler["status"].get("conditions", ()):
            if condition["type"] == "ScalingActive" and condition["status"] != "True":
                raise StageError(f"the autoscaler was not active at the end: {condition['message']}")


def _result(peer: str, stage: Stage, account: _Account) -> LiveRun:
    length = TRACE_SECONDS / SPEED
    clients = get_json(f"{stage.fleet_url}/clients?seconds={length + 60:g}")[0]
    latency = example("InferenceService")["spec"]["objective"]["latency"]
    objectives = PromisedLatency(latency["ttftMilliseconds"] / 1000, latency["interTokenMilliseconds"] / 1000)
    price = float(example("AcceleratorPool")["spec"]["pricePerGPUHour"])
    hours = account.pod_seconds / 3600.0
    total = clients["total"]
    return LiveRun(
        peer,
        account.seconds,
        account.bound,
        account.ready,
        hours,
        hours * price,
        total["input_tokens"] + total["output_tokens"],
        total["arrived"],
        of_log(stage.request_log, clients["backlog"], objectives) or 0.0,
        clients["ttft_ms"]["p95"],
        clients["itl_ms"]["p95"],
        account.draining,
        len(account.names),
    )
