"""Metric names of the serving engines, as data: one row per engine, with the versions that were read and where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pertoken.adapters.prometheus.engines.model import (
    Across,
    EngineMetrics,
    Gauge,
    InfoLabel,
    Mean,
    Metric,
    version_key,
)
from pertoken.adapters.prometheus.engines.others import GENERIC, LLAMA_CPP, TGI, TRITON, TRTLLM
from pertoken.adapters.prometheus.engines.sglang import SGLANG
from pertoken.adapters.prometheus.engines.vllm import VLLM

__all__ = [
    "ENGINES",
    "GENERIC",
    "LLAMA_CPP",
    "SGLANG",
    "TGI",
    "TRITON",
    "TRTLLM",
    "VLLM",
    "Across",
    "EngineMetrics",
    "Gauge",
    "InfoLabel",
    "Mean",
    "Metric",
    "version_key",
]

ENGINES: Final[Mapping[str, EngineMetrics]] = {
    row.name: row for row in (VLLM, SGLANG, TGI, TRITON, TRTLLM, LLAMA_CPP, GENERIC)
}
