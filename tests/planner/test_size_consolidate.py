"""Fewer replicas only where what stays serves the demand within measured latency."""

from dataclasses import replace

import pytest
from lab import variant_spec
from states import H100, NOW, Variant, pod, proposal, service_state

from pertoken.domain.reasons import Reason
from pertoken.domain.service import LatencyObjective
from pertoken.domain.signal import Signal
from pertoken.forecast.error_budget import ErrorBudget
from pertoken.planner.assessment import Grade
from pertoken.planner.proposal import Status
from pertoken.planner.size.consolidate import consolidate, current_percentile
from pertoken.planner.size.expected import expected
from pertoken.planner.size.stage import demand_figures

DEAR = variant_spec(name="dear", pool="h100", min_replicas=0)


def consolidated(variant, wants, *others, need=None, **work):
    """What becomes of a wish for fewer replicas; by default what is served now is needed."""
    asked = proposal(variant, *others, **work)
    known = expected(asked.state, demand_figures(asked.state))
    needed = sum(each.rate * len(each.series()) for each in (variant, *others)) if need is None else need
    variant_proposal = consolidate(asked, asked.variants[0].at(wants, Reason.DEMAND_FELL), known, needed)
    return variant_proposal.replicas, variant_proposal.reason, variant_proposal.status


@pytest.mark.parametrize(
    ("rate", "wants", "count", "reason"),
    [
        (1.0, 1, 1, Reason.DEMAND_FELL),
        (3.0, 2, 2, Reason.DEMAND_FELL),
        (3.0, 1, 2, Reason.DEMAND_FELL),
        (5.0, 1, 3, Reason.DEMAND_FELL),
        (7.0, 3, 4, Reason.LATENCY_AT_RISK),
    ],
    ids=["one carries all", "two do", "one would not", "three do", "all are needed"],
)
def test_what_stays_carries_the_demand(rate, wants, count, reason):
    assert consolidated(Variant(replicas=4, rate=rate), wants)[:2] == (count, reason)


def test_other_variants_carry_their_part():
    dear = Variant(DEAR, replicas=2, rate=1.0, pool=H100)

    assert consolidated(Variant(replicas=4, rate=2.0), 2, need=20.0)[0] == 3
    assert consolidated(Variant(replicas=4, rate=2.0), 2, dear, need=20.0)[0] == 2


@pytest.mark.parametrize(
    ("inter_token", "rate", "count"),
    [(0.012, 2.0, 2), (0.02, 2.0, 2), (0.03, 2.0, 4)],
    ids=["short", "longer", "too near"],
)
def test_measured_latency_scaled_to_fewer_replicas_keeps_its_objective(inter_token, rate, count):
    variant = Variant(replicas=4, rate=rate, latency={"inter_token": inter_token}, tells={Signal.STEP_SECONDS: None})
    count_and_reason = consolidated(variant, 2)

    assert count_and_reason[0] == count
    assert (count_and_reason[1] is Reason.LATENCY_AT_RISK) == (count == 4)


def test_what_the_first_token_waits_for_counts_too():
    slow = Variant(replicas=4, rate=2.0, latency={"ttft": 1.9})

    assert consolidated(slow, 2)[:2] == (4, Reason.LATENCY_AT_RISK)
    assert consolidated(slow, 2, latency=LatencyObjective(None, 0.04))[:2] == (2, Reason.DEMAND_FELL)


@pytest.mark.parametrize("grade", [Grade.UP_ONLY, Grade.PANIC])
def test_metrics_that_do_not_allow_it_keep_all(grade):
    outcome = consolidated(Variant(replicas=4, rate=1.0), 1, grade=grade)

    assert outcome == (4, Reason.METRICS_WARMING_UP, Status.LAGGING)


def test_replicas_that_do_not_serve_yet_carry_nothing():
    outcome = consolidated(Variant(replicas=4, ready=1, rate=7.0), 2, need=14.0)

    assert outcome == (4, Reason.WAITING_FOR_PODS, Status.WAITING)


def test_to_zero_needs_no_latency():
    assert consolidated(Variant(replicas=2, rate=1.0, latency={"ttft": 9.0}), 0, need=0.0)[0] == 0


@pytest.mark.parametrize(
    ("inter_token", "step", "seconds"),
    [(0.03, 0.05, 0.036), (0.03, 0.0184, 0.0207), (0.03, None, 0.036), (0.012, 0.03, 0.0148)],
    ids=["late now too", "over by now", "steps not told", "late only now"],
)
def test_steps_tell_of_now_and_histograms_of_what_ended(inter_token, step, seconds):
    variant = Variant(latency={"inter_token": inter_token}, tells={Signal.STEP_SECONDS: step})
    state = service_state(variant, settings={"attainment_margin": 0.0})

    assert current_percentile(state, state.inter_token) == pytest.approx(seconds, rel=0.01)


def test_latency_is_judged_at_the_percentile_that_the_error_budget_asks_for():
    unspent = {"budget": ErrorBudget(20_000.0, 0.0, NOW)}
    variant = Variant(latency={"inter_token": 0.03}, tells={Signal.STEP_SECONDS: None})

    eased = service_state(variant, memory=unspent)
    usual = service_state(variant)

    assert current_percentile(eased, eased.inter_token) < current_percentile(usual, usual.inter_token)


def test_of_few_requests_there_is_no_percentile():
    state = service_state(Variant(replicas=1, rate=0.3))

    assert current_percentile(state, state.inter_token) is None
    assert current_percentile(state, state.ttft) is None


def test_fresh_pods_do_not_count():
    fresh = [pod("a100-0", served=90.0)]
    state = service_state(Variant(replicas=1, pods=fresh, latency={"ttft": 5.0}))

    assert current_percentile(state, state.ttft) is None
    assert replace(state, ttft=replace(state.ttft, warmed_up=state.ttft.all_pods)).ttft.measured(20.0) > 5.0
