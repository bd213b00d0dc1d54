"""kubectl as a callable: what the sandbox and its tests do, a user can repeat on the command line."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

REQUEST_TIMEOUT_SECONDS = 60
CRD_SECONDS = 30.0


class KubectlFailed(Exception):
    """kubectl ended with an error; the message is what it printed."""


class Kubectl:
    """Runs kubectl against one kubeconfig.

    Args:
        binary: the program.
        kubeconfig: credentials; its current context is used.
        cache_dir: where discovery is cached, kept out of the user's home.
    """

    def __init__(self, binary: Path, kubeconfig: Path, cache_dir: Path) -> None:
        self.binary = binary
        self.kubeconfig = kubeconfig
        self._cache_dir = cache_dir

    def __call__(self, *args: str, stdin: str | None = None) -> str:
        """Run ``kubectl ARGS`` and return what it printed.

        Raises:
            KubectlFailed: it ended with an error.
        """
        done = subprocess.run(
            [str(self.binary), f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self._cache_dir}", *args],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise KubectlFailed(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def json(self, *args: str) -> Any:
        """Run ``kubectl ARGS -o json`` and parse the answer."""
        return json.loads(self(*args, "-o", "json"))

    def apply(self, *objects: Mapping[str, Any], server_side: bool = True) -> str:
        """Apply objects; server-side by default, since large CRDs do not fit the client-side annotation."""
        listing = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        flags = ["--server-side", "--force-conflicts"] if server_side else []
        return self("apply", *flags, "-f", "-", stdin=json.dumps(listing))

    def apply_files(self, files: Iterable[Path]) -> str:
        """Apply manifest files, server-side."""
        return self("apply", "--server-side", "--force-conflicts", *(f"--filename={path}" for path in files))

    def await_crd(self, *names: str) -> None:
        """Wait until custom resource definitions are served.

        Raises:
            KubectlFailed: one is not after half a minute.
        """
        deadline = time.monotonic() + CRD_SECONDS
        for name in names:
            while True:
                try:
                    self("wait", "--for=condition=Established", f"crd/{name}", f"--timeout={CRD_SECONDS:.0f}s")
                except KubectlFailed:  # `kubectl wait` fails at once on one that has no conditions yet
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)
                else:
                    break

    def as_user(self, kubeconfig: Path) -> Kubectl:
        """The same program with other credentials."""
        return Kubectl(self.binary, kubeconfig, self._cache_dir)
