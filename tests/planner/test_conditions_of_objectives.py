"""Conditions on objectives: money and latency, and the figures behind them."""

from dataclasses import replace
from decimal import Decimal

import pytest
from lab import pool_spec, spread, variant_spec
from states import H100, Variant, proposal, service_state

from pertoken.domain.cost import CostFigures
from pertoken.domain.plan import Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.service import CostObjective, LatencyObjective, PriceList
from pertoken.domain.signal import LatencyKind, Signal
from pertoken.planner.conditions.cost import cost_condition, cost_figures
from pertoken.planner.conditions.latency import latency_condition, latency_figures
from pertoken.planner.size.stage import size

OBJECTIVE = CostObjective(PriceList(Decimal(1), Decimal(1), Decimal(1)))


REACHABLE = {"reachable": 0.5, "reachable_index": 0.5}


OUT_OF_REACH = {"reachable": 1.2, "reachable_index": 1.2}


INF = float("inf")


FORTY = LatencyObjective(None, 0.04)


@pytest.mark.parametrize(
    ("objective", "figures", "priced", "verdict", "reason"),
    [
        (None, {}, True, Verdict.UNKNOWN, Reason.NO_COST_TARGET),
        (OBJECTIVE, {}, False, Verdict.UNKNOWN, Reason.NO_PRICE),
        (OBJECTIVE, {"finished_requests": 3.0}, True, Verdict.UNKNOWN, Reason.INSUFFICIENT_TRAFFIC),
        (OBJECTIVE, {"index": 0.9}, True, Verdict.TRUE, Reason.WITHIN_COST_TARGET),
        (OBJECTIVE, {"index": 1.0}, True, Verdict.TRUE, Reason.WITHIN_COST_TARGET),
        (OBJECTIVE, {"index": 1.4}, True, Verdict.FALSE, Reason.COST_ABOVE_TARGET),
        (OBJECTIVE, {"index": 1.4, **REACHABLE}, True, Verdict.FALSE, Reason.COST_ABOVE_TARGET),
        (OBJECTIVE, {"index": 1.4, **OUT_OF_REACH}, True, Verdict.FALSE, Reason.COST_TARGET_UNREACHABLE),
    ],
)
def test_cost_conditions(objective, figures, priced, verdict, reason):
    condition = cost_condition(objective, CostFigures(**{"finished_requests": 100.0, **figures}), priced, 20)

    assert (condition.verdict, condition.reason) == (verdict, reason)


def test_an_unreachable_cost_names_what_is_reachable():
    figures = CostFigures(index=1.4, finished_requests=100.0, reachable=1.2, reachable_index=1.25)

    assert "1.200 USD per 1M tokens (index 1.25)" in cost_condition(OBJECTIVE, figures, priced=True, enough=20).message


QUIET = {Signal.RUNNING: 0.0, Signal.GENERATION_TOKENS_PER_SECOND: 0.0}


def measured(edges, mean, latency, rate=5.0, tells=QUIET):
    """A state whose pods tell this distribution of the time per token."""
    state = service_state(Variant(rate=rate, tells=tells), latency=latency)
    told = {LatencyKind.TIME_PER_OUTPUT_TOKEN: spread(mean, rate, edges=edges)} if edges else {}
    histogram = told.get(LatencyKind.TIME_PER_OUTPUT_TOKEN)
    evidence = replace(state.inter_token, all_pods=histogram, warmed_up=histogram)
    return replace(state, inter_token=evidence)


@pytest.mark.parametrize(
    ("edges", "mean", "latency", "verdict", "reason"),
    [
        ((0.01, 0.04, 0.1, INF), 0.02, FORTY, Verdict.TRUE, Reason.WITHIN_LATENCY_TARGET),
        ((0.01, 0.04, 0.1, INF), 0.06, FORTY, Verdict.FALSE, Reason.LATENCY_ABOVE_TARGET),
        ((0.01, 0.025, 0.05, INF), 0.035, FORTY, Verdict.UNKNOWN, Reason.LATENCY_UNDECIDED),
        ((0.01, 0.025, 1.0, INF), 0.3, FORTY, Verdict.FALSE, Reason.LATENCY_ABOVE_TARGET),
        ((), 0.0, FORTY, Verdict.UNKNOWN, Reason.NO_TRAFFIC),
        ((0.01, 0.04, 0.1, INF), 0.0, FORTY, Verdict.UNKNOWN, Reason.NO_TRAFFIC),
        ((0.01, 0.04, INF), 0.02, LatencyObjective(), Verdict.UNKNOWN, Reason.NO_LATENCY_TARGET),
    ],
    ids=["within", "above", "inside a bucket", "inside a bucket but far", "no histogram", "no events", "no objective"],
)
def test_latency_conditions(edges, mean, latency, verdict, reason):
    condition = latency_condition(measured(edges, mean, latency), ())

    assert (condition.verdict, condition.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("edges", "lacks", "reason", "words"),
    [
        ((), (), Reason.SIGNALS_MISSING, "no pod tells their inter-token latency"),
        ((0.01, 0.04, INF), (), Reason.INSUFFICIENT_TRAFFIC, "within the rate window yet"),
        (
            (),
            (LatencyKind.TIME_PER_OUTPUT_TOKEN, LatencyKind.INTER_TOKEN),
            Reason.ENGINE_LACKS_SIGNALS,
            "(old 0.6 to 0.9) lacks inter-token latency; decisions that need it are off: objective on inter-token",
        ),
        ((), (LatencyKind.TIME_PER_OUTPUT_TOKEN,), Reason.SIGNALS_MISSING, "no pod tells"),
    ],
    ids=["not told", "no request has ended", "the engine has none", "the engine has another one"],
)
def test_full_traffic_without_a_latency_is_never_no_traffic(edges, lacks, reason, words):
    state = measured(edges, 0.0, FORTY, tells={})
    (variant,) = state.variants
    old = {"engine": "old", "release": "0.6 to 0.9", "lacks": frozenset(lacks), "histograms": {}}
    state = replace(
        state, variants=(replace(variant, measured=tuple(replace(pod, **old) for pod in variant.measured)),)
    )
    condition = latency_condition(state, ())

    assert (condition.verdict, condition.reason) == (Verdict.UNKNOWN, reason)
    assert words in condition.message


def test_figures_of_single_tokens_are_called_so():
    state = measured((0.01, 0.04, 0.1, INF), 0.02, FORTY)
    (variant,) = state.variants
    told = tuple(replace(pod, per_token=True) for pod in variant.measured)
    condition = latency_condition(replace(state, variants=(replace(variant, measured=told),)), ())

    assert condition.reason is Reason.WITHIN_LATENCY_TARGET
    assert "this engine version has no figure per request" in condition.message


def test_an_objective_that_no_number_of_replicas_keeps_is_named():
    asked = size(proposal(Variant(latency={"inter_token": 0.02}), latency=LatencyObjective(None, 0.005)))
    condition = latency_condition(asked.state, asked.variants)

    assert condition.reason is Reason.LATENCY_TARGET_UNREACHABLE
    assert "the objective is 5 ms: no number of replicas reaches it" in condition.message


def test_of_two_objectives_the_worse_one_is_told():
    state = service_state(Variant(latency={"ttft": 5.0}))
    figures = latency_figures(state)

    assert latency_condition(state, ()).message.startswith("p95 time to first token")
    assert figures.ttft_low <= figures.ttft <= figures.ttft_high
    assert figures.percentile == 95


def test_figures_of_money_come_from_the_cheapest():
    dear = Variant(variant_spec(name="dear", pool="h100"), pool=H100)
    asked = size(proposal(Variant(), dear))
    both, alone = cost_figures(asked.state, asked.variants), cost_figures(service_state(dear), ())

    assert both.reachable < alone.reachable
    assert both.marginal > 0.0
    assert alone.marginal is None
    free = proposal(Variant(pool={"price_per_gpu_hour": None}))
    assert cost_figures(free.state, free.variants).reachable is None
    assert pool_spec().price_per_gpu_hour == Decimal("2.00")
