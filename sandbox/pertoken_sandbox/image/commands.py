"""The programs that build the image: found or installed, and run with progress and a log."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pertoken_sandbox.progress import Progress, say

PACKAGES = {"buildah": "buildah", "mmdebstrap": "mmdebstrap"}
POLL_SECONDS = 0.5
TAIL_BYTES = 3000


class ImageUnavailable(Exception):
    """The image cannot be built here; the message says why and what to do."""


def require() -> None:
    """See that every program is there, after installing Debian's packages of those that are not.

    Raises:
        ImageUnavailable: not run by root, or the packages cannot be had.
    """
    if os.geteuid() != 0:
        raise ImageUnavailable("a root file system is unpacked and entered here, which needs root: sudo make image")
    missing = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise ImageUnavailable(f"{' and '.join(missing)} not found, and there is no apt-get to install them with")
    say(f"installing Debian's packages {' '.join(missing)}")
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (install, ["apt-get", "update"], install):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if command is install and done.returncode == 0:
            return
    raise ImageUnavailable(f"apt-get install {' '.join(missing)} failed:\n{done.stderr.strip()}")


def run(what: str, command: Sequence[str], log: Path) -> None:
    """Run a program with its output in `log`, telling how long it takes.

    Raises:
        ImageUnavailable: it ended with an error (the end of its log is in the message).
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as sink, Progress(what) as progress:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            while process.poll() is None:
                progress.tick()
                try:
                    process.wait(POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if process.returncode != 0:
            tail = log.read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip()
            raise ImageUnavailable(f"{command[0]} ended with status {process.returncode} (all of it: {log}):\n{tail}")


def output(command: Sequence[str]) -> str:
    """What a quick program prints.

    Raises:
        ImageUnavailable: it ended with an error.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ImageUnavailable(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()
