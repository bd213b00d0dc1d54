"""Catalog files: a YAML or JSON file, or a folder of them such as a mounted ConfigMap."""

from __future__ import annotations

from pathlib import Path

import yaml

from pertoken.catalog.lookup import use
from pertoken.catalog.rows import Rows, parse_rows

SUFFIXES = {".yaml", ".yml", ".json"}


def read_catalog(path: Path) -> Rows:
    """The rows of a file, or of every file directly in a folder; mistakes begin with the file's name."""
    if not path.is_dir():
        return _file(path)
    rows = Rows()
    # A mounted ConfigMap keeps its data behind hidden links, which are skipped.
    for child in sorted(path.iterdir()):
        if child.suffix in SUFFIXES and not child.name.startswith(".") and child.is_file():
            rows += _file(child)
    return rows


def stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes when a file of the folder does."""
    try:
        files = sorted(child for child in path.iterdir() if child.suffix in SUFFIXES and child.is_file())
        return tuple((child.name, child.stat().st_mtime_ns, child.stat().st_size) for child in files)
    except OSError:
        return ()


def use_catalog(*paths: Path) -> Rows:
    """Look up the rows of these files from now on; returns them with their mistakes."""
    rows = Rows()
    for path in paths:
        rows += read_catalog(path)
    use(rows.gpus, rows.models)
    return rows


def _file(path: Path) -> Rows:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "no UTF-8 text"
        return Rows(mistakes=(f"{path}: cannot be read: {why}",))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        return Rows(mistakes=(f"{path}: {line}{getattr(error, 'problem', None) or 'no YAML'}; expected YAML or JSON",))
    except (RecursionError, ValueError, TypeError, AttributeError):  # depth, 5,000 digits, a broken date
        return Rows(mistakes=(f"{path}: a value cannot be read; expected catalog rows as YAML or JSON",))
    found = parse_rows(content)
    return Rows(found.gpus, found.models, tuple(f"{path}: {mistake}" for mistake in found.mistakes))
