"""The sandbox's programs: found, fetched or built, in that order, and kept."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pertoken_sandbox import download, gobuild
from pertoken_sandbox.cache import bin_dir, lock, publish, staging_dir
from pertoken_sandbox.debian import debian_prometheus
from pertoken_sandbox.neighbours import go_module_dir, neighbour_crds
from pertoken_sandbox.progress import say
from pertoken_sandbox.versions import BUILD_MINUTES, PROGRAMS, Program

__all__ = ["BinaryUnavailable", "debian_prometheus", "ensure", "ensure_all", "find", "go_module_dir", "neighbour_crds"]

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
    """The program's path; see `ensure_all`."""
    return ensure_all((name,))[name]


def ensure_all(names: Iterable[str]) -> dict[str, Path]:
    """Paths by name: ``$KUBEBUILDER_ASSETS``, else the cache, else the official release, else built with Go.

    What is missing, and about how long it takes, is said first. Programs of one Go module are built by one
    `go build`. Whatever is fetched or built enters the cache at once and in one step, so an interrupted set-up goes on
    where it was, and processes that ask at the same time wait for one another rather than build twice.

    Raises:
        KeyError: the sandbox has no such program.
        ChecksumMismatch: an official release does not have its published SHA-256.
        BinaryUnavailable: no release can be reached and Go is missing or its build failed.
    """
    wanted = tuple(names)
    if not _missing(wanted):
        return _paths(wanted)
    with lock("programs"):
        if missing := _missing(wanted):
            say(_announcement(missing))
            for program in missing:
                _download(program)
            for group in _groups(_missing(wanted)):
                _build(group)
    return _paths(wanted)


def _missing(names: Iterable[str]) -> list[Program]:
    return [PROGRAMS[name] for name in names if find(name) is None]


def _paths(names: Iterable[str]) -> dict[str, Path]:
    return {name: path for name in names if (path := find(name)) is not None}


def _groups(programs: Iterable[Program]) -> list[list[Program]]:
    """Programs of one module together; they have the same flags."""
    groups: dict[str, list[Program]] = {}
    for program in programs:
        groups.setdefault(program.source.module, []).append(program)
    return list(groups.values())


def _announcement(programs: Iterable[Program]) -> str:
    minutes = [(_names(group), BUILD_MINUTES[group[0].source.module]) for group in _groups(programs)]
    parts = ", ".join(f"{names} (about {each} min)" for names, each in minutes)
    return (
        f"not in the cache: {parts}. Official releases are downloaded where possible; else Go builds the programs "
        f"once, in the minutes given for two free cores, all about {sum(each for _, each in minutes)} min"
    )


def _names(programs: Iterable[Program]) -> str:
    return ", ".join(program.name for program in programs)


def _download(program: Program) -> None:
    """Into the cache, where the release can be reached."""
    release = program.release()
    host = release.url.split("/")[2]
    if host in _unreachable_hosts:
        return
    with staging_dir() as folder:
        try:
            publish(download.fetch(release, folder), program.file_name)
        except download.SourceUnreachable as error:
            _unreachable_hosts.add(host)
            say(f"{error}; going on without downloads from there")


def _build(programs: list[Program]) -> None:
    """Into the cache, with one `go build`."""
    what = f"{_names(programs)} {programs[0].version}"
    with staging_dir() as folder:
        try:
            if len(programs) == 1:
                built: tuple[Path, ...] = (folder / programs[0].name,)
                gobuild.build(programs[0].source, built[0], what)
            else:
                built = gobuild.build_together([program.source for program in programs], folder, what)
        except gobuild.BuildFailed as error:
            raise BinaryUnavailable(f"{what} can neither be downloaded nor built: {error}") from error
        for program, path in zip(programs, built, strict=True):
            publish(path, program.file_name)
