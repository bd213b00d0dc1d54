"""What would meet a cost target that is out of reach: price, batch, chunk, latency, quantization, GPU or model.

Each answer changes one thing and leaves the rest as it is. All are the model's: a replica at its sustainable rate, busy
all the time.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from math import ceil

from pertoken.accounting.cost_index import reachable, reachable_index
from pertoken.catalog.engines import CHUNK_SIZES
from pertoken.catalog.lookup import Catalog
from pertoken.catalog.precisions import NARROWER
from pertoken.catalog.prices import LIST_PRICES
from pertoken.domain.service import Parallelism, PriceList
from pertoken.frozen import dataclass, replace
from pertoken.performance.coefficients import engine_model
from pertoken.performance.lighter import Placed, lighter_models
from pertoken.performance.steady import Engine, Load, Sustainable, Targets, sustainable_rate
from pertoken.performance.step_time import EngineModel
from pertoken.planner.tuning import Answers
from pertoken.units import MILLISECONDS, PLACES, TINY


@dataclass(frozen=True, slots=True)
class Replica:
    """The cheapest replica per request, and what it is asked for.

    Attributes:
        model: catalog id; empty for a model that is described inline.
        engine: with its cap as the user bounds it.
        usd_per_hour: of the replica.
        carried: share of the modelled rate that is carried, data-parallel engines included.
    """

    model: str
    accelerator: str
    parallelism: Parallelism
    quantization: str
    engine: Engine
    usd_per_hour: float
    carried: float
    load: Load
    targets: Targets
    prices: PriceList


def remedies(replica: Replica, catalog: Catalog, tuning: Answers) -> tuple[str, ...]:
    """What would meet the target, one change each, in words; empty where nothing that was tried does."""
    index = _index(replica, replica.engine)
    if index is None or index <= 1.0:
        return ()
    price = replica.usd_per_hour / replica.parallelism.gpus
    first = f"{_down(price / index)} USD per GPU-hour instead of {price:.3g}"
    others = (_by_batch(replica), _by_chunk(replica), _by_latency(replica, tuning))
    rows = (_by_quantization(replica, catalog), _by_gpu(replica, catalog), _by_model(replica, catalog))
    return (first, f"prices of tokens {_up(index)} times as high", *(words for words in (*others, *rows) if words))


def _index(replica: Replica, engine: Engine) -> float | None:
    point = sustainable_rate(engine, replica.load, replica.targets)
    if not isinstance(point, Sustainable) or replica.carried <= 0:
        return None
    least = reachable(point, replica.load, replica.usd_per_hour / replica.carried)
    return None if least is None else reachable_index(least, replica.load, replica.prices)


def _meets(replica: Replica, engine: Engine) -> bool:
    index = _index(replica, engine)
    return index is not None and index <= 1.0


def _by_batch(replica: Replica) -> str:
    free = replace(replica.engine, cap=None)
    if replica.engine.cap is None or not _meets(replica, free):
        return ""
    return f"a batch cap above {replica.engine.cap}"


def _by_chunk(replica: Replica) -> str:
    for tokens in CHUNK_SIZES:
        if _meets(replica, replace(replica.engine, model=replica.engine.model.with_batched_tokens(tokens))):
            return f"a prefill chunk of {tokens} tokens"
    return ""


def _by_latency(replica: Replica, tuning: Answers) -> str:
    low, high = 1.0, tuning.slower
    if not _meets(_slower(replica, high), replica.engine):
        return ""
    while high - low > tuning.slower_step:
        middle = (low + high) / 2
        low, high = (low, middle) if _meets(_slower(replica, middle), replica.engine) else (middle, high)
    targets = _slower(replica, high).targets
    each = (("inter-token", targets.inter_token), ("stall", targets.stall), ("TTFT", targets.ttft))
    told = [f"{name} {ceil(seconds * MILLISECONDS - TINY)} ms" for name, seconds in each if seconds is not None]
    return f"objectives of {' and '.join(told)}"


def _slower(replica: Replica, factor: float) -> Replica:
    return replace(replica, targets=replica.targets.times(factor))


def _by_quantization(replica: Replica, catalog: Catalog) -> str:
    model, gpu = catalog.known_model(replica.model), catalog.known_gpu(replica.accelerator)
    if model is None or gpu is None:
        return ""
    for quantization in NARROWER:
        if quantization != replica.quantization:
            other = engine_model(model, gpu, replica.parallelism, quantization)
            if _fitting(other.kv_capacity, replica) and _meets(replica, _engine_of(other, replica)):
                return f"weights in {quantization}"
    return ""


def _by_gpu(replica: Replica, catalog: Catalog) -> str:
    """The cheapest other GPU of the price list that meets it, at its list price."""
    model, mine = catalog.known_model(replica.model), catalog.known_gpu(replica.accelerator)
    if model is None:
        return ""
    best: tuple[float, str] | None = None
    for price in LIST_PRICES:
        gpu = catalog.known_gpu(price.gpu)
        if gpu is None or (mine is not None and gpu.id == mine.id):
            continue
        other = engine_model(model, gpu, replica.parallelism, replica.quantization)
        if not _fitting(other.kv_capacity, replica):
            continue
        priced = replace(replica, usd_per_hour=float(price.usd_per_hour) * replica.parallelism.gpus)
        index = _index(priced, Engine(other))
        if index is not None and index <= 1.0 and (best is None or index < best[0]):
            best = (index, f"{gpu.id} at {price}")
    return "" if best is None else best[1]


def _by_model(replica: Replica, catalog: Catalog) -> str:
    """The largest smaller model of the same publisher; whether its answers are good enough is not known here."""
    model, gpu = catalog.known_model(replica.model), catalog.known_gpu(replica.accelerator)
    if model is None or gpu is None:
        return ""
    placed = Placed(gpu, replica.parallelism, replica.quantization)
    for lighter in lighter_models(model, placed, catalog.models):
        other = placed.engine_model(lighter)
        if _fitting(other.kv_capacity, replica) and _meets(replica, _engine_of(other, replica)):
            return f"a model as small as {lighter.id} ({other.weights_gib:.0f} GiB of weights)"
    return ""


def _engine_of(model: EngineModel, replica: Replica) -> Engine:
    """Another model, or its weights otherwise, with what was learnt here; its cap and KV cache are its own."""
    return replace(replica.engine, model=model, cap=None, kv_capacity=None)


def _fitting(kv_capacity: float, replica: Replica) -> bool:
    """Its KV cache holds one request of the mean length at least."""
    return kv_capacity > replica.load.input_tokens + replica.load.output_tokens


def _down(value: float) -> str:
    """Three digits, rounded down: what is said must do."""
    return _digits(value, ROUND_FLOOR)


def _up(value: float) -> str:
    return _digits(value, ROUND_CEILING)


def _digits(value: float, rounding: str) -> str:
    return f"{Context(prec=PLACES, rounding=rounding).create_decimal(value).normalize():f}"
