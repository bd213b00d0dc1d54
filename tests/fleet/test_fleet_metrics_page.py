"""Our page against the page of a real vLLM 0.32."""

import time
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from pertoken_bench.hardware.step_times import step_times
from pertoken_bench.hardware.truth import Truth
from pertoken_bench.reference_engine.request import EngineConfig, Request
from pertoken_bench.reference_engine.scheduler import ReferenceEngine
from pertoken_bench.reference_engine.step_clock import StepClock
from pertoken_sandbox.fleet.metrics_page import MetricsPage, cache_config_labels
from pertoken_sandbox.fleet.stats import EngineStats

REAL = Path(__file__).parent / "data" / "vllm-0.32.0.prom"
LEFT_OUT = ("python_", "process_", "http_", "vllm:estimated_")
CONFIG = EngineConfig(16, 2048, 4096, 4096)


def page_after(requests: int, custom: dict[str, tuple[float, ...]] | None = None) -> tuple[MetricsPage, EngineStats]:
    stats = EngineStats(4096, custom or {}, 1.7e9)
    clock = StepClock(step_times("Llama-3.1-8B", "h100-sxm", 1), Truth(), "r")
    clock.configure(16, started=0.0)
    engine = ReferenceEngine(CONFIG, clock)
    for index in range(requests):
        engine.add(Request(700, 5 + index, 0.0), 0.0)
    now = 0.0
    while engine.busy:
        step = engine.step(now)
        now = step.end
        stats.observe(step, engine)
    return MetricsPage(stats, "tiny", cache_config_labels(CONFIG, 0.92, 131072)), stats


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_every_family_is_the_real_one() -> None:
    real = families(REAL.read_text())
    emulated = families(page_after(0)[0].render())
    assert {name for name in real if not name.startswith(LEFT_OUT)} == set(emulated)
    for name, family in emulated.items():
        assert (family.type, family.documentation) == (real[name].type, real[name].documentation), name
        if name == "vllm:cache_config_info":
            assert set(family.samples[0].labels) == set(real[name].samples[0].labels)
            continue
        series = [(s.name, s.labels) for s in family.samples]
        assert series == [(s.name, s.labels) for s in real[name].samples], name


def test_histograms_are_cumulative_and_consistent() -> None:
    page, stats = page_after(20)
    for family in families(page.render()).values():
        if family.type != "histogram":
            continue
        buckets = [s.value for s in family.samples if s.name.endswith("_bucket")]
        count = next(s.value for s in family.samples if s.name.endswith("_count"))
        assert buckets == sorted(buckets)
        assert buckets[-1] == count
    values = {s.name: s.value for f in families(page.render()).values() for s in f.samples if "le" not in s.labels}
    assert values["vllm:generation_tokens_total"] == sum(5 + i for i in range(20)) == stats.generation_tokens
    assert values["vllm:prompt_tokens_total"] == 20 * 700
    assert values["vllm:e2e_request_latency_seconds_count"] == 20
    assert values["vllm:iteration_tokens_total_sum"] == 20 * 700 + stats.generation_tokens


def test_custom_buckets_replace_a_family() -> None:
    page, _ = page_after(3, {"inter_token_latency": (0.02, 0.04)})
    rendered = families(page.render())
    for name in ("vllm:inter_token_latency_seconds", "vllm:request_time_per_output_token_seconds"):
        assert [s.labels["le"] for s in rendered[name].samples if "le" in s.labels] == ["0.02", "0.04", "+Inf"]


def test_kv_capacity_is_told_as_vllm_tells_it() -> None:
    sample = families(page_after(0)[0].render())["vllm:cache_config_info"].samples[0]
    assert int(sample.labels["kv_cache_size_tokens"]) == 4096 * 16
    assert int(sample.labels["num_gpu_blocks"]) * int(sample.labels["block_size"]) == 4096 * 16


def test_rendering_is_cheap() -> None:
    page, _ = page_after(5)
    start = time.perf_counter()
    for _ in range(50):
        page.render()
    assert (time.perf_counter() - start) / 50 < 0.002
