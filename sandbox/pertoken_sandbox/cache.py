"""The folder where programs are kept between runs, with atomic writes and a lock between processes."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pertoken_sandbox.progress import say

LOCK_POLL_SECONDS = 0.2


def cache_dir() -> Path:
    """``$PERTOKEN_CACHE``, else ``pertoken`` under ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if own := os.environ.get("PERTOKEN_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "pertoken"


def bin_dir() -> Path:
    """The programs' folder in the cache; made when it is missing."""
    folder = cache_dir() / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def staging_dir() -> Iterator[Path]:
    """A scratch folder on the cache's file system, removed afterwards whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix=".staging-", dir=bin_dir()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(staged: Path, file_name: str) -> Path:
    """Move a finished program into the cache in one step: readers see all of it or nothing."""
    staged.chmod(0o755)
    target = bin_dir() / file_name
    staged.replace(target)
    return target


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold the named lock against other processes; the kernel frees it if this process dies."""
    path = bin_dir() / f".{name}.lock"
    with path.open("w") as handle:
        announced = False
        while not _try_lock(handle.fileno()):
            if not announced:
                say(f"another process is preparing {name}; waiting for it")
                announced = True
            time.sleep(LOCK_POLL_SECONDS)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
