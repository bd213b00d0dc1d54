"""How fast the engine simulator is, on one core: requests per second of CPU time, and memory.

python -m pertoken_bench.speed
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from pertoken_bench.compiled_engine import layout as at
from pertoken_bench.compiled_engine.fleet import Fleet
from pertoken_bench.policies.static import fleet_for, keeps_overall
from pertoken_bench.scenarios.prepare import prepare
from pertoken_bench.scenarios.scenario import Scenario, load

SCENARIOS = Path(__file__).parents[1] / "scenarios"
ROUNDS = 3
GRACE = 600.0


@dataclass(frozen=True, slots=True)
class SpeedCase:
    """One measurement: a scenario at a multiple of its traffic, and the goal in requests per second."""

    words: str
    scenario: str
    traffic: float
    goal: float


CASES = (
    SpeedCase("Azure conversation hour", "azure-conv", 1.0, 200_000),
    SpeedCase("the same, 36 times the traffic (1.39 million requests)", "azure-conv", 36.0, 200_000),
    SpeedCase("Mooncake synthetic, prefix blocks, 8 times the traffic", "long-context", 8.0, 50_000),
)


def scaled(scenario: Scenario, factor: float) -> Scenario:
    """With this multiple of every service's arrivals, and pools that are large enough."""
    traffic = {
        name: replace(source, cut=replace(source.cut, rate_scale=source.cut.rate_scale * factor))
        for name, source in scenario.traffic.items()
    }
    pools = tuple(replace(pool, capacity_gpus=round((pool.capacity_gpus or 8) * factor)) for pool in scenario.pools)
    return replace(scenario, traffic=traffic, pools=pools)


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def measure(case: SpeedCase) -> str:
    """Serve the trace with the smallest static fleet that keeps the objective at its own traffic, times the factor."""
    scenario = load(SCENARIOS / f"{case.scenario}.yaml")
    small = prepare(scenario, 0)
    place, count = next(iter(fleet_for(small, keeps_overall).items()))
    prepared = prepare(scaled(scenario, case.traffic), 0)
    replicas = round(count * case.traffic)
    cap = scenario.services[0].variants[0].batching.max_sequences
    before, best, finished = peak_mib(), float("inf"), 0.0
    for _ in range(ROUNDS):
        fleet = Fleet(prepared.trace, prepared.config)
        for uid in range(1, replicas + 1):
            fleet.start(0, 0, uid, cap, -3000.0)
        start = time.process_time()
        fleet.advance(prepared.end + GRACE)
        best = min(best, time.process_time() - start)
        finished = float(fleet.state.services_f[0, at.R_FINISHED])
    count, speed = len(prepared.trace), len(prepared.trace) / best
    verdict = "met" if speed >= case.goal else "MISSED"
    return (
        f"{case.words}: {count:,} requests ({finished:,.0f} scored and finished) on {replicas} replicas of {place[1]}: "
        f"{best:.2f} s, {speed:,.0f} requests/s (goal {case.goal:,.0f}: {verdict}); "
        f"peak memory {peak_mib():,.0f} MiB, {peak_mib() - before:,.0f} MiB of it while serving"
    )


def main() -> int:
    """All cases; 1 if a goal is missed."""
    lines = [measure(case) for case in CASES]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(any("MISSED" in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
