"""The real KEDA: built from its Go module, run as two processes beside the control plane."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Final

from pertoken_sandbox import gobuild
from pertoken_sandbox.cache import bin_dir, lock, publish, staging_dir
from pertoken_sandbox.cluster import Cluster
from pertoken_sandbox.neighbours import go_module_dir
from pertoken_sandbox.peers.aggregation import await_available, registration
from pertoken_sandbox.pki import Authority, CertificateSubject
from pertoken_sandbox.processes import ManagedProcess, ProcessCommand, free_ports
from pertoken_sandbox.versions import GoSource, arch_name, os_name

VERSION: Final = "2.21.0"
MODULE: Final = "github.com/kedacore/keda/v2"
NAMESPACE: Final = "keda"
GROUP: Final = "external.metrics.k8s.io"
READY_SECONDS: Final = 60.0
_LINKED = (f"-X {MODULE}/version.Version={VERSION}",)


def ensure(part: str) -> Path:
    """KEDA's ``operator`` or ``adapter`` from the cache, built with Go when it is not there.

    KEDA publishes images and no programs, so there is nothing to download.

    Raises:
        BuildFailed: Go is missing or the build failed.
    """
    file_name = f"keda-{part}-{VERSION}-{os_name()}-{arch_name()}"
    target = bin_dir() / file_name
    if target.is_file():
        return target
    with lock("keda"):
        if target.is_file():
            return target
        with staging_dir() as folder:
            staged = folder / part
            gobuild.build(GoSource("keda", f"{MODULE}/cmd/{part}", _LINKED), staged, f"KEDA {VERSION} {part}")
            return publish(staged, file_name)


def custom_resources() -> list[Path]:
    """KEDA's CRDs, from the module's own folder in Go's cache; its operator stops after two minutes if one is missing.

    Raises:
        BuildFailed: Go is missing or the module cannot be fetched.
    """
    folder = go_module_dir(MODULE, f"v{VERSION}", "keda")
    return sorted((folder / "config" / "crd" / "bases").glob("*keda.sh_*.yaml"))


def start(cluster: Cluster, stack: ExitStack) -> None:
    """Run KEDA against a control plane of the sandbox; `stack` stops it.

    Raises:
        ProcessFailed: it did not come up.
    """
    state, pki = cluster.state_dir, cluster.state_dir / "pki"
    certificates = _certificates(state / "keda-certs")
    grpc, secure, probe, metrics, plain = free_ports(5)
    environment = {
        "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,
        "POD_NAMESPACE": NAMESPACE,
        "POD_NAME": "keda-operator",
        "OPERATOR_NAME": "keda-operator",
        "WATCH_NAMESPACE": "",
    }
    kubeconfig = f"--kubeconfig={cluster.kubeconfig}"
    operator = (
        str(ensure("operator")),
        kubeconfig,
        f"--cert-dir={certificates}",
        "--enable-cert-rotation=false",
        "--enable-webhook-patching=false",
        "--enable-apiservice-patching=false",
        f"--metrics-service-bind-address=127.0.0.1:{grpc}",
        f"--metrics-bind-address=127.0.0.1:{metrics}",
        f"--health-probe-bind-address=127.0.0.1:{probe}",
        "--zap-log-level=info",
    )
    adapter = (
        str(ensure("adapter")),
        kubeconfig,
        f"--lister-kubeconfig={cluster.kubeconfig}",
        f"--authentication-kubeconfig={cluster.kubeconfig}",
        f"--authorization-kubeconfig={cluster.kubeconfig}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--bind-address=127.0.0.1",
        f"--secure-port={secure}",
        f"--cert-dir={certificates}",
        f"--tls-cert-file={certificates / 'tls.crt'}",
        f"--tls-private-key-file={certificates / 'tls.key'}",
        f"--port={plain}",
        f"--metrics-service-address=localhost:{grpc}",
    )
    cluster.kubectl.apply(*registration(GROUP, "v1beta1", NAMESPACE, secure)[:1])
    cluster.kubectl.apply_files(custom_resources())
    cluster.kubectl.await_crd("scaledobjects.keda.sh")
    for name, argv in (("keda-operator", operator), ("keda-adapter", adapter)):
        process = ManagedProcess(ProcessCommand(name, argv, environment), state)
        stack.callback(process.stop)
        process.start()
    cluster.kubectl.apply(*registration(GROUP, "v1beta1", NAMESPACE, secure))
    await_available(cluster, f"v1beta1.{GROUP}")


def _certificates(folder: Path) -> Path:
    """One certificate for both sides of the metrics service, by the names that KEDA looks for."""
    authority = Authority(folder, "ca")
    authority.issue("tls", CertificateSubject("keda", hosts=("localhost", "127.0.0.1")))
    return folder
