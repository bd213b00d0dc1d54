"""Writes the tables of `docs/reference/catalog.md`: ``python -m pertoken.cli.catalog_page`` in the root folder."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pertoken.catalog.gpus import Gpu
from pertoken.catalog.lookup import SHIPPED
from pertoken.catalog.models import Model
from pertoken.catalog.prices import LIST_PRICES, OTHER_PRICES, ListPrice
from pertoken.performance.memory import (
    active_parameters,
    context_bytes_per_token,
    count,
    mean_window,
    precision_of,
    state_bytes,
    weight_bytes,
)
from pertoken.units import GIB

PAGE: Final = Path("docs/reference/catalog.md")
BILLION: Final = 1e9
MEGA: Final = 1e6
TERA: Final = 1e12
GIGA: Final = 1e9
_GPU_HEAD: Final = (
    "| id | GiB | TB/s | bf16 TFLOP/s | link GB/s | efficiencies from | source | as of |\n"
    "|---|---|---|---|---|---|---|---|\n"
)
_PRICE_HEAD: Final = "| GPU | USD per GPU-hour | provider | terms | source | as of |\n|---|---|---|---|---|---|\n"
_MODEL_HEAD: Final = (
    "| id | kind | parameters, 10⁹ | publisher's count, 10⁹ | active, 10⁹ | KV cache, bytes per token"
    " | state, MB per sequence | weights in bf16, fp8, int4, GiB | published in | figures from | as of |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|\n"
)


def gpu_line(gpu: Gpu) -> str:
    """One row of the table of GPUs."""
    link = f"{gpu.link_bandwidth / GIGA:g}" + ("" if gpu.linked else " (PCIe)")
    basis = gpu.efficiency.basis
    return (
        f"| `{gpu.id}` | {gpu.memory_gib:g} | {gpu.bandwidth / TERA:g} | {gpu.flops_bf16 / TERA:g} | {link} | {basis}"
        f" | {gpu.source} | {gpu.as_of} |"
    )


def price_line(price: ListPrice) -> str:
    """One row of the table of prices."""
    return (
        f"| `{price.gpu}` | {price.usd_per_hour} | {price.provider} | {price.terms} | {price.source} | {price.as_of} |"
    )


def weights_gib(model: Model, quantization: str) -> float:
    """GiB of the whole model's weights."""
    counted, width = count(model), weight_bytes(model, precision_of(model, quantization))
    plain = counted.head + counted.embedding + counted.tables
    return (counted.body * width.dense + counted.experts * width.experts + 2.0 * plain) / GIB


def model_line(model: Model) -> str:
    """One row of the table of models; the cache is bf16 and that of a long context."""
    weights = ", ".join(f"{weights_gib(model, name):,.4g}" for name in ("bf16", "fp8", "int4"))
    return (
        f"| `{model.id}` | {', '.join(_kind(model))} | {count(model).total / BILLION:.4g} | {_stated(model)}"
        f" | {active_parameters(model) / BILLION:.4g} | {context_bytes_per_token(model):,.0f}"
        f" | {state_bytes(model) / MEGA:.4g} | {weights} | {model.native_quantization or 'bf16'}"
        f" | {model.source} | {model.as_of} |"
    )


def _stated(model: Model) -> str:
    """The publisher's count of the main weights, with where it stands."""
    stated = model.published
    return "none" if stated is None else f"{stated.main / BILLION:.4g} ({stated.source})"


def _kind(model: Model) -> Iterator[str]:
    yield f"{model.experts} experts, {model.experts_per_token} per token" if model.experts else "dense"
    if model.kv_latent:
        yield "latent attention"
    if model.indexer_bytes:
        yield "sparse attention"
    window = mean_window(model)
    if window:
        yield f"{model.windowed_layers} of {model.layers} layers see {window} tokens"
    if model.linear_layers:
        yield f"{model.linear_layers} recurrent layers"


def page(text: str) -> str:
    """The page with its tables made anew."""
    gpus = "\n".join(gpu_line(gpu) for gpu in SHIPPED.gpus)
    models = "\n".join(model_line(model) for model in SHIPPED.models)
    counts = f"{len(SHIPPED.gpus)} GPUs and {len(SHIPPED.models)} models ship"
    text = re.sub(r"\d+ GPUs and \d+ models ship", counts, text)
    text = _table(text, "## GPUs", _GPU_HEAD + gpus)
    prices = "\n".join(price_line(price) for price in (*LIST_PRICES, *OTHER_PRICES))
    text = _table(text, "## Prices", _PRICE_HEAD + prices)
    return _table(text, "## Models", _MODEL_HEAD + models)


def _table(text: str, heading: str, table: str) -> str:
    """The first table below a heading, replaced."""
    before, after = text.split(heading, 1)
    return before + heading + re.sub(r"(?:^\|[^\n]*\n)+", lambda _: table + "\n", after, count=1, flags=re.MULTILINE)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
