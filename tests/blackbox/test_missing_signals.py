"""A signal that is missing is not zero: nothing falls on what was not measured, and the condition says what is."""

from __future__ import annotations

import re

import pytest
from clusterlab import adopted

pytestmark = pytest.mark.e2e

# A replica of 64 sequences takes 8 requests/s at most, so 14 need both.
BUSY = {"requests_per_second": 14, "output_tokens": 200, "step_seconds": 0.04, "batch": 64}

# What the pages lose, and the word for it in the condition's message. The count of finished requests decides about no
# replica, and its last total stays good for a while: it need not be named at once.
LOSSES = {
    "generated": ("generation_tokens", "generated tokens"),
    "prompts": ("prompt_tokens", "prompt tokens"),
    "waiting": ("num_requests_waiting", "waiting requests"),
    "latency": ("inter_token_latency|time_to_first_token|time_per_output_token", "inter-token latency"),
    "finished": ("request_success", None),
    "presence": ("num_requests_running", "running requests|newest sample"),
    "all-but-running": ("tokens|request_|latency|_time_|kv_cache|iteration|waiting", "generated tokens"),
}


def test_what_is_not_told_shrinks_nothing_and_is_named(lab):
    pool = lab.pool(nodes=[8, 8])
    for name in LOSSES:
        lab.load(name, **BUSY)
        lab.deployment(name, pool, 2, "--max-num-seqs=64")
        lab.service(name, adopted(name, pool, minReplicas=1, maxReplicas=4))
    lab.until(lambda: all(lab.says(name, "MetricsAvailable", "True", "MetricsFresh") for name in LOSSES), 60)
    before = {name: min(2, lab.replicas(name)) for name in LOSSES}

    for name, (families, _) in LOSSES.items():
        lab.drop(name, families)

    def told() -> dict[str, str]:
        """What the conditions that do not claim to know everything say."""
        return {
            name: lab.condition(name, "MetricsAvailable")["message"]
            for name in named
            if lab.says(name, "MetricsAvailable", "False") and not lab.says(name, "Ready", "True")
        }

    def fallen() -> dict[str, int]:
        return {name: now for name in LOSSES if (now := lab.replicas(name)) < before[name]}

    named = {name: word for name, (_, word) in LOSSES.items() if word}
    # Longer than a window of rates, the age at which samples are stale and the hold on falling replicas together.
    lab.throughout(12, lambda: not fallen(), says="a loaded service shrank on what was not measured")
    messages = lab.until(lambda: (current := told()).keys() == named.keys() and current, says="all say what is missing")
    for name, word in named.items():
        assert re.search(word, messages[name]), f"{name}: {messages[name]}"
        if name != "presence":
            assert any(pod["metadata"]["name"] in messages[name] for pod in lab.pods(name)), name

    for name in LOSSES:
        lab.drop(name, "")
    lab.until(lambda: all(lab.says(name, "MetricsAvailable", "True", "MetricsFresh") for name in LOSSES), 60)
    # Zeros that had got into the demand's history would now be read as a burst.
    lab.throughout(8, lambda: all(before[name] <= lab.replicas(name) <= 3 for name in LOSSES), says="no overshoot")
