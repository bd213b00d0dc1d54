"""`pertoken calibrate`: learn a deployment's own gains from measured latencies or a load generator's results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer

from pertoken.adapters.catalog_files import read_catalog
from pertoken.calculators.closed_fit import Point, fit_best
from pertoken.calculators.estimate import Deployment
from pertoken.catalog.lookup import Catalog
from pertoken.cli.calibration_file import DeploymentFit, Key, as_data, key_of
from pertoken.cli.estimate_rows import BadFile, BadRow, read_rows, understand
from pertoken.cli.options import CatalogOption
from pertoken.cli.rendering import Output, print_data, refuse
from pertoken.cli.results.documents import SUFFIXES, documents_of
from pertoken.cli.results.fields import NoResult
from pertoken.cli.results.formats import Format, measured

MILLI = 1e-3
LONGEST_SECONDS = 3600.0
Groups = dict[Key, tuple[Deployment, list[Point]]]


def calibrate_command(  # noqa: PLR0913, PLR0917 - one parameter per option
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="OBSERVED...",
            help="CSV with the columns of `estimate` and measured itl_ms and/or ttft_ms; or results of vLLM's "
            "`bench serve`, SGLang's `bench_serving`, GuideLLM, inference-perf, AIPerf (genai-perf) or LLMPerf as "
            "JSON or JSONL. Runs that measured nothing are left out, with a line each.",
        ),
    ],
    kind: Annotated[Format, typer.Option("--format", help="Whose files these are.")] = Format.AUTO,
    model: Annotated[str, typer.Option("--model", "-m", help="Of JSON results, where they do not say it.")] = "",
    gpu: Annotated[str, typer.Option("--gpu", "-g", help="Of JSON results.")] = "",
    tp: Annotated[int, typer.Option(min=1, help="Of JSON results.")] = 1,
    quantization: Annotated[str, typer.Option("--quantization", "-q", help="Of JSON results.")] = "",
    engine: Annotated[str, typer.Option(help="Of JSON results: vllm, sglang or trtllm.")] = "",
    catalog: CatalogOption = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="json is what estimate --calibration reads.")] = (
        Output.TABLE
    ),
) -> None:
    """Learn gains of decode, prefill and first token per deployment. Exit 0; 2 when a file cannot be understood."""
    added = read_catalog(*catalog or ())
    if added.mistakes:
        refuse(*added.mistakes)
    known = added.catalog
    about = {"model": model, "gpu": gpu, "tp": str(tp), "quantization": quantization, "engine": engine}
    groups: Groups = {}
    wrong: list[str] = []
    for path in files:
        try:
            for deployment, point in _observed(path, kind, about, known, wrong):
                groups.setdefault(key_of(deployment), (deployment, []))[1].append(point)
        except (BadFile, NoResult) as mistake:
            wrong.append(str(mistake))
    if wrong:
        refuse(*wrong)
    if not groups:
        refuse(f"{', '.join(map(str, files))}: no measured point; expected itl_ms or ttft_ms in at least one row")
    learnt = [
        DeploymentFit(deployment, fit_best(deployment.coefficients, deployment.profiles, points))
        for deployment, points in groups.values()
    ]
    if output is Output.TABLE:
        _print(learnt)
    else:
        print_data(as_data(learnt), output.value)


def _observed(
    path: Path, kind: Format, about: Mapping[str, str], catalog: Catalog, wrong: list[str]
) -> Iterable[tuple[Deployment, Point]]:
    """The operating points of a file; mistakes of single rows are collected."""
    if kind is Format.CSV or (kind is Format.AUTO and path.suffix.lower() not in SUFFIXES):
        for number, row in enumerate(read_rows(path), start=2):
            try:
                yield from _of_row(row, catalog)
            except BadRow as mistake:
                wrong.append(f"{path}: line {number}: {mistake}")
        return
    try:
        results = measured(documents_of(path), kind)
    except NoResult as mistake:
        raise NoResult(f"{path}: {mistake}") from mistake
    for line in results.left_out:
        typer.echo(f"{path}: {line}", err=True)
    row = {**about, "model": about["model"] or results.model, "batch": "1", "input_tokens": "1"}
    if not row["model"] or not row["gpu"]:
        raise BadFile(f"{path}: model, gpu: the file does not say them; expected --model and --gpu")
    try:
        deployment = understand(row, catalog).deployment
    except BadRow as mistake:
        raise BadFile(f"{path}: {mistake}") from mistake
    for point in results.points:
        yield deployment, point


def _of_row(row: Mapping[str, str], catalog: Catalog) -> Iterable[tuple[Deployment, Point]]:
    step, ttft = _seconds(row, "itl_ms"), _seconds(row, "ttft_ms")
    if step is None and ttft is None:
        return
    asked = understand(row, catalog)
    load = asked.deployment.share(asked.clients)
    yield asked.deployment, Point(load, step, ttft)


def _seconds(row: Mapping[str, str], column: str) -> float | None:
    text = row.get(column, "")
    if not text:
        return None
    try:
        value = float(text) * MILLI
    except ValueError:
        value = -1.0
    if not isfinite(value) or not 0.0 < value <= LONGEST_SECONDS:
        raise BadRow(f"{column}: {text!r}: expected milliseconds above 0")
    return value


def _print(learnt: Iterable[DeploymentFit]) -> None:
    for fitted in learnt:
        model, gpu, tensor, precision, engine = key_of(fitted.deployment)
        fit = fitted.fit
        counted = f"{fit.points} {'point' if fit.points == 1 else 'points'}"
        print(f"{model} ({precision}) on {tensor} x {gpu}{f', {engine}' if engine else ''}: {counted}")
        print(
            f"  gains: decode {fit.gains.decode:.3f}, prefill {fit.gains.prefill:.3f}, "
            f"first token {fit.gains.ttft:.3f}; mean error {fit.error_before:.1%} -> {fit.error_after:.1%}"
            + (f"; {fit.outliers} far off" if fit.outliers else "")
            + (f"; serves like {fit.profile}" if fit.profile and not engine else "")
        )
