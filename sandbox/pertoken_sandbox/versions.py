"""Which programs the sandbox runs, at which version, where they are published and how they are built.

This table is the only place that names a version. The Go modules under ``sandbox/tools`` pin the same versions by
checksum; a test keeps the two equal.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass

KUBERNETES = "1.37.2"
ETCD = "3.6.6"
PROMETHEUS = "3.16.0"
HELM = "4.3.1"


@dataclass(frozen=True)
class PinnedDownload:
    """An official download: the file, the published SHA-256 of it, and the program inside when it is an archive."""

    url: str
    checksum_url: str
    member: str | None = None


@dataclass(frozen=True)
class GoSource:
    """How Go builds a program: the tools module (folder of ``sandbox/tools``), the package, linker and build flags."""

    module: str
    package: str
    ldflags: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """One program of the sandbox."""

    name: str
    version: str
    source: GoSource

    @property
    def file_name(self) -> str:
        """Name in the cache; it carries version and platform, so versions live side by side."""
        return f"{self.name}-{self.version}-{os_name()}-{arch_name()}"

    def release(self) -> PinnedDownload:
        """Where the project that makes the program publishes it for this platform."""
        return _RELEASES[self.source.module](self)


def os_name() -> str:
    """Go's name of this operating system (``linux``, ``darwin``)."""
    return "darwin" if sys.platform == "darwin" else "linux"


def arch_name() -> str:
    """Go's name of this processor (``amd64``, ``arm64``)."""
    machine = platform.machine().lower()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _kubernetes_release(program: Program) -> PinnedDownload:
    url = f"https://dl.k8s.io/v{program.version}/bin/{os_name()}/{arch_name()}/{program.name}"
    return PinnedDownload(url=url, checksum_url=f"{url}.sha256")


def _etcd_release(program: Program) -> PinnedDownload:
    folder = f"etcd-v{program.version}-{os_name()}-{arch_name()}"
    base = f"https://github.com/etcd-io/etcd/releases/download/v{program.version}"
    archive = f"{folder}.zip" if os_name() == "darwin" else f"{folder}.tar.gz"
    return PinnedDownload(url=f"{base}/{archive}", checksum_url=f"{base}/SHA256SUMS", member=f"{folder}/etcd")


def _prometheus_release(program: Program) -> PinnedDownload:
    folder = f"prometheus-{program.version}.{os_name()}-{arch_name()}"
    base = f"https://github.com/prometheus/prometheus/releases/download/v{program.version}"
    return PinnedDownload(f"{base}/{folder}.tar.gz", f"{base}/sha256sums.txt", f"{folder}/{program.name}")


def _helm_release(program: Program) -> PinnedDownload:
    url = f"https://get.helm.sh/helm-v{program.version}-{os_name()}-{arch_name()}.tar.gz"
    return PinnedDownload(url=url, checksum_url=f"{url}.sha256sum", member=f"{os_name()}-{arch_name()}/helm")


# Minutes that a first build of a module's programs takes on two cores with nothing else to do (measured).
BUILD_MINUTES = {
    "controlplane": 10,
    "etcd": 1,
    "prometheus": 2,
    "helm": 1,
}

_RELEASES = {
    "controlplane": _kubernetes_release,
    "etcd": _etcd_release,
    "prometheus": _prometheus_release,
    "helm": _helm_release,
}


def _kubernetes(name: str) -> Program:
    """A program of k8s.io/kubernetes; the linker writes the version that ``/version`` and ``--version`` report."""
    major, minor, _patch = KUBERNETES.split(".")
    package = "k8s.io/component-base/version"
    values = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    ldflags = tuple(f"-X {package}.{key}={value}" for key, value in values.items())
    return Program(name, KUBERNETES, GoSource("controlplane", f"k8s.io/kubernetes/cmd/{name}", ldflags))


def _prometheus(name: str) -> Program:
    """Prometheus without the cloud discoveries and the web UI: static, file and HTTP discovery and the API stay."""
    ldflags = (f"-X github.com/prometheus/common/version.Version={PROMETHEUS}",)
    package = f"github.com/prometheus/prometheus/cmd/{name}"
    return Program(name, PROMETHEUS, GoSource("prometheus", package, ldflags, ("remove_all_sd", "netgo")))


_ETCD = Program("etcd", ETCD, GoSource("etcd", "go.etcd.io/etcd/server/v3"))
_HELM = Program(
    "helm",
    HELM,
    GoSource("helm", "helm.sh/helm/v4/cmd/helm", (f"-X helm.sh/helm/v4/internal/version.version=v{HELM}",)),
)

PROGRAMS: dict[str, Program] = {
    program.name: program
    for program in (
        _ETCD,
        _kubernetes("kube-apiserver"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kubectl"),
        _prometheus("prometheus"),
        _prometheus("promtool"),
        _HELM,
    )
}
