"""`python -m pertoken_bench.plan_size [--services N] [--pools N] [--days N]`: a plan's CPU seconds and memory.

Exit 1 beyond a minute of CPU or a GiB of memory for 500 services on 6 pools over 28 days; other numbers scale the bound
of the CPU by services x days. Every service has lengths and a load of its own, so that nothing is shared by chance.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from decimal import Decimal
from typing import Final

import numpy as np

from pertoken.capacity.answer import Answer, answer
from pertoken.capacity.asked import Asked
from pertoken.capacity.document import answer_document
from pertoken.capacity.history.value import History, ServiceHistory
from pertoken.capacity.spec import PlanSpec
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.identity import ServiceKey, WorkloadRef
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import LatencyObjective, ModelSpec, ServiceSpec, VariantSpec
from pertoken.units import HOURS_PER_DAY

GPUS: Final = ("h100-sxm", "h200-sxm", "b200-sxm", "a100-sxm-80gb", "l40s", "a100-pcie-40gb")
PRICES: Final = ("2.50", "3.10", "4.90", "1.49", "0.99", "1.19")
MODEL: Final = "meta-llama/Llama-3.1-8B-Instruct"
HISTORY_DAYS: Final = 42
MOST_SECONDS: Final = 60.0
MOST_BYTES: Final = 1 << 30
USUAL: Final = 500 * 28


def question(services: int, pools: int, days: int) -> Asked:
    """A plan for so many services, each on two of the pools."""
    generator = np.random.default_rng(0)
    made = tuple(
        PoolSpec(name=f"pool-{index}", accelerator=gpu, price_per_gpu_hour=Decimal(price), capacity_gpus=512)
        for index, (gpu, price) in enumerate(zip(GPUS[:pools], PRICES[:pools], strict=True))
    )
    specs, histories = [], {}
    hours = np.arange(HISTORY_DAYS * HOURS_PER_DAY)
    for index in range(services):
        key = ServiceKey("default", f"service-{index}")
        variants = tuple(
            VariantSpec(pool, pool, WorkloadRef("apps/v1", "Deployment", "default", f"{key.name}-{pool}"), owned=False)
            for pool in (f"pool-{index % pools}", f"pool-{(index + 1) % pools}")
        )
        latency = LatencyObjective(2.0, 0.05)
        specs.append(ServiceSpec(key, key.name, 1, ModelSpec(MODEL, key.name), variants, latency=latency))
        inputs, outputs = generator.uniform(300, 4000), generator.uniform(30, 600)
        level = 3600 * generator.lognormal(1.0, 1.0) * (1.2 + np.sin(hours / HOURS_PER_DAY * 2 * np.pi))
        requests = level * generator.lognormal(0.0, 0.2, len(hours))
        peak = np.full(len(hours), 1.2)
        histories[str(key)] = ServiceHistory(str(key), requests, requests * inputs, requests * outputs, peak)
    spec = PlanSpec("", horizon_days=days)
    return Asked(spec, tuple(specs), made, History(0, tuple(histories.values())), histories, SHIPPED)


def main() -> int:
    """Plan once and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("services", 500), ("pools", len(GPUS)), ("days", 28)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    asked = question(given.services, given.pools, given.days)
    before = time.process_time()
    answered = answer(asked, [], asked.history.end_s)
    if isinstance(answered, Answer):
        answer_document(answered)
    seconds = time.process_time() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    most = MOST_SECONDS * max(given.services * given.days / USUAL, 0.25)
    sys.stdout.write(
        f"{given.services} services x {given.pools} pools x {given.days} days: {seconds:.1f} s of CPU "
        f"(bound {most:.0f} s), {memory / (1 << 20):.0f} MiB (bound {MOST_BYTES >> 20} MiB)\n"
    )
    return int(seconds > most or memory > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
