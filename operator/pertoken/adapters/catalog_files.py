"""Catalog files: a YAML or JSON file, or a folder of them such as a mounted ConfigMap."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import yaml

from pertoken.catalog.lookup import SHIPPED, Catalog
from pertoken.catalog.rows import Rows, parse_rows

LOGGER = logging.getLogger(__name__)

SUFFIXES = {".yaml", ".yml", ".json"}
Stamp = tuple[tuple[str, int, int], ...]


def read_catalog(*paths: Path) -> Rows:
    """The rows of these files, and of every file directly in these folders; mistakes begin with the file's name."""
    rows = Rows()
    for path in paths:
        for file in _files(path) if path.is_dir() else [path]:
            rows += _file(file)
    return rows


@dataclass(slots=True)
class CatalogFolder:
    """The administrator's rows in a folder such as a mounted ConfigMap, read again when its files have changed.

    Attributes:
        path: the folder; None where there are the shipped rows alone.
    """

    path: Path | None
    _catalog: Catalog = SHIPPED
    _read: Stamp | None = None

    def catalog(self) -> Catalog:
        """The catalog of now. A wrong row is left out, and told in the log when its file has changed."""
        if self.path is None:
            return SHIPPED
        stamp = _stamp(self.path)
        if stamp == self._read:
            return self._catalog
        rows = read_catalog(self.path)
        self._catalog, self._read = rows.catalog, stamp
        LOGGER.info("catalog: %d GPUs and %d models from %s", len(rows.gpus), len(rows.models), self.path)
        for mistake in rows.mistakes:
            LOGGER.warning("catalog: %s", mistake)
        return self._catalog


def _files(folder: Path) -> list[Path]:
    """A mounted ConfigMap keeps its data behind hidden links, which are skipped."""
    try:
        return sorted(
            child
            for child in folder.iterdir()
            if child.suffix in SUFFIXES and not child.name.startswith(".") and child.is_file()
        )
    except OSError:
        return []


def _stamp(folder: Path) -> Stamp:
    """What changes when a file of the folder does."""
    try:
        return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in _files(folder))
    except OSError:
        return ()


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
    rows = parse_rows(content)
    return Rows(rows.gpus, rows.models, tuple(f"{path}: {mistake}" for mistake in rows.mistakes))
