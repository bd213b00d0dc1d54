"""What one replica of each variant carries and costs, by the operating points that the operator itself sizes with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pertoken.capacity.bursts.carried import Carrier
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import ServiceSpec, VariantSpec
from pertoken.performance.replica import Models, replica_model
from pertoken.performance.steady import Engine, Load, Targets, Unreachable, eased_rate
from pertoken.planner.tuning import TUNING


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica of a variant.

    Attributes:
        rate: requests per second that it carries within the objectives: sustainable rate x prior of the SLO knee.
        gpus: units of the pool's resource.
        usd_per_hour: at the pool's price; None where the pool has none.
        binding: what bounds the rate.
        missed: an objective that no number of replicas keeps; it was left out. None where all can be kept.
        carrier: what bursts are tried on; None for replicas that carry any.
    """

    variant: VariantSpec
    pool: PoolSpec
    rate: float
    gpus: int
    usd_per_hour: float | None
    binding: str
    missed: Unreachable | None = None
    carrier: Carrier | None = None

    @property
    def order_cost(self) -> float:
        """What mixes are compared by: USD per hour, GPUs where a pool has no price."""
        return float(self.gpus) if self.usd_per_hour is None else self.usd_per_hour


@dataclass(frozen=True, slots=True)
class NotSized:
    """A variant whose replicas nobody can model; the field and what was expected."""

    variant: str
    field: str
    value: str
    expectation: str


def replica_of(
    service: ServiceSpec, variant: VariantSpec, pool: PoolSpec, load: Load, models: Models
) -> Replica | NotSized:
    """What a replica of the variant carries of requests like these."""
    model = replica_model(service.model, variant, pool.accelerator, models)
    if model is None:
        return _unknown(service, variant, pool, models)
    engine = Engine(model, cap=variant.batching.max_sequences).rounded()
    latency = service.latency
    targets = Targets(latency.inter_token_seconds, latency.ttft_seconds, latency.percentile, latency.stall_seconds)
    ranks = max(1, variant.parallelism.data)
    eased = models.results.of(eased_rate, engine, load, targets)
    if eased is None:
        gpus = f"{variant.parallelism.gpus} x {pool.accelerator}"
        return NotSized(variant.name, "parallelism", gpus, f"more GPU memory for {service.model.id}")
    price = pool.price_per_gpu_hour
    units = variant.parallelism.gpus
    rate = eased.point.rate * ranks * TUNING.knee.prior
    return Replica(
        variant=variant,
        pool=pool,
        rate=rate,
        gpus=units,
        usd_per_hour=None if price is None else float(price * pool.gpu_fraction) * units,
        binding=eased.point.binding,
        missed=eased.missed,
        carrier=Carrier(engine, load, eased.targets, rate, ranks),
    )


def _unknown(service: ServiceSpec, variant: VariantSpec, pool: PoolSpec, models: Models) -> NotSized:
    if models.catalog.known_gpu(pool.accelerator) is None:
        return NotSized(variant.name, "pool", pool.accelerator, "a GPU of the catalog (pertoken estimate lists them)")
    if not service.model.id:
        return NotSized(variant.name, "model.id", "", "a model of the catalog, or model.architecture")
    if models.catalog.known_model(service.model.id) is None and service.model.architecture is None:
        return NotSized(variant.name, "model.id", service.model.id, "a model of the catalog, or model.architecture")
    return NotSized(variant.name, "engine", str(variant.engine), "vllm or sglang: no model describes others")


def replicas_of(
    service: ServiceSpec, pools: Mapping[str, PoolSpec], load: Load, models: Models
) -> tuple[tuple[Replica, ...], tuple[NotSized, ...]]:
    """Of all variants whose pool is known: those that can be sized, and those that cannot."""
    replicas, refused = [], []
    for variant in service.variants:
        pool = pools.get(variant.pool)
        if pool is None:
            refused.append(NotSized(variant.name, "pool", variant.pool, "an AcceleratorPool of the files"))
            continue
        sized = replica_of(service, variant, pool, load, models)
        if isinstance(sized, Replica):
            replicas.append(sized)
        else:
            refused.append(sized)
    return tuple(replicas), tuple(refused)
