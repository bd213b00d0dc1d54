"""GPUs and models are part of the world: what a plan knows of them, it knows from there alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab import GPU, MODEL, plant

from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.reasons import Reason
from pertoken.planner.pipeline import plan

GPU_ROW = SHIPPED.gpu(GPU)
MODEL_ROW = SHIPPED.model(MODEL)
SLOWER = SHIPPED.extended(gpus=[replace(GPU_ROW, bandwidth=GPU_ROW.bandwidth / 2)])
LARGER = SHIPPED.extended(models=[replace(MODEL_ROW, layers=2 * MODEL_ROW.layers)])
WITHOUT = replace(SHIPPED, gpus=tuple(gpu for gpu in SHIPPED.gpus if not gpu.id.startswith("a100")))
CATALOGS = (SHIPPED, SLOWER, LARGER, WITHOUT)


def serving():
    """A service that has been planned for a minute."""
    fleet = plant(rate=6.0, replicas=2, act=False)
    fleet.run(60)
    return fleet


def capacity(planned):
    return planned.decisions[0].variants[0].capacity_per_replica


@pytest.mark.parametrize("changed", [SLOWER, LARGER], ids=["GPU", "model"])
def test_a_changed_row_reaches_the_next_plan_of_a_variant_that_was_planned_before(changed):
    fleet = serving()
    world = fleet.world()
    before, memory = plan(world, fleet.memory, fleet.now)
    after, _ = plan(replace(world, catalog=changed), memory, fleet.now + 15.0)

    assert 0 < capacity(after) < 0.8 * capacity(before)


def test_a_row_that_is_taken_away_is_unknown_in_the_next_plan():
    fleet = serving()
    world = fleet.world()
    _, memory = plan(world, fleet.memory, fleet.now)
    after, _ = plan(replace(world, catalog=WITHOUT), memory, fleet.now + 15.0)

    assert capacity(after) is None
    assert after.decisions[0].conditions["Accepted"].reason is Reason.UNKNOWN_ACCELERATOR


def test_accepted_names_what_of_a_config_is_not_understood():
    fleet = serving()
    spec = fleet.services["chat"]
    figures = (("hidden_size", 4096), ("num_hidden_layers", 32), ("num_attention_heads", 32))
    facts = (*figures, ("intermediate_size", 14336), ("vocab_size", 128256), ("config", '{"memory_blocks": 4}'))
    fleet.services["chat"] = replace(spec, model=replace(spec.model, architecture=facts))
    after, _ = plan(fleet.world(), fleet.memory, fleet.now)

    accepted = after.decisions[0].conditions["Accepted"]
    assert accepted.reason is Reason.ACCEPTED
    assert "memory_blocks: not understood" in accepted.message


@pytest.mark.parametrize(("suffix", "told"), [("GGUF", True), ("GGUF:Q4_K_M", False)])
def test_accepted_says_that_a_name_hides_its_quantization(suffix, told):
    fleet = serving()
    spec = fleet.services["chat"]
    fleet.services["chat"] = replace(spec, model=replace(spec.model, id=f"unsloth/Llama-3.1-8B-Instruct-{suffix}"))
    after, _ = plan(fleet.world(), fleet.memory, fleet.now)

    accepted = after.decisions[0].conditions.get("Accepted")
    assert told is (accepted is not None and "hides the type of its GGUF files; counted as bf16" in accepted.message)


def test_an_architecture_that_lacks_fields_is_planned_without_a_model():
    fleet = serving()
    spec = fleet.services["chat"]
    model = replace(spec.model, architecture=(("hidden_size", 4096),))
    fleet.services["chat"] = replace(spec, model=model)
    after, _ = plan(fleet.world(), fleet.memory, fleet.now)

    assert capacity(after) is None
    assert after.decisions[0].reason is not Reason.PLANNING_FAILED


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(used=st.lists(st.sampled_from(CATALOGS), min_size=1, max_size=4), own=st.sampled_from(CATALOGS))
def test_equal_worlds_give_equal_plans_whatever_catalogs_were_used_in_between(start, used, own):
    world, memory, now = start
    first = plan(replace(world, catalog=own), memory, now)
    for other in used:
        plan(replace(world, catalog=other), memory, now)
    again = replace(world, catalog=replace(own))

    assert plan(again, memory, now) == first


@pytest.fixture(scope="module")
def start():
    fleet = serving()
    return fleet.world(), fleet.memory, fleet.now
