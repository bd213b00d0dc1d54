"""Which GPU time belongs to input and which to output: a two-player Shapley value on the modelled step time.

Prefill and decode share an engine, and a step that does both costs less than two that do one each: the weights are
read once. In each order the phase that comes first pays for that read. The Shapley value takes the mean of both orders;
the two orders themselves bound any fair split (L. S. Shapley, A value for n-person games, 1953).

Per request at an operating batch B, with d(B) the decode step, O the decode steps, T(0) the time of its prompt on an
idle engine and T(B) what its prompt adds to the steps of an engine that decodes B sequences (`steady`):

    decode alone v(D) = O d(B) / B,   prefill alone v(P) = T(0),   both v(PD) = v(D) + T(B)
    prefill = (v(P) + v(PD) - v(D)) / 2,   decode = v(PD) - prefill,   interval of prefill: [T(B), T(0)]
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from pertoken.accounting.billed import BilledService
from pertoken.accounting.cost_index import Tokens
from pertoken.accounting.ledger import Charged
from pertoken.domain.cost import TokenWork
from pertoken.domain.service import CostObjective, PriceList
from pertoken.domain.signal import Signal
from pertoken.frozen import dataclass
from pertoken.performance.steady import Engine, Load
from pertoken.performance.step_time import marginal_prefill_time, mean_decode_step, prefill_time
from pertoken.performance.tuning import SUSTAINED

_UNLISTED: Final = PriceList(Decimal(1), Decimal(1), Decimal(1))


@dataclass(frozen=True, slots=True)
class Work:
    """GPU-seconds of one request.

    Attributes:
        together: all of it.
        prefill: the prompt's Shapley value, cached tokens included.
        prefill_low, prefill_high: the prompt's part when it joins decodes, and when decodes join it.
        cached: the part of `prefill` that cached tokens cause: attention reads them, nothing computes them.
    """

    together: float
    prefill: float
    prefill_low: float
    prefill_high: float
    cached: float

    @property
    def decode(self) -> float:
        """The output's Shapley value."""
        return self.together - self.prefill

    @property
    def computed(self) -> float:
        """The part of the computed prompt tokens."""
        return self.prefill - self.cached


@dataclass(frozen=True, slots=True)
class Weights:
    """GPU-seconds per token of each kind: the proportions in which work is charged to tokens."""

    input: float = 1.0
    cached_input: float = 1.0
    output: float = 1.0


EQUAL: Final = Weights()


def work(engine: Engine, load: Load, batch: float, gpus: float | None = None) -> Work:
    """GPU-seconds of one request while `batch` sequences decode beside it.

    Args:
        engine: with its learnt gains.
        load: the request.
        batch: mean decoding sequences.
        gpus: of one engine; the model's own if not given.
    """
    model, gains = engine.model, engine.gains
    size = float(model.gpus if gpus is None else gpus)
    batch = max(batch, SUSTAINED.least_batch)
    cached = load.input_tokens - load.computed_tokens
    # An engine computes at least the last token of a prompt that is cached whole.
    fresh = max(load.computed_tokens, 1.0) if load.input_tokens > 0 else 0.0
    alone = gains.prefill * prefill_time(model, fresh, cached)
    joined = min(alone, gains.prefill * marginal_prefill_time(model, fresh, batch, cached))
    decode = gains.decode * mean_decode_step(model, batch, load.resident) * load.steps / batch
    if load.output_tokens <= 0:
        decode = 0.0
    together = decode + joined
    high = min(alone, together)
    prefill = (joined + high) / 2
    return Work(
        together=together * size,
        prefill=prefill * size,
        prefill_low=joined * size,
        prefill_high=high * size,
        cached=prefill * size * _cached_share(engine, fresh, cached, load.computed_tokens),
    )


def _cached_share(engine: Engine, fresh: float, cached: float, computed: float) -> float:
    """Part of a prompt's time that would not be there without the cached tokens."""
    if cached <= 0:
        return 0.0
    if computed <= 0:
        return 1.0
    whole = prefill_time(engine.model, fresh, cached)
    return max(0.0, 1.0 - prefill_time(engine.model, fresh, 0.0) / whole) if whole > 0 else 0.0


def weights(request: Work, load: Load) -> Weights:
    """Per token: what a request's work is spread over. A kind of which the request has none gets no weight."""
    computed, cached = load.computed_tokens, load.input_tokens - load.computed_tokens
    return Weights(
        input=request.computed / computed if computed > 0 else 0.0,
        cached_input=request.cached / cached if cached > 0 else 0.0,
        output=request.decode / load.output_tokens if load.output_tokens > 0 else 0.0,
    )


def weights_at(engine: Engine, load: Load, batch: float, order: str = "shapley") -> Weights:
    """Weights of a mean request at an operating batch.

    Args:
        engine: with its learnt gains.
        load: the mean request.
        batch: mean decoding sequences.
        order: ``shapley``, or an end of the interval: ``prefill-first``, ``decode-first``.

    Raises:
        ValueError: another order.
    """
    return _weights_of(work(engine, load, batch), load, order)


def _weights_of(request: Work, load: Load, order: str) -> Weights:
    if order == "shapley":
        return weights(request, load)
    if order not in {"prefill-first", "decode-first"}:
        raise ValueError(f"order={order!r}: expected shapley, prefill-first or decode-first")
    prefill = request.prefill_high if order == "prefill-first" else request.prefill_low
    scale = prefill / request.prefill if request.prefill > 0 else 1.0
    return weights(
        Work(request.together, prefill, request.prefill_low, request.prefill_high, request.cached * scale), load
    )


def token_work(engine: Engine, load: Load, batch: float) -> TokenWork:
    """GPU-seconds per token of a mean request at an operating batch, with the interval of the output's part.

    Args:
        engine: with its learnt gains.
        load: the mean request.
        batch: mean decoding sequences.
    """
    request = work(engine, load, batch)
    shapley = weights(request, load)
    low = _weights_of(request, load, "prefill-first").output
    high = _weights_of(request, load, "decode-first").output
    return TokenWork(shapley.input, shapley.cached_input, shapley.output, low, high)


def charged(tokens: Tokens, work: TokenWork) -> Charged:
    """GPU-seconds of finished tokens at the work of each kind; the interval of the output's part as well."""
    new, cached = max(0.0, tokens.input - tokens.cached), min(tokens.cached, tokens.input)
    return Charged(
        work.input * new,
        work.cached_input * cached,
        work.output * tokens.output,
        work.output_low * tokens.output,
        work.output_high * tokens.output,
    )


def charged_by_list(tokens: Tokens, cost: CostObjective | None, gpu_seconds: float) -> Charged:
    """Measured GPU-seconds spread over finished tokens as the price list values them; without a list all weigh alike.

    Args:
        tokens: finished.
        cost: with the price list.
        gpu_seconds: in which the GPUs worked on them.
    """
    listed = _UNLISTED if cost is None else cost.prices
    output = float(listed.output)
    valued = charged(tokens, TokenWork(float(listed.input), float(listed.cached_input), output, output, output))
    whole = valued.input + valued.cached_input + valued.output
    scale = gpu_seconds / whole if whole > 0 else 0.0
    each = valued.output * scale
    return Charged(valued.input * scale, valued.cached_input * scale, each, each, each)


def mean_work(service: BilledService, known: Mapping[str, TokenWork]) -> TokenWork | None:
    """Work per token over the variants, by their present parts of the output; None where none of it is known.

    Args:
        service: in this cycle.
        known: GPU-seconds per token by variant.
    """
    rates = {variant.spec.name: variant.total(Signal.GENERATION_TOKENS_PER_SECOND) for variant in service.variants}
    shares = {name: rate for name, rate in rates.items() if name in known and rate is not None and rate > 0}
    total = sum(shares.values())
    if total <= 0:
        return None
    parts = [(known[name], rate / total) for name, rate in shares.items()]
    return TokenWork(
        input=sum(work.input * share for work, share in parts),
        cached_input=sum(work.cached_input * share for work, share in parts),
        output=sum(work.output * share for work, share in parts),
        output_low=sum(work.output_low * share for work, share in parts),
        output_high=sum(work.output_high * share for work, share in parts),
    )
