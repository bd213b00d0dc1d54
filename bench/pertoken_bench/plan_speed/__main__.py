"""CPU seconds of planning cycles on one core, by stage.

python -m pertoken_bench.plan_speed --services 5000

Printed are the first cycle of a service that nobody knows, the first cycle after a restart (a full history, nothing
worked out yet) and the cycles after it, in each of which the demand of every service is another. The time in which
metrics are made up is left out.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final

from pertoken.app import collect_seldom
from pertoken.catalog.lookup import SHIPPED
from pertoken.control.account_and_plan import account_and_plan
from pertoken.control.saved import NOTHING, Saved
from pertoken.control.survey import Rules, survey
from pertoken.control.truth import Truth
from pertoken.control.world import build_world
from pertoken.domain.plan import Plan
from pertoken.domain.world import PlannerSettings
from pertoken.performance.results import Results
from pertoken_bench.plan_speed.fleet import FleetWorld, Size
from pertoken_bench.plan_speed.history import with_history

SETTLING: Final = 2  # cycles in which replicas follow what was remembered in place of a day
STAGES: Final = ("observe", "account", "plan")
LOOPS: Final = 400_000  # of the fixed loop that tells how fast the core is at the moment


@dataclass(slots=True)
class CpuWatch:
    """CPU seconds of this process, by stage."""

    stages: dict[str, float] = field(default_factory=dict)
    _mark: float = field(default_factory=time.process_time)

    def lap(self, stage: str) -> None:
        """A stage is over."""
        now = time.process_time()
        self.stages[stage] = now - self._mark
        self._mark = now


@dataclass(frozen=True, slots=True)
class Kept:
    """What the operator keeps from cycle to cycle to save time: judged specs, and results of the performance model."""

    truth: Truth = field(default_factory=Truth)
    results: Results = field(default_factory=Results)


def run_cycle(fleet: FleetWorld, saved: Saved, kept: Kept | None = None) -> tuple[Plan, Saved, dict[str, float]]:
    """One cycle without I/O: survey and world, accounts, plan."""
    kept = Kept() if kept is None else kept
    metrics = fleet.metrics()
    watch = CpuWatch()
    surveyed = survey(fleet.snapshot(), Rules(frozenset({"Deployment.apps"})))
    world = build_world(surveyed, metrics, SHIPPED, PlannerSettings(), kept.truth)
    watch.lap("observe")
    plan, saved = account_and_plan(world, saved, fleet.now, watch.lap, results=kept.results)
    return plan, saved, watch.stages


def fixed_loop() -> float:
    """CPU seconds of a loop that is always the same: on a shared machine cycles are compared by their ratio to it."""
    began, value, values = time.process_time(), 0.0, dict[int, float]()
    for index in range(LOOPS):
        values[index & 1023] = value
        value = value * 0.5 + (values.get(index & 511) or 1.0)
    return time.process_time() - began


def row(name: str, stages: dict[str, float]) -> str:
    """One line of the table."""
    figures = "".join(f"{stages[stage]:10.2f}" for stage in STAGES)
    return f"{name:<32}{figures}{sum(stages.values()):10.2f}"


def measure(size: Size, cycles: int) -> Sequence[str]:
    """The table's lines."""
    fleet, kept = FleetWorld(size), Kept()
    _, saved, first = run_cycle(fleet, NOTHING)
    saved = with_history(saved, fleet)
    gc.collect()
    fleet.advance()
    plan, saved, full = run_cycle(fleet, saved, kept)
    for _ in range(SETTLING):
        fleet.carry_out(plan)
        fleet.advance()
        plan, saved, _ = run_cycle(fleet, saved, kept)
    steady, loops = [], [fixed_loop()]
    actions = 0
    for _ in range(cycles):
        fleet.carry_out(plan)
        fleet.advance()
        plan, saved, stages = run_cycle(fleet, saved, kept)
        steady.append(stages)
        loops.append(fixed_loop())
        actions += len(plan.actions)
    pods = sum(len(served.pods) for served in fleet.served)
    mean = {stage: fmean(stages[stage] for stages in steady) for stage in STAGES}
    world = f"{size.services:,} services, {size.variants} variants each, {size.pools} pools, {size.nodes} nodes"
    ratio = sum(mean.values()) / fmean(loops)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    return (
        f"{world}, {pods:,} pods; CPU seconds",
        f"{'':<32}" + "".join(f"{stage:>10}" for stage in STAGES) + f"{'all':>10}",
        row("first cycle, nothing known", first),
        row("after a restart, full history", full),
        *(row(f"steady cycle {number}", stages) for number, stages in enumerate(steady, start=1)),
        row("steady cycles, mean", mean),
        f"a fixed loop beside them takes {fmean(loops):.3f} s: a steady cycle is {ratio:,.0f} times as long",
        f"{actions} actions in the steady cycles; peak memory {memory:,.0f} MiB",
    )


def main() -> int:
    """Measure one size."""
    parser = argparse.ArgumentParser(prog="python -m pertoken_bench.plan_speed", description=__doc__)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--variants", type=int, default=2)
    parser.add_argument("--pools", type=int, default=6)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--cycles", type=int, default=3, help="steady cycles")
    given = parser.parse_args()
    collect_seldom()
    size = Size(given.services, given.variants, given.pools, given.nodes)
    sys.stdout.write("\n".join(measure(size, given.cycles)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
