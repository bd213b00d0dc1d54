"""What a deployment would do at one load: latencies, throughput, memory, and what its tokens cost."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pertoken.accounting.attribution import weights_at
from pertoken.calculators.closed_loop import AS_SERVED, Clients, ClosedGains, closed_loop, sequences_that_fit
from pertoken.catalog.engines import MEMORY_UTILIZATION
from pertoken.catalog.gpus import Gpu
from pertoken.catalog.models import Model
from pertoken.catalog.served import ENGINES, ServingFactors, served
from pertoken.domain.service import Parallelism
from pertoken.performance.coefficients import EngineModel, engine_model
from pertoken.performance.memory import precision_of, usual_cache
from pertoken.performance.steady import Engine, Load
from pertoken.performance.step_time import Gains, decode_step, prefill_time
from pertoken.units import SECONDS_PER_HOUR, TOKENS_PER_MILLION

SINGLE = Parallelism()


@dataclass(frozen=True, slots=True)
class Deployment:
    """What runs.

    Attributes:
        quantization: of the weights, a catalog name; empty as published.
        kv_quantization: of the KV cache; empty for what the checkpoint asks for, or bf16.
        engine: serving engine, empty for the mean one.
    """

    model: Model
    gpu: Gpu
    parallelism: Parallelism = SINGLE
    quantization: str = ""
    kv_quantization: str = ""
    engine: str = ""

    @property
    def precision(self) -> str:
        """Of the weights, as they are run."""
        return precision_of(self.model, self.quantization)

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What a calibration is kept under: model, GPU, tensor parallelism, precision."""
        return (self.model.id, self.gpu.id, self.parallelism.tensor, self.precision)

    @property
    def cache(self) -> str:
        """Precision of the KV cache, as it is run."""
        return self.kv_quantization or usual_cache(self.model, self.gpu)

    @property
    def coefficients(self) -> EngineModel:
        """Of the step time."""
        return engine_model(self.model, self.gpu, self.parallelism, self.quantization, self.cache)

    @property
    def serving(self) -> ServingFactors:
        """What serving adds to kernels."""
        spread = self.parallelism.expert > 1
        return served(self.model, self.gpu, self.precision, self.engine, spread=spread)

    @property
    def profiles(self) -> dict[str, ServingFactors]:
        """Engines that it may serve like: its own, or every known one, the mean first."""
        names = (self.engine,) if self.engine else tuple(ENGINES)
        return {name: replace(self, engine=name).serving for name in names}

    def share(self, clients: Clients) -> Clients:
        """Load of one data-parallel rank."""
        return Clients(clients.concurrency / self.parallelism.data, clients.input_tokens, clients.output_tokens)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The answer; times in seconds, prices per million tokens.

    Attributes:
        prefill: one prompt alone on an idle engine, kernels only.
        decode_step: one step of the batch at context input + output / 2, kernels only.
        ttft, inter_token: closed loop at this concurrency; None when the weights do not fit.
        tokens_per_second_per_gpu: generated.
        kv_capacity: tokens of KV cache of the replica.
        max_sequences: of this mean context that the cache holds.
        memory_gib: of one GPU: weights, reserve, and the KV cache of the sequences that run.
        usd_input, usd_output: None without a price.
        shortfall_gib: memory that is lacking on each GPU, 0 when the weights fit.
    """

    prefill: float
    decode_step: float
    ttft: float | None
    inter_token: float | None
    tokens_per_second_per_gpu: float | None
    kv_capacity: float
    max_sequences: int
    memory_gib: float
    usd_input: float | None
    usd_output: float | None
    shortfall_gib: float = 0.0


def estimate(
    deployment: Deployment, clients: Clients, gains: ClosedGains = AS_SERVED, usd_per_gpu_hour: float | None = None
) -> Estimate:
    """Everything about one deployment at one load.

    Args:
        deployment: what runs.
        clients: all clients of the replica; data-parallel ranks share them evenly.
        gains: the deployment's own calibration.
        usd_per_gpu_hour: price of one GPU.
    """
    engine = deployment.coefficients
    ranks = deployment.parallelism.data
    rank = deployment.share(clients)
    prefill = prefill_time(engine, clients.input_tokens)
    step = decode_step(engine, max(rank.concurrency, 1.0), clients.context)
    fits = gains.capacity * sequences_that_fit(engine, clients.context)
    running = min(rank.concurrency, fits)
    cached = running * (clients.context + engine.sequence_tokens(clients.context))
    memory = engine.memory_gib + (
        cached / gains.capacity / engine.kv_capacity * _cache_gib(deployment, engine) if fits > 0 else 0.0
    )
    if engine.kv_capacity <= 0:
        usable = deployment.gpu.memory_gib * MEMORY_UTILIZATION
        return Estimate(prefill, step, None, None, None, 0.0, 0, memory, None, None, engine.memory_gib - usable)
    loop = closed_loop(engine, deployment.serving, rank, gains)
    cycle = loop.ttft + max(clients.output_tokens - 1.0, 0.0) * loop.inter_token
    rate = clients.concurrency / cycle  # requests per second of the replica
    prices: tuple[float | None, float | None] = (None, None)
    if usd_per_gpu_hour is not None:
        usd = usd_per_gpu_hour * engine.gpus / SECONDS_PER_HOUR / rate
        prices = _prices(engine, rank, usd, gains)
    return Estimate(
        prefill=prefill,
        decode_step=step,
        ttft=loop.ttft,
        inter_token=loop.inter_token,
        tokens_per_second_per_gpu=rate * clients.output_tokens / engine.gpus,
        kv_capacity=gains.capacity * engine.kv_capacity * ranks,
        max_sequences=int(fits * ranks),
        memory_gib=memory,
        usd_input=prices[0],
        usd_output=prices[1],
    )


def _cache_gib(deployment: Deployment, engine: EngineModel) -> float:
    """What is left for the KV cache on each GPU."""
    return max(0.0, deployment.gpu.memory_gib * MEMORY_UTILIZATION - engine.memory_gib)


def _prices(
    engine: EngineModel, rank: Clients, usd_per_request: float, gains: ClosedGains
) -> tuple[float | None, float | None]:
    """Per million input and output tokens; both together are the request's cost."""
    load = Load(rank.input_tokens, rank.output_tokens)
    learnt = Engine(engine, Gains(gains.decode, gains.prefill))
    weights = weights_at(learnt, load, max(rank.concurrency, 1.0))
    total = weights.input * load.input_tokens + weights.output * load.output_tokens
    if total <= 0:
        return None, None
    unit = usd_per_request / total * TOKENS_PER_MILLION
    return (
        unit * weights.input if load.input_tokens > 0 else None,
        unit * weights.output if load.output_tokens > 0 else None,
    )
