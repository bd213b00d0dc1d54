"""What the dearest services of a plan could run on instead: the advice of `pertoken advise` at the planned demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pertoken.calculators.advice import Row, advise
from pertoken.calculators.changes import Choice, PricedGpu
from pertoken.calculators.fleet import Demand, Requests, Setup
from pertoken.calculators.lengths import answer_lengths
from pertoken.calculators.tuning import ANSWER_SHARES
from pertoken.capacity.asked import Asked
from pertoken.capacity.gpus.replicas import Replica
from pertoken.capacity.plan import ServicePlan
from pertoken.capacity.tuning import ADVICE
from pertoken.catalog.lookup import Unknown, weights_of
from pertoken.domain.identity import ServiceKey
from pertoken.performance.replica import described
from pertoken.performance.steady import Targets
from pertoken.planner.tuning import TUNING


@dataclass(frozen=True, slots=True)
class ServiceAdvice:
    """One service's changes that save money and keep its objectives, the largest saving first.

    Attributes:
        variant: the one that costs most, which is advised on.
        rate: requests per second on average that it is planned for.
    """

    service: ServiceKey
    variant: str
    rate: float
    rows: tuple[Row, ...]

    @property
    def saving(self) -> float:
        """USD per month of the best change."""
        return self.rows[0].saved_usd_per_month


def advice_of(asked: Asked, services: Sequence[ServicePlan]) -> tuple[ServiceAdvice, ...]:
    """Advice on the services that cost most, the largest saving first. Models stay: nobody says which are good enough.

    Args:
        asked: the question.
        services: as they were planned.
    """
    dearest = sorted(services, key=lambda service: -sum(map(_usd, service.replicas, service.most)))
    choice = Choice(_priced(asked), ())
    told = (_of_service(service, asked, choice) for service in dearest[: ADVICE.most_services])
    return tuple(sorted((each for each in told if each is not None), key=lambda each: -each.saving))


def _usd(replica: Replica, count: int) -> float:
    return (replica.usd_per_hour or 0.0) * count


def _priced(asked: Asked) -> tuple[PricedGpu, ...]:
    """The GPUs of the plan's pools, each at the cheapest one's price."""
    by_gpu: dict[str, PricedGpu] = {}
    for pool in asked.pools:
        gpu = asked.catalog.known_gpu(pool.accelerator)
        if gpu is None or pool.price_per_gpu_hour is None:
            continue
        price = pool.price_per_gpu_hour * pool.gpu_fraction
        if gpu.id not in by_gpu or price < by_gpu[gpu.id].usd_per_hour:
            by_gpu[gpu.id] = PricedGpu(gpu, price, f"{price} USD per GPU-hour (pool {pool.name})")
    return tuple(by_gpu.values())


def _of_service(service: ServicePlan, asked: Asked, choice: Choice) -> ServiceAdvice | None:
    """None where nothing saves, or where prices, model or demand are not known."""
    used = [pair for pair in zip(service.replicas, service.most, strict=True) if _usd(*pair) > 0]
    if not used:
        return None
    replica, count = max(used, key=lambda pair: _usd(*pair))
    setup = _setup(service, replica, asked)
    carried = sum(each.rate * most for each, most in used)
    rates = service.p50 / (service.load.input_tokens + service.load.output_tokens)
    rate = float(rates.mean()) * replica.rate * count / carried
    if setup is None or rate <= 0:
        return None
    latency, spec = service.spec.latency, service.spec
    demand = Demand(
        rate,
        Targets(latency.inter_token_seconds, latency.ttft_seconds, latency.percentile, latency.stall_seconds),
        TUNING.knee.prior,
        max(1.0, float(rates.max() / rates.mean())) * service.demand.usual_peak,
        max(1, replica.variant.min_replicas, spec.min_replicas if len(spec.variants) == 1 else 0),
        None if spec.cost is None else spec.cost.prices,
    )
    short, long = (answer_lengths(service.load).quantile(share) for share in ANSWER_SHARES)
    advised = advise(setup, Requests(service.load.rounded(), (short, long)), demand, choice)
    rows = tuple(row for row in advised.rows if row.saved_usd_per_month >= ADVICE.least_saving)
    return ServiceAdvice(spec.key, replica.variant.name, rate, rows[: ADVICE.most_changes]) if rows else None


def _setup(service: ServicePlan, replica: Replica, asked: Asked) -> Setup | None:
    spec, variant, pool = service.spec, replica.variant, replica.pool
    model, gpu = described(spec.model, asked.catalog), asked.catalog.known_gpu(pool.accelerator)
    if isinstance(model, Unknown) or gpu is None or pool.price_per_gpu_hour is None:
        return None
    return Setup(
        model=model,
        gpu=gpu,
        usd_per_gpu_hour=pool.price_per_gpu_hour * pool.gpu_fraction,
        price_source=f"{pool.price_per_gpu_hour} USD per GPU-hour (pool {pool.name})",
        parallelism=variant.parallelism,
        quantization=weights_of(spec.model.id, variant.quantization),
        cap=variant.batching.max_sequences,
        chunk=variant.batching.max_batched_tokens,
        context_limit=spec.model.max_model_len,
    )
