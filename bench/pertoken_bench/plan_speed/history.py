"""What the planner and the accounts would remember after a day of such traffic, put in place of the first cycle's."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Final

from pertoken.accounting.ledger import Bucket, ServiceLedger
from pertoken.control.saved import Saved
from pertoken.forecast.demand import DemandSample
from pertoken.forecast.tuning import FORECASTING
from pertoken.planner.memory import ServiceMemory, Shape, Utilization, VariantMemory
from pertoken_bench.plan_speed.fleet import FleetWorld, Served
from pertoken_bench.plan_speed.told import CYCLE

BUCKETS: Final = 119
DAY: Final = 86_400.0


def with_history(saved: Saved, fleet: FleetWorld) -> Saved:
    """The same with a full history of every service."""
    by_name = {str(served.spec.key): served for served in fleet.served}
    services = {name: _memory(old, by_name[name], fleet) for name, old in saved.memory.services.items()}
    ledgers = {name: _ledger(old, by_name[name], fleet.now) for name, old in saved.ledger.services.items()}
    return Saved(replace(saved.memory, services=services), replace(saved.ledger, services=ledgers))


def _memory(old: ServiceMemory, served: Served, fleet: FleetWorld) -> ServiceMemory:
    count, level, samples = round(FORECASTING.history_seconds / CYCLE), 1.0, []
    load = served.load
    for index in range(count):
        level = fleet.noise.moved(level)
        rate = served.rate * level * fleet.noise.near()
        at = fleet.now - CYCLE * (count - index)
        inputs, outputs = load.input_tokens * fleet.noise.near(), load.output_tokens * fleet.noise.near()
        samples.append(
            DemandSample(at, _short(rate), _short(rate * inputs), _short(rate * outputs), 0.0, _short(rate * 5.0))
        )
    served.level = level
    utilizations = tuple(Utilization(fleet.now - CYCLE * (20 - index), 0.6 + 0.01 * (index % 7)) for index in range(20))
    variants = {name: _variant(each, fleet.now) for name, each in old.variants.items()}
    return replace(
        old,
        seen_since=fleet.now - DAY,
        fresh_since=fleet.now - DAY,
        shape=Shape(load.input_tokens, load.output_tokens, 0.1),
        demand=tuple(samples),
        utilizations=utilizations,
        variants=variants,
    )


def _variant(old: VariantMemory, now: float) -> VariantMemory:
    calibration = replace(old.calibration, samples=200, variance_decode=2e-4, variance_prefill=2e-3, updated_at=now)
    return replace(old, calibration=calibration, start_seconds=100.0)


def _ledger(old: ServiceLedger, served: Served, now: float) -> ServiceLedger:
    width = DAY / (BUCKETS + 1)
    first = now - now % width - BUCKETS * width
    requests, load = served.rate * width, served.load
    gpus = sum(served.replicas)
    buckets = tuple(
        Bucket(
            first + index * width,
            gpu_microseconds=round(gpus * width * 1e6),
            usd_microhours=Decimal(round(gpus * width * 1e6)) * 2,
            requests=requests,
            input_tokens=requests * load.input_tokens,
            cached_tokens=0.1 * requests * load.input_tokens,
            output_tokens=requests * load.output_tokens,
            judged_gpu_seconds=gpus * width,
            busy_gpu_seconds=0.6 * gpus * width,
        )
        for index in range(BUCKETS)
    )
    return replace(old, buckets=buckets, opened_at=now - DAY, closed_at=now)


def _short(value: float) -> float:
    """As the planner keeps samples."""
    return float(f"{value:.5g}")
