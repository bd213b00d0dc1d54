"""What comes out of the metrics page of each engine version: the right signals, and no others."""

import re
from pathlib import Path

import pytest

from pertoken.adapters.prometheus.engines import ENGINES, VLLM, Metric, version_key
from pertoken.adapters.prometheus.profile import EngineSource, GatewaySource, GpuSource, MetricsProfile
from pertoken.cli import metrics_page
from pertoken.domain.identity import PodKey
from pertoken.domain.signal import Counter, LatencyKind, Signal

PAGES = Path(__file__).parents[1] / "fleet" / "data" / "engines"
SCRAPE, WINDOW = 0.5, 4.0
ROWS = [row for row in ENGINES.values() if row.presence]
GPU = {Signal.GPU_UTILIZATION, Signal.POWER_WATTS}
VALUES = {
    Signal.RUNNING: 8,
    Signal.WAITING: 2,
    Signal.KV_USAGE: 0.25,
    Signal.KV_CAPACITY_TOKENS: 250000,
    Signal.DECODING_SEQUENCES: 8,
    Signal.STEP_SECONDS: 0.02,
    Signal.STEPS_PER_SECOND: 50,
    Signal.PROMPT_TOKENS_PER_SECOND: 1000,
    Signal.CACHED_PROMPT_TOKENS_PER_SECOND: 250,
    Signal.GENERATION_TOKENS_PER_SECOND: 400,
    Signal.FINISHED_PER_SECOND: 3,
    Signal.FINISHED_INPUT_TOKENS_PER_SECOND: 900,
    Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND: 390,
    Signal.PREEMPTIONS_PER_SECOND: 0.5,
    Signal.REJECTIONS_PER_SECOND: 0.25,
    Signal.TTFT_MEAN_SECONDS: 0.2,
    Signal.PREFILL_MEAN_SECONDS: 0.1,
}
# SGLang and TensorRT-LLM count tokens when their request ends, TGI knows those of ended requests alone.
AT_THE_END = {
    "sglang": {Signal.FINISHED_INPUT_TOKENS_PER_SECOND: 1000, Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND: 400},
    "trtllm": {Signal.FINISHED_INPUT_TOKENS_PER_SECOND: 1000, Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND: 400},
    "tgi": {Signal.PROMPT_TOKENS_PER_SECOND: 900, Signal.GENERATION_TOKENS_PER_SECOND: 390},
}
CACHED = {Signal.CACHED_PROMPT_TOKENS_PER_SECOND, Counter.CACHED_INPUT_TOKENS}
REFUSED = {Signal.REJECTIONS_PER_SECOND}
PER_REQUEST = {LatencyKind.TIME_PER_OUTPUT_TOKEN}
SGLANG_NEVER = {Signal.STEPS_PER_SECOND, Signal.PREFILL_MEAN_SECONDS, *REFUSED}
SGLANG_NEW = {Signal.KV_CAPACITY_TOKENS, Signal.PREEMPTIONS_PER_SECOND}
TGI_TELLS = {
    *(Signal.RUNNING, Signal.WAITING, Signal.PROMPT_TOKENS_PER_SECOND, Signal.GENERATION_TOKENS_PER_SECOND),
    *(Signal.FINISHED_PER_SECOND, Signal.FINISHED_INPUT_TOKENS_PER_SECOND, Signal.FINISHED_OUTPUT_TOKENS_PER_SECOND),
    *(Signal.REJECTIONS_PER_SECOND, Signal.STEP_SECONDS, LatencyKind.TIME_PER_OUTPUT_TOKEN),
    *(Counter.FINISHED_REQUESTS, Counter.FINISHED_INPUT_TOKENS, Counter.FINISHED_OUTPUT_TOKENS),
}
TRITON_TELLS = {
    *(Signal.RUNNING, Signal.KV_CAPACITY_TOKENS, Signal.FINISHED_PER_SECOND, Signal.STEPS_PER_SECOND),
    Counter.FINISHED_REQUESTS,
}
TRTLLM_TELLS = {
    *(Signal.FINISHED_PER_SECOND, Signal.TTFT_MEAN_SECONDS, Counter.FINISHED_REQUESTS),
    *(LatencyKind.TTFT, LatencyKind.TIME_PER_OUTPUT_TOKEN),
}
LLAMA_TELLS = {
    *(Signal.RUNNING, Signal.WAITING, Signal.DECODING_SEQUENCES, Signal.STEPS_PER_SECOND, Signal.STEP_SECONDS),
    Signal.GENERATION_TOKENS_PER_SECOND,
}
ALL = {*VALUES, *Counter, *LatencyKind}
TOLD = {
    "vllm-0.6": ALL - CACHED - REFUSED - PER_REQUEST,
    "vllm-0.8": ALL - CACHED - REFUSED - PER_REQUEST,
    "vllm-0.9": ALL - CACHED - REFUSED - PER_REQUEST,
    "vllm-0.10": ALL - REFUSED - PER_REQUEST,
    "vllm-0.11": ALL - REFUSED,
    "vllm-0.12": ALL - REFUSED,
    "vllm-0.16": ALL - REFUSED,
    "sglang-0.4.0": ALL - SGLANG_NEVER - SGLANG_NEW - CACHED - PER_REQUEST,
    "sglang-0.4.9": ALL - SGLANG_NEVER - SGLANG_NEW - PER_REQUEST,
    "sglang-0.5.6": ALL - SGLANG_NEVER - PER_REQUEST,
    "sglang-0.5.9": ALL - SGLANG_NEVER - PER_REQUEST,
    "tgi-2.0": TGI_TELLS,
    "tgi-3.3": TGI_TELLS,
    "triton-24.02": TRITON_TELLS,
    "triton-24.12": TRITON_TELLS | {Signal.WAITING, Signal.KV_USAGE, LatencyKind.TTFT},
    "trtllm-1.0": TRTLLM_TELLS,
    "trtllm-1.2": TRTLLM_TELLS | {Signal.KV_USAGE},
    "trtllm-1.3": TRTLLM_TELLS
    | {*Counter, *CACHED, *AT_THE_END["trtllm"], Signal.KV_USAGE, Signal.KV_CAPACITY_TOKENS}
    | {Signal.RUNNING, Signal.WAITING, Signal.PROMPT_TOKENS_PER_SECOND, Signal.GENERATION_TOKENS_PER_SECOND},
    "llama.cpp-b4000": LLAMA_TELLS | {Signal.KV_USAGE},
    "llama.cpp-b6000": LLAMA_TELLS,
    "llm-d-inference-sim-0.10.2": ALL
    - {Signal.STEPS_PER_SECOND, Signal.PREEMPTIONS_PER_SECOND, *REFUSED, *PER_REQUEST},
}
RELEASES = {
    "vllm-0.6": "0.6 to 0.9",
    "vllm-0.8": "0.6 to 0.9",
    "vllm-0.9": "0.6 to 0.9",
    "vllm-0.10": "0.10",
    "vllm-0.11": "0.11",
    "vllm-0.12": "0.12",
    "vllm-0.16": "0.16",
    "llm-d-inference-sim-0.10.2": "0.11",
    "sglang-0.4.0": "0.4.0",
    "sglang-0.4.9": "0.4.9",
    "sglang-0.5.6": "0.5.6 or later",
    "sglang-0.5.9": "0.5.6 or later",
    "tgi-2.0": "",
    "triton-24.02": "24.02",
    "triton-24.12": "24.12",
    "trtllm-1.0": "1.0",
    "trtllm-1.2": "1.2",
    "trtllm-1.3": "1.3",
    "llama.cpp-b4000": "b4000",
    "llama.cpp-b6000": "b6000",
}


def grown(name, age):
    """The page after `age` seconds of the traffic that the file holds one second of."""
    rows = []
    kind = ""
    for row in (PAGES / f"{name}.prom").read_text().splitlines():
        if row.startswith("# TYPE"):
            kind = row.split()[-1]
        series, _, value = row.rpartition(" ")
        rows.append(f"{series} {float(value) * age:.9g}" if kind != "gauge" and not row.startswith("#") else row)
    return "\n".join(rows) + "\n"


@pytest.fixture(scope="module")
def prometheus(launcher, prometheus_programs, version, target):
    jobs = []
    for name in TOLD:
        target.pages[name] = lambda age, name=name: grown(name, age)
        jobs.append(launcher.job(name, name, target, labels={"namespace": "a", "pod": name}))
    running = launcher.start(prometheus_programs[version], version, jobs, scrape=SCRAPE)
    whole = f"count(count_over_time(scrape_samples_scraped[{WINDOW:g}s]) >= {WINDOW / SCRAPE:g}) == {len(TOLD)}"
    running.wait_for(whole, 30)
    return running


@pytest.fixture(scope="module")
def pods(prometheus):
    from pertoken.adapters.prometheus.source import PrometheusSource  # noqa: PLC0415 - only where used

    source = PrometheusSource(
        MetricsProfile(
            url=prometheus.url,
            engine=EngineSource(engines=tuple(row.name for row in ROWS)),
            gpu=GpuSource(enabled=False),
            gateway=GatewaySource(enabled=False),
            scrape_seconds=SCRAPE,
            window_seconds=WINDOW,
            fresh_seconds=3 * SCRAPE,
            lookback_seconds=20.0,
        )
    )
    snapshot = source.observe()
    source.close()
    assert snapshot.health.ok, snapshot.health
    return snapshot.pods


def row_of(name):
    return ENGINES["vllm" if name.startswith("llm-d") else name.rsplit("-", 1)[0]]


@pytest.mark.parametrize("name", TOLD)
def test_signals_of_a_page(pods, name):
    pod = pods[PodKey("a", name)]
    told = {*(signal for signal in Signal if signal in pod.values), *(kind for kind in Counter if kind in pod.counters)}
    told |= {kind for kind in LatencyKind if kind in pod.histograms}
    assert pod.per_token == (LatencyKind.INTER_TOKEN in told and not PER_REQUEST & TOLD[name])
    assert told == TOLD[name] | (PER_REQUEST if pod.per_token else set())
    assert pod.engine == row_of(name).name
    assert pod.lacks == ALL - told, "what its version does not have"
    expected = VALUES | AT_THE_END.get(pod.engine, {})
    for signal, value in pod.values.items():
        assert value == pytest.approx(expected[signal], rel=0.12), signal
    totals = pod.counters
    requests = totals.get(Counter.FINISHED_REQUESTS)
    for counter, each in ((Counter.FINISHED_INPUT_TOKENS, 300), (Counter.FINISHED_OUTPUT_TOKENS, 130)):
        if counter in totals:
            # Two queries may see two scrapes of a page that is only seconds old.
            assert totals[counter] == pytest.approx(each * requests, rel=0.3), counter
    if pod.per_token:
        assert pod.histograms[LatencyKind.TIME_PER_OUTPUT_TOKEN].cumulative[-1] == pytest.approx(3, rel=0.12)


@pytest.mark.parametrize(("name", "release"), RELEASES.items())
def test_versions_that_show_what_a_page_shows(pods, name, release):
    assert pods[PodKey("a", name)].release == release


def test_the_table_says_of_each_version_what_its_page_tells():
    for row in ROWS:
        for version in row.versions:
            name = f"{row.name}-{version}"
            if name == "vllm-0.32":
                continue  # its page is a recording
            page = (PAGES / f"{name}.prom").read_text()
            for told in (*Signal, *Counter, *LatencyKind):
                families = row.families(told, version)
                assert bool(families) >= (told in TOLD[name]), (name, told)
                if families and told not in TOLD[name]:
                    assert told in row.sometimes, (name, told)
                if families and told in TOLD[name]:
                    base = re.escape(families[0].removesuffix(f"{{{getattr(row.capacity, 'label', '')}}}"))
                    assert re.search(rf"^{base}(_bucket|_sum)?({{| )", page, re.MULTILINE), (name, told)


def test_versions_are_in_their_order():
    assert version_key("0.9") < version_key("0.9.2") < version_key("0.10") < version_key("1.0")
    assert version_key("b4000") < version_key("b5450")
    for row in ROWS:
        assert list(row.versions) == sorted(row.versions, key=version_key)
    assert Metric("a", since="0.9.2", until="0.12").in_version("0.10")
    assert not Metric("a", since="0.9.2").in_version("0.9")
    assert not Metric("a", until="0.12").in_version("0.12")


def test_what_an_engine_always_offers_is_in_every_version():
    assert not VLLM.offer.signals & {*CACHED, *REFUSED}
    assert Signal.KV_USAGE in VLLM.offer.signals, "under one name or the other"
    assert {LatencyKind.TTFT, LatencyKind.INTER_TOKEN} == VLLM.offer.histograms


def test_the_documented_table_is_that_of_the_code():
    text = (Path(__file__).parents[2] / metrics_page.PAGE).read_text()
    assert metrics_page.page(text) == text


def evidence(row, *names):
    return frozenset(metric for metric in row.evidence() if metric.name in names)


@pytest.mark.parametrize(
    ("shown", "works", "versions", "lacks"),
    [
        ((), False, "", set()),
        (("vllm:gpu_cache_usage_perc",), False, "0.6 to 0.10", set(REFUSED | PER_REQUEST)),
        (("vllm:kv_cache_usage_perc",), False, "0.10 or later", set()),
        # An imitation: newer than what it lacks. What it does not show is off, rare events excepted.
        (
            (
                "vllm:kv_cache_usage_perc",
                "vllm:inter_token_latency_seconds_sum",
                "vllm:inter_token_latency_seconds_count",
            ),
            True,
            "0.11 or later",
            {*CACHED, *PER_REQUEST, *REFUSED, Signal.STEPS_PER_SECOND, Signal.PREEMPTIONS_PER_SECOND},
        ),
    ],
)
def test_what_a_page_says_of_its_version(shown, works, versions, lacks):
    release = VLLM.release(evidence(VLLM, *shown), works=works)
    assert (release.versions, set(release.lacks)) == (versions, lacks)
