"""Prices of one more token: nothing on idle replicas, and on full ones what extra tokens add to the bill."""

from __future__ import annotations

import pytest
from lab import node, plant, service_spec, variant_spec
from states import Variant, proposal

from pertoken.domain.cost import CostFigures, TokenPrices
from pertoken.domain.identity import ServiceKey
from pertoken.domain.plan import Decision, Plan
from pertoken.domain.reasons import Reason
from pertoken.frozen import replace
from pertoken.planner.conditions.cost import cost_figures
from pertoken.planner.estimate.stage import estimate
from pertoken.planner.size.stage import size
from pertoken.telemetry.prices import litellm_table, prices_of


def steady(rate, replicas):
    """What a fleet costs that has long served a rate."""
    fleet = plant("chat", rate=rate, replicas=replicas, start_seconds=30.0)
    spec = service_spec("chat", (variant_spec("chat", max_replicas=60),))
    fleet.services["chat"], fleet.deployments["chat"].spec = spec, spec.variants[0]
    fleet.nodes = [node(f"n{index}", 8) for index in range(4)]
    fleet.reconcile()
    fleet.run(900.0)
    return fleet.decision().cost


def test_extra_tokens_add_to_the_bill_what_their_price_says():
    before, after = steady(40.0, 5), steady(160.0, 19)

    extra = (160.0 - 40.0) * 3600
    priced = extra * (1000 * after.replica.input + 200 * after.replica.output) / 1e6
    one_replica = 2.0  # USD per hour: fleets are whole replicas
    assert priced == pytest.approx(after.spend_per_hour - before.spend_per_hour, abs=one_replica)
    assert 0.5 < after.one_more.output / after.replica.output <= 1.0


def test_an_idle_replicas_next_token_costs_almost_nothing():
    fleet = plant("chat", rate=0.05, replicas=1)
    fleet.run(300.0)
    cost = fleet.decision().cost

    assert cost.one_more.output < 0.02 * cost.replica.output


@pytest.mark.parametrize("kept", [0, -1], ids=["never known", "not known now"])
def test_demand_that_is_not_known_is_no_idle_fleet(kept):
    sized = size(estimate(proposal(Variant(replicas=2, rate=5.0))))
    known = cost_figures(sized.state, sized.variants)
    memory = replace(sized.state.memory, demand=sized.state.memory.demand[:kept])
    unknown = cost_figures(sized.state.with_memory(memory), sized.variants)

    assert known.one_more is not None
    assert unknown.one_more is None
    assert unknown.replica == known.replica


COST = CostFigures(input=0.1, output=0.4, one_more=TokenPrices(0.01, 0.001, 0.04), replica=TokenPrices(0.1, 0.01, 0.4))
CHAT = Decision(ServiceKey("llm", "chat"), Reason.AT_DESIRED, "", (), {}, cost=COST, served_name="chat-v1")


def test_a_kind_without_a_price_is_left_out():
    assert prices_of(CHAT, "average") == {"input": 0.1, "output": 0.4}
    assert prices_of(CHAT, "marginal") == {"input": 0.01, "cached_input": 0.001, "output": 0.04}
    assert prices_of(replace(CHAT, cost=CostFigures()), "replica") == {}


def test_litellm_reads_usd_per_token_by_served_name():
    unpriced = replace(CHAT, service=ServiceKey("llm", "new"), cost=CostFigures(), served_name="new")
    table = litellm_table(Plan((CHAT, unpriced), ()), "replica")

    assert table == {
        "chat-v1": {
            "litellm_provider": "hosted_vllm",
            "mode": "chat",
            "input_cost_per_token": 1e-7,
            "cache_read_input_token_cost": 1e-8,
            "output_cost_per_token": 4e-7,
        }
    }


def test_services_that_share_a_name_stand_under_their_own():
    other = replace(CHAT, service=ServiceKey("team-b", "chat"))

    assert set(litellm_table(Plan((CHAT, other), ()), "average")) == {"llm/chat", "team-b/chat"}
