"""Where a spec contradicts its engines, its GPUs, or what GPUs can do. Pure.

One place for `pertoken validate`, which reads templates out of files, and for the operator, which reads those that run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pertoken.api.errors import FieldError
from pertoken.api.launch import Figure
from pertoken.api.serving import Serving
from pertoken.calculators.idle import Idle, full, idle
from pertoken.calculators.tuning import TUNING
from pertoken.catalog.gpus import Gpu
from pertoken.catalog.lookup import Catalog, Unknown, model_key, quantization_of, weights_of
from pertoken.catalog.precisions import find_precision
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import CostObjective, EngineKind, ServiceSpec, VariantSpec
from pertoken.performance.coefficients import engine_model
from pertoken.performance.replica import described
from pertoken.performance.steady import Engine
from pertoken.units import MILLISECONDS

_ROWS: Final = {"vllm": EngineKind.VLLM, "sglang": EngineKind.SGLANG}


def argument_errors(spec: ServiceSpec, index: int, serving: Serving, gpus: int) -> Iterator[FieldError]:
    """What the arguments of a variant's engine say otherwise than the spec.

    Args:
        spec: the service.
        index: of the variant.
        serving: what its container says.
        gpus: of one replica, by its pods' requests; 0 where they do not tell.
    """
    variant, path = spec.variants[index], f"spec.variants[{index}]"
    kind = _ROWS.get(serving.engine)
    if kind is not None and variant.engine not in (kind, EngineKind.GENERIC):
        yield FieldError(f"{path}.engine", variant.engine.value, f"{kind.value}: that is what the container runs")
    yield from _sizes(variant, path, serving, gpus)
    yield from _format(spec, variant, path, serving)
    yield from _names(spec, serving)
    length = serving.max_model_len
    if spec.model.max_model_len and length is not None and length.value not in (None, spec.model.max_model_len):
        yield FieldError("spec.model.maxModelLen", spec.model.max_model_len, _says(length))


def _sizes(variant: VariantSpec, path: str, serving: Serving, gpus: int) -> Iterator[FieldError]:
    sizes = variant.parallelism
    told: dict[str, Figure | None] = {
        "tensor": serving.tensor,
        "pipeline": serving.pipeline,
        "data": serving.data,
    }
    world = 1
    for name, figure in told.items():
        size = getattr(sizes, name)
        if figure is not None and figure.value is not None:
            if figure.value != size:
                yield FieldError(f"{path}.parallelism.{name}", size, _says(figure))
            world *= figure.value
        else:
            world *= size
    if 0 < gpus < world:
        words = f"{world} GPUs, as the engine's arguments use; a replica requests {gpus}"
        yield FieldError(f"{path}.parallelism", sizes.gpus, words)


def _says(figure: Figure) -> str:
    return f"{figure.value}, as the engine's {figure.source} says"


def _format(spec: ServiceSpec, variant: VariantSpec, path: str, serving: Serving) -> Iterator[FieldError]:
    flag = find_precision(serving.quantization.lower().removesuffix("_marlin")) if serving.quantization else None
    if flag is None:
        return
    own = find_precision(variant.quantization)
    if own is not None and own.name in {"bf16", "fp16"}:  # the default: what the model's name announces counts then
        own = find_precision(quantization_of(spec.model.id) or own.name)
    if own is not None and own.bytes != flag.bytes:
        words = f"{flag.name}, as the engine's argument --quantization={serving.quantization} says"
        yield FieldError(f"{path}.quantization", variant.quantization, words)


def _names(spec: ServiceSpec, serving: Serving) -> Iterator[FieldError]:
    """Another model, or another name than the one by which its metrics are found."""
    model = spec.model
    told = serving.model
    if told and model.id and not told.startswith(("/", ".", "$")) and "://" not in told:
        same = model_key(told) == model_key(model.id)
        if not same:
            yield FieldError("spec.model.id", model.id, f"{told}, as the engine's {serving.model_by} says")
    if serving.served_name and model.served_name and serving.served_name != model.served_name:
        words = f"{serving.served_name}, as the engine's argument --served-model-name says"
        yield FieldError("spec.model.servedName", model.served_name, words)


@dataclass(frozen=True, slots=True)
class Impossible:
    """An objective that no number of replicas keeps.

    Attributes:
        certain: so far off that no calibration explains it.
    """

    error: FieldError
    certain: bool


def impossible_objectives(spec: ServiceSpec, pools: Mapping[str, PoolSpec], catalog: Catalog) -> Iterator[Impossible]:
    """Objectives that no variant can keep, each with the figure of the best; nothing where a variant is not known.

    Args:
        spec: the service.
        pools: by name; those of all variants have to be known.
        catalog: of GPUs and models.
    """
    engines = [_engine(spec, variant, pools, catalog) for variant in spec.variants]
    known = [each for each in engines if each is not None]
    if not known or len(known) < len(engines):
        return
    latency = spec.latency
    floors = [idle(engine) for engine, _ in known]
    best = Idle(min(floor.ttft for floor in floors), min(floor.inter_token for floor in floors))
    for field, owed, least in (
        ("ttftMilliseconds", latency.ttft_seconds, best.ttft),
        ("interTokenMilliseconds", latency.inter_token_seconds, best.inter_token),
    ):
        if owed is not None and owed < least:
            words = f"at least {least * MILLISECONDS:.3g} ms: so long does an idle replica take (the catalog's model)"
            error = FieldError(f"spec.objective.latency.{field}", round(owed * MILLISECONDS), words)
            yield Impossible(error, owed < least * TUNING.fastest)
    if spec.cost is not None:
        yield from _cost(spec.cost, known)


def _cost(cost: CostObjective, known: list[tuple[Engine, float | None]]) -> Iterator[Impossible]:
    priced = [(engine, usd) for engine, usd in known if usd is not None]
    if len(priced) < len(known):
        return
    told = [each for engine, usd in priced if (each := full(engine, usd, cost.prices)) is not None]
    if not told:
        return
    best = min(told, key=lambda each: each.index)
    if best.index <= 1.0:
        return
    prices = cost.prices
    shown = str(prices.input) if prices.input == prices.output else f"{prices.input} and {prices.output}"
    words = (
        f"at least {best.usd_per_million:.3g} USD per 1,000,000 tokens: so much do they cost on a full replica, 1,000 "
        "input and 200 output tokens a request, without any latency objective (the catalog's model)"
    )
    error = FieldError("spec.objective.cost.perMillionTokens", shown, words)
    yield Impossible(error, best.index > TUNING.hopeless)


def _engine(
    spec: ServiceSpec, variant: VariantSpec, pools: Mapping[str, PoolSpec], catalog: Catalog
) -> tuple[Engine, float | None] | None:
    """One rank of a variant, and what an hour of it costs; None where model or GPU is not known."""
    pool = pools.get(variant.pool)
    gpu = None if pool is None else catalog.known_gpu(pool.accelerator)
    model = described(spec.model, catalog)
    if pool is None or gpu is None or variant.engine is EngineKind.GENERIC or pool.gpu_fraction != 1:
        return None
    if isinstance(model, Unknown):
        return None
    engine = Engine(engine_model(model, gpu, variant.parallelism, weights_of(spec.model.id, variant.quantization)))
    if engine.kv_tokens <= 0:
        return None
    price = pool.price_per_gpu_hour
    return engine, None if price is None else float(price) * engine.model.gpus


def foreign_gpus(pool: PoolSpec, products: Mapping[str, int], catalog: Catalog) -> str:
    """In words, that replicas run on another GPU than their pool's; empty where they do not, or nothing tells.

    Args:
        pool: of the variant.
        products: pods by the GPU label of their node.
        catalog: in which both are looked up.
    """
    own = catalog.known_gpu(pool.accelerator)
    others = [(name, count, gpu) for name, count in products.items() if (gpu := catalog.known_gpu(name)) is not None]
    wrong = [(name, count, gpu) for name, count, gpu in others if own is not None and not _same(own, gpu)]
    if not wrong:
        return ""
    shown = ", ".join(f"{count} on {name} ({gpu.id})" for name, count, gpu in sorted(wrong, key=lambda each: each[0]))
    return f"pods run {shown}, but pool {pool.name} is {pool.accelerator}: they are modelled and billed as that"


def _same(one: Gpu, other: Gpu) -> bool:
    """Slices of a card count as the card."""
    return one.id.split("-mig")[0] == other.id.split("-mig")[0] or one.id == other.id
