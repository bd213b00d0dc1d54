"""Engines of other versions, and what only resembles an engine: read by their own names, and what they lack is said."""

from __future__ import annotations

import pytest
from clusterlab import adopted

pytestmark = pytest.mark.e2e

BUSY = {"requests_per_second": 14, "output_tokens": 200, "step_seconds": 0.04, "batch": 64}
# vLLM up to 0.9.1, on pages of 0.32: two names are others, five families are not there.
OLD = (
    ("vllm:kv_cache_usage", "vllm:gpu_cache_usage"),
    ("inter_token_latency_seconds", "time_per_output_token_seconds"),
)
NOT_YET = "request_time_per_output_token|prompt_tokens_cached|prompt_tokens_by|prefix_cache|admission_rejections"
NOT_EMULATED = f"{NOT_YET}|iteration_tokens|num_preemptions"


def test_other_versions_are_read_and_what_they_lack_is_said(lab):
    pool = lab.pool(nodes=[8])
    for name in ("old", "emulated"):
        lab.load(name, **BUSY)
        lab.deployment(name, pool, 2, "--max-num-seqs=64")
    lab.rename("old", *OLD)
    lab.drop("old", NOT_YET)
    lab.rename("emulated", ("finished_reason", "finish_reason"))
    lab.drop("emulated", NOT_EMULATED)
    for name in ("old", "emulated"):
        lab.service(name, adopted(name, pool, minReplicas=1, maxReplicas=4))

    def lacks(name: str, *words: str) -> bool:
        said = lab.says(name, "MetricsAvailable", "True", "EngineLacksSignals")
        return said and all(word in lab.condition(name, "MetricsAvailable")["message"] for word in words)

    old = "this engine version (vllm 0.6 to 0.9) lacks cached prompt tokens"
    lab.until(lambda: lacks("old", old, "discount for cached prompts"), 60)
    lab.until(lambda: lacks("emulated", "preemptions", "batch cap by preemptions"), 60)
    for name in ("old", "emulated"):
        lab.until(lambda name=name: lab.says(name, "WithinLatencyTarget", "True", "WithinLatencyTarget"))
        message = lab.condition(name, "WithinLatencyTarget")["message"]
        assert "inter-token latency" in message, name
        assert "no figure per request" in message, name
        lab.until(
            lambda name=name: (
                float(lab.status(name)["demand"]["now"]["requestsPerSecond"])
                == pytest.approx(BUSY["requests_per_second"], rel=0.1)
            ),
            says="all finish reasons are demand",
        )
        assert lab.says(name, "Ready", "True")
    lab.throughout(5, lambda: all(lab.replicas(name) >= 2 for name in ("old", "emulated")))
