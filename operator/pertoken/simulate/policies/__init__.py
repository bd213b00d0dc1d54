"""Policies of the benchmark, by their names on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pertoken.simulate.policies.registry import PERTOKEN_GRID, digest, entries
from pertoken.simulate.policy import PolicyEntry

__all__ = ["ENTRIES", "PERTOKEN_GRID", "digest", "entries"]

ENTRIES: Final[Mapping[str, PolicyEntry]] = entries()
