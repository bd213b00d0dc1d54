"""Command lines, certificates and files of the control plane's four processes.

Everything listens on loopback. etcd demands client certificates, since any user of the machine can reach loopback.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from pertoken_sandbox.pki import Authority, CertificateSubject, KeyPair, signing_key
from pertoken_sandbox.processes import ProcessCommand

LOOPBACK = "127.0.0.1"
SERVICE_RANGE = "10.96.0.0/16"
KUBERNETES_SERVICE = "10.96.0.1"
ETCD_QUOTA_BYTES = 2 << 30


@dataclass(frozen=True)
class ControlPlaneSettings:
    """What may differ between control planes.

    Args:
        node_monitor_grace_seconds: silence after which a node counts as lost. Large by default: an emulated kubelet's
            heartbeat may be late on a loaded machine. Lower it to rehearse the loss of a node.
        hpa_sync_seconds: period of the horizontal pod autoscaler's controller (Kubernetes' default is 15).
        apiserver_memory_mib: soft memory limit (GOMEMLIMIT) of the API server.
        extra_apiserver_args: flags added to the API server's command line, for example an audit policy.
        extra_controller_manager_args: flags added to the controller manager's.
    """

    node_monitor_grace_seconds: int = 3600
    hpa_sync_seconds: float = 15
    apiserver_memory_mib: int = 1024
    extra_apiserver_args: tuple[str, ...] = ()
    extra_controller_manager_args: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ports:
    """Loopback ports of the control plane."""

    etcd_client: int
    etcd_peer: int
    etcd_metrics: int
    apiserver: int
    controller_manager: int
    scheduler: int

    @classmethod
    def count(cls) -> int:
        """How many ports there are."""
        return len(fields(cls))


@dataclass(frozen=True)
class Layout:
    """Where things are: the state folder, ports and programs."""

    state_dir: Path
    ports: Ports
    programs: Mapping[str, Path]

    @property
    def pki(self) -> Path:
        """Folder of certificates and keys."""
        return self.state_dir / "pki"

    @property
    def url(self) -> str:
        """The API server's address."""
        return f"https://{LOOPBACK}:{self.ports.apiserver}"

    def kubeconfig(self, user: str) -> Path:
        """Kubeconfig of one of the cluster's own users; the administrator's lies where people look for it."""
        return self.state_dir / ("kubeconfig" if user == "admin" else f"pki/{user}.kubeconfig")


@dataclass(frozen=True)
class Certificates:
    """The cluster's authority and the client certificates of its users."""

    authority: Authority
    users: Mapping[str, KeyPair]


def issue_certificates(layout: Layout) -> Certificates:
    """Write everything that the processes read; what exists already is kept."""
    cluster = Authority(layout.pki, "ca")
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    hosts = (LOOPBACK, "localhost", KUBERNETES_SERVICE, *names)
    cluster.issue("apiserver", CertificateSubject("kube-apiserver", hosts=hosts))
    cluster.issue("apiserver-kubelet-client", CertificateSubject("kube-apiserver-kubelet-client", "system:masters"))
    Authority(layout.pki, "front-proxy-ca").issue("front-proxy-client", CertificateSubject("front-proxy-client"))
    etcd_authority = Authority(layout.pki, "etcd-ca")
    etcd_authority.issue("etcd", CertificateSubject("etcd", hosts=(LOOPBACK, "localhost")))
    etcd_authority.issue("apiserver-etcd-client", CertificateSubject("kube-apiserver"))
    signing_key(layout.pki, "service-account")
    subjects = {
        "admin": CertificateSubject("kubernetes-admin", "system:masters"),
        "controller-manager": CertificateSubject("system:kube-controller-manager"),
        "scheduler": CertificateSubject("system:kube-scheduler"),
    }
    users = {user: cluster.issue(f"user-{user}", subject) for user, subject in subjects.items()}
    return Certificates(cluster, users)


def etcd(layout: Layout) -> ProcessCommand:
    """Etcd without fsync (a sandbox's data may be lost in a power failure) and with client certificates."""
    ports, pki = layout.ports, layout.pki
    client = f"https://{LOOPBACK}:{ports.etcd_client}"
    peer = f"https://{LOOPBACK}:{ports.etcd_peer}"
    return ProcessCommand(
        "etcd",
        (
            str(layout.programs["etcd"]),
            f"--data-dir={layout.state_dir / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            f"--listen-metrics-urls=http://{LOOPBACK}:{ports.etcd_metrics}",
            "--client-cert-auth",
            f"--trusted-ca-file={pki / 'etcd-ca.crt'}",
            f"--cert-file={pki / 'etcd.crt'}",
            f"--key-file={pki / 'etcd.key'}",
            "--peer-client-cert-auth",
            f"--peer-trusted-ca-file={pki / 'etcd-ca.crt'}",
            f"--peer-cert-file={pki / 'etcd.crt'}",
            f"--peer-key-file={pki / 'etcd.key'}",
            "--unsafe-no-fsync",
            f"--quota-backend-bytes={ETCD_QUOTA_BYTES}",
            "--auto-compaction-retention=5m",
        ),
    )


def apiserver(layout: Layout, settings: ControlPlaneSettings) -> ProcessCommand:
    """The API server: RBAC and node authorization, TLS, front proxy, bound service-account tokens."""
    pki = layout.pki
    return ProcessCommand(
        "kube-apiserver",
        (
            str(layout.programs["kube-apiserver"]),
            f"--bind-address={LOOPBACK}",
            f"--advertise-address={LOOPBACK}",
            f"--secure-port={layout.ports.apiserver}",
            "--endpoint-reconciler-type=none",
            f"--etcd-servers=https://{LOOPBACK}:{layout.ports.etcd_client}",
            f"--etcd-cafile={pki / 'etcd-ca.crt'}",
            f"--etcd-certfile={pki / 'apiserver-etcd-client.crt'}",
            f"--etcd-keyfile={pki / 'apiserver-etcd-client.key'}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--kubelet-client-certificate={pki / 'apiserver-kubelet-client.crt'}",
            f"--kubelet-client-key={pki / 'apiserver-kubelet-client.key'}",
            f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={pki / 'front-proxy-client.crt'}",
            f"--proxy-client-key-file={pki / 'front-proxy-client.key'}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki / 'service-account.pub'}",
            f"--service-account-signing-key-file={pki / 'service-account.key'}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--profiling=false",
            *settings.extra_apiserver_args,
        ),
        {"GOMEMLIMIT": f"{settings.apiserver_memory_mib}MiB"},
    )


def controller_manager(layout: Layout, settings: ControlPlaneSettings) -> ProcessCommand:
    """The controller manager with all default controllers, each under its own service account."""
    pki = layout.pki
    return ProcessCommand(
        "kube-controller-manager",
        (
            str(layout.programs["kube-controller-manager"]),
            *_delegated(layout, "controller-manager", layout.ports.controller_manager),
            "--use-service-account-credentials",
            f"--root-ca-file={pki / 'ca.crt'}",
            f"--service-account-private-key-file={pki / 'service-account.key'}",
            f"--cluster-signing-cert-file={pki / 'ca.crt'}",
            f"--cluster-signing-key-file={pki / 'ca.key'}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--node-monitor-grace-period={settings.node_monitor_grace_seconds}s",
            f"--horizontal-pod-autoscaler-sync-period={settings.hpa_sync_seconds:g}s",
            # At the default 20 requests/s the controllers' first tokens alone take six seconds.
            "--kube-api-qps=300",
            "--kube-api-burst=600",
            *settings.extra_controller_manager_args,
        ),
    )


def scheduler(layout: Layout) -> ProcessCommand:
    """The default scheduler."""
    delegated = _delegated(layout, "scheduler", layout.ports.scheduler)
    limits = ("--kube-api-qps=300", "--kube-api-burst=600")
    return ProcessCommand("kube-scheduler", (str(layout.programs["kube-scheduler"]), *delegated, *limits))


def _delegated(layout: Layout, user: str, port: int) -> tuple[str, ...]:
    """Flags that controller manager and scheduler share: who they are and who may look at them."""
    path = layout.kubeconfig(user)
    certificate = layout.pki / f"user-{user}"
    return (
        f"--kubeconfig={path}",
        f"--authentication-kubeconfig={path}",
        f"--authorization-kubeconfig={path}",
        f"--client-ca-file={layout.pki / 'ca.crt'}",
        f"--requestheader-client-ca-file={layout.pki / 'front-proxy-ca.crt'}",
        f"--tls-cert-file={certificate}.crt",
        f"--tls-private-key-file={certificate}.key",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={port}",
        "--leader-elect=false",
    )
