"""From what was found and measured to proposed services: variants, objectives as they are kept today, savings. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_UP, Decimal
from typing import Final

from pertoken.api.launch import Figure
from pertoken.calculators.breakeven import ReplicaGroup
from pertoken.calculators.fleet import Demand, Requests, Setup, fleet
from pertoken.calculators.savings import Savings, ServedLoad, savings
from pertoken.catalog.lookup import HIDDEN_QUANTIZATION, Catalog, hides_quantization, quantization_of
from pertoken.catalog.models import Model
from pertoken.catalog.precisions import find_precision
from pertoken.cli.adopt.cluster import ClusterView
from pertoken.cli.adopt.engines import FoundEngine
from pertoken.cli.adopt.measured import Measured
from pertoken.cli.adopt.pools import PoolProposal
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.service import EngineKind, Parallelism
from pertoken.performance.steady import Load, Targets
from pertoken.planner.tuning import TUNING
from pertoken.units import MILLISECONDS, SECONDS_PER_HOUR, TOKENS_PER_MILLION

KINDS: Final = {"vllm": EngineKind.VLLM, "sglang": EngineKind.SGLANG}
OFFERED: Final = ("bf16", "fp8", "int8", "int4", "mxfp4", "nvfp4")  # of `quantization`
_NARROWER: Final = {"w8a16": "int8", "fp16": "bf16"}
# The method says which kernels run, not how many bits: the model's name does.
_HIDING: Final = frozenset({"compressed-tensors", "modelopt", "quark", "auto-round", "inc", "gguf", "bitsandbytes"})
ROOM: Final = 2  # times the replicas of today, where no autoscaler says how many there may be


@dataclass(frozen=True, slots=True)
class VariantProposal:
    """One workload as a variant.

    Attributes:
        quantization: one of `OFFERED`, empty where the default holds.
        replicas: asked for now.
        limits: replicas at least and at most, and where they come from.
        saving: None where it cannot be told.
        questions: what could not be told.
    """

    name: str
    engine: FoundEngine
    pool: PoolProposal
    kind: EngineKind
    parallelism: Parallelism
    quantization: str
    replicas: int
    limits: tuple[int, int, str]
    engine_version: str = ""
    saving: Savings | None = None
    questions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceProposal:
    """One InferenceService.

    Attributes:
        model: id as it is written into the manifest; empty where none is known.
        known: the catalog's row.
        blended: proposed price of a million tokens; None where it cannot be told.
        ttft, inter_token: proposed objectives, milliseconds.
    """

    namespace: str
    name: str
    model: str
    known: Model | None
    served_name: str
    max_model_len: int | None
    variants: tuple[VariantProposal, ...]
    measured: Measured
    ttft: int | None = None
    inter_token: int | None = None
    blended: Decimal | None = None
    questions: tuple[str, ...] = ()

    @property
    def saving(self) -> float | None:
        """USD per day that acting would save; None where no variant tells."""
        told = [variant.saving.usd_per_day for variant in self.variants if variant.saving is not None]
        return sum(told) if told else None


@dataclass(frozen=True, slots=True)
class Group:
    """Workloads that answer for one model under one name in one namespace, each on its pool.

    Attributes:
        pools: in the order of the engines.
    """

    name: str
    engines: tuple[FoundEngine, ...]
    pools: tuple[PoolProposal, ...]
    variants: tuple[str, ...] = field(default=())

    @property
    def workloads(self) -> dict[str, WorkloadRef]:
        """By variant."""
        return {name: engine.target.ref for name, engine in zip(self.variants, self.engines, strict=True)}


def group(engines: Sequence[FoundEngine], pools: Sequence[PoolProposal], taken: frozenset[str]) -> list[Group]:
    """Engines of one namespace and served name belong together: their metrics cannot be told apart by name."""
    together: dict[tuple[str, str], list[int]] = {}
    for index, engine in enumerate(engines):
        serving, ref = engine.serving, engine.target.ref
        key = (ref.namespace, serving.name or f"{ref.kind}/{ref.name}")
        together.setdefault(key, []).append(index)
    used = set(taken)
    groups = []
    for (namespace, _), members in together.items():
        here = {name.partition("/")[2] for name in used if name.startswith(f"{namespace}/")}
        name = _free(engines[members[0]].target.ref.name, here)
        used.add(f"{namespace}/{name}")
        chosen = tuple(pools[index] for index in members)
        names: list[str] = []
        for pool in chosen:
            names.append(_free(pool.name, names))
        groups.append(Group(name, tuple(engines[index] for index in members), chosen, tuple(names)))
    return groups


def _free(wish: str, taken: Collection[str]) -> str:
    """A name of at most 63 characters that is not taken."""
    plain = wish.lower().replace(".", "-")[:63].strip("-")
    names = (plain, *(f"{plain[:59].rstrip('-')}-{number}" for number in range(2, 1000)))
    return next(name for name in names if name not in taken)


def propose(each: Group, measured: Measured, view: ClusterView, catalog: Catalog) -> ServiceProposal:
    """The service of one group."""
    first = each.engines[0]
    model, known, model_questions = _model(first, catalog)
    variants = tuple(
        _variant(name, engine, pool, view)
        for name, engine, pool in zip(each.variants, each.engines, each.pools, strict=True)
    )
    length = first.serving.max_model_len
    proposal = ServiceProposal(
        namespace=first.target.ref.namespace,
        name=each.name,
        model=model,
        known=known,
        served_name=first.serving.name,
        max_model_len=None if length is None else length.value,
        variants=variants,
        measured=measured,
        ttft=_milliseconds(measured.ttft.high) if measured.ttft else None,
        inter_token=_milliseconds(measured.inter_token.high) if measured.inter_token else None,
        questions=(*model_questions, *_service_questions(each)),
    )
    proposal = replace(proposal, blended=_blended(proposal))
    return replace(proposal, variants=tuple(_saved(proposal, variant) for variant in proposal.variants))


def _model(engine: FoundEngine, catalog: Catalog) -> tuple[str, Model | None, list[str]]:
    """The id for the manifest, the catalog's row, and what is asked."""
    serving = engine.serving
    written = serving.model or serving.served_name
    if not written:
        return "", None, ["which model is it? Neither arguments nor metrics name it (spec.model.id)"]
    known = catalog.known_model(written)
    if known is None:
        question = (
            f"the catalog does not know {written}: what are the sizes in its config.json (spec.model.architecture)? "
            "Until then replicas follow the engines' saturation"
        )
        return written, None, [question]
    if serving.model.startswith(("/", "./")) or not serving.model:
        source = f"the path {serving.model}" if serving.model else f"the name {written} under which it answers"
        return known.id, known, [f"is it {known.id}? Only {source} tells"]
    return written, known, []


def _service_questions(each: Group) -> Iterator[str]:
    if len({engine.serving.model for engine in each.engines}) > 1:
        models = ", ".join(sorted({engine.serving.model or "?" for engine in each.engines}))
        yield f"these workloads answer under one name, but serve {models}: give each its own name, and its own service"
    if any(engine.serving.engine not in KINDS for engine in each.engines):
        names = sorted({engine.serving.engine for engine in each.engines} - set(KINDS))
        yield f"{', '.join(names)} has no performance model here: replicas follow saturation and queue (docs/limits.md)"


def _variant(name: str, engine: FoundEngine, pool: PoolProposal, view: ClusterView) -> VariantProposal:
    parallelism, questions = _parallelism(engine, pool)
    quantization, doubt = _quantization(engine)
    return VariantProposal(
        name=name,
        engine=engine,
        pool=pool,
        kind=KINDS.get(engine.serving.engine, EngineKind.GENERIC),
        parallelism=parallelism,
        quantization=quantization,
        replicas=engine.target.replicas,
        limits=_limits(engine, view),
        questions=(*questions, *doubt, *(f"{words}: what is it?" for words in engine.serving.open_ends)),
    )


def _parallelism(engine: FoundEngine, pool: PoolProposal) -> tuple[Parallelism, list[str]]:
    """As the flags say; without any, all GPUs of a replica are taken to share its layers (tensor parallelism)."""
    serving = engine.serving
    tensor, pipeline, data = (_count(each) for each in (serving.tensor, serving.pipeline, serving.data))
    gpus = sum(dict(pod).get(pool.resource, 0) for pod in engine.target.pods)
    if not gpus and engine.pods:
        sizes = Counter[str]()
        for pod in engine.pods:
            sizes[pod.group or pod.uid] += pod.requests.get(pool.resource, 0)
        gpus = max(sizes.values(), default=0)
    told = any(figure is not None for figure in (serving.tensor, serving.pipeline, serving.data))
    questions = []
    if not gpus:
        questions.append(f"it requests no {pool.resource}: which resource are its GPUs? (resourceName of the pool)")
    if not told and gpus > 1:
        tensor = gpus
        questions.append(
            f"a replica requests {gpus} GPUs and no argument says how they are shared: tensor parallelism?"
        )
    product = tensor * pipeline * data
    if told and gpus and product != gpus:
        questions.append(f"a replica requests {gpus} GPUs, its arguments use {product}: which is right?")
    expert = _count(serving.expert) if serving.expert else tensor * data if serving.spread else 1
    return Parallelism(tensor, pipeline, data, expert), questions


def _count(figure: Figure | None) -> int:
    return 1 if figure is None or figure.value is None else min(figure.value, 256)


def _quantization(engine: FoundEngine) -> tuple[str, list[str]]:
    """Of the weights: the flag, else what the model's name announces."""
    serving = engine.serving
    announced = quantization_of(serving.model)
    flag = serving.quantization.lower()
    if flag and flag not in _HIDING:
        known = find_precision(flag.removesuffix("_marlin").removeprefix("bitsandbytes-"))
        if known is not None:
            return _offered(known.name), []
        question = f"quantization {serving.quantization} is not known here: how many bits have the weights?"
        return _offered(announced), [question]
    if announced:
        return _offered(announced), []
    if hides_quantization(serving.model):
        return "", [HIDDEN_QUANTIZATION]
    question = f"quantization {flag} does not say how many bits the weights have: which of {', '.join(OFFERED)}?"
    return "", [question] if flag else []


def _offered(name: str) -> str:
    plain = _NARROWER.get(name, name)
    return plain if plain in OFFERED and plain != "bf16" else ""


def _limits(engine: FoundEngine, view: ClusterView) -> tuple[int, int, str]:
    """Replicas at least and at most: those of its autoscaler, else room for twice as many as today."""
    rival = next((each for each in view.autoscalers if each.targets(engine.target.ref)), None)
    if rival is not None and rival.name in view.limits:
        low, high = view.limits[rival.name]
        return low, max(low, high, 1), f"as {rival.name} has it; remove that before mode: Auto"
    most = max(1, engine.target.replicas) * ROOM
    return 1, most, f"{ROOM} times today's {engine.target.replicas}: how many may there be?"


def _milliseconds(seconds: float) -> int | None:
    """An objective at the edge of a histogram bucket, which the engine's histogram can judge exactly."""
    return None if math.isinf(seconds) else max(1, math.ceil(seconds * MILLISECONDS - 1e-6))


def _blended(proposal: ServiceProposal) -> Decimal | None:
    """What a million tokens cost today, rounded up to two digits: the target is kept as long as nothing changes."""
    measured = proposal.measured
    if not measured.enough or not measured.input_tokens or measured.output_tokens is None:
        return None
    hourly, rate = 0.0, 0.0
    for variant in proposal.variants:
        if variant.pool.price is None:
            return None
        load = measured.loads.get(variant.name)
        replicas = _mean(load.replicas) if load else float(variant.replicas)
        hourly += replicas * variant.parallelism.gpus * float(variant.pool.price)
        rate += _mean(load.rates) if load else 0.0
    if not measured.loads:
        rate = measured.rate or 0.0
    tokens = rate * (measured.input_tokens + measured.output_tokens)
    if tokens <= 0 or hourly <= 0:
        return None
    price = Decimal(hourly / SECONDS_PER_HOUR / tokens * TOKENS_PER_MILLION)
    return price.quantize(Decimal(1).scaleb(price.adjusted() - 1), rounding=ROUND_UP)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def _saved(proposal: ServiceProposal, variant: VariantProposal) -> VariantProposal:
    """With what following the demand would have saved, or why that cannot be said."""
    setup = _setup(proposal, variant)
    load: ServedLoad | None = proposal.measured.loads.get(variant.name)
    if isinstance(setup, str):
        return replace(variant, questions=(*variant.questions, f"what acting would save is not known: {setup}"))
    if load is None:
        return variant
    measured = proposal.measured
    answer = max(1.0, measured.output_tokens or 1.0)
    requests = Requests(Load(measured.input_tokens or 0.0, answer, measured.cached_share), (answer, answer))
    targets = Targets(
        proposal.inter_token / MILLISECONDS if proposal.inter_token else None,
        proposal.ttft / MILLISECONDS if proposal.ttft else None,
        measured.percentile,
    )
    rate = max(_mean(load.rates), 1e-6)
    sized = fleet(setup, requests, Demand(rate, targets, TUNING.knee.prior))
    if sized is None:
        words = "the catalog's model says that the weights do not fit"
        return replace(variant, questions=(*variant.questions, f"what acting would save is not known: {words}"))
    if sized.missed is not None:
        what = (
            f"the catalog's model expects {sized.missed.seconds * MILLISECONDS:.0f} ms {sized.missed.what} of an idle "
            "replica, above what is proposed: the saving is worked out without this objective"
        )
        variant = replace(variant, questions=(*variant.questions, what))
    return replace(variant, saving=savings(load, ReplicaGroup(sized.carried, setup.usd_per_hour), variant.limits[0]))


def _setup(proposal: ServiceProposal, variant: VariantProposal) -> Setup | str:
    """What is simulated; a text says why nothing can be."""
    if variant.kind is EngineKind.GENERIC:
        return f"{variant.engine.serving.engine} has no performance model"
    if proposal.known is None:
        return "the catalog does not know the model"
    if variant.pool.gpu is None:
        return "the catalog does not know the GPU"
    if variant.pool.price is None:
        return "the price of the GPUs is not known"
    settings = variant.engine.target.launch.settings(variant.pool.gpu)
    return Setup(
        model=proposal.known,
        gpu=variant.pool.gpu,
        usd_per_gpu_hour=variant.pool.price,
        price_source=variant.pool.price_source,
        parallelism=variant.parallelism,
        quantization=variant.quantization,
        cap=settings.max_sequences,
        chunk=settings.batched_tokens,
        context_limit=proposal.max_model_len,
    )
