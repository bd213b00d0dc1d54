"""The sandbox's programs: found, fetched or built, in that order, and kept."""

from __future__ import annotations

import os
from pathlib import Path

from pertoken_sandbox import download, gobuild
from pertoken_sandbox.cache import bin_dir, lock, publish, staging_dir
from pertoken_sandbox.debian import debian_prometheus
from pertoken_sandbox.neighbours import go_module_dir, neighbour_crds
from pertoken_sandbox.progress import say
from pertoken_sandbox.versions import PROGRAMS, Program

__all__ = ["BinaryUnavailable", "debian_prometheus", "ensure", "find", "go_module_dir", "neighbour_crds"]

_unreachable_hosts: set[str] = set()


class BinaryUnavailable(Exception):
    """A program can be had in none of the ways; the message says what to install."""


def find(name: str) -> Path | None:
    """The program if it is already on this machine: ``$KUBEBUILDER_ASSETS`` first, then the cache.

    Raises:
        KeyError: the sandbox has no such program.
    """
    program = PROGRAMS[name]
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    candidates = [Path(assets) / name] if assets else []
    candidates.append(bin_dir() / program.file_name)
    return next((path for path in candidates if path.is_file() and os.access(path, os.X_OK)), None)


def ensure(name: str) -> Path:
    """The program's path: ``$KUBEBUILDER_ASSETS``, else the cache, else the official release, else built with Go.

    Whatever is fetched or built enters the cache at once and in one step, so an interrupted set-up goes on where it
    was, and processes that ask at the same time wait for one another rather than build twice.

    Raises:
        KeyError: the sandbox has no such program.
        ChecksumMismatch: the official release does not have its published SHA-256.
        BinaryUnavailable: no release can be reached and Go is missing or its build failed.
    """
    if found := find(name):
        return found
    with lock("programs"):
        return find(name) or _obtain(PROGRAMS[name])


def _obtain(program: Program) -> Path:
    with staging_dir() as folder:
        staged = _downloaded(program, folder) or _built(program, folder)
        return publish(staged, program.file_name)


def _downloaded(program: Program, folder: Path) -> Path | None:
    release = program.release()
    host = release.url.split("/")[2]
    if host in _unreachable_hosts:
        return None
    try:
        return download.fetch(release, folder)
    except download.Unreachable as error:
        _unreachable_hosts.add(host)
        say(f"{error}; going on without downloads from there")
        return None


def _built(program: Program, folder: Path) -> Path:
    output = folder / program.name
    try:
        gobuild.build(program.source, output, f"{program.name} {program.version}")
    except gobuild.BuildFailed as error:
        raise BinaryUnavailable(
            f"{program.name} {program.version} can neither be downloaded nor built: {error}"
        ) from error
    return output
