"""`pertoken estimate`: latency, throughput, memory and cost of a deployment, one or thousands of them."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from pertoken.adapters.catalog_files import read_catalog
from pertoken.calculators.estimate import estimate
from pertoken.catalog.architecture import Incomplete, from_mapping
from pertoken.catalog.lookup import Catalog, Unknown
from pertoken.catalog.models import Model
from pertoken.catalog.prices import ListPrice, list_price
from pertoken.cli import calibration_file
from pertoken.cli.estimate_rows import (
    ASKED,
    BadFile,
    BadRow,
    answer_of,
    columns_of,
    no_answer,
    read_rows,
    text,
    understand,
)
from pertoken.cli.options import CatalogOption, GpuOption, ModelOption, QuantizationOption
from pertoken.cli.rendering import RowsOutput, plain_figure, print_data, refuse
from pertoken.units import AmountError, parse_amount

LABELS = {
    "prefill_ms": "one prompt alone (kernels), ms",
    "decode_step_ms": "one decode step (kernels), ms",
    "ttft_ms": "time to first token, closed loop, ms",
    "itl_ms": "inter-token latency, closed loop, ms",
    "tokens_per_second_per_gpu": "output tokens/s per GPU",
    "kv_capacity_tokens": "KV cache, tokens",
    "max_sequences": "sequences that fit",
    "memory_gib": "memory per GPU, GiB",
    "usd_per_million_input": "USD per 1M input tokens",
    "usd_per_million_output": "USD per 1M output tokens",
}
QUANTIZATION_FILE: Final = "hf_quant_config.json"


@dataclass(frozen=True, slots=True)
class GpuPrices:
    """USD per GPU-hour: the user's own, and the dated public list where it was asked for."""

    own: Mapping[str, Decimal] = field(default_factory=dict)
    listed: bool = False

    def of(self, gpu: str) -> Decimal | None:
        """Of a catalog id; None where no price is given."""
        if gpu in self.own:
            return self.own[gpu]
        entry = list_price(gpu) if self.listed else None
        return None if entry is None else entry.usd_per_hour

    def source(self, gpu: str) -> str:
        """Whose price it is, in words."""
        if gpu in self.own:
            return f"{self.own[gpu]} USD per GPU-hour (given)"
        entry: ListPrice | None = list_price(gpu) if self.listed else None
        if entry is not None:
            return str(entry)
        if self.listed:
            return f"no list price of {gpu} is known: --price {gpu}=USD"
        return f"no price: --price {gpu}=USD, or --list-prices"


@dataclass(frozen=True, slots=True)
class Context:
    """What rows are answered with."""

    prices: GpuPrices
    gains: calibration_file.SavedGains
    catalog: Catalog
    models: Mapping[str, Model] = field(default_factory=dict)

    def answer(self, row: Mapping[str, str]) -> dict[str, Any]:
        """The answered columns of one row."""
        try:
            asked = understand(row, self.catalog, self.models)
        except BadRow as mistake:
            return no_answer(str(mistake))
        price = self.prices.of(asked.deployment.gpu.id)
        known = self.gains.of(asked.deployment)
        estimated = estimate(
            replace(asked.deployment, engine=known.engine),
            asked.clients,
            known.gains,
            None if price is None else float(price),
        )
        return answer_of(estimated)


def estimate_command(  # noqa: PLR0913, PLR0917 - one parameter per option
    from_csv: Annotated[
        Path | None, typer.Option(help=f"Rows to answer: {','.join(ASKED)}; further columns are repeated.")
    ] = None,
    model: ModelOption = "",
    gpu: GpuOption = "",
    tp: Annotated[int, typer.Option(min=1, help="Tensor parallelism.")] = 1,
    quantization: QuantizationOption = "",
    batch: Annotated[int, typer.Option("--batch", "-b", min=1, help="Clients that each wait for their answer.")] = 1,
    input_tokens: Annotated[int, typer.Option("--input", "--input-tokens", min=0, help="Prompt tokens.")] = 1024,
    output_tokens: Annotated[int, typer.Option("--output-tokens", min=0, help="Generated tokens.")] = 256,
    engine: Annotated[str, typer.Option(help="vllm, sglang or trtllm; empty: their mean.")] = "",
    kv_quantization: Annotated[
        str, typer.Option(help="Of the KV cache; empty: what the checkpoint asks for, else bf16.")
    ] = "",
    config: Annotated[
        Path | None, typer.Option(help="config.json of a model that the catalog does not have (named by --model).")
    ] = None,
    catalog: CatalogOption = None,
    calibration: Annotated[Path | None, typer.Option(help="What `pertoken calibrate -o json` wrote.")] = None,
    price: Annotated[
        list[str] | None, typer.Option(help="GPU=USD per GPU-hour, or USD alone for --gpu; may be repeated.")
    ] = None,
    list_prices: Annotated[
        bool, typer.Option("--list-prices", help="Without --price, take dated public list prices (see their source).")
    ] = False,
    output_or_tokens: Annotated[
        str,
        typer.Option("--output", "--format", "-o", metavar="[table|json|yaml|csv]", help="Output format."),
    ] = RowsOutput.TABLE.value,
) -> None:
    """Estimate latency, throughput, memory and cost. Exit 0; 2 when the question cannot be understood."""
    # A number is what `--output` meant before it meant the format in every command.
    output = RowsOutput.TABLE if output_or_tokens.isdecimal() else _format(output_or_tokens)
    output_tokens = int(output_or_tokens) if output_or_tokens.isdecimal() else output_tokens
    added = read_catalog(*catalog or ())
    if added.mistakes:
        refuse(*added.mistakes)
    known = added.catalog
    models = {model: _configured(config, model)} if config else {}
    prices = GpuPrices(_own_prices(price or [], known, gpu), list_prices)
    try:
        gains = calibration_file.read(calibration) if calibration else calibration_file.SavedGains()
        rows = read_rows(from_csv) if from_csv else []
    except BadFile as mistake:
        refuse(str(mistake))
    context = Context(prices, gains, known, models)
    if from_csv is not None:
        _print_rows(rows, [context.answer(row) for row in rows], output)
        return
    if not (model or config) or not gpu:
        refuse("--model, --gpu: missing; expected a model and a GPU, or --from-csv FILE")
    row = {
        "model": model,
        "gpu": gpu,
        "tp": str(tp),
        "quantization": quantization,
        "batch": str(batch),
        "input_tokens": str(input_tokens),
        "output_tokens": str(output_tokens),
        **({"engine": engine} if engine else {}),
        **({"kv_quantization": kv_quantization} if kv_quantization else {}),
    }
    answer = context.answer(row)
    if answer["error"] and answer["prefill_ms"] is None:
        refuse(str(answer["error"]))
    if output is RowsOutput.TABLE:
        _print_one(row, answer, context)
    else:
        _print_rows([row], [answer], output)


def _object(path: Path, kind: str) -> Mapping[str, Any]:
    """A JSON object in a file; anything else ends the command."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        refuse(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'no UTF-8 text'}")
    except json.JSONDecodeError as error:
        refuse(f"{path}: line {error.lineno}: {error.msg}; expected a {kind}")
    except (ValueError, RecursionError):
        refuse(f"{path}: a value is too long or nested too deep; expected a {kind}")
    if not isinstance(content, Mapping):
        refuse(f"{path}: {type(content).__name__}; expected a {kind}")
    return content


def _with_quantization(path: Path, content: Mapping[str, Any]) -> Mapping[str, Any]:
    """A configuration with the `hf_quant_config.json` that ModelOpt writes beside it, where it has no scheme itself."""
    beside = path.parent / QUANTIZATION_FILE
    if any(content.get(key) for key in ("quantization_config", "compression_config")) or not beside.is_file():
        return content
    return {**content, "quantization_config": _object(beside, QUANTIZATION_FILE)}


def _configured(path: Path, name: str) -> Model:
    """A model from a config.json."""
    content = _object(path, "config.json")
    model = from_mapping(name or str(path), _with_quantization(path, content), str(path))
    if isinstance(model, Incomplete):
        refuse(f"{path}: {model.why}")
    for doubt in model.doubts:
        print(f"warning: {path}: {doubt}", file=sys.stderr)
    return model


def _format(text: str) -> RowsOutput:
    try:
        return RowsOutput(text)
    except ValueError:
        refuse(f"--output: {text!r}: expected one of {', '.join(RowsOutput)} (tokens: --output-tokens)")


def _own_prices(texts: Sequence[str], catalog: Catalog, asked: str) -> dict[str, Decimal]:
    """`--price GPU=USD`, or `--price USD` of the GPU that is asked about."""
    prices: dict[str, Decimal] = {}
    for given in texts:
        name, equals, amount = given.partition("=")
        if not equals and asked:
            name, amount = asked, given
        gpu = catalog.gpu(name)
        if isinstance(gpu, Unknown) or not amount:
            refuse(f"--price: {given!r}: {gpu if isinstance(gpu, Unknown) else 'expected GPU=USD per GPU-hour'}")
        try:
            prices[gpu.id] = parse_amount(amount)
        except AmountError as error:
            refuse(f"--price: {given!r}: {error}; expected GPU=USD per GPU-hour")
    return prices


def _print_rows(rows: Sequence[Mapping[str, str]], answers: Sequence[Mapping[str, Any]], output: RowsOutput) -> None:
    columns = columns_of(rows)
    if output in {RowsOutput.JSON, RowsOutput.YAML}:
        both = zip(rows, answers, strict=True)
        print_data([{**{name: row.get(name, "") for name in columns}, **answer} for row, answer in both], output.value)
        return
    names = (*columns, *(answers[0] if answers else no_answer("")))
    writer = csv.writer(sys.stdout, lineterminator="\n", delimiter="," if output is RowsOutput.CSV else "\t")
    writer.writerow(names)
    for row, answer in zip(rows, answers, strict=True):
        writer.writerow([row.get(name, "") for name in columns] + [text(value) for value in answer.values()])


def _print_one(row: Mapping[str, str], answer: Mapping[str, Any], context: Context) -> None:
    asked = understand(row, context.catalog, context.models)
    deployment = asked.deployment
    count = f"{deployment.parallelism.gpus} x " if deployment.parallelism.gpus > 1 else ""
    print(
        f"{deployment.model.id} ({deployment.precision}, {deployment.cache} cache) on {count}{deployment.gpu.id}, "
        f"{row['batch']} clients, {row['input_tokens']} input and {row['output_tokens']} output tokens"
    )
    for name, label in LABELS.items():
        if answer[name] is not None:
            print(f"  {label:<37} {plain_figure(float(answer[name])):>14}")
    if answer["error"]:
        print(f"  {answer['error']}")
    print(f"  price: {context.prices.source(deployment.gpu.id)}")
    if not deployment.gpu.efficiency.measured:
        basis = deployment.gpu.efficiency.basis
        print(f"  {deployment.gpu.id}: efficiencies from {basis}: calibrate before relying on these")
