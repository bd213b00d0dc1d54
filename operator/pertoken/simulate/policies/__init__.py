"""Policies of the benchmark, by their names on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pertoken.simulate.policy import PolicyEntry

ENTRIES: Final[Mapping[str, PolicyEntry]] = {}
