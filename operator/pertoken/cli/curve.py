"""`pertoken curve`: cost against batch for a model on a GPU, and where objective, KV cache and cap bind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pertoken.calculators.curve import Curve, CurvePoint, curve
from pertoken.cli.options import GpuOption, ModelOption, QuantizationOption
from pertoken.cli.plot import PlotError, plot_curve
from pertoken.cli.rendering import NO, RowsOutput, print_csv, print_data, print_table, refuse
from pertoken.cli.subject import (
    BudgetOption,
    CachedOption,
    CapOption,
    DeploymentOptions,
    InputOption,
    ItlOption,
    OutputOption,
    PercentileOption,
    PriceOption,
    RequestOptions,
    Subject,
    TensorOption,
    TtftOption,
    resolve,
)

LARGEST = 1024
COLUMNS = ("batch", "ITL ms", "p{p}", "TTFT ms", "p{p}", "tok/s/GPU", "USD/1M", "input", "output", "KV", "")


def curve_command(  # noqa: PLR0913, PLR0917 - options of a command line
    model: ModelOption,
    gpu: GpuOption,
    tensor: TensorOption = 1,
    quantization: QuantizationOption = "",
    input_tokens: InputOption = 1000,
    output_tokens: OutputOption = 200,
    cached: CachedOption = 0.0,
    ttft: TtftOption = None,
    itl: ItlOption = None,
    percentile: PercentileOption = 95,
    max_num_seqs: CapOption = None,
    max_batched_tokens: BudgetOption = None,
    price: PriceOption = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the curve into this PNG.")] = None,
    output: Annotated[RowsOutput, typer.Option("--output", "-o", help="Output format.")] = RowsOutput.TABLE,
) -> None:
    """Show what every batch size costs and how slow it is. Exit 1 when an idle replica already misses an objective."""
    subject = resolve(
        DeploymentOptions(model, gpu, tensor, quantization, max_num_seqs, max_batched_tokens, price),
        RequestOptions(input_tokens, output_tokens, cached, ttft, itl, percentile),
    )
    cost_curve = curve(subject.engine, subject.load, subject.targets, float(subject.usd_per_gpu_hour), batches(subject))
    if plot is not None:
        try:
            plot_curve(cost_curve, subject, plot)
        except PlotError as error:
            refuse(f"--plot: {plot}: {error}")
    _print(cost_curve, subject, output)
    if cost_curve.missed is not None:
        raise typer.Exit(NO)


def batches(subject: Subject) -> list[float]:
    """1, 2, 4 ... and the halves between, to what cap and KV cache hold at the very most."""
    engine = subject.engine
    top = min(engine.cap or LARGEST, LARGEST, max(1.0, engine.kv_tokens / max(subject.load.resident, 1.0)))
    sizes, size = [], 1.0
    while size < top:
        sizes += [size, *([size * 1.5] if size >= 8 and size * 1.5 < top else [])]
        size *= 2
    return [*sizes, float(int(top))]


def _print(cost_curve: Curve, subject: Subject, output: RowsOutput) -> None:
    marked = [*cost_curve.points, *([cost_curve.best] if cost_curve.best else [])]
    marked.sort(key=lambda point: point.point.batch)
    rows = [_row(point, point is cost_curve.best, cost_curve.binding) for point in marked]
    if output is RowsOutput.CSV:
        print_csv(rows)
    elif output is not RowsOutput.TABLE:
        print_data({"of": subject.title, **_summary(cost_curve), "points": rows}, output.value)
    else:
        print(subject.title)
        columns = [column.format(p=subject.targets.percentile) for column in COLUMNS]
        cells = [_cells(point, point is cost_curve.best, cost_curve.binding) for point in marked]
        print_table(columns, cells, [number for number, point in enumerate(marked) if point is cost_curve.best])
        print(_words(cost_curve))


def _summary(cost_curve: Curve) -> dict[str, Any]:
    return {
        "best_batch": None if cost_curve.best is None else round(cost_curve.best.point.batch, 2),
        "binding": cost_curve.binding,
        "limits": {name: round(batch, 2) for name, batch in cost_curve.limits.items()},
    }


def _words(cost_curve: Curve) -> str:
    if cost_curve.missed is not None:
        return (
            f"out of reach: a single request on an idle replica takes {cost_curve.missed.seconds * 1000:.0f} ms "
            f"({cost_curve.missed.what}), the objective is {cost_curve.missed.objective * 1000:.0f} ms"
        )
    binds = ", ".join(f"{name} at {batch:.0f}" for name, batch in sorted(cost_curve.limits.items(), key=lambda i: i[1]))
    best = cost_curve.best
    assert best is not None  # noqa: S101 - missed is None, so there is one
    return (
        f"best batch {best.point.batch:.1f}: {best.point.rate:.2f} requests/s per replica, "
        f"{best.usd_per_million:.3f} USD per 1M tokens, bound by {cost_curve.binding}"
        + (f"; limits: {binds}" if binds else "")
    )


def _row(point: CurvePoint, best: bool, binding: str) -> dict[str, Any]:
    at = point.point
    return {
        "batch": round(at.batch, 3),
        "itl_ms": round(at.inter_token * 1000, 3),
        "itl_tail_ms": round(at.inter_token_tail * 1000, 3),
        "ttft_ms": round(at.ttft * 1000, 2),
        "ttft_tail_ms": round(at.ttft_tail * 1000, 2),
        "requests_per_second": round(at.rate, 5),
        "tokens_per_second_per_gpu": round(point.tokens_per_second_per_gpu, 2),
        "usd_per_million_tokens": round(point.usd_per_million, 6),
        "usd_per_million_input": round(point.usd_per_million_input, 6),
        "usd_per_million_cached_input": None
        if point.usd_per_million_cached is None
        else round(point.usd_per_million_cached, 6),
        "usd_per_million_output": round(point.usd_per_million_output, 6),
        "kv_share": round(point.kv_share, 4),
        "breaks": list(point.broken),
        "best": best,
        "binding": binding if best else None,
    }


def _cells(point: CurvePoint, best: bool, binding: str) -> list[str]:
    at = point.point
    note = f"<- best; {binding} binds" if best else " ".join(point.broken)
    return [
        f"{at.batch:.1f}" if best else f"{at.batch:g}",
        f"{at.inter_token * 1000:.1f}",
        f"{at.inter_token_tail * 1000:.1f}",
        f"{at.ttft * 1000:.0f}",
        f"{at.ttft_tail * 1000:.0f}",
        f"{point.tokens_per_second_per_gpu:.0f}",
        f"{point.usd_per_million:.3f}",
        f"{point.usd_per_million_input:.3f}",
        f"{point.usd_per_million_output:.3f}",
        f"{point.kv_share:.0%}",
        note,
    ]
