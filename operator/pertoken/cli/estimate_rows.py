"""Rows of `estimate` and `calibrate`: from texts to a deployment and its load, and back."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Final

from pertoken.calculators.closed_loop import Clients
from pertoken.calculators.estimate import Deployment, Estimate
from pertoken.catalog.lookup import Catalog, Unknown, hides_quantization, quantization_of
from pertoken.catalog.models import Model
from pertoken.catalog.precisions import PRECISIONS, find_precision
from pertoken.domain.service import Parallelism

ASKED: Final = ("model", "gpu", "tp", "quantization", "batch", "input_tokens", "output_tokens")
OPTIONAL: Final = ("quantization", "engine", "pp", "dp", "ep", "kv_quantization")
ANSWERED: Final = (
    "prefill_ms",
    "decode_step_ms",
    "ttft_ms",
    "itl_ms",
    "tokens_per_second_per_gpu",
    "kv_capacity_tokens",
    "max_sequences",
    "memory_gib",
    "usd_per_million_input",
    "usd_per_million_output",
    "error",
)
MOST_GPUS: Final = 1024
MOST_TOKENS: Final = 10_000_000
MILLI: Final = 1e3


class BadRow(ValueError):
    """A row that cannot be answered: field, value, expectation."""


class BadFile(ValueError):
    """A file that cannot be read: one mistake a line."""


@dataclass(frozen=True, slots=True)
class EstimateRow:
    """One row, understood."""

    deployment: Deployment
    clients: Clients


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with at least the asked columns.

    Raises:
        BadFile: it cannot be read, or a column is missing.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = [{key: (value or "").strip() for key, value in row.items() if key is not None} for row in reader]
            columns = [name or "" for name in reader.fieldnames or ()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "no UTF-8 text"
        raise BadFile(f"{path}: cannot be read: {why}") from error
    missing = [name for name in ASKED if name not in columns and name not in OPTIONAL]
    if missing:
        raise BadFile(f"{path}: columns: {', '.join(columns) or 'none'}: expected also {', '.join(missing)}")
    return rows


def understand(row: Mapping[str, str], catalog: Catalog, own: Mapping[str, Model] | None = None) -> EstimateRow:
    """What a row asks for.

    Args:
        row: texts by column.
        catalog: where GPUs and models are looked up.
        own: models given beside the catalog, by the name that rows use.

    Raises:
        BadRow: an unknown name, or a figure out of bounds.
    """
    name = row.get("model", "")
    model = (own or {}).get(name) or catalog.model(name)
    if isinstance(model, Unknown):
        raise BadRow(str(model))
    gpu = catalog.gpu(row.get("gpu", ""))
    if isinstance(gpu, Unknown):
        raise BadRow(str(gpu))
    quantization = _precision(row, "quantization") or quantization_of(name)
    if not quantization and hides_quantization(name):
        raise BadRow(f"quantization: {name!r} hides the type of its GGUF files: expected int4, int8 or w8a16")
    cache = _precision(row, "kv_quantization")
    parallelism = Parallelism(
        tensor=_count(row, "tp"), pipeline=_count(row, "pp"), data=_count(row, "dp"), expert=_count(row, "ep")
    )
    deployment = Deployment(model, gpu, parallelism, quantization, cache, row.get("engine", ""))
    clients = Clients(_figure(row, "batch", 0.0), _figure(row, "input_tokens", 0.0), _figure(row, "output_tokens", 0.0))
    if clients.concurrency <= 0 or clients.input_tokens + clients.output_tokens <= 0:
        raise BadRow("batch, input_tokens, output_tokens: expected a batch and tokens above 0")
    return EstimateRow(deployment, clients)


def _precision(row: Mapping[str, str], column: str) -> str:
    text = row.get(column, "")
    precision = find_precision(text)
    if precision is None:
        raise BadRow(f"{column}: {text!r}: expected one of {', '.join(PRECISIONS)} or nothing")
    # "fp4" without a model's own 4-bit format is nvfp4; `precision_of` knows the rest.
    return precision.name if text else ""


def _count(row: Mapping[str, str], column: str) -> int:
    value = _figure(row, column, 1.0)
    if value != int(value) or not 1 <= value <= MOST_GPUS:
        raise BadRow(f"{column}: {row.get(column)!r}: expected a whole number from 1 to {MOST_GPUS}")
    return int(value)


def _figure(row: Mapping[str, str], column: str, empty: float) -> float:
    text = row.get(column, "")
    if not text:
        return empty
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not isfinite(value) or not 0.0 <= value <= MOST_TOKENS:
        raise BadRow(f"{column}: {text!r}: expected a number from 0 to {MOST_TOKENS:,}")
    return value


def answer_of(estimated: Estimate) -> dict[str, float | int | str | None]:
    """The answered columns."""
    error = ""
    if estimated.shortfall_gib > 0:
        error = f"weights and reserve exceed each GPU's memory by {estimated.shortfall_gib:.1f} GiB"
    return {
        "prefill_ms": estimated.prefill * MILLI,
        "decode_step_ms": estimated.decode_step * MILLI,
        "ttft_ms": _milli(estimated.ttft),
        "itl_ms": _milli(estimated.inter_token),
        "tokens_per_second_per_gpu": estimated.tokens_per_second_per_gpu,
        "kv_capacity_tokens": int(estimated.kv_capacity),
        "max_sequences": estimated.max_sequences,
        "memory_gib": estimated.memory_gib,
        "usd_per_million_input": estimated.usd_input,
        "usd_per_million_output": estimated.usd_output,
        "error": error,
    }


def no_answer(error: str) -> dict[str, float | int | str | None]:
    """Empty figures and why."""
    return {**dict.fromkeys(ANSWERED), "error": error}


def _milli(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * MILLI


def text(value: float | str | None) -> str:
    """A figure to six digits; nothing for none."""
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def columns_of(rows: Iterable[Mapping[str, str]]) -> Sequence[str]:
    """Columns to repeat: the asked ones, then whatever else the rows hold that is no answer."""
    given = dict.fromkeys(name for row in rows for name in row)
    return (*ASKED, *(name for name in given if name not in ASKED and name not in ANSWERED))
