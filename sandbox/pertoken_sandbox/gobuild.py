"""Programs and data from the Go tools modules: everything is pinned by the committed go.sum files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from pertoken_sandbox.progress import Progress
from pertoken_sandbox.versions import GoSource

TOOLS = Path(__file__).resolve().parents[1] / "tools"
POLL_SECONDS = 0.5
ERROR_TAIL_BYTES = 2000


class BuildFailed(Exception):
    """Go is missing, or it refused; the message says which and what to do."""


def go_command() -> str:
    """Path of the ``go`` command.

    Raises:
        BuildFailed: it is not installed.
    """
    found = shutil.which("go")
    if found is None:
        raise BuildFailed("install Go 1.26 or newer (https://go.dev/dl) and put `go` on the PATH")
    return found


def go_environment() -> dict[str, str]:
    """The user's environment with reproducible, static builds; caches stay the user's, so repeated builds are quick."""
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly -buildvcs=false"}


def module_folder(module: str) -> Path:
    """Folder of a tools module.

    Raises:
        BuildFailed: the package is used without the repository that holds ``sandbox/tools``.
    """
    folder = TOOLS / module
    if not (folder / "go.mod").is_file():
        raise BuildFailed(f"{folder} is missing: run the sandbox from a checkout of the repository")
    return folder


def build(source: GoSource, output: Path, what: str) -> None:
    """Build one program with visible progress.

    Raises:
        BuildFailed: Go is missing or the build failed (its last lines are in the message).
    """
    command = [go_command(), "build", "-trimpath", "-ldflags", " ".join(("-s", "-w", *source.ldflags))]
    if source.tags:
        command += ["-tags", ",".join(source.tags)]
    command += ["-o", str(output), source.package]
    log = output.with_suffix(".log")
    with log.open("wb") as sink, Progress(f"building {what} with Go (a first build takes minutes)") as progress:
        process = subprocess.Popen(
            command,
            cwd=module_folder(source.module),
            env=go_environment(),
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        status = _wait(process, progress)
        if status != 0:
            tail = log.read_bytes()[-ERROR_TAIL_BYTES:].decode(errors="replace").strip()
            raise BuildFailed(f"go build of {what} failed with status {status}:\n{tail}")


def _wait(process: subprocess.Popen[bytes], progress: Progress) -> int:
    """Wait for the build; an interrupt ends the compiler's whole process group."""
    try:
        while True:
            try:
                return process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                progress.tick()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
