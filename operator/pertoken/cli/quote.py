"""`pertoken quote`: what one request costs at a load, and prices per token under LiteLLM's names."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pertoken.calculators.quote import Quote, TokenUsd, quote
from pertoken.cli.options import GpuOption, ModelOption, QuantizationOption
from pertoken.cli.present import present
from pertoken.cli.rendering import NO, Output, plain_figure, print_data, print_table, refuse
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
from pertoken.performance.steady import OperatingPoint, Sustainable, at_batch, at_rate, sustainable_rate


class CostBasis(StrEnum):
    """Which cost the prices per token stand for."""

    MARGINAL = "marginal"
    BUSY = "busy"
    FULL = "full"


def quote_command(  # noqa: PLR0913, PLR0917 - options of a command line
    model: ModelOption = "",
    gpu: GpuOption = "",
    file: Annotated[
        Path | None,
        typer.Option(
            "--from", "-f", help="Quote a service at its present load: `kubectl get ptis,ptpool -o yaml`, or -."
        ),
    ] = None,
    service: Annotated[str | None, typer.Option(help="Which InferenceService of the file.")] = None,
    variant: Annotated[str | None, typer.Option(help="Which variant; the first that serves if not given.")] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", help="Load of the replica, requests/s; what it sustains if not given.")
    ] = None,
    basis: Annotated[
        CostBasis,
        typer.Option(
            help="Prices per token: marginal (what a request adds), busy (its share of work), full (idle too)."
        ),
    ] = CostBasis.MARGINAL,
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
    output: Annotated[Output, typer.Option("--output", "-o", help="Output format.")] = Output.TABLE,
) -> None:
    """Quote one request from catalog estimates. Exit 1 when one replica cannot carry the load."""
    batch = None
    if file is not None:
        subject, batch = present(file, service, variant, price)
    elif not (model and gpu):
        refuse("--model, --gpu: missing: expected both, or a service's present state by --from")
    else:
        subject = resolve(
            DeploymentOptions(model, gpu, tensor, quantization, max_num_seqs, max_batched_tokens, price),
            RequestOptions(input_tokens, output_tokens, cached, ttft, itl, percentile),
        )
    point, most = _operating_point(subject, rate, batch)
    quoted = quote(subject.engine, subject.load, point, most, float(subject.usd_per_gpu_hour))
    chosen = {CostBasis.MARGINAL: quoted.marginal, CostBasis.BUSY: quoted.busy, CostBasis.FULL: quoted.full}[basis]
    if output is Output.TABLE:
        _print(quoted, point, most, subject)
    else:
        print_data(_answer(quoted, chosen, basis, point, subject), output.value)


def _operating_point(subject: Subject, rate: float | None, batch: float | None) -> tuple[OperatingPoint, float]:
    """The point that is asked about, and the rate that a replica sustains; without a rate the present batch counts."""
    carried = sustainable_rate(subject.engine, subject.load, subject.targets)
    if not isinstance(carried, Sustainable):
        typer.echo(
            f"a single request on an idle replica takes {carried.seconds * 1000:.0f} ms ({carried.what}), "
            f"the objective is {carried.objective * 1000:.0f} ms",
            err=True,
        )
        raise typer.Exit(NO)
    if rate is None and batch is not None:
        return at_batch(subject.engine, subject.load, batch, subject.targets), carried.rate
    if rate is None:
        return carried.point, carried.rate
    if not 0.0 < rate <= 1e6:
        refuse(f"--rate: {rate:g}: expected requests per second above 0")
    point = at_rate(subject.engine, subject.load, rate, subject.targets) if rate <= carried.rate else None
    if point is None:
        most = plain_figure(carried.rate, 4)
        typer.echo(f"--rate: {rate:g}: a replica sustains {most} requests/s (bound by {carried.binding})", err=True)
        raise typer.Exit(NO)
    return point, carried.rate


def _answer(
    quoted: Quote, chosen: TokenUsd, basis: CostBasis, point: OperatingPoint, subject: Subject
) -> dict[str, Any]:
    """LiteLLM's field names, USD per single token, beside the money of the request."""
    return {
        "model": subject.model.id,
        "of": subject.title,
        "basis": basis.value,
        "requests_per_second": round(point.rate, 6),
        "batch": round(point.batch, 3),
        "usd_per_request_marginal": _digits(quoted.marginal.request),
        "usd_per_request_busy": _digits(quoted.busy.request),
        "usd_per_request_full": _digits(quoted.full.request),
        "usd_per_request_new_replica": _digits(quoted.new_replica),
        "input_cost_per_token": _digits(chosen.input),
        "output_cost_per_token": _digits(chosen.output),
        "cache_read_input_token_cost": _digits(chosen.cached_input),
        "output_cost_per_token_interval": [_digits(bound) for bound in quoted.output_interval],
    }


def _digits(value: float) -> float:
    return float(f"{value:.6g}")


def _print(quoted: Quote, point: OperatingPoint, most: float, subject: Subject) -> None:
    print(subject.title)
    rate, carried = plain_figure(point.rate, 4), plain_figure(most, 4)
    print(f"at {rate} requests/s (a replica sustains {carried}), batch {point.batch:.1f}")
    rows = [
        [
            name,
            *(f"{value * 1e6:.4f}" for value in (usd.input, usd.cached_input, usd.output)),
            plain_figure(usd.request * 1000, 4),
            words,
        ]
        for name, usd, words in (
            ("marginal", quoted.marginal, "what one more request adds to the replica's time"),
            ("busy", quoted.busy, "its share of the work (Shapley)"),
            ("full", quoted.full, "with its share of the idle time"),
        )
    ]
    print_table(("cost", "USD/1M input", "USD/1M cached", "USD/1M output", "USD/1k requests", ""), rows)
    low, high = quoted.output_interval
    print(
        f"output between {low * 1e6:.4f} and {high * 1e6:.4f} USD per 1M tokens by either order of attribution; "
        f"{plain_figure(quoted.new_replica * 1000, 4)} USD per 1k requests on further replicas used to the full"
    )
