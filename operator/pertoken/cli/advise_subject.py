"""What `pertoken advise` is asked about: variants of manifests with their live status, or one setup of options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

from pertoken.api.check import Checked, Severity, check
from pertoken.api.kinds import INFERENCE_SERVICE
from pertoken.api.source import Document, read_documents
from pertoken.calculators.fleet import Demand, Requests, Setup, fleet
from pertoken.catalog.lookup import Catalog, Unknown, weights_of
from pertoken.catalog.prices import list_price
from pertoken.cli.advise_status import Json, Numbers, Observed, calibration, mapping, observed_demand, whole
from pertoken.cli.manifests import read_sources
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import BatchingMode, EngineKind, ServiceSpec, VariantSpec
from pertoken.performance.replica import described
from pertoken.performance.steady import Targets
from pertoken.planner.tuning import TUNING


@dataclass(frozen=True, slots=True)
class Question:
    """One variant to advise on.

    Attributes:
        service, variant: names; empty for options.
        running: replicas that are ready now; None where no status tells.
        limits: what sets limits in the manifest, by what is changed.
    """

    setup: Setup
    requests: Requests
    demand: Demand
    service: str = ""
    variant: str = ""
    running: int | None = None
    limits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifests:
    """Accepted objects, and all objects as they were written, for their status."""

    checked: Checked
    documents: tuple[Document, ...]
    catalog: Catalog
    prices: Mapping[str, Decimal]

    def pool(self, name: str) -> PoolSpec | None:
        """The AcceleratorPool of this name."""
        return next((pool.spec for pool in self.checked.pools if pool.spec.name == name), None)

    def status(self, service: ServiceSpec) -> Json:
        """Of the InferenceService; empty where it shows none."""
        for document in self.documents:
            metadata = mapping(document.obj.get("metadata"))
            named = (metadata.get("name"), metadata.get("namespace") or "default")
            if document.obj.get("kind") == INFERENCE_SERVICE.kind and named == (
                service.key.name,
                service.key.namespace,
            ):
                return mapping(document.obj.get("status"))
        return {}


def read_manifests(
    files: list[Path], catalog: Catalog, prices: Mapping[str, Decimal], mistakes: list[str]
) -> Manifests:
    """Services and pools of the files with their status; what cannot be read is added to the mistakes.

    Args:
        files: as on the command line.
        catalog: in which GPUs and models are looked up.
        prices: USD per GPU-hour by GPU, which go before those of pools.
        mistakes: in which they are collected.
    """
    sources, unreadable = read_sources(files)
    checked = check(sources, catalog)
    mistakes += [str(finding) for finding in (*unreadable, *checked.findings) if finding.severity is Severity.ERROR]
    read = (document for file, text in sources.items() for document in read_documents(file, text))
    documents = tuple(document for document in read if isinstance(document, Document))
    return Manifests(checked, documents, catalog, prices)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is advised on.

    Attributes:
        left_out: why other services of the files are not, one line each.
    """

    questions: tuple[Question, ...] = ()
    left_out: tuple[str, ...] = ()


def questions(
    manifests: Manifests, chosen: tuple[str | None, str | None], observed: Observed, mistakes: list[str]
) -> Asked:
    """Every variant of every service that is asked about and serves; mistakes are added, one line each.

    Of several services those that cannot be advised on, idle ones say, are left out and do not stop the others.

    Args:
        manifests: with their status.
        chosen: service and variant by name; None for all.
        observed: what options say instead of the status.
        mistakes: in which they are collected.
    """
    service, variant = chosen
    specs = [each.spec for each in manifests.checked.services]
    named = [spec for spec in specs if service in (None, spec.key.name, str(spec.key))]
    if not named:
        names = ", ".join(sorted(str(spec.key) for spec in specs)) or "none"
        mistakes.append(f"--service: {service or 'missing'}: the files hold {names}; expected an InferenceService")
    if observed.rate is not None and len(named) > 1:
        names = ", ".join(str(spec.key) for spec in named)
        mistakes.append(f"--rate: {observed.rate:g}: the files hold {names}; expected --service, whose rate it is")
        return Asked()
    asked: list[Question] = []
    wrong: list[str] = []
    for spec in named:
        asked += _of_service(manifests, spec, observed, wrong)
    shown = tuple(question for question in asked if variant in (None, question.variant))
    if not asked:
        mistakes += wrong
    elif not shown:
        names = ", ".join(question.variant for question in asked)
        mistakes.append(f"--variant: {variant}: expected one that serves of {names}")
    return Asked(shown, tuple(wrong))


def _of_service(manifests: Manifests, spec: ServiceSpec, observed: Observed, mistakes: list[str]) -> list[Question]:
    name, status = f"InferenceService {spec.key}", manifests.status(spec)
    before = len(mistakes)
    told = Numbers(f"{name}: status", mistakes)
    rate, load = observed_demand(mapping(mapping(status.get("demand")).get("now")), observed, told)
    listed = status.get("variants")
    each_of = [mapping(each) for each in listed] if isinstance(listed, list) else []
    shown = {str(each.get("name")): each for each in each_of}
    setups = [
        (variant, setup, mapping(shown.get(variant.name)))
        for index, variant in enumerate(spec.variants)
        if (setup := _setup(manifests, spec, index, told.of(f"variants[{index}]"), mapping(shown.get(variant.name))))
    ]
    if len(mistakes) > before or rate is None:
        return []
    latency = spec.latency
    demand = Demand(
        rate,
        Targets(latency.inter_token_seconds, latency.ttft_seconds, latency.percentile, latency.stall_seconds),
        TUNING.knee.prior,
        observed.peak_factor,
        max(1, spec.min_replicas if len(spec.variants) == 1 else 0),
        None if spec.cost is None else spec.cost.prices,
    )
    return list(_shared(spec, setups, load, demand))


def _shared(
    spec: ServiceSpec, setups: Sequence[tuple[VariantSpec, Setup, Json]], requests: Requests, demand: Demand
) -> Iterator[Question]:
    """The demand by what each variant's ready replicas carry; all on the cheapest variant where none is told."""
    fleets = [fleet(setup, requests, demand) for _, setup, _ in setups]
    ready = [whole(shown.get("readyReplicas")) for _, _, shown in setups]
    weights = [
        0.0 if each is None or count is None else each.carried * count
        for each, count in zip(fleets, ready, strict=True)
    ]
    if sum(weights) <= 0:
        costs = [float("inf") if each is None else each.usd_per_million_full for each in fleets]
        weights = [1.0 if number == costs.index(min(costs)) else 0.0 for number in range(len(costs))]
    for (variant, setup, _), count, weight in zip(setups, ready, weights, strict=True):
        if weight > 0:
            share = replace(
                demand,
                rate=demand.rate * weight / sum(weights),
                min_replicas=max(demand.min_replicas, variant.min_replicas),
            )
            yield Question(setup, requests, share, str(spec.key), variant.name, count, _limits(variant))


def _limits(variant: VariantSpec) -> dict[str, str]:
    if variant.batching.mode is BatchingMode.FIXED:
        return {}
    most = variant.batching.max_sequences
    return {"batch cap": f"pertoken sets it by itself up to batching.maxSequences, which is {most}"}


def _setup(manifests: Manifests, spec: ServiceSpec, index: int, told: Numbers, shown: Json) -> Setup | None:
    variant = spec.variants[index]
    place = Numbers(f"InferenceService {spec.key}: spec", told.mistakes)
    pool, model = manifests.pool(variant.pool), described(spec.model, manifests.catalog)
    if pool is None:
        place.wrong(f"variants[{index}].pool", variant.pool, "this AcceleratorPool in the same files")
        return None
    gpu = manifests.catalog.gpu(pool.accelerator)
    if isinstance(gpu, Unknown):
        told.mistakes.append(f"AcceleratorPool {pool.name}: spec.accelerator: {pool.accelerator!r}: {gpu}")
        return None
    if isinstance(model, Unknown):
        place.wrong("model.id", spec.model.id, f"a model of the catalog, or model.architecture ({model})")
        return None
    if variant.engine is EngineKind.GENERIC:
        place.wrong(f"variants[{index}].engine", variant.engine.value, "vllm or sglang: no model describes others")
        return None
    price, source = price_of(pool, gpu.id, manifests.prices)
    if price is None:
        told.mistakes.append(f"AcceleratorPool {pool.name}: spec.pricePerGPUHour: missing: expected it, or --price")
        return None
    fixed = variant.batching.mode is BatchingMode.FIXED
    cap = variant.batching.max_sequences if fixed else whole(shown.get("batchCap")) or variant.batching.max_sequences
    gains, samples = calibration(mapping(shown.get("calibration")), told.of("calibration"))
    return Setup(
        model=model,
        gpu=gpu,
        usd_per_gpu_hour=price,
        price_source=source,
        parallelism=variant.parallelism,
        quantization=weights_of(spec.model.id, variant.quantization),
        cap=cap,
        chunk=whole(shown.get("batchedTokens")) or variant.batching.max_batched_tokens,
        context_limit=spec.model.max_model_len,
        gains=gains,
        samples=samples,
    )


def price_of(pool: PoolSpec, gpu: str, own: Mapping[str, Decimal]) -> tuple[Decimal | None, str]:
    """USD per hour of one unit of the pool's resource, and whose price it is: an option's, the pool's, the list's."""
    listed = list_price(gpu)
    if gpu in own:
        price, source = own[gpu], f"{own[gpu]} USD per GPU-hour (--price)"
    elif pool.price_per_gpu_hour is not None:
        price, source = pool.price_per_gpu_hour, f"{pool.price_per_gpu_hour} USD per GPU-hour (pool {pool.name})"
    elif listed is not None:
        price, source = listed.usd_per_hour, str(listed)
    else:
        return None, ""
    return price * pool.gpu_fraction, source
