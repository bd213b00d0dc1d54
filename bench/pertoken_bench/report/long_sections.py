"""Sections of the long benchmark: more traffic, models, GPUs, pools, routers and start-up times, peers tuned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from pertoken_bench.report.sections import FEW_SEEDS, OTHERS, Section

PEERS: Final = ("hpa-running", "keda-waiting", "llmd-queue", "llmd-token", "llmd-slo", "dynamo-sla")
FOREKNOWING: Final = ("clairvoyant", "static-best", "static-peak")
POLICIES: Final = (
    "pertoken", *FOREKNOWING, "hpa-gpu", "hpa-queue", "kpa", "wva-slo", *PEERS, *(f"{peer}:tuned" for peer in PEERS),
)  # fmt: skip
NAMED_HOURS: Final = ("azure-conv", "azure-conv-16", "azure-conv-64", *OTHERS)
ROUTERS: Final = ("least-loaded", "random", "affinity")
COLD_STARTS: Final = (300.0, 600.0)


@dataclass(frozen=True, slots=True)
class Group:
    """Sections that belong under one heading.

    Attributes:
        words: what they are, for the page.
    """

    title: str
    words: str
    sections: tuple[Section, ...]


def groups(seeds: int = FEW_SEEDS, seconds: float | None = None) -> tuple[Group, ...]:
    """All groups of the long page, in its order.

    Args:
        seeds: of every section.
        seconds: of traffic at most, to try the sections; None: all of it.
    """

    def section(name: str, scenario: str) -> Section:
        return Section(name, scenario, POLICIES, seeds, seconds=seconds)

    def long(name: str) -> Section:
        return section(name, f"long/{name}")

    return (
        Group(
            "Named scenarios",
            "The scenarios of `make bench`, with every peer's grid tried on the first third of the time.",
            tuple(section(f"named-{name}", name) for name in NAMED_HOURS),
        ),
        Group(
            "Days",
            "A day or more drawn from measured rates; the first third, on which grids are tried, is another day.",
            (
                section("azure-code-week", "azure-code-week"),
                *(long(name) for name in ("two-days-code", "two-days-large", "reasoning-day")),
            ),
        ),
        Group(
            "Models and GPUs",
            "Llama 3.1 70B on H100, A100 and B200, and 8B on H100.",
            tuple(long(name) for name in ("70b-h100", "70b-a100-code", "70b-b200", "8b-h100-code")),
        ),
        Group(
            "Short pools with priorities",
            "The highest priority beside two others on a pool that is short, and alone on the same pool.",
            tuple(long(name) for name in ("short-pool", "short-pool-alone")),
        ),
        Group(
            "Mixed fleets with each router",
            "`heterogeneous` (A100, H100 and L40S) behind each router of the simulator.",
            tuple(
                replace(section(f"mixed-{router}", "heterogeneous"), router=router)
                for router in ROUTERS
                if router != "least-loaded"  # the named scenario has that one
            ),
        ),
        Group(
            "Slow starts",
            "Cold starts of five and ten minutes on other traffic than `cold-start-300` and `-600` have.",
            tuple(
                replace(section(f"{name}-start-{start:g}", f"long/{name}"), cold_start=start)
                for name in ("8b-h100-code", "70b-h100", "short-pool")
                for start in COLD_STARTS
            ),
        ),
    )
