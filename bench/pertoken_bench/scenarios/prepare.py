"""From a scenario and a seed to arrays: the trace, the kinds of engines, the objectives, the cluster's inventory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from pertoken.api.batch_cap import initial_cap
from pertoken.api.engine_args import INTER_TOKEN_EDGES, TTFT_EDGES
from pertoken.catalog.engines import DEFAULT_BATCHED_TOKENS
from pertoken.catalog.lookup import SHIPPED, Unknown
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import ServiceSpec, VariantSpec
from pertoken_bench.cluster.objects import SimulatedNode, SimulatedWorkload
from pertoken_bench.compiled_engine.fleet import Edges, LatencyLimits, SimulationConfig, VariantEngine
from pertoken_bench.hardware.catalog_times import times_of
from pertoken_bench.hardware.step_times import BLOCK_TOKENS
from pertoken_bench.scenarios.scenario import GPUS_PER_NODE, Scenario, TrafficSource
from pertoken_bench.traces.arrivals import Drawing, draw
from pertoken_bench.traces.columns import WantedColumns
from pertoken_bench.traces.files import TraceError
from pertoken_bench.traces.rates import is_rate_series
from pertoken_bench.traces.reader import read_requests
from pertoken_bench.traces.servegen import tells_lengths
from pertoken_bench.traces.trace import Trace, load_requests, merged

TAIL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """One scenario with one seed.

    Attributes:
        end: seconds; arrivals in [warmup, end) are scored, and so is the bill.
        kinds: by (service index, variant name), index into `config.kinds`.
        slots: most replicas alive at once.
    """

    scenario: Scenario
    seed: int
    trace: Trace
    config: SimulationConfig
    end: float
    kinds: Mapping[tuple[int, str], int]

    @property
    def scored(self) -> tuple[float, float]:
        """The scored time."""
        return self.scenario.warmup, self.end


def prepare(scenario: Scenario, seed: int) -> Prepared:
    """Read and cut the traces, look the engines up.

    Raises:
        TraceError: a trace cannot be used.
        TableMissingError: no step times for a variant's model and GPU.
    """
    traces = [
        _trace(scenario.traffic[service.key.name], index, seed) for index, service in enumerate(scenario.services)
    ]
    trace = merged(traces)
    durations = [traffic.cut.duration_seconds for traffic in scenario.traffic.values()]
    known = [
        traffic.offset + length for traffic, length in zip(scenario.traffic.values(), durations, strict=True) if length
    ]
    end = max(float(trace.arrival[-1]) + TAIL_SECONDS, *known) if known else float(trace.arrival[-1]) + TAIL_SECONDS
    if scenario.warmup >= end:
        raise TraceError(f"warmupSeconds {scenario.warmup:g}: the traffic lasts only {end:.0f} s")
    pools = {pool.name: pool for pool in scenario.pools}
    kinds: list[VariantEngine] = []
    places: dict[tuple[int, str], int] = {}
    for index, service in enumerate(scenario.services):
        for variant in service.variants:
            places[index, variant.name] = len(kinds)
            kinds.append(_kind(scenario, service, variant, pools[variant.pool]))
    caps = [variant.batching.max_sequences for service in scenario.services for variant in service.variants]
    config = SimulationConfig(
        kinds,
        [objective_of(service) for service in scenario.services],
        [edges_of(service) for service in scenario.services],
        scenario.truth,
        slots=_slots(scenario),
        max_cap=max(caps),
        router=scenario.router,
        seed=seed,
        score=(scenario.warmup, end),
        record=True,
    )
    return Prepared(scenario, seed, trace, config, end, places)


def single_service(prepared: Prepared, index: int) -> Prepared:
    """The same scenario with one of its services alone."""
    scenario, service = prepared.scenario, prepared.scenario.services[index]
    trace = prepared.trace.take(np.flatnonzero(prepared.trace.service == index))
    config = prepared.config
    kinds = {(0, name): place for (own, name), place in prepared.kinds.items() if own == index}
    return replace(
        prepared,
        scenario=replace(scenario, services=(service,), traffic={service.key.name: scenario.traffic[service.key.name]}),
        trace=replace(trace, service=np.zeros(len(trace), np.int32)),
        config=replace(config, objectives=[config.objectives[index]], edges=[config.edges[index]]),
        kinds=kinds,
    )


def _trace(traffic: TrafficSource, index: int, seed: int) -> Trace:
    if traffic.lengths is not None or is_rate_series(traffic.path):
        if traffic.lengths is None and not traffic.drawn_lengths and not tells_lengths(traffic.path):
            raise TraceError(f"{traffic.path}: a rate series needs `lengths`, a request trace to draw lengths from")
        drawing = Drawing(traffic.lengths, traffic.burstiness, traffic.clients)
        trace = draw(traffic.path, traffic.cut, drawing, index, seed)
    else:
        trace = load_requests(traffic.path, traffic.cut, index, seed)
    return replace(trace, arrival=trace.arrival + traffic.offset)


def trace_remarks(scenario: Scenario) -> Iterator[str]:
    """Rows of the scenario's request traces that are no requests and are left out: one line per file.

    Raises:
        TraceError: a trace cannot be used, or has such rows and is read strictly.
    """
    asked: dict[Path, WantedColumns] = {}
    for traffic in scenario.traffic.values():
        cut = traffic.cut
        if traffic.lengths is None and not is_rate_series(traffic.path):
            asked[traffic.path] = WantedColumns(end=cut.end, strict=cut.strict)
        elif traffic.lengths is not None:
            asked[traffic.lengths] = WantedColumns(strict=cut.strict)
    for path, wanted in asked.items():
        remark = read_requests(path, wanted).remark
        if remark:
            yield remark


def objective_of(service: ServiceSpec) -> LatencyLimits:
    """What is owed to each request."""
    latency = service.latency
    return LatencyLimits(
        math.inf if latency.ttft_seconds is None else latency.ttft_seconds,
        math.inf if latency.inter_token_seconds is None else latency.inter_token_seconds,
    )


def edges_of(service: ServiceSpec) -> Edges:
    """Bucket edges of an owned template: vLLM's own with one exactly at each objective."""
    latency = service.latency
    ttft = sorted({*TTFT_EDGES, *(() if latency.ttft_seconds is None else (latency.ttft_seconds,))})
    promised = [edge for edge in (latency.inter_token_seconds, latency.stall_seconds) if edge is not None]
    between = tuple(sorted({*INTER_TOKEN_EDGES, *promised}))
    return Edges(tuple(ttft), between, between)


def _kind(scenario: Scenario, service: ServiceSpec, variant: VariantSpec, pool: PoolSpec) -> VariantEngine:
    times, _ = times_of(service.model, variant, pool.accelerator)
    gpu = SHIPPED.gpu(pool.accelerator)
    if isinstance(gpu, Unknown):
        raise TraceError(f"pool {pool.name}: {gpu}")
    kv_blocks = times.kv_blocks(gpu.memory_gib, scenario.memory_utilization)
    longest = min(service.model.max_model_len or 131072, kv_blocks * BLOCK_TOKENS)
    budget = variant.batching.max_batched_tokens or DEFAULT_BATCHED_TOKENS
    return VariantEngine(times, kv_blocks, budget, longest)


def _slots(scenario: Scenario) -> int:
    """Replicas that can be alive at once: pools filled with the smallest, draining ones included, or the maxima."""
    by_pool: dict[str, int] = {}
    for service in scenario.services:
        for variant in service.variants:
            gpus = variant.parallelism.gpus
            by_pool[variant.pool] = min(by_pool.get(variant.pool, gpus), gpus)
    room = sum((pool.capacity_gpus or 0) // by_pool.get(pool.name, 1) for pool in scenario.pools)
    return max(1, room)


def inventory(prepared: Prepared, replicas: Mapping[str, int]) -> tuple[list[SimulatedWorkload], list[SimulatedNode]]:
    """Workloads with these replicas (by ``service/variant``) and the pools' nodes."""
    scenario = prepared.scenario
    pools = {pool.name: pool for pool in scenario.pools}
    workloads = []
    for index, service in enumerate(scenario.services):
        for variant in service.variants:
            kind = prepared.kinds[index, variant.name]
            wanted = replicas.get(f"{service.key.name}/{variant.name}", 0)
            workloads.append(
                SimulatedWorkload(
                    service=service,
                    service_index=index,
                    spec=variant,
                    pool=pools[variant.pool],
                    kind=kind,
                    gpus=variant.parallelism.gpus,
                    replicas=min(max(wanted, variant.min_replicas), variant.max_replicas),
                    cap=initial_cap(variant.batching, prepared.config.kinds[kind].budget),
                )
            )
    nodes: list[SimulatedNode] = []
    for pool in scenario.pools:
        size = scenario.gpus_per_node.get(pool.name, GPUS_PER_NODE)
        left = pool.capacity_gpus or 0
        while left > 0:
            nodes.append(SimulatedNode(f"{pool.name}-{len(nodes):03d}", pool.name, min(size, left)))
            left -= size
    return workloads, nodes
