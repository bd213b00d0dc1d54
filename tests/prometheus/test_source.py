"""The adapter against real Prometheus servers, two versions, same expectations."""

import math
import time

import pytest

from pertoken.adapters.prometheus.profile import (
    EngineSource,
    GatewaySource,
    GpuSource,
    Matcher,
    MetricsProfile,
    SeriesLabels,
)
from pertoken.domain.identity import PodKey
from pertoken.domain.signal import Counter, LatencyKind, Signal
from pertoken.performance.histogram import quantile, share_within

SCRAPE, WINDOW, FRESH, LOOKBACK = 0.5, 4.0, 1.5, 20.0
CHAT, LARGE = PodKey("a", "chat-0"), PodKey("a", "chat-large-0")
SAME_NAME = PodKey("b", "chat-0")
WEIRD = PodKey("a", 'we"ird\\pod\nname')
NAN, RESTARTED, PAIR = PodKey("a", "nan-0"), PodKey("a", "restarted-0"), PodKey("a", "pair-0")
ALL = {CHAT, LARGE, SAME_NAME, WEIRD, NAN, RESTARTED, PAIR}
EDGES = (0.01, 0.025, 1.0, math.inf)


def escaped(value):
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def line(name, value, pod, **labels):
    labels = {"namespace": pod.namespace, "pod": pod.name, "model_name": "m"} | labels
    inside = ",".join(f'{key}="{escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value}"


def engine(pod, age, size=1.0, running=8, **labels):
    """One rank with 8 * `size` sequences that each get a token every 20 ms; 3 requests per second end."""
    labels = {"engine": "0"} | labels

    def one(name, value, **more):
        return line(f"vllm:{name}", value, pod, **labels, **more)

    tokens = 400 * size * age
    rows = [
        one("num_requests_running", running),
        one("num_requests_waiting", 2 * size),
        one("kv_cache_usage_perc", math.nan if math.isnan(running) else 0.25 * size),
        one("cache_config_info", 1, block_size="16", kv_cache_size_tokens="250000"),
        one("inter_token_latency_seconds_sum", 8 * size * age),
        one("inter_token_latency_seconds_count", tokens),
        one("iteration_tokens_total_count", 50 * age),
        one("prompt_tokens_total", 1000 * size * age),
        one("prompt_tokens_cached_total", 250 * size * age),
        one("generation_tokens_total", tokens),
        one("request_success_total", 2 * size * age, finished_reason="stop"),
        one("request_success_total", 1 * size * age, finished_reason="length"),
        one("request_prompt_tokens_sum", 900 * size * age),
        one("request_generation_tokens_sum", 390 * size * age),
        one("num_preemptions_total", 0.5 * age),
        one("time_to_first_token_seconds_sum", 0.6 * size * age),
        one("time_to_first_token_seconds_count", 3 * size * age),
        one("request_prefill_time_seconds_sum", 0.3 * size * age),
        one("request_prefill_time_seconds_count", 3 * size * age),
        line("vllm:admission_rejections_total", 0.25 * age, pod, reason="max_num_queued_reqs"),
    ]
    for edge, share in zip(("0.01", "0.025", "1", "+Inf"), (0.0, 0.9, 0.99, 1.0), strict=True):
        rows.append(one("inter_token_latency_seconds_bucket", tokens * share, le=edge))
    return "\n".join(rows)


def engines_page(age):
    parts = [
        engine(CHAT, age),
        engine(LARGE, age, size=0.5, running=4),
        engine(LARGE, age, size=1.0, running=6, engine="1"),
        engine(SAME_NAME, age, size=2.0, running=16),
        engine(WEIRD, age, running=3),
        engine(NAN, age, running=math.nan),
        engine(RESTARTED, age % 3.0, running=1),
        engine(PAIR, age, prometheus_replica="one"),
        engine(PAIR, age, prometheus_replica="two"),
        'vllm:num_requests_running{engine="0",namespace="a"} 77',
        'vllm:num_requests_running{engine="0"} 78',
    ]
    return "\n".join(parts) + "\n"


def gpu_page(_):
    rows = []
    for number, (pod, share) in enumerate([(CHAT, 60), (CHAT, 80), (LARGE, 10)]):
        gpu = {"UUID": f"GPU-{number}", "gpu": str(number)}
        rows += [line("DCGM_FI_DEV_GPU_UTIL", share, pod, **gpu), line("DCGM_FI_DEV_POWER_USAGE", 300, pod, **gpu)]
    mig = {"UUID": "GPU-9", "gpu": "9", "GPU_I_ID": "1"}
    rows.append(line("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0.4, SAME_NAME, **mig))
    rows.append(line("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0.99, CHAT, UUID="GPU-0", gpu="0"))
    rows.append('DCGM_FI_DEV_GPU_UTIL{UUID="GPU-8",gpu="8"} 0')
    return "\n".join(rows) + "\n"


def gateway_page(age):
    def row(name, value, replica, **labels):
        return line(name, value, PodKey("a", replica), target_model_name="chat", priority="0", **labels)

    old, new = "inference_extension_flow_control", "llm_d_epp_flow_control"
    rows = [
        row(f"{old}_queue_size", 5, "gw-1"),
        row(f"{new}_queue_size", 5, "gw-1"),
        row(f"{old}_queue_size", 2, "gw-2"),
        row(f"{new}_queue_size", 2, "gw-2"),
        row("proxy_held_requests", 4, "gw-1"),
        row("proxy_held_requests", 1, "gw-2"),
        row(f"{new}_request_queue_duration_seconds_count", 7 * age, "gw-1", outcome="Dispatched"),
        row(f"{new}_request_queue_duration_seconds_count", 1.5 * age, "gw-1", outcome="RejectedCapacity"),
        row(f"{new}_request_queue_duration_seconds_count", 0.5 * age, "gw-1", outcome="EvictedTTL"),
    ]
    return "\n".join(rows) + "\n"


@pytest.fixture(scope="module")
def flaky():
    return {"3.16": True, "2.42": True}


def served(flaky, version, age):
    pods = [engine(PodKey("a", "flaky-0"), age), engine(PodKey("a", "flaky-1"), age)]
    return "\n".join(pods) + "\n" if flaky[version] else None


@pytest.fixture(scope="module")
def prometheus(launcher, prometheus_programs, version, target, flaky):
    target.pages |= {"engines": engines_page, "gpu": gpu_page, "gateway": gateway_page}
    target.pages[f"flaky-{version}"] = lambda age: served(flaky, version, age)
    jobs = [
        launcher.job("engines", "engines", target),
        launcher.job("engines-again", "engines", target),
        launcher.job("gpu", "gpu", target, honor=False, labels={"namespace": "monitoring", "pod": "dcgm-exporter-x"}),
        launcher.job("gateway", "gateway", target),
        launcher.job("flaky", f"flaky-{version}", target),
    ]
    running = launcher.start(prometheus_programs[version], version, jobs, scrape=SCRAPE)
    running.wait_for(f'count_over_time(vllm:num_requests_running{{pod="chat-0"}}[{WINDOW:g}s]) >= 8')
    return running


def profile(url, **changes):
    settings = {
        "gpu": GpuSource(labels=SeriesLabels("exported_namespace", "exported_pod")),
        "scrape_seconds": SCRAPE,
        "window_seconds": WINDOW,
        "fresh_seconds": FRESH,
        "lookback_seconds": LOOKBACK,
    }
    return MetricsProfile(url=url, **(settings | changes))


@pytest.fixture
def observe(prometheus, source_of):
    source = source_of(profile(prometheus.url))

    def once():
        snapshot = source.observe()
        assert snapshot.health.ok, snapshot.health
        assert snapshot.health.why == ""
        return snapshot

    once.source = source
    return once


def near(value):
    return pytest.approx(value, rel=0.12)


def test_every_signal_of_one_pod(observe):
    pod = observe().pods[CHAT]
    expected = {
        Signal.RUNNING: 8,
        Signal.WAITING: 2,
        Signal.KV_USAGE: 0.25,
        Signal.KV_CAPACITY_TOKENS: 250000,
        Signal.DECODING_SEQUENCES: near(8),  # Little's law: sequences in decode
        Signal.STEP_SECONDS: near(0.02),
        Signal.STEPS_PER_SECOND: near(50),
        Signal.PROMPT_TOKENS_PER_SECOND: near(1000),
        Signal.CACHED_PROMPT_TOKENS_PER_SECOND: near(250),
        Signal.GENERATION_TOKENS_PER_SECOND: near(400),
        Signal.FINISHED_PER_SECOND: near(3),
        Signal.FINISHED_INPUT_TOKENS_PER_SECOND: near(900),
        Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND: near(390),
        Signal.PREEMPTIONS_PER_SECOND: near(0.5),
        Signal.REJECTIONS_PER_SECOND: near(0.25),
        Signal.TTFT_MEAN_SECONDS: near(0.2),
        Signal.PREFILL_MEAN_SECONDS: near(0.1),
        Signal.GPU_UTILIZATION: pytest.approx(0.7),
        Signal.POWER_WATTS: 600,
    }
    assert dict(pod.values) == expected
    assert set(expected) == set(Signal), "a signal without an expectation"
    assert 0.0 <= pod.age_seconds < 3 * SCRAPE


def test_latencies_come_as_whole_histograms(observe):
    pod = observe().pods[CHAT]
    assert set(pod.histograms) == {LatencyKind.INTER_TOKEN, LatencyKind.TIME_PER_OUTPUT_TOKEN}
    histogram = pod.histograms[LatencyKind.INTER_TOKEN]
    assert histogram.edges == EDGES
    assert histogram.cumulative == near((0.0, 360.0, 396.0, 400.0))
    assert share_within(histogram, 0.025) == (pytest.approx(0.9), pytest.approx(0.9))
    bounds = quantile(histogram, 0.95)
    assert (bounds.low, bounds.high) == (0.025, 1.0)
    assert pod.per_token
    per_request = pod.histograms[LatencyKind.TIME_PER_OUTPUT_TOKEN]
    assert per_request.cumulative == near((0.0, 2.7, 2.97, 3.0)), "as many events as requests"


def test_totals_are_the_counters_themselves_and_grow(observe):
    first = observe().pods[CHAT].counters
    time.sleep(1.2)
    later = observe().pods[CHAT].counters
    assert set(first) == set(Counter)
    assert all(later[counter] > first[counter] for counter in Counter)
    assert first[Counter.FINISHED_INPUT_TOKENS] == pytest.approx(300 * first[Counter.FINISHED_REQUESTS])


def test_ranks_add_up_and_copies_do_not(observe):
    pods = observe().pods
    large, pair = pods[LARGE].values, pods[PAIR].values
    assert large[Signal.RUNNING] == 10
    assert large[Signal.KV_CAPACITY_TOKENS] == 500000
    assert large[Signal.KV_USAGE] == pytest.approx((0.125 + 0.25) / 2)
    assert large[Signal.DECODING_SEQUENCES] == near(12)
    assert large[Signal.STEP_SECONDS] == near(0.02)
    assert pair[Signal.RUNNING] == 8
    assert pair[Signal.KV_CAPACITY_TOKENS] == 250000
    assert pair[Signal.GENERATION_TOKENS_PER_SECOND] == near(400)


def test_pods_are_joined_by_exact_identity(observe):
    pods = observe().pods
    assert set(pods) >= ALL
    assert set(pods) - ALL <= {PodKey("a", "flaky-0"), PodKey("a", "flaky-1")}
    assert pods[CHAT].values[Signal.RUNNING] == 8
    assert pods[SAME_NAME].values[Signal.RUNNING] == 16
    assert pods[WEIRD].values[Signal.RUNNING] == 3
    assert "without namespace or pod" in observe.source.report.left_out


def test_not_a_number_is_missing(observe):
    values = observe().pods[NAN].values
    assert Signal.RUNNING not in values
    assert Signal.KV_USAGE not in values
    assert values[Signal.WAITING] == 2
    assert "not a number" in observe.source.report.left_out


def test_counter_resets_do_not_turn_rates_negative_or_huge(observe):
    for _ in range(4):
        values = observe().pods[RESTARTED].values
        assert 0.4 * 400 < values[Signal.GENERATION_TOKENS_PER_SECOND] < 1.4 * 400
        assert values[Signal.STEP_SECONDS] == pytest.approx(0.02, rel=0.01)
        time.sleep(0.8)


def test_gpu_figures_join_renamed_labels_and_fall_back_on_slices(observe):
    pods = observe().pods
    assert pods[CHAT].values[Signal.GPU_UTILIZATION] == pytest.approx(0.7)
    assert pods[LARGE].values[Signal.POWER_WATTS] == 300
    assert pods[SAME_NAME].values[Signal.GPU_UTILIZATION] == pytest.approx(0.4)
    assert Signal.POWER_WATTS not in pods[SAME_NAME].values
    assert PodKey("monitoring", "dcgm-exporter-x") not in pods


def test_gateway_queue_adds_replicas_once_and_only_refusals_count(observe):
    snapshot = observe()
    assert snapshot.gateway_queue == {("a", "chat"): 7}
    assert snapshot.gateway_rejections_per_second == {("a", "chat"): near(2.0)}


def test_signals_that_wake_come_by_their_own_names(prometheus, source_of):
    signals = (("held", "proxy_held_requests"), ("other", "no_such_metric"))
    snapshot = source_of(profile(prometheus.url, gateway=GatewaySource(signals=signals))).observe()

    assert snapshot.health.ok, snapshot.health
    assert snapshot.wake_signals == {("held", "a", "chat"): 5}


def test_extra_matchers_are_taken_literally(prometheus, source_of):
    only = EngineSource(matchers=(Matcher("pod", WEIRD.name), Matcher("namespace", "a|x", "=~")))
    snapshot = source_of(profile(prometheus.url, engine=only, gpu=GpuSource(enabled=False))).observe()
    assert snapshot.health.ok, snapshot.health
    assert set(snapshot.pods) == {WEIRD}


def test_nothing_to_see_is_not_an_error(prometheus, source_of):
    nothing = EngineSource(engines=("vllm", "sglang"), matchers=(Matcher("pod", "no-such-pod"),))
    snapshot = source_of(profile(prometheus.url, engine=nothing, gpu=GpuSource(enabled=False))).observe()
    assert snapshot.health.ok
    assert snapshot.pods == {}


def test_gpu_alone_serves_engines_without_metrics(prometheus, source_of):
    alone = profile(prometheus.url, engine=EngineSource(engines=("generic",)))
    pod = source_of(alone).observe().pods[CHAT]
    assert dict(pod.values) == {Signal.GPU_UTILIZATION: pytest.approx(0.7), Signal.POWER_WATTS: 600}
    assert pod.age_seconds < FRESH


def test_a_silent_target_ages_and_its_rates_stay_away_until_the_window_is_filled(observe, flaky, version):
    pod = PodKey("a", "flaky-0")
    before = observe().pods[pod]
    assert before.age_seconds < FRESH
    assert before.values[Signal.DECODING_SEQUENCES] == near(8)
    try:
        flaky[version] = False
        time.sleep(2.5)
        silent = observe().pods[pod]
        assert FRESH < silent.age_seconds < 5.0
        assert Signal.RUNNING not in silent.values, "a vanished gauge is missing"
        assert silent.counters[Counter.FINISHED_REQUESTS] >= before.counters[Counter.FINISHED_REQUESTS]
        time.sleep(2.5)
        gone = observe().pods[pod]
        assert gone.age_seconds == pytest.approx(silent.age_seconds + 2.5, abs=0.8)
        assert Signal.DECODING_SEQUENCES not in gone.values
    finally:
        flaky[version] = True
    time.sleep(1.3)
    back = observe()
    assert pod in observe.source.report.gaps
    assert back.pods[pod].age_seconds < FRESH
    assert back.pods[pod].values[Signal.RUNNING] == 8
    assert Signal.DECODING_SEQUENCES not in back.pods[pod].values, "most of the window lies in the gap"
    time.sleep(WINDOW)
    assert observe().pods[pod].values[Signal.DECODING_SEQUENCES] == near(8)
    assert pod not in observe.source.report.gaps
