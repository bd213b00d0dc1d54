"""A provable lower bound of what a scenario costs, whatever the policy: the benchmark's zero.

**Time.** For one kind of engine a linear programme finds prices ``a`` per output token, ``d`` per token of context that
an output token reads, ``p`` per prompt token, ``q`` per pair of prompt tokens that attend to each other and ``m`` for
the inter-token objective L, such that for every step that the engine can do (b decodes over K context tokens, a chunk
of n prompt tokens behind `past`) its duration t satisfies

    t + m (t b - L b)  >=  a b + d K + p n + q n (past + n / 2).

Summed over all steps, the left side is at most the GPU time, since good requests keep ``sum t b <= L sum b``; the right
side is the good requests' work. Step times are piecewise bilinear in (b, K) and (n, past), so checking the corners of
the tables proves the inequality between them. The programme maximises the good requests' total work. Replicas are
taken at their fastest: lower end of the speed spread and of the (clipped) noise.

**Requests.** Only the share of requests that was in fact served within the objectives is counted, at most the share
that the objective asks for, and the costliest may be the missed ones. Prompt tokens that a prefix cache may hold are
left out.

**Minimum replicas.** In each window the fleet costs at least its minimum replicas and at least the work of the requests
that arrive and must end in it; the bound is the sum of the larger ones, for the best of several window lengths.

The cheapest variant is taken for all work, at its price per GPU-second.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from scipy.optimize import linprog

from pertoken.catalog.engines import GRAPH_SIZES, LARGEST_GRAPH
from pertoken.domain.pool import Billing
from pertoken.domain.service import VariantSpec
from pertoken_bench.compiled_engine.layout import BLOCK, NOISE_CLIP, PREFIX_TOKENS, Reals
from pertoken_bench.hardware.truth import EAGER_FACTOR
from pertoken_bench.scenarios.prepare import Prepared
from pertoken_bench.scenarios.work import Times

WINDOWS: Final = (120.0, 300.0, 900.0, 3600.0, math.inf)
SLACK: Final = 1.0 - 1e-9


@dataclass(frozen=True, slots=True)
class GoodWork:
    """Good requests' sums: output tokens (the first excluded), context that they read, prompt tokens, pairs of them."""

    tokens: float
    context: float
    prompt: float
    pairs: float


@dataclass(frozen=True, slots=True)
class Service:
    """One service's scored requests and what they cost at least.

    Attributes:
        usd: per request, ascending; with its arrival and the latest end of a good answer to it.
        scored: number of requests that are scored.
        floor: USD per second of the minimum replicas.
    """

    usd: Reals
    arrival: Reals
    latest: Reals
    scored: int
    floor: float


def bounds_of(prepared: Prepared) -> dict[int, Service]:
    """Per service what its requests cost at least."""
    return {index: _service(prepared, index) for index in range(len(prepared.scenario.services))}


def least_usd(service: Service, attainment: float, scored: tuple[float, float]) -> float:
    """Least cost of any schedule that serves this share of the scored requests within the objectives."""
    start, end = scored
    left_out = min(service.scored - math.ceil(attainment * service.scored - 1e-9), len(service.usd))
    missed = float(service.usd[len(service.usd) - left_out :].sum()) if left_out > 0 else 0.0
    best = service.floor * (end - start)
    for length in WINDOWS:
        best = max(best, _windows(service, min(length, end - start), scored) - missed)
    return best * SLACK


def _windows(service: Service, length: float, scored: tuple[float, float]) -> float:
    """Sum over windows of the larger of minimum replicas and the work that must be done within the window."""
    start, end = scored
    count = max(1, math.ceil((end - start) / length - 1e-9))
    window = np.floor((service.arrival - start) / length).astype(np.int64)
    inside = (service.latest <= np.minimum(start + (window + 1) * length, end)) & (window >= 0)
    work = np.bincount(window[inside], weights=service.usd[inside], minlength=count)
    lengths = np.full(count, length)
    lengths[-1] = end - start - (count - 1) * length
    return float(np.maximum(work[:count], service.floor * lengths).sum())


def _service(prepared: Prepared, index: int) -> Service:
    scenario, trace = prepared.scenario, prepared.trace
    service, objective = scenario.services[index], prepared.config.objectives[index]
    start, end = prepared.scored
    chosen = (trace.service == index) & (trace.arrival >= start) & (trace.arrival < end)
    arrival = trace.arrival[chosen]
    inputs, outputs = trace.input_tokens[chosen].astype(np.float64), trace.output_tokens[chosen].astype(np.float64)
    cacheable = np.minimum(np.diff(trace.prefix_at)[chosen] * PREFIX_TOKENS, inputs - 1).astype(np.float64)
    prompt = inputs - cacheable
    steps = outputs - 1.0
    columns = (
        steps,
        steps * inputs + steps * (steps - 1.0) / 2.0,
        prompt,
        prompt * (cacheable + prompt / 2.0),
    )
    work = GoodWork(*(float(column.sum()) for column in columns))
    pools = {pool.name: pool for pool in scenario.pools}
    usd = np.full(len(arrival), np.inf)
    floors, timing = [], scenario.timing
    for variant in service.variants:
        pool = pools[variant.pool]
        price = float((pool.price_per_gpu_hour or 0) * pool.gpu_fraction) * variant.parallelism.gpus / 3600.0
        seconds = _prices(prepared, index, variant, work)
        usd = np.minimum(usd, price * sum(rate * column for rate, column in zip(seconds, columns, strict=True)))
        # A replica that is lost is not billed until its successor has a node; whole nodes are billed otherwise.
        safe = pool.billing is not Billing.PER_NODE and not timing.failures and not timing.reclaims
        floors.append(price * variant.min_replicas if safe else 0.0)
    latest = arrival + objective.ttft + steps * objective.between
    order = np.argsort(usd, kind="stable")
    return Service(usd[order], arrival[order], latest[order], len(arrival), sum(floors))


def _prices(prepared: Prepared, index: int, variant: VariantSpec, work: GoodWork) -> tuple[float, float, float, float]:
    """The programme's prices in replica-seconds: per output token, context token, prompt token, pair."""
    kind = prepared.config.kinds[prepared.kinds[index, variant.name]]
    truth = prepared.config.truth
    fastest = (1.0 - truth.spread) * math.exp(-NOISE_CLIP * truth.noise)
    limit = prepared.config.objectives[index].between
    rows, right = [], []
    for step in _steps(Times(kind, truth), variant.batching.max_sequences):
        seconds = step.seconds * fastest
        relief = seconds * step.batch - limit * step.batch if math.isfinite(limit) else 0.0
        rows.append([step.batch, step.context, step.chunk, step.pairs, -relief])
        right.append(seconds)
    # Scaled, so that the solver's tolerances are far below what matters.
    scale = np.array([1e-3, 1e-7, 1e-5, 1e-9, 1e-2])
    gain = np.array([work.tokens, work.context, work.prompt, work.pairs, 0.0]) * scale
    norm = max(float(np.abs(gain).max()), 1e-300)
    solved = linprog(
        -gain / norm, A_ub=np.array(rows) * scale, b_ub=np.array(right), bounds=[(0, None)] * 5, method="highs"
    )
    if solved.status != 0:
        return 0.0, 0.0, 0.0, 0.0
    prices = np.maximum(solved.x * scale, 0.0)
    # What the solver's tolerance may have given away is taken back.
    worst = float((np.array(rows) @ prices / np.array(right)).max())
    prices = prices / max(1.0, worst)
    return float(prices[0]), float(prices[1]), float(prices[2]), float(prices[3])


@dataclass(frozen=True, slots=True)
class _Step:
    """One corner of what the engine can do."""

    seconds: float
    batch: float
    context: float
    chunk: float = 0.0
    pairs: float = 0.0


def _steps(times: Times, cap: int) -> Iterator[_Step]:
    """Corners: pure decode steps at every graph size, prompt chunks alone, and both together.

    A padded batch does the most at its graph size, where it is checked; a step may also be spent on requests that miss,
    so no good sequence in it is checked too. What the truth clips from below is taken unclipped: lower, and straight.
    """
    decodes, prompts = list(_decode_corners(times, cap)), list(_prefill_corners(times))
    floor = times.kind.times.prefill.ms[0][0] * times.truth.decode / 1000.0
    yield from prompts
    for step in decodes:
        for batch in (0.0, step.batch):
            yield _Step(step.seconds, batch, step.context)
            for prompt in prompts:
                seconds = prompt.seconds + step.seconds - floor
                yield _Step(seconds, batch, step.context, prompt.chunk, prompt.pairs)


def _decode_corners(times: Times, cap: int) -> Iterator[_Step]:
    """Every graph size up to the cap, and every sixteenth size without a graph; contexts at the table's columns."""
    table, largest = times.kind.times.decode, times.kind.kv_blocks * BLOCK
    sizes = [size for size in GRAPH_SIZES if size < cap]
    sizes += [min((size for size in GRAPH_SIZES if size >= cap), default=cap)]
    sizes += [*range(LARGEST_GRAPH + 1, cap, BLOCK)]
    for batch in sizes:
        eager = EAGER_FACTOR if batch > LARGEST_GRAPH else 1.0
        contexts = {column * batch for column in (0.0, *table.columns) if column * batch < largest}
        for context in sorted({*contexts, float(largest)}):
            milliseconds = table.plane(batch, context / batch) * times.truth.decode * eager
            yield _Step(milliseconds / 1000.0, min(batch, cap), context)


def _prefill_corners(times: Times) -> Iterator[_Step]:
    """Corners of each cell of the table within the chunk budget; several prompts count as one with a negative past."""
    table, budget = times.kind.times.prefill, float(times.kind.budget)
    rows = sorted({*(row for row in table.rows if row < budget), budget, 1.0})
    deepest = float(times.kind.kv_blocks * BLOCK)
    for low, high in pairwise(rows):
        pasts = {-high / 2.0, *(past for past in table.columns if past < deepest), deepest}
        for chunk in (low, high):
            for past in sorted(pasts):
                milliseconds = table.plane(chunk, past) * times.truth.prefill
                yield _Step(milliseconds / 1000.0, 0.0, 0.0, chunk, chunk * (past + chunk / 2.0))
