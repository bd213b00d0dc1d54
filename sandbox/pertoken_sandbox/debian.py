"""Debian's own Prometheus 2.42: the oldest server that pertoken's queries must work on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from pertoken_sandbox.cache import bin_dir, lock, publish, staging_dir
from pertoken_sandbox.progress import say
from pertoken_sandbox.versions import arch_name, os_name


def debian_prometheus() -> Path | None:
    """Debian's prometheus from the cache, else from its package, which is unpacked and never installed.

    Returns:
        The program, or None (with the reason on standard error) where the package cannot be had.
    """
    target = bin_dir() / f"prometheus-debian-{os_name()}-{arch_name()}"
    if target.is_file():
        return target
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        say(f"no Debian Prometheus: {' and '.join(missing)} not found")
        return None
    with lock("debian-prometheus"), staging_dir() as folder:
        return target if target.is_file() else _unpack(folder, target.name)


def _unpack(folder: Path, file_name: str) -> Path | None:
    fetched = _run("apt-get", "download", "prometheus", cwd=folder)
    if fetched.returncode != 0:
        say("apt does not know the package prometheus yet: running apt-get update")
        _run("apt-get", "update", cwd=folder)
        fetched = _run("apt-get", "download", "prometheus", cwd=folder)
    packages = list(folder.glob("prometheus_*.deb"))
    if fetched.returncode != 0 or not packages:
        say(f"no Debian Prometheus: {fetched.stderr.strip()}")
        return None
    unpacked = _run("dpkg-deb", "-x", str(packages[0]), str(folder / "root"), cwd=folder)
    program = folder / "root/usr/bin/prometheus"
    if unpacked.returncode != 0 or not program.is_file():
        say(f"no Debian Prometheus: {unpacked.stderr.strip() or 'the package has no usr/bin/prometheus'}")
        return None
    return publish(program, file_name)


def _run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
