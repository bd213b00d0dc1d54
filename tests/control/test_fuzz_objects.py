"""Hostile objects of every watched kind, from the inventory to the plan: nothing raises, and the others go on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from watched import HEALTHY, RULES, filled, spoil

from pertoken.catalog.lookup import SHIPPED
from pertoken.control.inventory import Inventory
from pertoken.control.survey import survey
from pertoken.control.world import build_world
from pertoken.domain.cluster import WorkloadFact
from pertoken.domain.reasons import Reason
from pertoken.domain.world import PlannerSettings
from pertoken.planner.memory import EMPTY
from pertoken.planner.pipeline import plan

NOW = 1_790_000_000.0
KINDS = sorted(HEALTHY)
OBJECTS = 10_000
PER_CYCLE = 50


@pytest.fixture(autouse=True, scope="module")
def silence() -> Iterator[None]:
    """Log lines would hold the lone surrogates of hostile texts, which pytest-xdist cannot send from a worker."""
    logger = logging.getLogger("pertoken")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


def cycle(inventory: Inventory) -> list[Reason]:
    """One cycle on what is there, as the operator runs it; the headlines of its decisions."""
    snapshot = inventory.snapshot()
    world = build_world(survey(snapshot, RULES), {}, SHIPPED, PlannerSettings())
    planned, _ = plan(world, EMPTY, NOW)
    return [decision.reason for decision in planned.decisions]


@settings(max_examples=75, deadline=None, suppress_health_check=list(HealthCheck))
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32))
def test_no_object_of_any_kind_stops_a_cycle(kind: str, seed: int):
    random = Random(seed)  # noqa: S311 - repeatable on purpose
    inventory = filled()
    inventory.put(kind, spoil(random.choice(HEALTHY[kind]), random))

    assert Reason.PLANNING_FAILED not in cycle(inventory)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(["pods", "replicasets", "deployments", "configmaps", "inferenceservices"]), seed=st.integers()
)
def test_what_is_wrong_in_one_service_is_not_felt_by_another(kind: str, seed: int):
    random = Random(seed)  # noqa: S311 - repeatable on purpose
    inventory = filled()
    spoilt = spoil(next(obj for obj in HEALTHY[kind] if obj["metadata"]["name"].startswith("chat")), random)
    spoilt["metadata"] = {**HEALTHY[kind][0]["metadata"], "name": "chat-1-x", "uid": "uid-poison"}
    inventory.put(kind, spoilt)
    snapshot = inventory.snapshot()
    world = build_world(survey(snapshot, RULES), {}, SHIPPED, PlannerSettings())

    other = next(view for view in world.services if view.spec.key.name == "other")
    assert isinstance(other.variants[0].workload, WorkloadFact)


def test_ten_thousand_objects_without_a_lost_cycle():
    random = Random(20261128)  # noqa: S311 - repeatable on purpose
    inventory, cycles = filled(), 0
    for index in range(OBJECTS):
        kind = KINDS[index % len(KINDS)]
        inventory.put(kind, spoil(random.choice(HEALTHY[kind]), random))
        if index % PER_CYCLE == PER_CYCLE - 1:
            assert Reason.PLANNING_FAILED not in cycle(inventory)
            cycles += 1
            inventory = filled() if index % 1000 == 999 else inventory

    assert cycles == OBJECTS // PER_CYCLE
