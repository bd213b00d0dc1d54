"""Reading Prometheus text pages: families with their types, and values summed over labels."""

from __future__ import annotations

import re

_TYPE = re.compile(r"^# TYPE (vllm:\S+) (\S+)$", re.MULTILINE)
_SAMPLE = re.compile(r"^(vllm:[A-Za-z0-9_:]+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


def families(page: str) -> dict[str, str]:
    """Names and types of the ``vllm:`` families on a page."""
    return dict(_TYPE.findall(page))


def totals(page: str) -> dict[str, float]:
    """Values by sample name, summed over all labels."""
    sums: dict[str, float] = {}
    for name, value in _SAMPLE.findall(page):
        sums[name] = sums.get(name, 0.0) + float(value)
    return sums
