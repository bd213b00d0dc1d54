"""`make keda`: pertoken's set-point written by the real KEDA and HPA, and by pertoken itself, on the same trace."""

from __future__ import annotations

import base64
import datetime as dt
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml

from pertoken_sandbox.binaries import BinaryUnavailable
from pertoken_sandbox.conformance.tables import write_section
from pertoken_sandbox.demo.setting import EXAMPLES, NAMESPACE, SERVICE
from pertoken_sandbox.demo.stage import COST_WINDOW_SECONDS, Stage, StageError
from pertoken_sandbox.gobuild import BuildFailed
from pertoken_sandbox.kubectl import KubectlFailed
from pertoken_sandbox.peers import keda, live
from pertoken_sandbox.peers.live import LiveRun
from pertoken_sandbox.peers.live_tables import side_by_side, trajectories
from pertoken_sandbox.peers.setting import (
    LEAST,
    MOST,
    WORKLOAD,
    demo_setting,
    example,
    scaled_by,
)
from pertoken_sandbox.pki import Authority, CertificateSubject
from pertoken_sandbox.processes import ProcessFailed, free_ports
from pertoken_sandbox.progress import say

DOCUMENT: Final = Path(__file__).parents[3] / "docs" / "keda.md"
RESULTS: Final = Path(__file__).with_name("lent.json")
BROKEN: Final = 2
OWN, LENT, DULL = "pertoken", "keda-lent", "keda-lent-dull"
RUNS: Final = (OWN, LENT, DULL)
POLICY_SECONDS: Final = 1  # the HPA's 15 s on the trace's clock; whole seconds
FALLBACK: Final = 8  # replicas
FALLBACK_SECONDS: Final = 120.0
SECRET: Final = "pertoken-client"  # noqa: S105 - a name

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Scaler:
    """Where the operator's scaler listens, and the certificates of both sides."""

    folder: Path
    port: int = field(default_factory=lambda: free_ports(1)[0])

    def environment(self) -> Mapping[str, str]:
        """Of the operator."""
        pair = self._pair("scaler")
        return {
            "PERTOKEN_SCALER_ENABLED": "true",
            "PERTOKEN_SCALER_HOST": "127.0.0.1",
            "PERTOKEN_SCALER_PORT": str(self.port),
            "PERTOKEN_SCALER_CERT_FILE": str(pair["tls.crt"]),
            "PERTOKEN_SCALER_KEY_FILE": str(pair["tls.key"]),
            "PERTOKEN_SCALER_CLIENT_CA_FILE": str(pair["ca.crt"]),
        }

    def client(self) -> list[dict[str, Any]]:
        """KEDA's certificate as a Secret, and the TriggerAuthentication that reads it."""
        files = {name: base64.b64encode(path.read_bytes()).decode() for name, path in self._pair("keda").items()}
        keys = {"caCert": "ca.crt", "tlsClientCert": "tls.crt", "tlsClientKey": "tls.key"}
        references = [{"parameter": parameter, "name": SECRET, "key": key} for parameter, key in keys.items()]
        return [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": SECRET, "namespace": NAMESPACE},
                "data": files,
            },
            {
                "apiVersion": "keda.sh/v1alpha1",
                "kind": "TriggerAuthentication",
                "metadata": {"name": "pertoken", "namespace": NAMESPACE},
                "spec": {"secretTargetRef": references},
            },
        ]

    def _pair(self, name: str) -> Mapping[str, Path]:
        authority = Authority(self.folder, "ca")
        pair = authority.issue(name, CertificateSubject(name, hosts=("localhost", "127.0.0.1")))
        return {"ca.crt": authority.files.certificate, "tls.crt": pair.certificate, "tls.key": pair.key}


def adopted(mode: str) -> dict[str, Any]:
    """The demo's service on a Deployment that is there already."""
    service = example("InferenceService")
    (variant,) = service["spec"]["variants"]
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": WORKLOAD}
    bounds = {"minReplicas": LEAST, "maxReplicas": MOST, "scaleTargetRef": target}
    kept = {name: value for name, value in variant.items() if name not in ("podTemplate", "batching")}
    service["spec"] |= {
        "mode": mode,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": demo_setting().scale_down_seconds()}},
        "variants": [kept | bounds],
    }
    service["spec"]["objective"]["cost"]["windowSeconds"] = COST_WINDOW_SECONDS
    return service


def scaled_object(port: int, tolerance: str | None) -> dict[str, Any]:
    """The guide's ScaledObject on the trace's clock; without `tolerance` the HPA has its 10 %."""
    policies = [
        {"type": "Pods", "value": 4, "periodSeconds": POLICY_SECONDS},
        {"type": "Percent", "value": 100, "periodSeconds": POLICY_SECONDS},
    ]
    given = {} if tolerance is None else {"tolerance": tolerance}
    behavior = {
        "scaleUp": {"policies": policies, **given},
        "scaleDown": {"policies": policies[1:], "stabilizationWindowSeconds": 0, **given},
    }
    trigger = {
        "type": "external-push",
        "metadata": {"scalerAddress": f"localhost:{port}", "service": SERVICE},
        "authenticationRef": {"name": "pertoken"},
    }
    return scaled_by(
        trigger,
        fallback={"failureThreshold": 3, "replicas": FALLBACK, "behavior": "currentReplicasIfHigher"},
        advanced={"horizontalPodAutoscalerConfig": {"behavior": behavior}},
    )


@app.command()
def main(
    only: Annotated[list[str] | None, typer.Option("--run", help=f"Only these: {', '.join(RUNS)}.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Only the tables, of the kept runs.")] = False,
) -> None:
    """Run them live, one after the other (about six minutes each), and write docs/keda.md."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {"runs": {}}
    for name in () if again else only or RUNS:
        kept.pop("remark", None)
        run, fell_back = _live(name)
        kept["runs"][name] = asdict(run)
        kept["date"] = dt.datetime.now(tz=dt.UTC).date().isoformat()  # noqa: TID251 - the report is dated
        if fell_back is not None:
            kept["fell_back"] = fell_back
        RESULTS.write_text(json.dumps(kept, separators=(",", ":")) + "\n", encoding="utf-8")
    for name, text in sections(kept).items():
        print(text)
        write_section(name, text, DOCUMENT)


def sections(kept: Mapping[str, Any]) -> dict[str, str]:
    """The generated parts of the guide."""
    runs = {name: LiveRun(**kept["runs"][name]) for name in RUNS if name in kept["runs"]}
    fell_back = kept.get("fell_back")
    words = (
        ""
        if fell_back is None
        else f"\nAfter the trace Prometheus was stopped: KEDA fell back {fell_back['seconds']:.0f} s later, and "
        f"{fell_back['before']} replicas became {fell_back['after']} (`fallback`: {FALLBACK}, or what ran).\n"
    )
    table = f"Run on {kept['date']}{kept.get('remark', '.')}\n\n{side_by_side(runs)}{words}"
    return {"lent": table, "trajectories": trajectories(runs, {})}


def _live(name: str) -> tuple[LiveRun, Mapping[str, float] | None]:
    state = Path(tempfile.mkdtemp(prefix="pertoken-keda-"))
    try:
        run = _own(state) if name == OWN else _lent(name, state)
    except (StageError, ProcessFailed, KubectlFailed, BuildFailed, BinaryUnavailable) as error:
        say(f"keda: {name}: {error}\nlogs: {state}")
        sys.exit(BROKEN)
    shutil.rmtree(state, ignore_errors=True)
    return run


def _own(state: Path) -> tuple[LiveRun, None]:
    """Pertoken writes: the same service in mode Auto."""

    def start(stage: Stage, _: ExitStack) -> None:
        _adopt(stage, "Auto")
        stage.start_operator()

    with ExitStack() as stack:
        return live.play(OWN, live.prepared(state, stack), stack, start), None


def _lent(name: str, state: Path) -> tuple[LiveRun, Mapping[str, float] | None]:
    """KEDA and the HPA write what pertoken recommends; afterwards pertoken loses its metrics."""
    scaler = Scaler(state / "scaler-certs")

    def start(stage: Stage, stack: ExitStack) -> None:
        keda.start(stage.cluster, stack)
        _adopt(stage, "Recommend")
        stage.start_operator()
        stage.cluster.kubectl.apply(*scaler.client(), scaled_object(scaler.port, "0" if name == LENT else None))

    with ExitStack() as stack:
        stage = live.prepared(state, stack, scaler.environment())
        run = live.play(name, stage, stack, start)
        return run, _lose_metrics(stage)


def _adopt(stage: Stage, mode: str) -> None:
    documents: Sequence[dict[str, Any]] = [
        document
        for path in sorted(EXAMPLES.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if document and document["kind"] in ("Namespace", "AcceleratorPool")
    ]
    for kind in ("Namespace", "AcceleratorPool"):
        stage.cluster.kubectl.apply(*(document for document in documents if document["kind"] == kind))
    live.deploy(stage)
    stage.cluster.kubectl.apply(adopted(mode))


def _lose_metrics(stage: Stage) -> Mapping[str, float] | None:
    """How long after Prometheus' end KEDA falls back, and what becomes of the replicas; None where it does not."""
    stage.prometheus.stop()
    before, began = _replicas(stage), time.monotonic()
    while not _falls_back(stage):
        if time.monotonic() - began > FALLBACK_SECONDS:
            say(f"KEDA did not fall back within {FALLBACK_SECONDS:.0f} s without metrics")
            return None
        time.sleep(0.5)
    seconds = time.monotonic() - began
    time.sleep(live.SETTLE_SECONDS)
    return {"seconds": round(seconds, 1), "before": before, "after": _replicas(stage)}


def _replicas(stage: Stage) -> int:
    return int(stage.cluster.kubectl.json("get", "deployment", "-n", NAMESPACE, WORKLOAD)["spec"]["replicas"])


def _falls_back(stage: Stage) -> bool:
    scaled = stage.cluster.kubectl.json("get", "scaledobject", "-n", NAMESPACE, WORKLOAD)
    conditions = {each["type"]: each["status"] for each in scaled.get("status", {}).get("conditions", ())}
    return conditions.get("Fallback") == "True"


if __name__ == "__main__":
    app()
