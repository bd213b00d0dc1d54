"""`pertoken breakeven`: from which load on own GPUs are cheaper than an API."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pertoken.calculators.breakeven import BreakEven, ReplicaGroup, break_even
from pertoken.cli.options import ApiCachedOption, GpuOption, ModelOption, PeakOption, QuantizationOption
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
    number,
    resolve,
)
from pertoken.domain.service import PriceList
from pertoken.performance.steady import Sustainable, sustainable_rate
from pertoken.units import SECONDS_PER_HOUR, TOKENS_PER_MILLION

SHOWN = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 10.0)


def breakeven_command(  # noqa: PLR0913, PLR0917 - options of a command line
    model: ModelOption,
    gpu: GpuOption,
    api_input: Annotated[str, typer.Option("--api-input", help="API price: USD per 1M input tokens.")],
    api_output: Annotated[str, typer.Option("--api-output", help="API price: USD per 1M output tokens.")],
    api_cached: ApiCachedOption = None,
    peak_to_mean: PeakOption = 1.0,
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
    """Compare own GPUs with an API. Exit 1 when own GPUs never become cheaper."""
    subject = resolve(
        DeploymentOptions(model, gpu, tensor, quantization, max_num_seqs, max_batched_tokens, price),
        RequestOptions(input_tokens, output_tokens, cached, ttft, itl, percentile),
    )
    if not 1.0 <= peak_to_mean <= 1000.0:
        refuse(f"--peak-to-mean: {peak_to_mean:g}: expected 1 to 1000")
    paid = number(api_input, "--api-input")
    prices = PriceList(
        paid, paid if api_cached is None else number(api_cached, "--api-cached"), number(api_output, "--api-output")
    )
    carried = sustainable_rate(subject.engine, subject.load, subject.targets)
    if not isinstance(carried, Sustainable):
        refuse(
            f"--{'itl' if carried.what == 'inter-token' else 'ttft'}: {carried.objective * 1000:g}: "
            f"an idle replica takes {carried.seconds * 1000:.1f} ms; expected more than that"
        )
    fleet = ReplicaGroup(carried.rate, subject.usd_per_hour, peak_to_mean)
    thresholds = break_even(fleet, subject.load, prices)
    _print(thresholds, fleet, subject, output)
    if thresholds.first is None:
        raise typer.Exit(NO)


def _print(thresholds: BreakEven, fleet: ReplicaGroup, subject: Subject, output: Output) -> None:
    tokens = subject.load.input_tokens + subject.load.output_tokens
    rows = [_row(fleet.rate * share, fleet, thresholds, tokens) for share in SHOWN]
    summary: dict[str, Any] = {
        "of": subject.title,
        "replica_usd_per_hour": round(fleet.usd_per_hour, 6),
        "replica_requests_per_second": round(fleet.rate, 5),
        "replica_tokens_per_second": round(fleet.rate * tokens, 2),
        "api_usd_per_thousand_requests": round(thresholds.api_usd_per_request * 1000, 6),
        "break_even_requests_per_second": None if thresholds.first is None else round(thresholds.first, 5),
        "break_even_tokens_per_second": None if thresholds.first is None else round(thresholds.first * tokens, 2),
        "always_cheaper_from_requests_per_second": None if thresholds.always is None else round(thresholds.always, 5),
        "utilization_at_break_even": round(thresholds.utilization, 4),
    }
    if output is not Output.TABLE:
        print_data({**summary, "loads": rows}, output.value)
        return
    print(subject.title)
    columns = ("requests/s", "tokens/s", "replicas", "own USD/1M", "API USD/1M", "cheaper")
    cells = [
        [
            plain_figure(row["requests_per_second"], 3),
            f"{row['tokens_per_second']:.0f}",
            str(row["replicas"]),
            f"{row['own_usd_per_million']:.3f}",
            f"{row['api_usd_per_million']:.3f}",
            row["cheaper"],
        ]
        for row in rows
    ]
    print_table(columns, cells)
    print(_words(thresholds, fleet, tokens))


def _row(rate: float, fleet: ReplicaGroup, thresholds: BreakEven, tokens: float) -> dict[str, Any]:
    per_hour = rate * SECONDS_PER_HOUR
    own = fleet.usd_per_hour_at(rate) / (per_hour * tokens) * TOKENS_PER_MILLION
    api = thresholds.api_usd_per_request / tokens * TOKENS_PER_MILLION
    return {
        "requests_per_second": round(rate, 5),
        "tokens_per_second": round(rate * tokens, 2),
        "replicas": fleet.replicas(rate),
        "own_usd_per_million": round(own, 6),
        "api_usd_per_million": round(api, 6),
        "cheaper": "own" if own <= api else "API",
    }


def _words(thresholds: BreakEven, fleet: ReplicaGroup, tokens: float) -> str:
    if thresholds.first is None:
        return (
            f"own GPUs never pay: a replica would have to carry {thresholds.utilization:.2f} times the "
            f"{fleet.rate / fleet.peak_factor:.2f} requests/s that it sustains on average"
        )
    words = (
        f"a replica pays from {plain_figure(thresholds.first, 3)} requests/s "
        f"({thresholds.first * tokens:,.0f} tokens/s) on, "
        f"{thresholds.utilization:.0%} of what it sustains"
    )
    if thresholds.always is None:
        return f"{words}; just after each further replica the API is cheaper again"
    if thresholds.always > thresholds.first:
        return f"{words}; own GPUs are cheaper at every load from {plain_figure(thresholds.always, 3)} requests/s on"
    return f"{words}, and own GPUs stay cheaper at every higher load"
