"""`pertoken advise`: what else would keep a service's objectives, and what it saves each month."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pertoken.adapters.catalog_files import read_catalog
from pertoken.calculators.advice import advise
from pertoken.calculators.changes import Choice, smaller_models
from pertoken.calculators.fleet import Demand, Setup
from pertoken.catalog.lookup import Catalog
from pertoken.cli.advise_document import Answered, answer_document
from pertoken.cli.advise_options import OwnPrices, allowed_models, amount_of, api_prices, own_prices, priced_gpus
from pertoken.cli.advise_status import USUAL, Observed
from pertoken.cli.advise_subject import Asked, Question, questions, read_manifests
from pertoken.cli.advise_table import print_advice
from pertoken.cli.options import ApiCachedOption, CatalogOption, GpuOption, ModelOption, PeakOption, QuantizationOption
from pertoken.cli.rendering import NO, Output, print_data, refuse
from pertoken.cli.subject import (
    BudgetOption,
    CachedOption,
    CapOption,
    DeploymentOptions,
    ItlOption,
    PercentileOption,
    RequestOptions,
    TensorOption,
    TtftOption,
    resolve,
)
from pertoken.domain.service import Parallelism
from pertoken.planner.tuning import TUNING


def advise_command(  # noqa: PLR0913, PLR0917 - options of a command line
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            "--from",
            "-f",
            help="Services and pools: manifests, folders of them, or - for `kubectl get ptis,ptpool -o yaml`, whose "
            "status tells load, lengths and calibration; repeatable.",
        ),
    ] = None,
    service: Annotated[str | None, typer.Option(help="Which InferenceService of the files; all if not given.")] = None,
    variant: Annotated[str | None, typer.Option(help="Which variant; all that serve if not given.")] = None,
    model: ModelOption = "",
    gpu: GpuOption = "",
    rate: Annotated[
        float | None, typer.Option("--rate", help="Observed requests/s of the service; the status's if not given.")
    ] = None,
    input_tokens: Annotated[
        float | None,
        typer.Option("--input-tokens", "--input", help="Prompt tokens per request; else observed or 1000."),
    ] = None,
    output_tokens: Annotated[
        float | None, typer.Option("--output-tokens", help="Generated tokens per request; else observed or 200.")
    ] = None,
    answer_p50: Annotated[
        float | None, typer.Option("--answer-p50", help="Median tokens of answers; from their mean if not given.")
    ] = None,
    answer_p95: Annotated[
        float | None, typer.Option("--answer-p95", help="95th percentile of answers' tokens; likewise.")
    ] = None,
    cached: CachedOption = 0.0,
    peak_to_mean: PeakOption = 1.0,
    tensor: TensorOption = 1,
    quantization: QuantizationOption = "",
    ttft: TtftOption = None,
    itl: ItlOption = None,
    percentile: PercentileOption = 95,
    max_num_seqs: CapOption = None,
    max_batched_tokens: BudgetOption = None,
    max_model_len: Annotated[
        int | None, typer.Option("--max-model-len", help="Longest context in tokens; the model's own.", min=1)
    ] = None,
    prices: Annotated[
        list[str] | None,
        typer.Option(
            "--price", help="GPU=USD per GPU-hour, or USD alone for --gpu; repeatable. Else the pool's or a list price."
        ),
    ] = None,
    allow_models: Annotated[
        list[str] | None,
        typer.Option("--allow-model", help="A model whose answers are good enough; repeatable, none other is named."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="USD per hour: tell the requests/s that it carries within objectives."),
    ] = None,
    api_input: Annotated[str | None, typer.Option("--api-input", help="API price: USD per 1M input tokens.")] = None,
    api_output: Annotated[str | None, typer.Option("--api-output", help="API price: USD per 1M output tokens.")] = None,
    api_cached: ApiCachedOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Tell every change that keeps the latency objectives, dearer ones too.")
    ] = False,
    catalog: CatalogOption = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="Output format.")] = Output.TABLE,
) -> None:
    """Say which single changes keep the objectives, and what they save. Exit 1 when nothing keeps them."""
    mistakes: list[str] = []
    rows = read_catalog(*catalog or ())
    mistakes += [f"--catalog: {mistake}" for mistake in rows.mistakes]
    observed = Observed(rate, input_tokens, output_tokens, cached, peak_to_mean, (answer_p50, answer_p95))
    mistakes += observed.mistakes()
    priced = own_prices(prices or [], rows.catalog, mistakes)
    allowed = allowed_models(allow_models or [], rows.catalog, mistakes)
    api = api_prices((api_input, api_output, api_cached), mistakes)
    money = amount_of("--budget", budget, "USD per hour", mistakes)
    checked = None
    if files:
        mistakes += [
            f"{name}: {value}: expected without --from, whose objects tell it"
            for name, value in (
                ("--model", model),
                ("--gpu", gpu),
                ("--price", priced.plain),
                ("--tp", tensor if tensor > 1 else None),
                ("--quantization", quantization),
                ("--ttft", ttft),
                ("--itl", itl),
                ("--max-num-seqs", max_num_seqs),
                ("--max-batched-tokens", max_batched_tokens),
                ("--max-model-len", max_model_len),
            )
            if value
        ]
        manifests = read_manifests(files, rows.catalog, priced.by_gpu, mistakes)
        checked = manifests.checked
        asked = questions(manifests, (service, variant), observed, mistakes) if not mistakes else Asked()
    else:
        deployment = DeploymentOptions(model, gpu, tensor, quantization, max_num_seqs, max_batched_tokens)
        request = RequestOptions(*USUAL, 0.0, ttft, itl, percentile)
        told = (observed, max_model_len, priced)
        asked = Asked((_of_options(deployment, request, told, rows.catalog, mistakes),))
    if mistakes:
        refuse(*mistakes)
    gpus = priced_gpus(priced, checked, rows.catalog)
    answers = []
    for question in asked.questions:
        choice = Choice(gpus, allowed or smaller_models(question.setup, rows.catalog.models))
        advice = advise(question.setup, question.requests, question.demand, choice, everything=everything)
        answers.append(Answered(question, advice, None if money is None else float(money), api))
    _tell(answers, asked.left_out, output)


def _of_options(
    deployment: DeploymentOptions,
    request: RequestOptions,
    told: tuple[Observed, int | None, OwnPrices],
    catalog: Catalog,
    mistakes: list[str],
) -> Question:
    """The setup that options describe; mistakes end the command, those in other options too."""
    observed, context_limit, priced = told
    missing = [
        name
        for name, value in (("--model", deployment.model), ("--gpu", deployment.gpu), ("--rate", observed.rate))
        if value in {None, ""}
    ]
    if missing:
        refuse(*mistakes, f"{', '.join(missing)}: missing: expected --model, --gpu and --rate, or manifests by --from")
    gpu = catalog.known_gpu(deployment.gpu)
    own = None if gpu is None else priced.of(gpu.id)
    subject = resolve(replace(deployment, price=own), request, catalog, mistakes)
    setup = Setup(
        model=subject.model,
        gpu=subject.gpu,
        usd_per_gpu_hour=subject.usd_per_gpu_hour,
        price_source=subject.price_source,
        parallelism=Parallelism(deployment.tensor),
        quantization=subject.quantization,
        cap=deployment.cap,
        chunk=deployment.batched_tokens,
        context_limit=context_limit,
    )
    demand = Demand(observed.rate or 0.0, subject.targets, TUNING.knee.prior, observed.peak_factor)
    return Question(setup, observed.requests(*USUAL), demand)


def _tell(answers: Sequence[Answered], left_out: Sequence[str], output: Output) -> None:
    for line in left_out:
        typer.echo(f"left out: {line}", err=True)
    if output is Output.TABLE:
        print_advice(answers)
    else:
        advice = [answer_document(answered) for answered in answers]
        print_data({"advice": advice, "left_out": list(left_out)}, output.value)
    if not all(answered.advice.kept for answered in answers):
        raise typer.Exit(NO)
