"""What adds up and what is a copy, what has left a page, and GPUs that are partitioned: on real Prometheus servers."""

import math
import time

import pytest

from pertoken.adapters.prometheus.profile import EngineSource, GpuSource, MetricsProfile
from pertoken.domain.identity import PodKey
from pertoken.domain.signal import Counter, LatencyKind, Signal

SCRAPE, WINDOW, FRESH, LOOKBACK = 0.5, 4.0, 2.0, 20.0
SPLIT, RANKS, QUIET = PodKey("a", "split-0"), PodKey("a", "ranks-0"), PodKey("a", "quiet-0")
SIM, TWO, MOVED, FROZEN, LOST = (PodKey("a", f"{name}-0") for name in ("sim", "two", "moved", "frozen", "lost"))
ODD = PodKey("a", "odd-0")
MIG, WHOLE, SPARE, STALE, BARE = (PodKey("a", f"{name}-gpu") for name in ("mig", "whole", "spare", "stale", "bare"))
UNASKED, DROPPED = PodKey("a", "unasked-0"), PodKey("a", "dropped-0")
PROXIED = PodKey("a", "proxied-0")
SLICED = [PodKey("a", f"sliced-{number}-gpu") for number in range(4)]


def wall_clock():
    return time.time()  # noqa: TID251 - a real server stamps by it


def line(name, value, pod, stamp=None, **labels):
    inside = ",".join(
        f'{key}="{text}"' for key, text in {"namespace": pod.namespace, "pod": pod.name, **labels}.items()
    )
    return f"{name}{{{inside}}} {value}" + ("" if stamp is None else f" {round(stamp * 1000)}")


def sglang(pod, age, parts, **labels):
    """Streaming and other requests as `parts`: requests per second by the value of ``is_streaming``."""
    rows = []
    for streaming, rate in parts.items():
        own = {"model_name": "m", "is_streaming": streaming, **labels}
        rows += [
            line("sglang:num_requests_total", rate * age, pod, **own),
            line("sglang:prompt_tokens_total", 300 * rate * age, pod, **own),
            line("sglang:generation_tokens_total", 100 * rate * age, pod, **own),
            line("sglang:time_to_first_token_seconds_count", rate * age, pod, **own),
            line("sglang:time_to_first_token_seconds_sum", 0.2 * rate * age, pod, **own),
            line("sglang:time_to_first_token_seconds_bucket", rate * age / 2, pod, **own, le="0.2"),
            line("sglang:time_to_first_token_seconds_bucket", rate * age, pod, **own, le="+Inf"),
        ]
    return rows


def sglang_gauges(pod, running, waiting, **labels):
    return [
        line("sglang:num_running_reqs", running, pod, **labels),
        line("sglang:num_queue_reqs", waiting, pod, **labels),
        line("sglang:token_usage", 0.5, pod, **labels),
        line("sglang:max_total_num_tokens", 1000, pod, **labels),
    ]


def sglang_page(age):
    rows = [*sglang(SPLIT, age, {"true": 2.0, "false": 1.0}), *sglang_gauges(SPLIT, 8, 3, tp_rank="0", pp_rank="0")]
    for dp_rank, tp_ranks in (("0", "01"), ("1", "23")):
        for tp_rank in tp_ranks:
            ranks = {"dp_rank": dp_rank, "tp_rank": tp_rank, "pp_rank": "0", "moe_ep_rank": tp_rank}
            rows += sglang_gauges(RANKS, 5, 2, **ranks, priority="")
            rows += [line("sglang:num_running_reqs", 5, RANKS, **ranks, priority="7")]
    rows += [*sglang(RANKS, age, {"true": 1.0}, priority="7"), *sglang(RANKS, age, {"true": 2.0}, priority="1")]
    rows += sglang_gauges(QUIET, 0, 0)
    return "\n".join(rows) + "\n"


def vllm(pod, age, rate=1.0, reason="finished_reason", stamp=None):
    def one(name, value, **labels):
        return line(f"vllm:{name}", value, pod, stamp, engine="0", **labels)

    info = {"num_gpu_blocks": "100", "block_size": "16"}
    return [
        one("num_requests_running", 4 * rate),
        one("num_requests_waiting", 2 * rate),
        one("kv_cache_usage_perc", 0.25),
        one("cache_config_info", 1, **info),
        one("generation_tokens_total", 400 * rate * age),
        one("prompt_tokens_total", 1000 * rate * age),
        one("request_success_total", 2 * rate * age, **{reason: "stop"}),
        one("request_success_total", 1 * rate * age, **{reason: "length"}),
        one("inter_token_latency_seconds_count", 400 * rate * age),
        one("inter_token_latency_seconds_sum", 8 * rate * age),
        one("inter_token_latency_seconds_bucket", 300 * rate * age, le="0.02"),
        one("inter_token_latency_seconds_bucket", 400 * rate * age, le="+Inf"),
    ]


def gpus_page(_):
    util, active, watts = "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_DEV_POWER_USAGE"
    rows = []
    for number, share in (("1", 0.91), ("2", 0.71)):
        part = {"UUID": "GPU-0", "GPU_I_ID": number, "GPU_I_PROFILE": "3g.40gb"}
        rows += [line(util, 0, MIG, **part), line(active, share, MIG, **part)]
    rows += [
        line(util, 0, MIG, UUID="GPU-0"),  # the card itself
        line(watts, 300, MIG, UUID="GPU-0"),
        line(util, 80, WHOLE, UUID="GPU-1"),
        line(active, 0.5, WHOLE, UUID="GPU-1"),
        line(util, 0, WHOLE, UUID="GPU-2"),
        line(active, 0.6, WHOLE, UUID="GPU-2"),
        line(util, 0, SPARE, UUID="GPU-3"),
        line(util, 90, STALE, wall_clock() - 60, UUID="GPU-4"),
        line(util, 0, BARE, UUID="GPU-5", GPU_I_ID="1"),
        line(watts, 100, BARE, UUID="GPU-5"),
    ]
    for number, pod in enumerate(SLICED):
        share = {"UUID": "GPU-6", "Hostname": "node-1", "vgpu": str(number)}
        rows += [line(util, 90, pod, **share), line(watts, 70, pod, **share)]
    return "\n".join(rows) + "\n"


class Scene:
    """What a test may change while Prometheus scrapes."""

    dropped = ""
    frozen_at = None
    silent = ""

    def page(self, age):
        begun = wall_clock() - age
        stamp = begun + self.frozen_at if self.frozen_at else None
        lost = [row for row in vllm(LOST, age) if not (self.dropped and self.dropped in row)]
        rows = [*vllm(SIM, age, reason="finish_reason"), *vllm(FROZEN, self.frozen_at or age, stamp=stamp), *lost]
        rows += [line("vllm:num_requests_running", -5, ODD), line("vllm:kv_cache_usage_perc", 55, ODD)]
        rows += [line("vllm:num_requests_waiting", 1e300, ODD), line("vllm:generation_tokens_total", 7, ODD)]
        return "\n".join(rows) + "\n"

    def server(self, name, rate, age, pod=TWO):
        return None if self.silent == name else "\n".join(vllm(pod, age, rate)) + "\n"


@pytest.fixture(scope="module")
def scenes():
    return {"3.16": Scene(), "2.42": Scene()}


@pytest.fixture(scope="module")
def prometheus(launcher, prometheus_programs, version, target, scenes):
    scene = scenes[version]
    target.pages |= {"sglang": sglang_page, "gpus": gpus_page, f"scene-{version}": scene.page}
    target.pages[f"first-{version}"] = lambda age: scene.server("first", 1.0, age)
    target.pages[f"second-{version}"] = lambda age: scene.server("second", 0.5, age)
    target.pages["unasked"] = lambda _: "\n".join(
        [
            *(
                line(f"vllm:num_requests_{state}", 0, pod)
                for state in ("running", "waiting")
                for pod in (UNASKED, DROPPED)
            ),
            line("vllm:prompt_tokens_total", 5, DROPPED),
        ]
    )
    target.pages["proxied"] = lambda age: "\n".join(
        [*vllm(PROXIED, age), line("process_start_time_seconds", 1790000000.25, PROXIED)]
    )
    target.pages[f"moved-{version}"] = lambda age: scene.server("moved", 1.0, age, MOVED)
    jobs = [
        launcher.job("sglang", "sglang", target),
        launcher.job("sglang-endpoint", "sglang", target, labels={"job": "sglang", "endpoint": "http", "service": "x"}),
        launcher.job("sglang-again", "sglang", target, labels={"team": "x", "stream": "from-the-job"}),
        launcher.job("gpus", "gpus", target),
        launcher.job("scene", f"scene-{version}", target),
        launcher.job("first", f"first-{version}", target, labels={"instance": "10.0.0.5:8000"}),
        launcher.job("again", f"first-{version}", target, labels={"instance": "10.0.0.5:8000", "app": "chat"}),
        launcher.job("second", f"second-{version}", target, labels={"instance": "10.0.0.5:8001"}),
        launcher.job("unasked", "unasked", target),
        launcher.job("direct", "proxied", target, labels={"instance": "10.0.0.8:8200"}),
        launcher.job("proxy", "proxied", target, labels={"instance": "10.0.0.8:8000"}),
        launcher.job("moved", f"moved-{version}", target, labels={"instance": "10.0.0.9:8000"}),
        launcher.job("by-name", f"moved-{version}", target, labels={"instance": "moved-0"}),
    ]
    running = launcher.start(prometheus_programs[version], version, jobs, scrape=SCRAPE)
    running.wait_for(f'count_over_time(vllm:num_requests_running{{pod="two-0"}}[{WINDOW:g}s]) >= 8')
    return running


@pytest.fixture
def observe(prometheus, source_of):
    profile = MetricsProfile(
        url=prometheus.url,
        engine=EngineSource(engines=("vllm", "sglang")),
        gpu=GpuSource(),
        scrape_seconds=SCRAPE,
        window_seconds=WINDOW,
        fresh_seconds=FRESH,
        lookback_seconds=LOOKBACK,
    )
    source = source_of(profile)

    def once():
        snapshot = source.observe()
        assert snapshot.health.ok, snapshot.health
        return snapshot

    once.source = source
    return once


def near(value):
    return pytest.approx(value, rel=0.12)


def test_labels_that_split_traffic_add_up_though_scraped_twice(observe):
    pod = observe().pods[SPLIT]
    assert pod.values[Signal.FINISHED_PER_SECOND] == near(3.0)
    assert pod.values[Signal.GENERATION_TOKENS_PER_SECOND] == near(300.0)
    assert pod.values[Signal.PROMPT_TOKENS_PER_SECOND] == near(900.0)
    assert pod.values[Signal.TTFT_MEAN_SECONDS] == near(0.2)
    assert pod.histograms[LatencyKind.TTFT].cumulative == (near(1.5), near(3.0))
    assert pod.counters[Counter.FINISHED_OUTPUT_TOKENS] == near(100 * pod.counters[Counter.FINISHED_REQUESTS])
    assert (pod.values[Signal.RUNNING], pod.values[Signal.WAITING], pod.engine) == (8, 3, "sglang")


def test_ranks_that_repeat_figures_count_once_and_a_total_stands_for_its_parts(observe):
    values = observe().pods[RANKS].values
    assert (values[Signal.RUNNING], values[Signal.WAITING]) == (10, 4)
    assert values[Signal.KV_CAPACITY_TOKENS] == 2000
    assert values[Signal.KV_USAGE] == 0.5
    assert values[Signal.FINISHED_PER_SECOND] == near(3.0)


def test_an_engine_that_no_request_has_reached_is_quiet_not_silent(observe):
    snapshot = observe()
    values = snapshot.pods[QUIET].values
    assert snapshot.offers["sglang"].signals <= values.keys()
    assert values[Signal.FINISHED_PER_SECOND] == values[Signal.GENERATION_TOKENS_PER_SECOND] == 0.0


def test_an_imitation_that_shows_gauges_alone_has_not_been_asked(observe):
    pods = observe().pods
    asked = (Signal.PROMPT_TOKENS_PER_SECOND, Signal.GENERATION_TOKENS_PER_SECOND, Signal.FINISHED_PER_SECOND)
    assert [pods[UNASKED].values.get(signal) for signal in asked] == [0.0, 0.0, 0.0]
    assert [pods[DROPPED].values.get(signal) for signal in asked] == [0.0, None, None], "a counter that was dropped"


def test_an_imitation_of_vllm_with_other_labels(observe):
    values = observe().pods[SIM].values
    assert values[Signal.FINISHED_PER_SECOND] == near(3.0)
    assert values[Signal.KV_CAPACITY_TOKENS] == 1600


def test_two_servers_in_a_pod_add_up_and_one_under_two_names_does_not(observe):
    pods = observe().pods
    assert pods[TWO].values[Signal.GENERATION_TOKENS_PER_SECOND] == near(600)
    assert (pods[TWO].values[Signal.RUNNING], pods[TWO].values[Signal.KV_USAGE]) == (6, 0.25)
    assert pods[TWO].values[Signal.KV_CAPACITY_TOKENS] == 3200
    assert pods[TWO].histograms[LatencyKind.INTER_TOKEN].cumulative == (near(450), near(600))
    assert pods[MOVED].values[Signal.GENERATION_TOKENS_PER_SECOND] == near(400)
    assert pods[MOVED].values[Signal.RUNNING] == 4


def test_one_process_behind_two_ports_counts_once(observe):
    pod = observe().pods[PROXIED]
    assert pod.values[Signal.GENERATION_TOKENS_PER_SECOND] == near(400)
    assert (pod.values[Signal.RUNNING], pod.values[Signal.KV_CAPACITY_TOKENS]) == (4, 1600)
    assert pod.histograms[LatencyKind.INTER_TOKEN].cumulative == (near(300), near(400))


def test_values_that_cannot_be_are_missing(observe):
    values = observe().pods[ODD].values
    assert not values.keys() & {Signal.RUNNING, Signal.WAITING, Signal.KV_USAGE}
    assert "implausible" in observe.source.report.left_out


def test_gpu_utilization_is_read_where_it_can_be_right(observe):
    pods = observe().pods
    assert pods[MIG].values[Signal.GPU_UTILIZATION] == pytest.approx((0.91 + 0.71) / 2)
    assert pods[MIG].values[Signal.POWER_WATTS] == 300
    assert pods[WHOLE].values[Signal.GPU_UTILIZATION] == pytest.approx((0.8 + 0.6) / 2)
    assert pods[SPARE].values[Signal.GPU_UTILIZATION] == 0.0
    assert Signal.GPU_UTILIZATION not in pods[BARE].values, "an instance without the profiling metric"
    assert all(math.isfinite(pod.age_seconds) for pod in pods.values())


def test_pods_that_share_a_card_draw_what_it_draws_in_all(observe):
    pods = observe().pods
    assert sum(pods[pod].values[Signal.POWER_WATTS] for pod in SLICED) == pytest.approx(70)
    assert {pods[pod].values[Signal.GPU_UTILIZATION] for pod in SLICED} == {0.9}, "how busy their card is"


def test_gpu_figures_that_are_stale_are_missing(observe):
    pod = observe().pods.get(STALE)
    assert pod is None or (Signal.GPU_UTILIZATION not in pod.values and pod.age_seconds > FRESH)


def test_a_family_that_leaves_the_page_is_missing_in_the_next_query(observe, scenes, version):
    scene = scenes[version]
    assert observe().pods[LOST].values[Signal.GENERATION_TOKENS_PER_SECOND] == near(400)
    try:
        for dropped, signal in (
            ("generation_tokens", Signal.GENERATION_TOKENS_PER_SECOND),
            ("request_success", Signal.FINISHED_PER_SECOND),
            ("num_requests_waiting", Signal.WAITING),
            ("inter_token_latency", Signal.DECODING_SEQUENCES),
        ):
            scene.dropped = dropped
            time.sleep(2.2 * SCRAPE)
            pod = observe().pods[LOST]
            assert signal not in pod.values, dropped
            assert pod.age_seconds < FRESH
        assert LatencyKind.INTER_TOKEN not in pod.histograms
        assert Signal.PROMPT_TOKENS_PER_SECOND in pod.values, "what is still there is still read"
        scene.dropped = "request_success"
        time.sleep(WINDOW * 0.8)
        assert Counter.FINISHED_REQUESTS not in observe().pods[LOST].counters
    finally:
        scene.dropped = ""
    time.sleep(2.2 * SCRAPE)
    assert Signal.FINISHED_PER_SECOND not in observe().pods[LOST].values, "most of its window is empty"
    time.sleep(WINDOW)
    assert observe().pods[LOST].values[Signal.FINISHED_PER_SECOND] == near(3.0)


def test_half_a_pod_tells_nothing(observe, scenes, version):
    scene = scenes[version]
    try:
        scene.silent = "second"
        time.sleep(2.2 * SCRAPE)
        pod = observe().pods[TWO]
        assert not pod.values
        assert not pod.histograms
    finally:
        scene.silent = ""


def test_samples_that_an_exporter_no_longer_stamps_anew_are_stale(observe, scenes, version, target):
    scene = scenes[version]
    try:
        scene.frozen_at = time.monotonic() - target.start
        time.sleep(FRESH + 2 * SCRAPE)
        pod = observe().pods[FROZEN]
        assert not pod.values.keys() - {Signal.GPU_UTILIZATION}
        assert not pod.histograms
        assert pod.age_seconds > FRESH
    finally:
        scene.frozen_at = None
