"""The stall objective: measured by the gaps between tokens, told in the status, counted in what is attained."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lab import plant, service_spec, spread

from pertoken.domain.plan import Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.service import LatencyObjective
from pertoken.domain.signal import LatencyKind, Signal

OWED = LatencyObjective(ttft_seconds=2.0, inter_token_seconds=0.04, stall_seconds=0.1)


def stalling(gap, *, rate=8.0, lacks=False, latency=OWED):
    """Two replicas whose gaps between tokens spread around so many seconds; None where nobody tells them."""
    fleet = plant(rate=rate, replicas=2)
    fleet.services["chat"] = service_spec(latency=latency)
    show = fleet.metrics

    def metrics():
        snapshot = show()
        pods = {}
        for key, pod in snapshot.pods.items():
            tokens = pod.values.get(Signal.GENERATION_TOKENS_PER_SECOND)
            told = {} if gap is None or tokens is None else {LatencyKind.INTER_TOKEN: spread(gap, tokens, sigma=0.3)}
            missing = frozenset({LatencyKind.INTER_TOKEN}) if lacks else frozenset()
            pods[key] = replace(pod, histograms={**pod.histograms, **told}, engine="tgi", lacks=missing)
        return replace(snapshot, pods=pods)

    fleet.metrics = metrics
    return fleet


@pytest.mark.parametrize(
    ("gap", "verdict", "reason", "words"),
    [
        (0.02, Verdict.TRUE, Reason.WITHIN_LATENCY_TARGET, "p95 gap between tokens"),
        (0.3, Verdict.FALSE, Reason.LATENCY_ABOVE_TARGET, "objective 100 ms"),
        (None, Verdict.UNKNOWN, Reason.SIGNALS_MISSING, "no pod tells their gap between tokens"),
    ],
)
def test_the_condition_judges_single_gaps(gap, verdict, reason, words):
    fleet = stalling(gap)
    fleet.run(180.0)
    told = fleet.decision().conditions["WithinLatencyTarget"]

    assert (told.verdict, told.reason) == (verdict, reason)
    assert words in told.message
    latency = fleet.decision().latency
    assert (latency.stall is None) == (gap is None)
    if gap is not None:
        assert latency.stall_low <= latency.stall <= latency.stall_high


def test_an_engine_without_gaps_switches_this_objective_off_and_no_other():
    fleet = stalling(None, lacks=True)
    fleet.run(180.0)
    conditions = fleet.decision().conditions

    assert conditions["WithinLatencyTarget"].reason is Reason.ENGINE_LACKS_SIGNALS
    assert "objective on stalls" in conditions["WithinLatencyTarget"].message
    assert conditions["MetricsAvailable"].verdict is Verdict.TRUE


def test_long_gaps_are_missed_requests_of_the_budget_and_call_for_replicas():
    good, bad = (stalling(gap, rate=12.0) for gap in (0.02, 0.3))
    for fleet in (good, bad):
        fleet.run(300.0)
    missed = [fleet.memory.service(fleet.services["chat"].key).budget.share_missed for fleet in (good, bad)]

    assert missed[0] < 0.1 < missed[1]
    assert bad.replicas() > good.replicas()


def test_without_the_objective_gaps_decide_nothing():
    fleet = stalling(0.3, latency=replace(OWED, stall_seconds=None))
    fleet.run(180.0)

    assert fleet.decision().conditions["WithinLatencyTarget"].verdict is Verdict.TRUE
    assert fleet.decision().latency.stall is None
    assert fleet.replicas() == 2
