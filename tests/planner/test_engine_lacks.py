"""What an engine's version does not have switches off the decisions that need it, and nothing else."""

from dataclasses import replace

import pytest
from lab import generic, plant
from states import Variant, service_state

from pertoken.domain.metrics import Offer
from pertoken.domain.needs import Need
from pertoken.domain.plan import Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.service import LatencyObjective
from pertoken.domain.signal import Counter, LatencyKind, Signal
from pertoken.planner.assess import assessment_of
from pertoken.planner.assessment import Grade
from pertoken.planner.needs import Purpose, engine_lacks

BOTH = LatencyObjective(1.0, 0.04)
TOKENS = frozenset({LatencyKind.TIME_PER_OUTPUT_TOKEN, LatencyKind.INTER_TOKEN})


def lacking(lacks, tells=None, **state):
    hidden = {signal: None for signal in lacks if isinstance(signal, Signal)}
    state_of = service_state(Variant(tells={**hidden, **(tells or {})}), **state)
    (variant,) = state_of.variants
    pods = tuple(
        replace(
            pod,
            engine="vllm",
            release="0.6 to 0.11",
            lacks=frozenset(lacks),
            histograms={kind: shown for kind, shown in pod.histograms.items() if kind not in lacks},
        )
        for pod in variant.measured
    )
    return replace(state_of, variants=(replace(variant, measured=pods),))


@pytest.mark.parametrize(
    ("lacks", "latency", "purposes"),
    [
        ((), BOTH, ()),
        (TOKENS, BOTH, (Purpose.TPOT,)),
        (TOKENS, LatencyObjective(1.0, None), ()),
        ((LatencyKind.TIME_PER_OUTPUT_TOKEN,), BOTH, ()),
        ((LatencyKind.TTFT,), BOTH, (Purpose.TTFT,)),
        ((LatencyKind.TTFT,), LatencyObjective(), ()),
        (
            (Signal.CACHED_PROMPT_TOKENS_PER_SECOND, Signal.REJECTIONS_PER_SECOND),
            BOTH,
            (Purpose.CACHED, Purpose.REFUSED),
        ),
        ((Signal.DECODING_SEQUENCES, Signal.STEP_SECONDS), BOTH, (Purpose.CALIBRATION,)),
        ((Signal.PREEMPTIONS_PER_SECOND,), BOTH, (Purpose.PREEMPTIONS,)),
        ((Signal.STEPS_PER_SECOND, Signal.PREFILL_MEAN_SECONDS, Signal.KV_CAPACITY_TOKENS), BOTH, ()),
    ],
)
def test_what_is_off_is_named_and_holds_nothing(lacks, latency, purposes):
    state = lacking(lacks, latency=latency)
    off = engine_lacks(state)
    assessment = assessment_of(state)

    assert tuple(purpose for lack in off for purpose in lack.purposes) == purposes
    assert assessment.grade is Grade.NORMAL
    assert assessment.condition.verdict is Verdict.TRUE
    assert assessment.condition.reason is (Reason.ENGINE_LACKS_SIGNALS if purposes else Reason.METRICS_FRESH)
    for purpose in purposes:
        assert f"decisions that need it are off: {', '.join(purposes)}" in assessment.condition.message
        assert "this engine version (vllm 0.6 to 0.11) lacks" in assessment.condition.message
        assert purpose in assessment.condition.message


def test_nobody_asks_is_said_before_what_the_engine_lacks():
    quiet = {Signal.RUNNING: 0.0, Signal.WAITING: 0.0}
    assert assessment_of(lacking(TOKENS, quiet, latency=BOTH)).condition.reason is Reason.NO_TRAFFIC


def test_an_engine_that_is_scaled_by_saturation_needs_other_things():
    lacks = (Signal.WAITING, Signal.KV_USAGE, Signal.CACHED_PROMPT_TOKENS_PER_SECOND)
    state = service_state(Variant(generic(service_state().spec).variants[0]))
    (variant,) = state.variants
    pods = tuple(
        replace(pod, values={Signal.RUNNING: 3.0, Signal.GPU_UTILIZATION: 0.5}, engine="triton", lacks=frozenset(lacks))
        for pod in variant.measured
    )
    (off,) = engine_lacks(replace(state, variants=(replace(variant, measured=pods),)))
    assert off.engine == "triton"
    assert off.purposes == (Purpose.QUEUE, Purpose.CACHE_USE)


@pytest.mark.parametrize(
    ("need", "lacks", "lacked"),
    [
        (Need("use", (Signal.KV_USAGE, Signal.GPU_UTILIZATION)), {Signal.KV_USAGE}, True),
        (Need("use", (Signal.KV_USAGE, Signal.WAITING)), {Signal.KV_USAGE}, False),
        (Need("gpu", (Signal.GPU_UTILIZATION,)), {Signal.KV_USAGE}, False),
        (Need("tokens", counters=(Counter.FINISHED_INPUT_TOKENS,)), {Counter.FINISHED_INPUT_TOKENS}, True),
        (Need("told", (Signal.RUNNING,)), {Signal.RUNNING}, False),
    ],
)
def test_a_need_is_lacked_where_no_alternative_is_there(need, lacks, lacked):
    (pod, *_) = service_state(Variant(tells={Signal.KV_USAGE: None, Signal.GPU_UTILIZATION: None})).variants[0].measured
    assert need.lacked(replace(pod, lacks=frozenset(lacks))) is lacked


def test_an_old_engine_is_scaled_like_any_other():
    """Such as vLLM up to 0.9: no cached tokens, no refusals, no time per output token of requests."""
    fleet = plant(rate=6.0, replicas=5)
    hidden = {Signal.CACHED_PROMPT_TOKENS_PER_SECOND, Signal.REJECTIONS_PER_SECOND}
    show = fleet.metrics

    def metrics():
        shown = show()
        pods = {
            key: replace(
                pod,
                engine="vllm",
                release="0.6 to 0.11",
                lacks=frozenset(hidden),
                per_token=True,
                values={signal: value for signal, value in pod.values.items() if signal not in hidden},
            )
            for key, pod in shown.pods.items()
        }
        offer = Offer(frozenset(), frozenset(), frozenset(Signal), frozenset(LatencyKind))
        return replace(shown, offers={"vllm": offer}, pods=pods)

    fleet.metrics = metrics
    fleet.run(2400)
    assert fleet.replicas() < 5
    conditions = fleet.decision().conditions
    available = conditions["MetricsAvailable"]
    assert (available.verdict, available.reason) == (Verdict.TRUE, Reason.ENGINE_LACKS_SIGNALS)
    assert "cached prompt tokens, refused requests" in available.message
    assert conditions["WithinLatencyTarget"].verdict is Verdict.TRUE
