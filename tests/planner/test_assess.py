"""Stage `assess`: what the metrics allow."""

import pytest
from states import NOW, Variant, service_state

from pertoken.domain.metrics import MetricsHealth
from pertoken.domain.plan import Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.signal import Signal
from pertoken.planner.assess import assess, long_queue
from pertoken.planner.assessment import Grade
from pertoken.planner.needs import Purpose
from pertoken.planner.proposal import begun

QUEUE = {("llm", "chat"): 5.0}
QUIET = dict.fromkeys((Signal.RUNNING, Signal.WAITING), 0.0)
NOT_TOLD = {Signal.WAITING: None}
DOWN = MetricsHealth(ok=False, why="connection refused")


def assessed(*variants, **state):
    return assess(begun(service_state(*variants, **state)))


@pytest.mark.parametrize(
    ("variant", "state", "grade", "verdict", "reason", "words"),
    [
        (Variant(), {}, Grade.NORMAL, Verdict.TRUE, Reason.METRICS_FRESH, "2 pods, oldest sample 5 s"),
        (Variant(tells=QUIET), {}, Grade.NORMAL, Verdict.TRUE, Reason.NO_TRAFFIC, "2 pods"),
        (Variant(tells={Signal.WAITING: 16.0}), {}, Grade.PANIC, Verdict.TRUE, Reason.METRICS_FRESH, "2 pods"),
        (Variant(tells={Signal.WAITING: 8.0}), {}, Grade.NORMAL, Verdict.TRUE, Reason.METRICS_FRESH, "2 pods"),
        (Variant(), {"memory": {"panic_until": NOW + 1}}, Grade.PANIC, Verdict.TRUE, Reason.METRICS_FRESH, "2 pods"),
        (
            Variant(),
            {"metrics_profile": "none"},
            Grade.HOLD,
            Verdict.FALSE,
            Reason.METRICS_MISSING,
            "profile 'none'; the administrator set up default",
        ),
        (
            Variant(),
            {"metrics": {"health": DOWN}},
            Grade.HOLD,
            Verdict.FALSE,
            Reason.PROMETHEUS_UNREACHABLE,
            "connection refused",
        ),
        (
            Variant(),
            {"metrics": {"health": MetricsHealth(ok=False, partial=True)}},
            Grade.HOLD,
            Verdict.FALSE,
            Reason.PROMETHEUS_PARTIAL,
            "no answer",
        ),
        (Variant(silent=2), {}, Grade.HOLD, Verdict.FALSE, Reason.METRICS_MISSING, "no series of the 2"),
        (
            Variant(silent=2),
            {"metrics": {"gateway_queue": QUEUE}},
            Grade.UP_ONLY,
            Verdict.FALSE,
            Reason.METRICS_MISSING,
            "no series of the 2",
        ),
        (Variant(), {"metrics": {"fresh_seconds": 3.0}}, Grade.HOLD, Verdict.FALSE, Reason.METRICS_STALE, "is 5 s old"),
        (Variant(silent=1), {}, Grade.UP_ONLY, Verdict.FALSE, Reason.METRICS_STALE, "1 of 2 serving pods"),
        (Variant(tells=NOT_TOLD), {}, Grade.UP_ONLY, Verdict.FALSE, Reason.SIGNALS_MISSING, "waiting requests"),
        (
            Variant(),
            {"memory": {"fresh_since": NOW - 30.0}},
            Grade.UP_ONLY,
            Verdict.TRUE,
            Reason.METRICS_WARMING_UP,
            "30 s of the 60 s rate window",
        ),
        (Variant(replicas=0), {}, Grade.NORMAL, Verdict.TRUE, Reason.NO_TRAFFIC, "no replicas"),
        (Variant(ready=0), {}, Grade.UP_ONLY, Verdict.UNKNOWN, Reason.METRICS_WARMING_UP, "0 of 2 replicas serve"),
    ],
    ids=[
        "good",
        "nothing asked for",
        "long queue",
        "queue",
        "long queue a moment ago",
        "no profile",
        "unreachable",
        "partial",
        "no series",
        "no series, but the gateway's queue",
        "old",
        "one pod silent",
        "one signal missing",
        "after a gap",
        "no replicas",
        "starting",
    ],
)
def test_grades(variant, state, grade, verdict, reason, words):
    proposal = assessed(variant, **state)
    assessment = proposal.assessment

    assert (assessment.grade, assessment.condition.verdict, assessment.condition.reason) == (grade, verdict, reason)
    assert words in assessment.condition.message
    assert [(step.stage, step.after, step.reason) for step in proposal.trace] == [
        ("assess", grade.name.lower(), reason)
    ]


@pytest.mark.parametrize(
    ("grade", "holds", "shrinks", "caps"),
    [
        (Grade.HOLD, True, False, False),
        (Grade.UP_ONLY, False, False, False),
        (Grade.NORMAL, False, True, True),
        (Grade.PANIC, False, False, True),
    ],
)
def test_what_a_grade_allows(grade, holds, shrinks, caps):
    variant = {
        Grade.HOLD: Variant(silent=2),
        Grade.UP_ONLY: Variant(silent=1),
        Grade.NORMAL: Variant(),
        Grade.PANIC: Variant(tells={Signal.WAITING: 60.0}),
    }[grade]
    assessment = assessed(variant).assessment

    assert (assessment.holds, assessment.may_shrink, assessment.may_change_cap) == (holds, shrinks, caps)


def test_what_is_not_told_forbids_what_needs_it_and_names_the_pods():
    assessment = assessed(Variant(tells={Signal.PROMPT_TOKENS_PER_SECOND: None})).assessment

    assert not assessment.allows(Purpose.DEMAND)
    assert not assessment.allows(Purpose.SCALE_DOWN)
    assert "a100-0" in assessment.condition.message
    assert "prompt tokens" in assessment.condition.message


def test_fresh_since_is_kept_and_begins_anew_after_a_gap():
    assert assessed().assessment.fresh_since == NOW - 3600.0
    assert assessed(memory={"fresh_since": None}).assessment.fresh_since == NOW
    assert assessed(Variant(silent=1)).assessment.fresh_since is None


@pytest.mark.parametrize(("waiting", "ready", "long"), [(8.0, 2, False), (8.1, 2, True), (8.0, 0, False)])
def test_a_long_queue_is_counted_per_serving_replica(waiting, ready, long):
    state = service_state(
        Variant(ready=ready, tells={Signal.WAITING: waiting}), metrics={"gateway_queue": {("llm", "chat"): 0.0}}
    )

    assert long_queue(state) == long
