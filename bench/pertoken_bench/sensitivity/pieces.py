"""Pieces of the shipped scenarios, short enough to be run hundreds of times, and one run of one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from pertoken.planner.tuning import Tuning
from pertoken_bench.compiled_engine import layout as at
from pertoken_bench.policies.pertoken_policy import Pertoken
from pertoken_bench.scenarios.prepare import Prepared, prepare
from pertoken_bench.scenarios.scenario import load
from pertoken_bench.simulation import Run

SCENARIOS: Final = Path(__file__).parents[2] / "scenarios"


@dataclass(frozen=True, slots=True)
class Piece:
    """The first part of a scenario.

    Attributes:
        scenario: name of its file.
        seconds: of traffic, the warm-up included.
        replicas: at the start, by ``service/variant``, so that none have to be searched for.
    """

    scenario: str
    seconds: float
    replicas: Mapping[str, int]


QUICK: Final = (
    Piece("azure-conv", 1200.0, {"chat/a100": 3}),
    Piece("offline-beside-online", 800.0, {"chat/a100": 5, "batch/a100": 0}),
)
ALL: Final = (
    Piece("azure-conv", 1800.0, {"chat/a100": 3}),
    Piece("offline-beside-online", 1200.0, {"chat/a100": 5, "batch/a100": 0}),
    Piece("cold-start-300", 1500.0, {"chat/a100": 10}),
    Piece("scale-to-zero", 2400.0, {"chat/a100": 0}),
)


@dataclass(frozen=True, slots=True)
class CostAndAttainment:
    """USD of a run, and the per cent of its requests within their objectives."""

    usd: float
    attained: float


def run_piece(piece: Piece, seed: int, tuning: Tuning) -> CostAndAttainment:
    """The planner with these numbers on a piece."""
    run = Run(_prepared(piece.scenario, piece.seconds, seed), Pertoken(tuning=tuning), piece.replicas)
    run.go()
    services = run.fleet.state.services_f
    good, requests = float(services[:, at.R_GOOD].sum()), float(services[:, at.R_REQUESTS].sum())
    usd = sum(bill.usd for bill in run.cluster.bill.values())
    return CostAndAttainment(usd, 100.0 * good / requests if requests else 100.0)


@lru_cache(maxsize=16)
def _prepared(name: str, seconds: float, seed: int) -> Prepared:
    scenario = load(SCENARIOS / f"{name}.yaml")
    traffic = {
        service: replace(each, cut=replace(each.cut, duration_seconds=seconds))
        for service, each in scenario.traffic.items()
    }
    return prepare(replace(scenario, traffic=traffic), seed)
