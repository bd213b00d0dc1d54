"""Every policy as a whole controller, on a fluid fleet that answers through a scraped Prometheus."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import inf

import pytest

from pertoken.domain.identity import ServiceKey, WorkloadRef
from pertoken.domain.metrics import MetricsHealth, MetricsSnapshot
from pertoken.domain.service import LatencyObjective, ModelSpec, ServiceSpec, VariantSpec
from pertoken.domain.signal import Histogram, LatencyKind
from pertoken_bench.policies import kpa, llmd
from pertoken_bench.policies.registry import ENTRIES
from pertoken_bench.policies.view import View
from pertoken_bench.policy import (
    PodGauge,
    PodPhase,
    PodSeen,
    Policy,
    PolicyObservation,
    ServiceSeen,
    Total,
    VariantSeen,
)

SCRAPE, COLD_START, CAP, SERVICE_SECONDS = 15.0, 60.0, 64, 4.0
PROMPT, ANSWER, KV_TOKENS = 1000.0, 200.0, 100_000
EDGES = (0.0125, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, inf)
SERVICE = "chat"


@dataclass
class Pod:
    name: str
    created: float
    waiting: float = 0.0
    running: float = 0.0
    totals: dict[Total, float] = field(default_factory=lambda: dict.fromkeys(Total, 0.0))
    scrapes: deque[tuple[float, dict[PodGauge, float], dict[Total, float], float, float]] = field(
        default_factory=lambda: deque(maxlen=60)
    )


class Fleet:
    """Pods that each finish up to CAP / SERVICE_SECONDS requests per second; the rest waits in them."""

    def __init__(self, replicas: int, least: int = 1, most: int = 12) -> None:
        self.now = 0.0
        self.bounds = (least, most)
        self.replicas = replicas
        self.pods = [Pod(f"p{n}", -1e6) for n in range(replicas)]
        self.born = replicas
        self.held = 0.0
        self.deaf = False
        self.arrived: deque[tuple[float, float]] = deque(maxlen=2000)
        self.inside: deque[tuple[float, float]] = deque(maxlen=2000)

    def ready(self) -> list[Pod]:
        return [pod for pod in self.pods if self.now - pod.created >= COLD_START]

    def order(self, replicas: int) -> None:
        self.replicas = min(max(replicas, self.bounds[0]), self.bounds[1])
        while len(self.pods) < self.replicas:
            self.pods.append(Pod(f"p{self.born}", self.now))
            self.born += 1
        while len(self.pods) > self.replicas:
            gone = self.pods.pop()
            self.held += gone.waiting

    def second(self, load: float) -> None:
        self.now += 1.0
        self.arrived.append((self.now, load))
        serving = self.ready()
        self.held += load
        for pod in serving:
            share = self.held / len(serving)
            pod.waiting += share
            done = min(pod.waiting, CAP / SERVICE_SECONDS)
            pod.waiting -= done
            pod.running = done * SERVICE_SECONDS
            step = 0.01 + 0.0002 * pod.running
            for total, amount in {
                Total.REQUESTS: done,
                Total.PROMPT_TOKENS: done * PROMPT,
                Total.GENERATION_TOKENS: done * ANSWER,
                Total.FINISHED_INPUT_TOKENS: done * PROMPT,
                Total.FINISHED_OUTPUT_TOKENS: done * ANSWER,
                Total.FIRST_TOKENS: done,
                Total.TTFT_SECONDS: done * self.ttft(pod),
                Total.INTER_TOKENS: done * ANSWER,
                Total.INTER_TOKEN_SECONDS: done * ANSWER * step,
                Total.STEPS: 1.0 / step if done else 0.0,
                Total.ARRIVALS: share,
            }.items():
                pod.totals[total] += amount
        if serving:
            self.held = 0.0
        self.inside.append((self.now, self.held + sum(pod.waiting + pod.running for pod in self.pods)))
        if self.now % SCRAPE == 0.0:
            for pod in serving:
                gauges = {
                    PodGauge.RUNNING: pod.running,
                    PodGauge.WAITING: pod.waiting,
                    PodGauge.KV_USAGE: min(1.0, pod.running * 1.1 * PROMPT / KV_TOKENS),
                    PodGauge.GPU_UTILIZATION: 1.0 if pod.running else 0.0,
                    PodGauge.QUEUED_PROMPT_TOKENS: pod.waiting * PROMPT,
                }
                pod.scrapes.append((self.now, gauges, dict(pod.totals), self.ttft(pod), 0.01 + 0.0002 * pod.running))

    @staticmethod
    def ttft(pod: Pod) -> float:
        return 0.2 + pod.waiting / (CAP / SERVICE_SECONDS)

    # What policies ask.

    def latest(self, _: str, gauge: PodGauge) -> Mapping[str, float]:
        return {} if self.deaf else {pod.name: pod.scrapes[-1][1][gauge] for pod in self.ready() if pod.scrapes}

    def mean(self, service: str, gauge: PodGauge, _: float) -> Mapping[str, float]:
        return self.latest(service, gauge)

    def total(self, _: str, total: Total) -> Mapping[str, float]:
        return {} if self.deaf else {pod.name: pod.scrapes[-1][2][total] for pod in self.ready() if pod.scrapes}

    def rate(self, _: str, total: Total, seconds: float) -> Mapping[str, float]:
        rates = {}
        for pod in self.ready():
            samples = [scrape for scrape in pod.scrapes if scrape[0] > self.now - seconds]
            if len(samples) >= 2 and not self.deaf:
                passed = samples[-1][0] - samples[0][0]
                rates[pod.name] = (samples[-1][2][total] - samples[0][2][total]) / passed
        return rates

    def histogram(self, service: str, kind: LatencyKind, seconds: float) -> Mapping[str, Histogram]:
        which = 3 if kind is LatencyKind.TTFT else 4
        histograms = {}
        for name, rate in self.rate(service, Total.REQUESTS, seconds).items():
            value = next(pod for pod in self.pods if pod.name == name).scrapes[-1][which]
            histograms[name] = Histogram(EDGES, tuple(rate if edge >= value else 0.0 for edge in EDGES))
        return histograms

    def age(self, _: str) -> Mapping[str, float]:
        return {pod.name: self.now - pod.scrapes[-1][0] for pod in self.ready() if pod.scrapes}

    def gateway_queue(self, _: str) -> float:
        return self.held

    def in_flight(self, _: str, seconds: float) -> float:
        return self._window(self.inside, seconds)

    def request_rate(self, _: str, seconds: float) -> float:
        return self._window(self.arrived, seconds)

    def _window(self, series: deque[tuple[float, float]], seconds: float) -> float:
        values = [value for at, value in series if at > self.now - seconds]
        return sum(values) / len(values) if values else 0.0

    def snapshot(self) -> MetricsSnapshot:
        return MetricsSnapshot(MetricsHealth(ok=True), 60.0, 60.0)

    def seen(self) -> PolicyObservation:
        ready = self.ready()
        pods = tuple(
            PodSeen(
                pod.name,
                "h100",
                PodPhase.READY if pod in ready else PodPhase.STARTING,
                pod.created,
                pod.created,
                pod.created + COLD_START if pod in ready else None,
                CAP,
            )
            for pod in self.pods
        )
        variant = VariantSpec(
            "h100",
            "pool",
            WorkloadRef("apps/v1", "Deployment", "default", SERVICE),
            owned=True,
            min_replicas=self.bounds[0],
            max_replicas=self.bounds[1],
        )
        spec = ServiceSpec(
            ServiceKey("default", SERVICE),
            "uid",
            1,
            ModelSpec("meta-llama/Llama-3.1-8B-Instruct", SERVICE),
            (variant,),
            latency=LatencyObjective(1.0, 0.05, percentile=95),
            min_replicas=self.bounds[0],
        )
        view = VariantSeen(
            variant,
            self.replicas,
            len(ready),
            0,
            len(pods) - len(ready),
            pods,
            1,
            2.5,
            KV_TOKENS,
            CAP,
            8192,
            "h100-sxm",
        )
        return PolicyObservation(
            self.now, 0.0, {SERVICE: ServiceSeen(spec, {"h100": view})}, {}, {"pool": 64}, self, SCRAPE, COLD_START
        )


def play(policy: Policy, fleet: Fleet, load: Callable[[float], float], seconds: int) -> list[int]:
    """Replicas ordered at each second."""
    trajectory = []
    for second in range(seconds):
        fleet.second(load(float(second)))
        if second % int(policy.period_seconds) == 0:
            for (service, variant), order in policy.decide(fleet.seen()).items():
                assert (service, variant) == (SERVICE, "h100")
                if order.replicas is not None:
                    assert isinstance(order.replicas, int)
                    fleet.order(order.replicas)
        trajectory.append(fleet.replicas)
    return trajectory


NAMES = sorted(ENTRIES)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "aibrix-kpa"])
def test_grows_under_a_standing_queue_and_shrinks_when_idle(name: str):
    fleet = Fleet(2)
    policy = ENTRIES[name].make({})
    busy = play(policy, fleet, lambda _: 80.0, 1800)
    assert max(busy) > 2
    idle = play(policy, fleet, lambda _: 0.5 if name != "hpa-gpu" else 0.0, 2400)
    assert idle[-1] < max(busy)


def test_gpu_utilization_sees_one_request_as_full():
    fleet = Fleet(4)
    assert play(ENTRIES["hpa-gpu"].make({}), fleet, lambda _: 1.0, 1200)[-1] == 12


def test_aibrix_kpa_as_shipped_cannot_grow_beyond_use_over_target():
    assert max(play(ENTRIES["aibrix-kpa"].make({}), Fleet(2), lambda _: 80.0, 1800)) == 2


@pytest.mark.parametrize("name", NAMES)
def test_equal_runs_give_equal_orders(name: str):
    def load(second: float) -> float:
        return 20.0 + 40.0 * (second % 400 < 200)

    first, second = (play(ENTRIES[name].make({}), Fleet(2), load, 900) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"kpa", "ray-serve"} and "llmd" not in name])
def test_a_prometheus_without_answers_takes_no_replica_away(name: str):
    """KPA and Ray count for themselves; KEDA takes an empty result for zero (`ignoreNullValues`), see below."""
    fleet = Fleet(4)
    fleet.deaf = True
    trajectory = play(ENTRIES[name].make({}), fleet, lambda _: 30.0, 250)
    assert min(trajectory) >= 4


@pytest.mark.parametrize("name", ["keda-waiting", "llmd-queue", "llmd-token", "llmd-slo"])
def test_keda_scales_down_on_an_empty_result(name: str):
    """The documented default `ignoreNullValues: true`, kept as it ships."""
    fleet = Fleet(4)
    fleet.deaf = True
    assert play(ENTRIES[name].make({}), fleet, lambda _: 30.0, 1200)[-1] < 4


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("keda", "kpa", "ray", "wva-v", "llmd"))])
def test_wakes_from_zero_and_goes_back(name: str):
    fleet = Fleet(0, least=0)
    policy = ENTRIES[name].make({})
    awake = play(policy, fleet, lambda second: 5.0 if second < 600 else 0.0, 1200)
    assert max(awake) >= 1
    asleep = play(policy, fleet, lambda _: 0.0, 2400)
    assert asleep[-1] == (0 if not name.startswith("llmd-slo") else asleep[-1])


def test_dynamo_observes_only_while_a_change_is_under_way():
    fleet = Fleet(2)
    trajectory = play(ENTRIES["dynamo-sla"].make({}), fleet, lambda _: 80.0, 170)
    changes = [second for second, (old, new) in enumerate(pairwise(trajectory)) if new != old]
    assert 2 <= len(changes) <= 3
    assert all(later - sooner >= COLD_START for sooner, later in pairwise(changes))


def test_wva_v1_steps_by_one_per_cold_start():
    fleet = Fleet(2)
    trajectory = play(ENTRIES["wva-v1"].make({}), fleet, lambda _: 160.0, 600)
    steps = [new - old for old, new in pairwise(trajectory) if new != old]
    assert set(steps) == {1}
    assert len(steps) <= 600 / COLD_START


def test_wva_v2_jumps_to_the_need():
    fleet = Fleet(2)
    trajectory = play(ENTRIES["wva-v2"].make({}), fleet, lambda _: 80.0, 120)
    assert max(trajectory) >= 5


def test_settings_reach_the_policy():
    eager, calm = (
        play(ENTRIES["hpa-running"].make({"target": target}), Fleet(1), lambda _: 20.0, 300)[-1]
        for target in (16.0, 40.0)
    )
    assert eager > calm


def split(seen: PolicyObservation, prices: tuple[float, float]) -> PolicyObservation:
    """The same pods as two variants of one service: the first two are `a`, the rest `b`."""
    service = seen.services[SERVICE]
    whole = service.variants["h100"]
    variants = {}
    for name, pods, price in (("a", whole.pods[:2], prices[0]), ("b", whole.pods[2:], prices[1])):
        ready = sum(1 for pod in pods if pod.phase is PodPhase.READY)
        variants[name] = replace(
            whole,
            spec=replace(whole.spec, name=name),
            replicas=len(pods),
            ready=ready,
            starting=len(pods) - ready,
            pods=pods,
            usd_per_hour=price,
        )
    return replace(seen, services={SERVICE: ServiceSeen(service.spec, variants)})


def orders_of(name: str, load: float, prices: tuple[float, float], seconds: int) -> dict[str, set[int]]:
    """Replicas ordered per variant; the fleet itself stays at four pods."""
    fleet, policy = Fleet(4), ENTRIES[name].make({})
    orders: dict[str, set[int]] = {"a": set(), "b": set()}
    for second in range(seconds):
        fleet.second(load)
        if second % int(policy.period_seconds) == 0:
            for (_, variant), order in policy.decide(split(fleet.seen(), prices)).items():
                if order.replicas is not None:
                    orders[variant].add(order.replicas)
    return orders


@pytest.mark.parametrize("name", ["wva-v1", "wva-v2"])
@pytest.mark.parametrize(("prices", "cheap", "dear"), [((1.0, 3.0), "a", "b"), ((3.0, 1.0), "b", "a")])
def test_wva_adds_the_cheap_variant_and_removes_the_dear_one(name, prices, cheap, dear):
    up = orders_of(name, 66.0, prices, 90)
    assert max(up[cheap]) > 2
    assert not up[dear]
    down = orders_of(name, 1.0, prices, 300)
    assert min(down[dear]) < 2
    assert name == "wva-v2" or not down[cheap]


def test_two_variants_share_the_traffic_that_the_gateway_counts():
    whole = {order for orders in [orders_of("ray-serve", 8.0, (1.0, 1.0), 90)] for order in orders["a"] | orders["b"]}
    # 8 requests/s for 4 s are 32 in flight, 16 for each variant: 8 replicas at 2 ongoing requests.
    assert whole == {8}


@pytest.mark.parametrize("name", NAMES)
def test_two_variants_are_both_known_to_every_policy(name):
    ordered = orders_of(name, 100.0, (1.0, 3.0), 400)
    assert all(0 <= replicas <= 12 for orders in ordered.values() for replicas in orders)


def still(*pods: tuple[float, float]) -> View:
    """A fleet that stands still, its pods as (running, waiting)."""
    fleet = Fleet(len(pods))
    for pod, (running, waiting) in zip(fleet.pods, pods, strict=True):
        pod.running, pod.waiting = running, waiting
        gauges = {PodGauge.RUNNING: running, PodGauge.WAITING: waiting, PodGauge.KV_USAGE: running / CAP}
        for at, done in ((-30.0, 0.0), (-15.0, 150.0), (0.0, 300.0)):
            totals = dict.fromkeys(Total, 0.0) | {Total.REQUESTS: done}
            pod.scrapes.append((at, gauges, totals, fleet.ttft(pod), 0.02))
    seen = fleet.seen()
    return View(seen, seen.services[SERVICE], seen.services[SERVICE].variants["h100"])


def test_flow_control_holds_what_waits_beyond_five_in_a_pod():
    view = still((30.0, 12.0), (10.0, 3.0))
    assert llmd.queued(view) == 7.0
    assert llmd.running(view) == 48.0


def test_slo_pressure_is_the_worse_of_both_latencies():
    # TTFT 0.2 + 12 / 16 = 0.95 s is in the bucket from 0.5 to 1.0: P90 0.95 of 1.0; 20 ms in 12.5 to 25: 23.75 of 50.
    law = llmd.SloLaw()
    assert law.raw(still((30.0, 12.0))) == pytest.approx(0.95)
    # Without a queue TTFT is in the bucket from 0.1 to 0.25: 0.235; then the time per token counts.
    assert law.raw(still((30.0, 0.0))) == pytest.approx(0.475)


def test_slo_pressure_is_smoothed_over_three_polls():
    law, view = llmd.SloLaw(), still((30.0, 12.0))
    assert law.ask(view) == 2.0  # 1 + ceil(0.95 / 0.55 - 1)
    calm = View(replace(view.seen, now=15.0), view.service, view.variant)
    law.history.clear()
    law.history.append((0.0, 0.0))
    assert law.ask(calm) == 1.0  # the mean of 0 and 0.95 is within the band


def test_kpa_keeps_one_pod_until_the_grace_is_over():
    fleet, scaler = Fleet(1, least=0), kpa.Kpa()
    asked = []
    for _ in range(60):
        fleet.second(0.0)
        if fleet.now % 2 == 0:
            seen = fleet.seen()
            asked.append(scaler.desired(View(seen, seen.services[SERVICE], seen.services[SERVICE].variants["h100"])))
    assert asked[:15] == [1] * 15
    assert asked[-1] == 0


def test_ray_serve_stays_at_zero_without_requests():
    fleet = Fleet(0, least=0)
    assert set(play(ENTRIES["ray-serve"].make({}), fleet, lambda _: 0.0, 120)) == {0}
    assert play(ENTRIES["ray-serve"].make({}), fleet, lambda _: 1.0, 10)[-1] == 1


def test_keda_goes_to_zero_only_after_its_cooldown():
    fleet = Fleet(1, least=0)
    policy = ENTRIES["keda-waiting"].make({})
    assert set(play(policy, fleet, lambda _: 2.0, 300)) == {1}
    quiet = play(policy, fleet, lambda _: 0.0, 600)
    # Traffic is seen for another minute (window of the keep-alive trigger), then 360 s pass.
    assert 400 <= quiet.index(0) <= 450
