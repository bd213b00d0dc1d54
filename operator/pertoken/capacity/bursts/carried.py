"""What fleets of a few replicas carry of traffic that comes in bursts, and the rate that they must be sized for.

The sustainable rate of one replica (`pertoken.performance.steady`) knows random arrivals, not bursts, and the mean
request, not short answers beside long prompts. Few replicas feel both, many share them out. So fleets of 1, 2, 3 …
replicas serve single requests in the operator's own step times, and the highest rate at which the percentile is within
the objectives is what they carry; never more than their sustainable rates together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import inf

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.bursts.stream import Stretch, drawn, repeated
from pertoken.capacity.forecast.library import LibraryMissing
from pertoken.capacity.tuning import BURSTS
from pertoken.frozen import dataclass
from pertoken.performance.results import Results
from pertoken.performance.steady import Engine, Load, Targets, eased_rate
from pertoken.performance.step_time import marginal_prefill_time, mean_decode_step
from pertoken.planner.tuning import TUNING
from pertoken.units import PER_CENT

Floats = NDArray[np.float64]
Stream = Callable[[float], Stretch]


@dataclass(frozen=True, slots=True)
class Carrier:
    """Replicas of one variant.

    Attributes:
        load: the mean request.
        targets: those that can be kept.
        rate: requests per second that one replica carries where nothing comes in bursts.
        ranks: data-parallel engines of one replica.
    """

    engine: Engine
    load: Load
    targets: Targets
    rate: float
    ranks: int = 1


@dataclass(frozen=True, slots=True)
class Carried:
    """By the number of replicas, the rate that they carry; beyond the last as from the one before it.

    Attributes:
        rates: requests per second, ascending, from 0 for no replica.
        sized: the sum of so many sustainable rates.
    """

    rates: tuple[float, ...] = (0.0,)
    sized: tuple[float, ...] = (0.0,)

    def needed(self, rates: Floats) -> Floats:
        """The rate that replicas must be sized for by their sustainable rates, to carry each of these."""
        if len(self.rates) == 1:
            return rates
        slope = (self.sized[-1] - self.sized[-2]) / (self.rates[-1] - self.rates[-2])
        beyond = np.maximum(rates - self.rates[-1], 0.0) * max(slope, 1.0)
        sized: Floats = np.interp(rates, self.rates, self.sized) + beyond
        return sized


AS_MODELLED = Carried()


def carried_of(carrier: Carrier, stretches: tuple[Stretch, ...], most: float, results: Results) -> Carried:
    """What fleets of this variant carry.

    Args:
        carrier: the variant's replicas.
        stretches: of the service's own requests; empty where its history has none.
        most: requests per second beyond which nothing is asked.
        results: what was worked out already; services that are alike share it.

    Raises:
        LibraryMissing: numba is not installed.
    """
    if carrier.targets.ttft is None and carrier.targets.inter_token is None:
        return AS_MODELLED
    if stretches:
        return _carried(carrier, partial(repeated, stretches), BURSTS.fleets, most)
    shares = results.of(_usual_shares, carrier.engine, carrier.load.coarse(), carrier.targets, carrier.ranks)
    return AS_MODELLED if not shares else _of_shares(carrier.rate, shares)


def sized_for(rates: Floats, carried: Sequence[Carried]) -> Floats:
    """The rate that replicas of all these variants must be sized for: of the one that bursts bother most."""
    if not carried:
        return rates
    sized: Floats = np.max([each.needed(rates) for each in carried], axis=0)
    return sized


def _usual_shares(engine: Engine, load: Load, targets: Targets, ranks: int) -> tuple[float, ...]:
    """What fleets carry of their sustainable rates where bursts are as usual; none where the load is not to be had.

    It moves slowly with the lengths, so that services of about the same share it.
    """
    eased = eased_rate(engine, load, targets)
    if eased is None:
        return ()
    carrier = Carrier(engine, load, eased.targets, eased.point.rate * ranks * TUNING.knee.prior, ranks)
    carried = _carried(carrier, partial(drawn, load), BURSTS.usual_fleets, inf)
    return tuple(rate / size for rate, size in zip(carried.rates[1:], carried.sized[1:], strict=True))


def _of_shares(rate: float, shares: Sequence[float]) -> Carried:
    sized = [fleet * rate for fleet in BURSTS.usual_fleets[: len(shares)]]
    rates = (share * size for share, size in zip(shares, sized, strict=True))
    return Carried((0.0, *rates), (0.0, *sized))


def _carried(carrier: Carrier, stream: Stream, fleets: Sequence[int], most: float) -> Carried:
    rates, sized = [0.0], [0.0]
    steps = _decode_steps(carrier)
    for replicas in fleets:
        full = replicas * carrier.rate
        least = max(BURSTS.least_share * full, rates[-1] * (1.0 + BURSTS.step))
        rates.append(max(_highest(carrier, stream, replicas, steps), least))
        sized.append(full)
        if rates[-1] >= most or rates[-1] >= full * (1.0 - BURSTS.step):
            break
    return Carried(tuple(rates), tuple(sized))


def _highest(carrier: Carrier, stream: Stream, replicas: int, steps: Floats) -> float:
    """Highest rate that so many replicas carry, with decode steps of these seconds."""
    low, high = 0.0, replicas * carrier.rate
    if keeps(carrier, stream(high), replicas, steps):
        return high
    while high - low > BURSTS.step * replicas * carrier.rate:
        middle = (low + high) / 2
        low, high = (middle, high) if keeps(carrier, stream(middle), replicas, steps) else (low, middle)
    return low


def keeps(carrier: Carrier, stretch: Stretch, replicas: int, decode_steps: Floats | None = None) -> bool:
    """Whether so many replicas serve the promised share of these requests within the objectives."""
    return share_within(carrier, stretch, replicas, decode_steps) >= carrier.targets.percentile / PER_CENT


def share_within(carrier: Carrier, stretch: Stretch, replicas: int, decode_steps: Floats | None = None) -> float:
    """Share of these requests within the objectives; `decode_steps` where the carrier's are at hand."""
    try:
        from pertoken.capacity.bursts import replicas as served  # noqa: PLC0415 - an extra, and slow to load
    except ImportError:
        raise LibraryMissing("numba: not installed; expected: pip install 'pertoken[plan]'") from None
    if not len(stretch.arrival):
        return 1.0
    prompts = np.maximum(stretch.input_tokens * (1.0 - carrier.load.cached_share), 1.0)
    steps = np.maximum(stretch.output_tokens - 1.0, 1.0)
    engine = served.Engine(
        _decode_steps(carrier) if decode_steps is None else decode_steps,
        float(carrier.engine.model.batched_tokens),
        _token_seconds(carrier, prompts),
    )
    first, between = served.serve(stretch.arrival, prompts, steps, replicas * carrier.ranks, engine)
    within = np.ones(len(prompts), dtype=np.bool_)
    if carrier.targets.ttft is not None:
        within &= first + carrier.engine.gains.ttft_offset <= carrier.targets.ttft
    if carrier.targets.inter_token is not None:
        within &= between <= carrier.targets.inter_token
    return float(within.mean())


def _decode_steps(carrier: Carrier) -> Floats:
    """Seconds of a decode step for 0, 1 … sequences, up to the most that cap and KV cache admit."""
    engine, context = carrier.engine, carrier.load.resident
    most = min(float(engine.cap or BURSTS.most_batch), engine.kv_tokens / max(context, 1.0), BURSTS.most_batch)
    batches = range(1, max(1, int(most)) + 1)
    gain = engine.gains.decode
    return np.array([0.0, *(gain * mean_decode_step(engine.model, float(batch), context) for batch in batches)])


def _token_seconds(carrier: Carrier, prompts: Floats) -> float:
    """What a prompt's token adds to a step: of the prompt that the mean token belongs to."""
    usual = float((prompts * prompts).sum() / prompts.sum())
    engine = carrier.engine
    return engine.gains.prefill * marginal_prefill_time(engine.model, usual, BURSTS.beside) / usual
