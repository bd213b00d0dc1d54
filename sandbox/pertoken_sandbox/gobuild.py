"""Programs and data from the Go tools modules: everything is pinned by the committed go.sum files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
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
    installed = shutil.which("go")
    if installed is None:
        raise BuildFailed("install Go 1.26 or newer (https://go.dev/dl) and put `go` on the PATH")
    return installed


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
    _run(_command(source, str(output), (source.package,)), source.module, output.with_suffix(".log"), what)


def build_together(sources: Sequence[GoSource], folder: Path, what: str) -> tuple[Path, ...]:
    """Build several programs of one module with a single `go build`, which compiles what they share once.

    Args:
        sources: of one module, with the same linker and build flags.
        folder: where the programs are written, each under the last part of its package.
        what: name of the work for progress and errors.

    Returns:
        The programs, in the order of `sources`.

    Raises:
        BuildFailed: Go is missing or the build failed; none of the programs counts as built.
        ValueError: the sources have different flags or modules.
    """
    first = sources[0]
    if len({(source.module, source.ldflags, source.tags) for source in sources}) > 1:
        raise ValueError("expected sources of one module with the same flags")
    packages = tuple(source.package for source in sources)
    _run(_command(first, f"{folder}/", packages), first.module, folder / "build.log", what)
    return tuple(folder / package.rsplit("/", 1)[-1] for package in packages)


def _command(source: GoSource, output: str, packages: Sequence[str]) -> list[str]:
    command = [go_command(), "build", "-trimpath", "-ldflags", " ".join(("-s", "-w", *source.ldflags))]
    if source.tags:
        command += ["-tags", ",".join(source.tags)]
    return [*command, "-o", output, *packages]


def _run(command: Sequence[str], module: str, log: Path, what: str) -> None:
    with log.open("wb") as sink, Progress(f"building {what} with Go") as progress:
        process = subprocess.Popen(
            command,
            cwd=module_folder(module),
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
