"""A signal that a pod does not tell is missing, never zero: what needs it is not decided, everything else is."""

from dataclasses import replace

import pytest
from lab import generic, plant, service_spec, variant_spec

from pertoken.domain.metrics import Offer
from pertoken.domain.plan import Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Batching, BatchingMode
from pertoken.domain.signal import Counter, LatencyKind, Signal

RATES = frozenset(signal for signal in Signal if signal.value.endswith("per_second")) | {
    Signal.DECODING_SEQUENCES,
    Signal.STEP_SECONDS,
    Signal.TTFT_MEAN_SECONDS,
}
HISTOGRAMS = frozenset(LatencyKind)
NEEDED = (Signal.RUNNING, Signal.WAITING, Signal.PROMPT_TOKENS_PER_SECOND, Signal.GENERATION_TOKENS_PER_SECOND)


class Veil:
    """Hides signals from what a plant shows, on all pods or on the named ones."""

    def __init__(self, fleet, signals=(), histograms=(), counters=(), pods=None) -> None:
        self.hidden = frozenset((*signals, *histograms, *counters))
        self.on, self.pods, self.show = False, pods, fleet.metrics
        fleet.metrics = self.metrics

    def metrics(self):
        shown = self.show()
        if not self.on:
            return shown
        return replace(shown, pods={key: self.veiled(key, pod) for key, pod in shown.pods.items()})

    def veiled(self, key, pod):
        if self.pods is not None and key.name not in self.pods:
            return pod
        return replace(
            pod,
            values={name: value for name, value in pod.values.items() if name not in self.hidden},
            histograms={name: value for name, value in pod.histograms.items() if name not in self.hidden},
            counters={name: value for name, value in pod.counters.items() if name not in self.hidden},
        )


def busy(**changes):
    return plant(rate=20.0, replicas=3, **changes)


@pytest.mark.parametrize(
    "hidden",
    [
        *(frozenset({signal}) for signal in NEEDED),
        RATES,
        RATES | HISTOGRAMS,
        HISTOGRAMS,
        *((frozenset(Signal) - {left}) | HISTOGRAMS for left in Signal),
    ],
    ids=lambda hidden: "-".join(sorted(hidden)) if len(hidden) < 4 else f"{len(hidden)} hidden",
)
def test_nothing_falls_and_nothing_is_learnt_while_a_needed_signal_is_missing(hidden):
    fleet = busy()
    fleet.run(900)
    veil = Veil(fleet, signals=hidden & set(Signal), histograms=hidden & HISTOGRAMS)
    before, memory = fleet.replicas(), fleet.memory.services["llm/chat"]
    fleet.rates["chat"] = 20.0
    veil.on = True
    lowest = []
    fleet.run(900, watch=lambda plant, _: lowest.append(plant.replicas()))
    assert min(lowest) >= before
    after = fleet.memory.services["llm/chat"]
    # What is missing leaves no zeros behind.
    missing = not hidden.isdisjoint(NEEDED)
    if missing:
        assert after.demand[-1].at <= memory.demand[-1].at
    assert after.shape.output_tokens == pytest.approx(memory.shape.output_tokens, rel=0.02)
    assert after.idle_since is None
    condition = fleet.decision().conditions["MetricsAvailable"]
    assert condition.verdict is Verdict.FALSE
    if condition.reason is not Reason.METRICS_MISSING:  # no pod tells anything
        assert condition.reason is Reason.SIGNALS_MISSING
        assert "chat-" in condition.message


@pytest.mark.parametrize("hidden", NEEDED)
def test_one_pod_that_does_not_tell_is_named(hidden):
    fleet = busy()
    fleet.run(1200)
    blind = fleet.ready("chat")[0].name
    veil = Veil(fleet, signals=[hidden], pods={blind})
    veil.on = True
    before = fleet.replicas()
    fleet.rates["chat"] = 2.0
    fleet.run(1800)
    assert fleet.replicas() == before
    message = fleet.decision().conditions["MetricsAvailable"].message
    assert f"of {blind}." in message
    assert "scale-down" in message


def test_the_fleet_does_not_overshoot_when_signals_come_back():
    fleet = busy()
    fleet.run(1800)
    before = fleet.replicas()
    veil = Veil(fleet, signals=RATES, histograms=HISTOGRAMS)
    veil.on = True
    fleet.run(900)
    veil.on = False
    highest = []
    fleet.run(1200, watch=lambda plant, _: highest.append(plant.replicas()))
    assert max(highest) <= before + 1


def test_demand_that_is_seen_in_part_still_adds_replicas():
    fleet = busy()
    fleet.run(1200)
    before = fleet.replicas()
    veil = Veil(fleet, signals=[Signal.GENERATION_TOKENS_PER_SECOND], pods={fleet.ready("chat")[0].name})
    veil.on = True
    fleet.rates["chat"] = 70.0
    fleet.run(600)
    assert fleet.replicas() > before


@pytest.mark.parametrize("hidden", [NEEDED, tuple(Signal), (Signal.RUNNING,), (Signal.PROMPT_TOKENS_PER_SECOND,)])
def test_a_service_whose_traffic_is_not_told_is_not_idle(hidden):
    spec = service_spec(min_replicas=0, variants=(variant_spec("chat", min_replicas=0),), idle_seconds=120)
    fleet = plant(rate=10.0, replicas=2, services={"chat": spec})
    fleet.deployments["chat"] = replace_spec(fleet.deployments["chat"], spec)
    fleet.run(900)
    Veil(fleet, signals=hidden, histograms=HISTOGRAMS).on = True
    fleet.run(1800)
    assert fleet.replicas() >= 1
    assert fleet.decision().variants[0].reason is not Reason.IDLE


def replace_spec(deployment, spec):
    deployment.spec = spec.variants[0]
    return deployment


def test_no_replicas_and_silent_engines_are_no_fault():
    spec = service_spec(min_replicas=0, variants=(variant_spec("chat", min_replicas=0),), idle_seconds=60)
    fleet = plant(rate=0.0, replicas=1, services={"chat": spec})
    fleet.deployments["chat"] = replace_spec(fleet.deployments["chat"], spec)
    fleet.run(1800)
    assert fleet.replicas() == 0
    condition = fleet.decision().conditions["MetricsAvailable"]
    assert (condition.verdict, condition.reason) == (Verdict.TRUE, Reason.NO_TRAFFIC)


def test_an_engine_that_never_had_latency_histograms_is_still_scaled():
    fleet = plant(rate=6.0, replicas=5, with_histograms=False)
    fleet.run(2400)
    assert fleet.replicas() < 5
    assert fleet.decision().conditions["MetricsAvailable"].verdict is Verdict.TRUE


@pytest.mark.parametrize(
    "counters",
    [(Counter.FINISHED_OUTPUT_TOKENS,), (Counter.FINISHED_REQUESTS,), (Counter.FINISHED_INPUT_TOKENS,), tuple(Counter)],
)
def test_no_cost_index_is_made_of_tokens_that_nobody_tells(counters):
    fleet = busy()
    fleet.run(1800)
    index = fleet.decision().cost.index
    veil = Veil(fleet, counters=counters)
    veil.on = True
    fleet.run(900)
    decision = fleet.decision()
    assert decision.cost.index is None
    verdict = decision.conditions["WithinCostTarget"]
    assert (verdict.verdict, verdict.reason) == (Verdict.UNKNOWN, Reason.SIGNALS_MISSING)
    # The totals catch up as soon as they are told again.
    veil.on = False
    fleet.run(60)
    assert fleet.decision().cost.index == pytest.approx(index, rel=0.1)


def test_cached_tokens_that_come_and_go_are_not_counted_twice():
    fleet = busy()
    show = fleet.metrics
    cached = {"on": True}

    def metrics():
        shown = show()
        counters = {Counter.CACHED_INPUT_TOKENS} if cached["on"] else set()
        return replace(
            shown,
            pods={
                key: replace(
                    pod,
                    counters={
                        **pod.counters,
                        **dict.fromkeys(counters, pod.counters[Counter.FINISHED_INPUT_TOKENS] / 2),
                    },
                )
                for key, pod in shown.pods.items()
            },
        )

    fleet.metrics = metrics
    fleet.run(600)
    cached["on"] = False
    fleet.run(300)
    cached["on"] = True
    fleet.run(300)
    cost = fleet.decision().cost
    assert cost.cached_input_tokens <= cost.input_tokens / 2 * 1.01


def test_a_generic_engine_without_utilization_holds():
    fleet = plant(rate=12.0, replicas=4)
    fleet.services["chat"] = generic(fleet.services["chat"])
    fleet.deployments["chat"] = replace_spec(fleet.deployments["chat"], fleet.services["chat"])
    veil = Veil(fleet, signals=[Signal.GPU_UTILIZATION])
    fleet.run(600)
    before = fleet.replicas()
    veil.on = True
    fleet.rates["chat"] = 0.5
    fleet.run(1800)
    assert fleet.replicas() == before


def test_metrics_lost_in_the_middle_of_a_roll_keep_the_extra_replica():
    fleet = plant(rate=14, replicas=3, gpus=8, cap=256, slow=1.18)
    fixed = variant_spec(batching=Batching(BatchingMode.FIXED, max_sequences=96))
    fleet.services["chat"], fleet.deployments["chat"].spec = service_spec(variants=(fixed,)), fixed
    for _ in range(100):
        fleet.step()
        roll = fleet.memory.services["llm/chat"].variants["a100"].roll
        if roll is not None and roll.surge and fleet.replicas() > roll.base:
            break
    else:
        pytest.fail("no roll with an extra replica began")
    with_surge = fleet.replicas()
    fleet.outage = True
    lowest = []
    fleet.run(600, watch=lambda plant, _: lowest.append(plant.replicas()))
    assert min(lowest) == max(lowest) == with_surge


@pytest.mark.parametrize(("queue", "falls"), [(0.0, True), (500.0, False)])
def test_low_utilization_takes_no_replica_from_a_queue(queue, falls):
    fleet = plant(rate=1.0, replicas=8)
    fleet.services["chat"] = generic(fleet.services["chat"])
    fleet.deployments["chat"] = replace_spec(fleet.deployments["chat"], fleet.services["chat"])
    show = fleet.metrics
    fleet.metrics = lambda: replace(show(), gateway_queue={("llm", "chat"): queue})
    fleet.run(2400)
    assert (fleet.replicas() < 8) is falls


def test_an_engine_that_never_has_a_signal_is_run_by_what_it_has():
    fleet = plant(rate=3.0, replicas=6, with_histograms=False)
    hidden = {Signal.PROMPT_TOKENS_PER_SECOND, Signal.CACHED_PROMPT_TOKENS_PER_SECOND}
    Veil(fleet, signals=hidden).on = True
    show = fleet.metrics
    offer = Offer(ever=frozenset(Signal) - hidden)

    def metrics():
        shown = show()
        return replace(
            shown,
            offers={"old": offer},
            pods={key: replace(pod, engine="old") for key, pod in shown.pods.items()},
        )

    fleet.metrics = metrics
    fleet.run(2400)
    assert fleet.decision().conditions["MetricsAvailable"].verdict is Verdict.TRUE
    assert fleet.replicas() < 6


@pytest.mark.parametrize(("begins", "busy", "falls"), [(True, False, True), (False, False, False), (True, True, False)])
def test_a_pod_without_requests_yet_has_no_histograms_on_engines_that_begin_with_traffic(begins, busy, falls):
    fleet = plant(rate=30.0, replicas=6)
    fleet.run(900)
    fresh = {pod.name for pod in fleet.ready("chat")[:2]}
    show = fleet.metrics
    offer = Offer(ever=frozenset(Signal), ever_histograms=HISTOGRAMS, begins_with_traffic=begins)

    def metrics():
        shown = show()
        pods = {}
        for key, pod in shown.pods.items():
            quiet = {} if busy else {Signal.RUNNING: 0.0, Signal.WAITING: 0.0}
            veiled = replace(pod, values={**pod.values, **quiet}, histograms={}, counters={})
            pods[key] = replace(veiled if key.name in fresh else pod, engine="row")
        return replace(shown, offers={"row": offer}, pods=pods)

    fleet.metrics = metrics
    before = fleet.replicas()
    fleet.rates["chat"] = 0.5
    fleet.run(1500)
    assert (fleet.replicas() < before) is falls
