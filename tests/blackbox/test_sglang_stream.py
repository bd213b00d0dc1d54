"""SGLang splits its counters by whether a request streams: both parts are demand, and a page scraped twice is one."""

from __future__ import annotations

from itertools import accumulate

import pytest
from clusterlab import adopted, manifests
from clusterlab.scripted import Engine

pytestmark = pytest.mark.e2e

PARTS = {"true": 2 / 3, "false": 1 / 3}
REQUESTS_PER_SECOND, OUTPUT_TOKENS = 9.0, 100


def page(engine: Engine) -> str:
    """A scripted engine's figures as SGLang 0.5 writes them, from two tensor-parallel ranks."""
    stats = engine.stats
    rows = []
    for streaming, share in PARTS.items():
        labels = f'{{model_name="m",is_streaming="{streaming}"}}'
        rows += [
            f"sglang:num_requests_total{labels} {stats.finished * share}",
            f"sglang:prompt_tokens_total{labels} {stats.prompt_tokens * share}",
            f"sglang:generation_tokens_total{labels} {stats.generation_tokens * share}",
            *histogram("time_to_first_token_seconds", stats.ttft, f',is_streaming="{streaming}"', share),
        ]
    rows += histogram("inter_token_latency_seconds", stats.itl, "", 1.0)
    for rank in "01":
        labels = f'{{model_name="m",tp_rank="{rank}",pp_rank="0",moe_ep_rank="0"}}'
        rows += [
            f"sglang:num_running_reqs{labels} {stats.running}",
            f"sglang:num_queue_reqs{labels} {stats.waiting}",
            f"sglang:token_usage{labels} {stats.kv_usage}",
            f"sglang:max_total_num_tokens{labels} 400000",
        ]
    return "\n".join(rows) + "\n"


def histogram(name, shown, labels, share):
    edges = [*(f"{edge:g}" for edge in shown.edges), "+Inf"]
    rows = [
        f'sglang:{name}_bucket{{model_name="m"{labels},le="{edge}"}} {count * share}'
        for edge, count in zip(edges, accumulate(shown.counts), strict=True)
    ]
    rows.append(f'sglang:{name}_sum{{model_name="m"{labels}}} {shown.total * share}')
    rows.append(f'sglang:{name}_count{{model_name="m"{labels}}} {sum(shown.counts) * share}')
    return rows


def test_streamed_and_other_requests_are_both_demand(lab):
    pool = lab.pool(nodes=[2])
    pages: dict[str, str] = {}

    def kept(engine: Engine) -> str:
        pages[engine.pod] = page(engine)
        return pages[engine.pod]

    lab.load("chat", requests_per_second=REQUESTS_PER_SECOND, output_tokens=OUTPUT_TOKENS)
    lab.page("chat", kept)
    container = manifests.engine(image="lmsysorg/sglang:v0.5.9")
    lab.deployment("chat", pool, 1, containers=[container])
    lab.service("chat", adopted("chat", pool, engine="sglang", maxReplicas=1))
    lab.until(lambda: lab.ready("chat") == 1 and pages)
    (pod,) = pages
    lab.extra_page("again", lambda: pages[pod], namespace=lab.namespace, pod=pod)

    def demand(field: str) -> float:
        return float(lab.status("chat")["demand"]["now"][field])

    lab.until(
        lambda: demand("requestsPerSecond") == pytest.approx(REQUESTS_PER_SECOND, rel=0.08),
        40,
        says=f"{REQUESTS_PER_SECOND} requests/s, streamed or not, are the demand",
    )
    lab.until(lambda: demand("outputTokensPerSecond") == pytest.approx(REQUESTS_PER_SECOND * OUTPUT_TOKENS, rel=0.1))
    lab.throughout(5, lambda: demand("requestsPerSecond") < 1.3 * REQUESTS_PER_SECOND, says="a copy is not demand")
    running = REQUESTS_PER_SECOND * OUTPUT_TOKENS * 0.02
    lab.until(lambda: demand("running") == pytest.approx(running, abs=2), says="ranks repeat the running requests")
