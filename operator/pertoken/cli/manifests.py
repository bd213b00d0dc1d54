"""Manifest files as commands take them: files, folders of them, or standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from pertoken.api.check import Finding, Severity


def read_sources(files: list[Path]) -> tuple[dict[str, str], list[Finding]]:
    """Texts by file name, and those that cannot be read."""
    sources: dict[str, str] = {}
    unreadable = []
    for path in _expand(files):
        try:
            sources[str(path)] = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "no UTF-8 text"
            unreadable.append(Finding(Severity.ERROR, str(path), 0, "", "", None, f"cannot be read: {why}"))
    return sources, unreadable


def _expand(files: list[Path]) -> list[Path]:
    expanded: list[Path] = []
    for path in files:
        if path.is_dir():
            expanded += sorted(child for child in path.rglob("*") if child.suffix in {".yaml", ".yml"})
        else:
            expanded.append(path)
    return list(dict.fromkeys(expanded))
