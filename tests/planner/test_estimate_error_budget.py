"""What a cycle adds to the error budget."""

import pytest
from states import NOW, Variant, service_state

from pertoken.forecast.error_budget import ErrorBudget
from pertoken.planner.estimate.error_budget import budget_after

CYCLE = 15.0
BEFORE = ErrorBudget(1000.0, 50.0, NOW - CYCLE)


def after(latency, **memory):
    return budget_after(service_state(Variant(replicas=2, rate=5.0, latency=latency), memory=memory))


@pytest.mark.parametrize(
    ("latency", "missed"),
    [({"ttft": 0.1, "inter_token": 0.01}, 0.0), ({"ttft": 60.0, "inter_token": 0.01}, 1.0)],
    ids=["all within", "all late"],
)
def test_requests_of_the_cycle_are_counted_once(latency, missed):
    budget = after(latency)

    assert budget.requests == pytest.approx(10.0 * CYCLE, rel=0.05)
    assert budget.share_missed == pytest.approx(missed, abs=0.02)
    assert budget.at == NOW


def test_an_objective_that_is_not_measured_teaches_nothing():
    assert after(None, budget=BEFORE) == BEFORE


def test_planned_again_in_the_same_instant_nothing_is_counted_twice():
    again = ErrorBudget(1000.0, 50.0, NOW)

    assert after({"ttft": 0.1, "inter_token": 0.01}, budget=again) == again


def test_of_a_long_gap_only_the_rate_window_is_known():
    state = service_state(
        Variant(replicas=2, rate=5.0, latency={"ttft": 0.1, "inter_token": 0.01}),
        memory={"budget": ErrorBudget(1.0, 0.0, NOW - 3000.0)},
    )

    assert budget_after(state).requests < 10.0 * state.window * 1.1
