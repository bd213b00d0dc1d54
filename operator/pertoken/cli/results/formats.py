"""Whose result file it is, and the operating points in it.

Each result says how many requests were under way, how long prompts and answers were, and the mean latencies. The number
of clients is the generator's own where it tells it, else by Little's law: rate x time in system.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pertoken.calculators.closed_fit import Point
from pertoken.cli.results.fields import FailedRun, NoResult
from pertoken.cli.results.flat import llmperf, serving_bench
from pertoken.cli.results.nested import aiperf, guidellm, inference_perf


class Format(StrEnum):
    """Whose file it is."""

    AUTO = "auto"
    CSV = "csv"
    VLLM = "vllm"
    SGLANG = "sglang"
    GUIDELLM = "guidellm"
    INFERENCE_PERF = "inference-perf"
    AIPERF = "aiperf"
    LLMPERF = "llmperf"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a file holds.

    Attributes:
        points: of runs that measured something.
        left_out: a line for each run that did not.
        model: that the file names, empty if it names none.
    """

    points: tuple[Point, ...]
    left_out: tuple[str, ...]
    model: str = ""


# By fields that only this generator writes, the most telling first.
_MARKS: Final[tuple[tuple[Format, tuple[str, ...]], ...]] = (
    (Format.GUIDELLM, ("benchmarks",)),
    (Format.INFERENCE_PERF, ("successes",)),
    (Format.INFERENCE_PERF, ("load_summary",)),
    (Format.LLMPERF, ("results_ttft_s_mean",)),
    (Format.AIPERF, ("request_throughput", "request_latency", "input_config")),
    (Format.SGLANG, ("mean_ttft_ms", "completed", "concurrency")),
    (Format.VLLM, ("mean_ttft_ms", "completed")),
)
_READERS: Final[Mapping[Format, Callable[[Any], Point]]] = {
    Format.VLLM: serving_bench,
    Format.SGLANG: serving_bench,
    Format.GUIDELLM: guidellm,
    Format.INFERENCE_PERF: inference_perf,
    Format.AIPERF: aiperf,
    Format.LLMPERF: llmperf,
}
_EXPECTED: Final = ", ".join(str(kind) for kind in _READERS)


def format_of(content: Any) -> Format:
    """Which generator wrote this JSON.

    Raises:
        NoResult: none that is known.
    """
    if isinstance(content, Mapping):
        for kind, fields in _MARKS:
            if all(field in content for field in fields):
                return kind
    raise NoResult(f"format: no load generator's result is recognized; expected one of {_EXPECTED}, or CSV")


def measured(documents: list[Any], kind: Format) -> Measured:
    """The operating points of one file, whose documents are one or, where results were appended, several.

    Raises:
        NoResult: a figure is missing or no positive number; the message names the run where there are several.
    """
    points, left_out = [], []
    runs = [run for document in documents for run in _runs(document, kind)]
    for index, (reader, run, place) in enumerate(runs, start=1):
        where = place or (f"run {index}: " if len(runs) > 1 else "")
        try:
            points.append(reader(run))
        except FailedRun as mistake:
            left_out.append(f"{where}left out: {mistake}")
        except NoResult as mistake:
            raise NoResult(f"{where}{mistake}") from mistake
    model = next((name for document in documents if (name := _model_of(document))), "")
    return Measured(tuple(points), tuple(left_out), model)


def _runs(document: Any, kind: Format) -> list[tuple[Callable[[Any], Point], Any, str]]:
    """Reader, run, and the run's place in its file."""
    if isinstance(document, list):  # some tools collect runs in one array
        return [entry for run in document for entry in _runs(run, kind)]
    if kind is Format.AUTO:
        kind = format_of(document)
    if not isinstance(document, Mapping):
        raise NoResult(f"content: {type(document).__name__}; expected a JSON object")
    if kind is not Format.GUIDELLM:
        return [(_READERS[kind], document, "")]
    runs = document.get("benchmarks")
    if not isinstance(runs, list) or not runs:
        raise NoResult("benchmarks: missing or empty; expected a list of runs")
    return [(guidellm, run, f"benchmarks[{index}].") for index, run in enumerate(runs)]


def _model_of(document: Any) -> str:
    """The model that a document names; empty if it names none."""
    if isinstance(document, list):
        return next((name for run in document if (name := _model_of(run))), "")
    if not isinstance(document, Mapping):
        return ""
    for name in ("model_id", "model"):
        if isinstance(document.get(name), str):
            return str(document[name])
    config = document.get("input_config")
    endpoint = config.get("endpoint", config) if isinstance(config, Mapping) else {}
    names = endpoint.get("model_names") if isinstance(endpoint, Mapping) else None
    return str(names[0]) if isinstance(names, list) and names and isinstance(names[0], str) else ""
