"""The simulated cluster's delays and bill, and what Prometheus shows of it."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from pertoken.domain.signal import Counter, LatencyKind, Signal
from pertoken.settings import Settings
from pertoken_bench.cluster.metrics_source import SimulatedSource
from pertoken_bench.cluster.prometheus import PodSeries
from pertoken_bench.compiled_engine import layout as at
from pertoken_bench.policies.fixed import Schedule
from pertoken_bench.policy import Order, PodGauge, PodPhase, Total
from pertoken_bench.scenarios.prepare import prepare
from pertoken_bench.scenarios.scenario import parse
from pertoken_bench.simulation import Run

FOLDER = Path(__file__).resolve().parents[2] / "bench" / "scenarios"
BASE = yaml.safe_load((FOLDER / "azure-conv.yaml").read_text())
CHAT = ("chat", "a100")


def prepared(seed=0, **changes):
    content = copy.deepcopy(BASE)
    content["traces"]["chat"] |= {"durationSeconds": 600, "rateScale": 1}
    content["warmupSeconds"] = 0
    content |= changes
    return prepare(parse(content, FOLDER / "test.yaml"), seed)


class Script:
    """Orders by tick; notes what it saw."""

    def __init__(self, orders, period=15.0) -> None:
        self.period_seconds = period
        self.orders = dict(orders)
        self.seen = []

    def decide(self, seen):
        self.seen.append(seen)
        wanted = self.orders.get(round(seen.now - seen.start))
        return {} if wanted is None else {CHAT: wanted if isinstance(wanted, Order) else Order(wanted)}


def told(prometheus):
    """As the operator's metrics profile tells it, with the shipped windows."""
    return SimulatedSource(prometheus, Settings.model_construct().metrics_profile()).observe()


def ready_times(run):
    pods = [pod for work in run.cluster.workloads for pod in (*work.gone, *work.pods)]
    return sorted(pod.ready_at for pod in pods if pod.ready_at is not None and pod.ready_at > 0)


def test_replicas_serve_one_cold_start_after_the_order():
    run = Run(prepared(coldStartSeconds=100, coldStartSpread=0.1), Script({30: 4}), {"chat/a100": 2})
    run.go()
    times = ready_times(run)
    assert len(times) == 2
    assert all(130 + 90 <= moment <= 130 + 110 for moment in times) or all(120 <= t <= 140 for t in times)
    assert times[0] != times[1]
    assert run.cluster.scale_events == 1


def test_bill_runs_from_bound_to_deleted():
    """Two replicas for 600 s, and a third from 60 s until it has drained after 300 s."""
    run = Run(prepared(), Script({60: 3, 300: 2}), {"chat/a100": 2})
    run.go()
    seconds = run.cluster.bill[0].replica_seconds
    end = run.prepared.end
    assert 2 * end + 240 <= seconds <= 2 * end + 240 + run.prepared.scenario.timing.drain + 1
    assert run.cluster.bill[0].usd == pytest.approx(seconds / 3600 * 1.49)


def test_nothing_before_the_warm_up_is_billed_or_scored():
    whole, part = (Run(prepared(warmupSeconds=warm), Schedule({}), {"chat/a100": 2}) for warm in (0, 200))
    for run in (whole, part):
        run.go()
    assert part.cluster.bill[0].replica_seconds == pytest.approx(whole.cluster.bill[0].replica_seconds - 400)
    arrivals = whole.prepared.trace.arrival
    assert part.fleet.state.services_f[0, at.R_REQUESTS] == (arrivals >= 200).sum()
    assert whole.fleet.state.services_f[0, at.R_REQUESTS] == len(arrivals)


def test_a_draining_replica_finishes_its_requests_unless_it_takes_too_long():
    calm = Run(prepared(drainSeconds=120), Script({105: 1}), {"chat/a100": 3})
    hasty = Run(prepared(drainSeconds=0), Script({105: 1}), {"chat/a100": 3})
    for run in (calm, hasty):
        run.go()
    assert calm.fleet.state.services_f[0, at.R_LOST] == 0
    assert hasty.fleet.state.services_f[0, at.R_LOST] > 0
    for run in (calm, hasty):
        reals = run.fleet.state.services_f[0]
        assert reals[at.R_FINISHED] == reals[at.R_REQUESTS]


def test_the_gateway_holds_requests_while_nothing_serves():
    content = copy.deepcopy(BASE["services"])
    content[0]["spec"] |= {"minReplicas": 0, "wakeSignal": {"source": "GatewayQueue"}}
    content[0]["spec"]["variants"][0]["minReplicas"] = 0
    script = Script({30: 2})
    run = Run(prepared(services=content, coldStartSeconds=60), script, {"chat/a100": 0})
    run.go()
    held = next(seen.metrics for seen in script.seen).gateway_queue  # one Prometheus for all ticks
    assert held("chat") == 0  # at the end
    reals = run.fleet.state.services_f[0]
    assert reals[at.R_FINISHED] == reals[at.R_REQUESTS]
    first = run.fleet.trace.arrival[0]
    bins = reals[at.F_BINS : at.F_BINS + at.LATENCY_BINS]
    longest = at.LATENCY_FIRST * at.LATENCY_RATIO ** np.flatnonzero(bins)[-1]
    assert 75 - first < longest < 120


def test_a_full_pool_leaves_pods_pending_and_priority_decides():
    content = copy.deepcopy(BASE)
    second = copy.deepcopy(content["services"][0])
    second["metadata"]["name"] = "vip"
    second["spec"] |= {"priority": 10}
    second["spec"]["model"]["servedName"] = "vip"
    second["spec"]["variants"][0]["scaleTargetRef"]["name"] = "vip"
    content["services"].append(second)
    content["pools"][0]["spec"]["capacity"]["gpus"] = 4
    content["traces"] = {
        name: {"file": BASE["traces"]["chat"]["file"], "durationSeconds": 300} for name in ("chat", "vip")
    }
    content["warmupSeconds"] = 0

    class Greedy:
        period_seconds = 15.0

        def __init__(self) -> None:
            self.last = None

        def decide(self, seen):
            self.last = seen
            return {("chat", "a100"): Order(8), ("vip", "a100"): Order(3)}

    policy = Greedy()
    run = Run(prepare(parse(content, FOLDER / "test.yaml"), 0), policy, {"chat/a100": 1, "vip/a100": 1})
    run.go()
    chat, vip = (policy.last.services[name].variants["a100"] for name in ("chat", "vip"))
    assert (vip.ready, vip.pending) == (3, 0)
    assert (chat.ready, chat.pending) == (1, 7)
    assert policy.last.free_gpus == {"a100": 0}
    pending = [pod for pod in run.cluster.workloads[0].pods if pod.phase is PodPhase.PENDING]
    assert all(pod.unschedulable_since is not None for pod in pending)


def test_an_elastic_pool_brings_nodes_after_provisioning():
    pods = []
    for provisioning in (0, 200):
        script = Script({30: 12})
        run = Run(prepared(provisioningSeconds=provisioning, coldStartSeconds=50), script, {"chat/a100": 2})
        run.go()
        pods.append(ready_times(run))
    assert max(pods[0]) < 30 + 56 + 1
    early = [moment for moment in pods[1] if moment < 100]
    late = [moment for moment in pods[1] if moment > 230]
    assert len(early) == 6  # the node that is there holds eight
    assert len(late) == 4


def test_reclaims_and_failures_are_made_good():
    run = Run(
        prepared(reclaimsPerHour={"a100": 12}, failuresPerHour=6, coldStartSeconds=20), Schedule({}), {"chat/a100": 4}
    )
    run.go()
    assert len(run.cluster.workloads[0].gone) > 2
    assert len(run.cluster.workloads[0].staying()) == 4
    reals = run.fleet.state.services_f[0]
    assert reals[at.R_FINISHED] == reals[at.R_REQUESTS]


def test_caps_follow_restarts_and_live_caps_do_not_wait():
    script = Script({60: Order(cap=32), 120: Order(evict=()), 300: Order(live_cap=16)})
    run = Run(prepared(), script, {"chat/a100": 2})
    run.go()
    assert run.cluster.batch_changes == 1
    at_90 = next(seen for seen in script.seen if seen.now - seen.start == 90).services["chat"].variants["a100"]
    assert at_90.cap == 32
    assert {pod.cap for pod in at_90.pods} == {256}
    running = {pod.slot for pod in run.cluster.workloads[0].pods}
    assert {int(run.fleet.state.slots[slot, at.CAP]) for slot in running} == {16}


# -- Prometheus ------------------------------------------------------------------------------------------------------


def series_of(samples):
    """A series with one counter in column 0."""
    pod = type("Pod", (), {"name": "p"})()
    return PodSeries(pod, [t for t, _ in samples], [np.array([v]) for _, v in samples], [()] * len(samples))


@pytest.mark.parametrize(
    ("samples", "now", "window", "expected"),
    [
        pytest.param([(0, 0), (15, 30), (30, 60), (45, 90), (60, 120)], 60, 60, 120 / 60, id="full window, (0, 60]"),
        # Samples at 15..60: 90 in 45 s. To the start 15 s: less than 1.1 x 15, so all of it; to the end 0: 90*60/45/60.
        pytest.param([(15, 30), (30, 60), (45, 90), (60, 120)], 60, 60, 90 * 60 / 45 / 60, id="one distance short"),
        # A new counter: 60 in 30 s, first sample 60 above 0 -> back to zero 30 s, more than the half distance 7.5.
        pytest.param([(30, 60), (45, 90), (60, 120)], 60, 60, 60 * (30 + 7.5) / 30 / 60, id="began within"),
        # First sample 6, growth 60 in 30 s: zero was 3 s before the first sample.
        pytest.param([(30, 6), (45, 36), (60, 66)], 60, 60, 60 * (30 + 3) / 30 / 60, id="not before zero"),
        # Ended 45 s ago: half a distance beyond the last sample.
        pytest.param([(0, 0), (15, 30)], 55, 60, 30 * (15 + 5 * 0 + 7.5) / 15 / 60, id="ended"),
        pytest.param([(45, 30)], 60, 60, None, id="one sample"),
    ],
)
def test_rates_extrapolate_as_prometheus_does(samples, now, window, expected):
    run = Run(prepared(), Schedule({}), {"chat/a100": 1})
    metrics = run.metrics
    metrics._config = replace(metrics._config, delay=0.0)
    metrics._now = float(now)
    rates = metrics.rates(series_of(samples), window)
    assert (None if rates is None else float(rates[0])) == (None if expected is None else pytest.approx(expected))


def test_samples_lag_and_lie_on_the_scrape_grid():
    script = Script({}, period=5.0)
    run = Run(prepared(scrapeDelaySeconds=2), script, {"chat/a100": 2})
    ages = []
    script.decide = lambda seen: ages.append((seen.now - seen.start, dict(seen.metrics.age("chat")))) or {}
    run.go()
    for moment, age_by_pod in ages:
        if 30 < moment < 590:
            expected = moment - math.floor((moment - 2) / 15) * 15
            assert list(age_by_pod.values()) == pytest.approx([expected, expected])
    assert not ages[0][1]


def test_windows_agree_with_what_happened():
    looks = []

    class Look:
        period_seconds = 15.0

        def decide(self, seen):
            if round(seen.now - seen.start) == 540:
                metrics = seen.metrics
                looks.append(
                    (
                        sum(metrics.rate("chat", Total.PROMPT_TOKENS, 480).values()),
                        sum(metrics.rate("chat", Total.ARRIVALS, 480).values()),
                        metrics.request_rate("chat", 480),
                        metrics.in_flight("chat", 480),
                        sum(metrics.mean("chat", PodGauge.RUNNING, 480).values()),
                        told(metrics),
                        metrics.histogram("chat", LatencyKind.TTFT, 480),
                        dict(metrics.latest("chat", PodGauge.GPU_UTILIZATION)),
                    )
                )
            return {}

    run = Run(prepared(), Look(), {"chat/a100": 2})
    run.go()
    prompts, arrived, rate, in_flight, running, snapshot, histograms, busy = looks[0]
    trace = run.prepared.trace
    inside = (trace.arrival >= 60) & (trace.arrival < 540)
    assert rate == pytest.approx(inside.sum() / 480, rel=0.01)
    assert arrived == pytest.approx(rate, rel=0.06)
    assert prompts == pytest.approx(trace.input_tokens[inside].sum() / 480, rel=0.06)
    assert in_flight == pytest.approx(running, rel=0.25)
    events = sum(histogram.cumulative[-1] for histogram in histograms.values())
    assert events == pytest.approx(rate, rel=0.06)
    assert any(edge == 2.0 for edge in next(iter(histograms.values())).edges)  # the objective is an edge
    assert all(0.3 < share <= 1.0 for share in busy.values())
    pod = next(iter(snapshot.pods.values()))
    values = pod.values
    assert values[Signal.DECODING_SEQUENCES] == pytest.approx(
        values[Signal.STEP_SECONDS] * values[Signal.GENERATION_TOKENS_PER_SECOND], rel=0.1
    )
    assert pod.counters[Counter.FINISHED_REQUESTS] > 500


def test_series_of_ended_pods_stay_in_windows_and_totals_only():
    script = Script({100: 1})
    seen = {}

    def look(observation):
        moment = round(observation.now - observation.start)
        seen[moment] = (
            set(observation.metrics.latest("chat", PodGauge.RUNNING)),
            set(observation.metrics.rate("chat", Total.REQUESTS, 120)),
            {str(key.name) for key in told(observation.metrics).pods},
        )
        return {CHAT: Order(1)} if moment == 105 else {}

    script.decide = look
    Run(prepared(drainSeconds=20), script, {"chat/a100": 2}).go()
    assert [len(part) for part in seen[90]] == [2, 2, 2]
    assert [len(part) for part in seen[150]] == [1, 2, 2]
    assert [len(part) for part in seen[300]] == [1, 1, 2]
    assert [len(part) for part in seen[585]] == [1, 1, 1]
