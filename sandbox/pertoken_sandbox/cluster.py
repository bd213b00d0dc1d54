"""What a Kubernetes cluster offers the sandbox, be it booted here or there already."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from pertoken_sandbox import kubeconfig
from pertoken_sandbox.binaries import ensure
from pertoken_sandbox.kubectl import Kubectl

DEFAULT_TOKEN_SECONDS = 3600


class Unsupported(Exception):
    """This kind of cluster cannot do that, for example kill an API server that is not ours."""


class Cluster(ABC):
    """A cluster with administrator's credentials; also a context manager that starts and stops it."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir

    @property
    @abstractmethod
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""

    @abstractmethod
    def start(self) -> None:
        """Make it ready for use; starting twice is fine."""

    @abstractmethod
    def stop(self) -> None:
        """End what `start` began."""

    @abstractmethod
    def kill_apiserver(self) -> None:
        """Fault: end the API server as a crash would.

        Raises:
            Unsupported: the API server is not ours.
        """

    @abstractmethod
    def restart_apiserver(self) -> None:
        """Start the API server again on its old address and wait until it is ready.

        Raises:
            Unsupported: the API server is not ours.
        """

    @property
    def kubectl(self) -> Kubectl:
        """Kubectl with the administrator's credentials."""
        return Kubectl(ensure("kubectl"), self.kubeconfig, self.state_dir / "kubectl-cache")

    def token_kubeconfig(
        self, namespace: str, service_account: str, path: Path, seconds: int = DEFAULT_TOKEN_SECONDS
    ) -> Path:
        """Write a kubeconfig with a bound token of a service account (TokenRequest API), as a pod would hold.

        Args:
            namespace: of the service account; also the file's default namespace.
            service_account: its name.
            path: file to write.
            seconds: life of the token; the API server's minimum is 600.

        Raises:
            KubectlFailed: the service account does not exist.
        """
        token = self.kubectl("create", "token", service_account, "-n", namespace, f"--duration={seconds}s").strip()
        config = self.kubectl.json("config", "view", "--raw", "--minify", "--flatten")
        kubeconfig.write_token(path, kubeconfig.read_endpoint(config), token, namespace)
        return path

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class ExistingCluster(Cluster):
    """A cluster that somebody else runs; nothing of it is ever stopped.

    Args:
        state_dir: folder for the sandbox's own files.
        path: kubeconfig with administrator's credentials; its current context is used.
    """

    def __init__(self, state_dir: Path, path: Path) -> None:
        super().__init__(state_dir)
        self._kubeconfig = path.expanduser().absolute()

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self._kubeconfig

    def start(self) -> None:
        """Check that the cluster answers.

        Raises:
            KubectlFailed: it does not.
        """
        self.kubectl("get", "--raw", "/readyz", "--request-timeout=10s")

    def stop(self) -> None:
        """Leave the cluster as it is."""

    def kill_apiserver(self) -> None:
        """Refuse: the API server is not ours."""
        raise Unsupported("the API server of an existing cluster is not the sandbox's to kill")

    def restart_apiserver(self) -> None:
        """Refuse: the API server is not ours."""
        raise Unsupported("the API server of an existing cluster is not the sandbox's to restart")
