"""What a setup takes to serve an observed demand within its objectives, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from pertoken.accounting.attribution import weights_at
from pertoken.accounting.cost_index import request_value
from pertoken.calculators.breakeven import ReplicaGroup
from pertoken.catalog.gpus import Gpu
from pertoken.catalog.models import Model
from pertoken.domain.service import Parallelism, PriceList
from pertoken.performance.coefficients import engine_model
from pertoken.performance.memory import precision_of
from pertoken.performance.steady import (
    Engine,
    Load,
    Targets,
    Unreachable,
    at_rate,
    eased_rate,
)
from pertoken.performance.step_time import NO_GAINS, Gains
from pertoken.units import SECONDS_PER_HOUR, THOUSAND, TOKENS_PER_MILLION

HOURS_PER_MONTH: Final = 730
SINGLE: Final = Parallelism()


@dataclass(frozen=True, slots=True)
class Setup:
    """How a model is served.

    Attributes:
        usd_per_gpu_hour: of one unit of the pool's resource.
        price_source: whose price it is, in words.
        quantization: of the weights, a catalog name; empty as published.
        cap: `max_num_seqs`; None when nothing limits the batch.
        chunk: `max_num_batched_tokens`; None for the engine's default.
        context_limit: `max_model_len`; None for the model's own.
        gains: learnt corrections.
        samples: observations that they were learnt from on this very setup, 0 for none.
    """

    model: Model
    gpu: Gpu
    usd_per_gpu_hour: Decimal
    price_source: str = ""
    parallelism: Parallelism = SINGLE
    quantization: str = ""
    cap: int | None = None
    chunk: int | None = None
    context_limit: int | None = None
    gains: Gains = NO_GAINS
    samples: int = 0

    @property
    def engine(self) -> Engine:
        """One data-parallel rank."""
        model = engine_model(self.model, self.gpu, self.parallelism, self.quantization)
        return Engine(model.with_batched_tokens(self.chunk), self.gains, self.cap)

    @property
    def precision(self) -> str:
        """Of the weights, as they are run."""
        return precision_of(self.model, self.quantization)

    @property
    def usd_per_hour(self) -> float:
        """Of one replica."""
        return float(self.usd_per_gpu_hour) * self.parallelism.gpus


@dataclass(frozen=True, slots=True)
class Requests:
    """What requests look like.

    Attributes:
        load: the mean one.
        answers: tokens of answers at the 50th and the 95th percentile.
    """

    load: Load
    answers: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of the replicas.

    Attributes:
        rate: requests per second on average.
        room: share of the modelled sustainable rate that a replica is given (the SLO knee).
        peak_factor: peak / mean of the rate; replicas are held for the peak.
        min_replicas: never fewer.
        prices: what tokens may cost; None without a cost target.
    """

    rate: float
    targets: Targets
    room: float = 1.0
    peak_factor: float = 1.0
    min_replicas: int = 1
    prices: PriceList | None = None


@dataclass(frozen=True, slots=True)
class Fleet:
    """A setup at a demand.

    Attributes:
        load: the mean request.
        carried: requests per second of one replica within the objectives and the room.
        binding: what stops it.
        missed: an objective that no number of replicas keeps, and which was left out; None when all are kept.
        batch: mean decoding sequences of one data-parallel rank at the demand.
        usd_per_million: all replicas' bill over all tokens, input and output counted alike.
        usd_per_million_full: the same of replicas that carry all they can.
        usd_per_thousand: of 1,000 answers of the 50th and the 95th percentile's length, at prices that add up to the
            bill (Shapley attribution).
        index: bill over the tokens' value at the price list; None without a list.
    """

    setup: Setup
    load: Load
    carried: float
    binding: str
    missed: Unreachable | None
    replicas: int
    batch: float
    usd_per_million: float
    usd_per_million_full: float
    usd_per_thousand: tuple[float, float]
    index: float | None

    @property
    def usd_per_month(self) -> float:
        """Of 730 hours."""
        return self.replicas * self.setup.usd_per_hour * HOURS_PER_MONTH

    @property
    def keeps(self) -> bool:
        """Whether every objective is kept, the cost target included."""
        return self.missed is None and (self.index is None or self.index <= 1.0)


def fleet(setup: Setup, requests: Requests, demand: Demand) -> Fleet | None:
    """Size it; None where the weights leave no KV cache."""
    engine, load = setup.engine, requests.load
    sustained = eased_rate(engine, load, demand.targets)
    if sustained is None:
        return None
    point, missed = sustained.point, sustained.missed
    ranks = setup.parallelism.data
    carried = point.rate * ranks * demand.room
    group = ReplicaGroup(carried, setup.usd_per_hour, demand.peak_factor)
    replicas = max(group.replicas(demand.rate), demand.min_replicas)
    at_demand = at_rate(engine, load, demand.rate / replicas / ranks, demand.targets)
    batch = (point.point if at_demand is None else at_demand).batch
    per_request = replicas * setup.usd_per_hour / SECONDS_PER_HOUR / demand.rate
    tokens = load.input_tokens + load.output_tokens
    full = setup.usd_per_hour / SECONDS_PER_HOUR / carried
    short, long = (_answer_usd(engine, load, batch, per_request, length) for length in requests.answers)
    return Fleet(
        setup=setup,
        load=load,
        carried=carried,
        binding=point.binding,
        missed=missed,
        replicas=replicas,
        batch=batch,
        usd_per_million=per_request / tokens * TOKENS_PER_MILLION,
        usd_per_million_full=full / tokens * TOKENS_PER_MILLION,
        usd_per_thousand=(short * THOUSAND, long * THOUSAND),
        index=_index(per_request, load, demand.prices),
    )


def _answer_usd(engine: Engine, load: Load, batch: float, per_request: float, length: float) -> float:
    """One request with an answer of this length, at prices that give the mean request its share of the bill."""
    work = weights_at(engine, load, batch)
    prompt = work.input * load.computed_tokens + work.cached_input * (load.input_tokens - load.computed_tokens)
    whole = prompt + work.output * load.output_tokens
    return per_request * (prompt + work.output * length) / whole if whole > 0 else per_request


def _index(per_request: float, load: Load, prices: PriceList | None) -> float | None:
    if prices is None:
        return None
    value = request_value(load, prices)
    return per_request / value if value > 0 else None
