"""What `curve`, `quote` and `breakeven` are asked about: a model on a GPU, a request, objectives and a price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import Annotated

import typer

from pertoken.catalog.gpus import Gpu
from pertoken.catalog.lookup import SHIPPED, Catalog, Unknown, hides_quantization, quantization_of
from pertoken.catalog.models import Model
from pertoken.catalog.precisions import PRECISIONS, find_precision
from pertoken.catalog.prices import list_price
from pertoken.cli.rendering import refuse
from pertoken.domain.service import Parallelism
from pertoken.performance.steady import Engine, Load, Targets
from pertoken.performance.step_time import engine_model
from pertoken.units import AmountError, parse_amount

TensorOption = Annotated[int, typer.Option("--tp", help="Tensor parallelism: GPUs per replica.", min=1, max=64)]
InputOption = Annotated[float, typer.Option("--input-tokens", "--input", help="Prompt tokens per request.")]
OutputOption = Annotated[float, typer.Option("--output-tokens", help="Generated tokens per request.")]
CachedOption = Annotated[float, typer.Option("--cached", help="Share of the prompt from the prefix cache, 0 to 1.")]
CapOption = Annotated[int | None, typer.Option("--max-num-seqs", help="The engine's cap on sequences.", min=1)]
BudgetOption = Annotated[int | None, typer.Option("--max-batched-tokens", help="Tokens per step.", min=256)]
TtftOption = Annotated[float | None, typer.Option("--ttft", help="Objective: time to first token, ms.")]
ItlOption = Annotated[float | None, typer.Option("--itl", help="Objective: inter-token latency, ms.")]
PercentileOption = Annotated[int, typer.Option("--percentile", help="Of the objectives.", min=50, max=99)]
PriceOption = Annotated[
    str | None,
    typer.Option("--price", help="USD per GPU-hour, or GPU=USD; without it a dated public list price."),
]


@dataclass(frozen=True, slots=True)
class Subject:
    """The question, checked.

    Attributes:
        price_source: in words: whose price it is.
    """

    model: Model
    gpu: Gpu
    quantization: str
    engine: Engine
    load: Load
    targets: Targets
    usd_per_gpu_hour: Decimal
    price_source: str

    @property
    def usd_per_hour(self) -> float:
        """Of one replica."""
        return float(self.usd_per_gpu_hour) * self.engine.model.gpus

    @property
    def title(self) -> str:
        """One line that says what the figures are of."""
        gpus = self.engine.model.gpus
        count = f"{gpus} x " if gpus > 1 else ""
        return (
            f"{self.model.id} ({self.quantization or 'bf16'}) on {count}{self.gpu.id}, "
            f"{self.load.input_tokens:g} input and {self.load.output_tokens:g} output tokens"
            + (f", {self.load.cached_share:.0%} of the input cached" if self.load.cached_share else "")
            + f"; {self.price_source}"
        )


@dataclass(frozen=True, slots=True)
class DeploymentOptions:
    """The options that say what runs."""

    model: str
    gpu: str
    tensor: int = 1
    quantization: str = ""
    cap: int | None = None
    batched_tokens: int | None = None
    price: str | None = None


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """The options that say what is asked of it; milliseconds."""

    input_tokens: float
    output_tokens: float
    cached: float = 0.0
    ttft: float | None = None
    itl: float | None = None
    percentile: int = 95


def resolve(
    deployment: DeploymentOptions, request: RequestOptions, catalog: Catalog = SHIPPED, before: Sequence[str] = ()
) -> Subject:
    """Look everything up; mistakes end the command, all of them at once.

    Args:
        deployment: what runs.
        request: what is asked of it.
        catalog: in which it is looked up.
        before: mistakes in other options, which are told with these.
    """
    model, gpu = catalog.model(deployment.model), catalog.gpu(deployment.gpu)
    mistakes = list(before)
    mistakes += [
        f"{option}: {value!r}: {looked_up}"
        for option, value, looked_up in (("--model", deployment.model, model), ("--gpu", deployment.gpu, gpu))
        if isinstance(looked_up, Unknown)
    ]
    quantization = deployment.quantization or quantization_of(deployment.model)
    if quantization and find_precision(quantization) is None:
        mistakes.append(f"--quantization: {quantization!r}: expected one of {', '.join(sorted(PRECISIONS))}")
    if not quantization and hides_quantization(deployment.model):
        mistakes.append(
            f"--quantization: {deployment.model!r} hides the type of its GGUF files: expected int4, int8 or w8a16"
        )
    mistakes += _request_mistakes(request)
    price, source = _price(deployment.price, gpu, mistakes)
    if mistakes or isinstance(model, Unknown) or isinstance(gpu, Unknown):
        refuse(*mistakes)
    base = engine_model(model, gpu, Parallelism(deployment.tensor), quantization)
    if base.kv_capacity <= 0:
        refuse(
            f"--tp: {deployment.tensor}: the weights of {model.id} ({quantization or 'bf16'}) and the engine's reserve "
            f"do not fit into {deployment.tensor} x {gpu.memory_gib:g} GiB; expected more GPUs or fewer bits"
        )
    engine = Engine(base.with_batched_tokens(deployment.batched_tokens), cap=deployment.cap)
    load = Load(request.input_tokens, request.output_tokens, request.cached)
    targets = Targets(_seconds(request.itl), _seconds(request.ttft), request.percentile)
    return Subject(model, gpu, quantization, engine, load, targets, price, source)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000.0


def _request_mistakes(request: RequestOptions) -> list[str]:
    checks = (
        ("--input-tokens", request.input_tokens, 0.0, 1e7, "0 to 10,000,000 tokens"),
        ("--output-tokens", request.output_tokens, 1.0, 1e6, "1 to 1,000,000 tokens"),
        ("--cached", request.cached, 0.0, 1.0, "a share from 0 to 1"),
        ("--ttft", request.ttft, 1e-3, 1e7, "milliseconds above 0"),
        ("--itl", request.itl, 1e-3, 1e7, "milliseconds above 0"),
    )
    return [
        f"{option}: {value:g}: expected {words}"
        for option, value, low, high, words in checks
        if value is not None and not (isfinite(value) and low <= value <= high)
    ]


def _price(text: str | None, gpu: Gpu | Unknown, mistakes: list[str]) -> tuple[Decimal, str]:
    if text is not None:
        named, equals, usd = text.partition("=")
        if equals and not isinstance(gpu, Unknown):
            of = SHIPPED.known_gpu(named)
            if of is None or of.id != gpu.id:
                mistakes.append(f"--price: {text!r}: expected USD per hour of {gpu.id}")
                return Decimal(0), ""
        try:
            amount = parse_amount(usd if equals else text)
        except AmountError as error:
            mistakes.append(f"--price: {error}; expected USD per GPU-hour")
            return Decimal(0), ""
        return amount, f"{amount} USD per GPU-hour"
    if isinstance(gpu, Unknown):
        return Decimal(0), ""
    listed = list_price(gpu.id)
    if listed is None:
        mistakes.append(f"--price: missing: no list price of {gpu.id} is known; expected USD per GPU-hour")
        return Decimal(0), ""
    return listed.usd_per_hour, str(listed)


def number(value: str, option: str) -> Decimal:
    """An option that is an amount."""
    try:
        return parse_amount(value)
    except AmountError as error:
        refuse(f"{option}: {error}; expected USD per million tokens")
