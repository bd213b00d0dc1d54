"""Finished tokens from counters, and which pods do not tell theirs."""

from dataclasses import replace

import pytest
from accounts import pod, service, snapshot, tells, view, world

from pertoken.accounting.billed import billed_service
from pertoken.accounting.cost_index import Tokens
from pertoken.accounting.counters import all_told, finished_since, lacks
from pertoken.accounting.ledger import PodTotals, ServiceLedger
from pertoken.domain.metrics import Offer
from pertoken.domain.service import EngineKind
from pertoken.domain.signal import Counter

NOW = 1000.0
CLOSED = 900.0


def ledger(before=None):
    return ServiceLedger(
        "u", counters={} if before is None else {"uid-chat-0": before}, opened_at=0.0, closed_at=CLOSED
    )


@pytest.mark.parametrize(
    ("before", "now", "created", "finished", "kept"),
    [
        (PodTotals(5, 50, 10, 0), (8, 90, 25), 0, Tokens(3, 40, 0, 15), PodTotals(8, 90, 25, 0)),
        (PodTotals(5, 50, 10, 0), (2, 20, 4), 0, Tokens(2, 20, 0, 4), PodTotals(2, 20, 4, 0)),
        (PodTotals(5, 50, 10, 0), None, 0, Tokens(), PodTotals(5, 50, 10, 0)),
        (None, (8, 90, 25), 0, Tokens(), PodTotals(8, 90, 25, 0)),
        (None, (8, 90, 25), 950, Tokens(8, 90, 0, 25), PodTotals(8, 90, 25, 0)),
        (None, None, 950, Tokens(), None),
    ],
    ids=["more", "a restart", "not told now", "older than the account", "newer than the account", "never told"],
)
def test_what_finished_since_the_last_entry(before, now, created, finished, kept):
    fact = pod(created_at=created)
    series = {} if now is None else {fact.uid: tells(finished=now)}
    tokens, counters = finished_since(ledger(before), [fact], series)

    assert tokens == finished
    assert counters == ({} if kept is None else {fact.uid: kept})


@pytest.mark.parametrize(
    "left_out", [Counter.FINISHED_REQUESTS, Counter.FINISHED_INPUT_TOKENS, Counter.FINISHED_OUTPUT_TOKENS]
)
def test_half_of_the_counters_is_none(left_out):
    whole = tells(finished=(8, 90, 25))
    half = replace(whole, counters={kind: value for kind, value in whole.counters.items() if kind is not left_out})
    before = PodTotals(5, 50, 10, 0)
    tokens, counters = finished_since(ledger(before), [pod()], {"uid-chat-0": half})

    assert tokens == Tokens()
    assert counters == {"uid-chat-0": before}


def test_cached_tokens_never_exceed_the_prompts():
    whole = tells(finished=(8, 90, 25))
    cached = replace(whole, counters={**whole.counters, Counter.CACHED_INPUT_TOKENS: 70.0})
    tokens, _ = finished_since(ledger(PodTotals(5, 50, 10, 0)), [pod()], {"uid-chat-0": cached})

    assert tokens == Tokens(3, 40, 40, 15)


QUIET = {"running": 0.0, "waiting": 0.0}


@pytest.mark.parametrize(
    ("pods", "told", "missing"),
    [
        ([pod()], [tells(finished=(1, 1, 1))], []),
        ([pod()], [tells()], ["chat-0"]),
        ([pod(), pod("chat-1")], [tells(finished=(1, 1, 1)), tells("chat-1")], ["chat-1"]),
        ([pod(), pod("chat-1")], [tells(finished=(1, 1, 1))], ["chat-1"]),
        ([pod(ready=NOW - 30)], [tells()], []),
        ([pod(ready=None)], [tells()], []),
        ([pod(terminating=True)], [tells()], []),
        ([], [], []),
    ],
    ids=["told", "no counters", "one of two", "no series", "just ready", "not ready", "on its way out", "no pods"],
)
def test_who_does_not_tell_what_finished(pods, told, missing):
    spec = service()
    billed = billed_service(view(spec, pods), world(view(spec, pods), metrics=snapshot(*told)), NOW)

    assert [lack.pods for lack in lacks(billed)] == ([tuple(missing)] * 3 if missing else [])
    assert all_told(billed) == (not missing)


def test_an_engine_whose_counters_begin_with_traffic_lacks_nothing_before_it():
    metrics = replace(
        snapshot(replace(tells(**QUIET), engine="vllm")), offers={"vllm": Offer(begins_with_traffic=True)}
    )
    billed = billed_service(view(service(), [pod()]), world(view(service(), [pod()]), metrics=metrics), NOW)

    assert lacks(billed) == ()


def test_an_engine_that_no_model_describes_need_not_tell():
    spec = service()
    spec = replace(spec, variants=(replace(spec.variants[0], engine=EngineKind.GENERIC),))
    seen = view(spec, [pod()])

    assert all_told(billed_service(seen, world(seen, metrics=snapshot(tells())), NOW))
    assert not all_told(billed_service(seen, world(seen, metrics=snapshot()), NOW))


@pytest.mark.parametrize(
    "metrics", [snapshot(tells(finished=(1, 1, 1)), ok=False), None], ids=["no answer", "no profile"]
)
def test_without_metrics_nothing_is_told(metrics):
    seen = view(service(metrics_profile="default" if metrics else "gone"), [pod()])

    assert not all_told(billed_service(seen, world(seen, metrics=metrics), NOW))
