"""Words for people, from a decision's values and trace."""

import pytest

from pertoken.domain.plan import DemandFigures, VariantDecision
from pertoken.domain.reasons import Reason
from pertoken.domain.trace import LatencyFeedback, ModelSizing, Shared
from pertoken.planner.explain import headline, sentence, why, why_scaled
from pertoken.planner.proposal import step

SIZED = step(
    "size", (2, 4), Reason.DEMAND_ROSE, ModelSizing(20.0, 22.5, 7.83, 60.0, "kv", 165.0, 0.1, 0.9), variant="a"
)
LATE = step("feedback", (2, 3), Reason.LATENCY_AT_RISK, LatencyFeedback("ttft", 3.0, 2.0, 0.8), variant="a")
TAKEN = step("reclaim", (4, 3), Reason.RECLAIMED_FOR_PRIORITY, Shared("llm/vip is short of GPUs"), variant="a")


def test_a_sentence_has_the_numbers():
    variants = [
        VariantDecision("a", 3, 4, 3, Reason.DEMAND_ROSE, capacity_per_replica=1566.0),
        VariantDecision("b", 1, 1, 1, Reason.AT_DESIRED),
    ]
    demand = DemandFigures(
        output_tokens_per_second=4100.0, forecast_output_tokens_per_second=5200.0, lead_seconds=165.0, waiting=7.0
    )

    assert sentence(variants, demand, ["pool a100 is full"]) == (
        "a: 3 -> 4 replicas, demand rose (1566 output tokens/s per replica); b: 1 replicas, replicas match demand; "
        "demand 4100 output tokens/s, 5200 expected in 165 s, 7 waiting; pool a100 is full"
    )
    assert sentence(variants[1:], DemandFigures(), []) == "b: 1 replicas, replicas match demand"


@pytest.mark.parametrize(
    ("reasons", "limits", "first"),
    [
        ([Reason.DEMAND_ROSE], [], Reason.DEMAND_ROSE),
        ([Reason.AT_DESIRED], [], Reason.AT_DESIRED),
        ([Reason.DEMAND_ROSE], [Reason.POOL_EXHAUSTED], Reason.POOL_EXHAUSTED),
        ([Reason.DEMAND_ROSE, Reason.FOREIGN_AUTOSCALER], [Reason.POOL_EXHAUSTED], Reason.FOREIGN_AUTOSCALER),
        ([], [Reason.TARGET_NOT_FOUND], Reason.TARGET_NOT_FOUND),
        ([], [], Reason.AT_DESIRED),
    ],
)
def test_the_gravest_reason_is_the_headline(reasons, limits, first):
    assert headline(reasons, limits) is first


@pytest.mark.parametrize(
    ("reason", "trace", "words"),
    [
        (Reason.DEMAND_ROSE, [], "2 -> 4 replicas: DemandRose"),
        (
            Reason.DEMAND_ROSE,
            [SIZED],
            "2 -> 4 replicas: DemandRose (demand 20 requests/s, with head-room 22.5, one replica sustains 7.83)",
        ),
        (
            Reason.LATENCY_AT_RISK,
            [LATE],
            "2 -> 4 replicas: LatencyAtRisk (measured ttft, at 3 s, objective 2 s)",
        ),
        (
            Reason.RECLAIMED_FOR_PRIORITY,
            [SIZED, TAKEN],
            "2 -> 4 replicas: ReclaimedForPriority (llm/vip is short of GPUs)",
        ),
    ],
    ids=["no numbers", "the model's", "latency", "reclaimed"],
)
def test_why_a_workload_is_scaled(reason, trace, words):
    assert why_scaled("a", 2, 4, reason, trace) == words
    assert why_scaled("another", 2, 4, reason, trace) == words.split(" (")[0]


def test_a_reason_without_words_of_its_own_is_its_code():
    assert why(Reason.POOLS_OVERLAP) == "PoolsOverlap"
    assert why(Reason.DEMAND_ROSE) == "demand rose"
