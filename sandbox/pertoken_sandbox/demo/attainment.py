"""Share of all requests that kept both objectives, as the clients measured it."""

from __future__ import annotations

import json
from pathlib import Path

from pertoken_sandbox.demo.summary import PromisedLatency
from pertoken_sandbox.fleet.virtual import FleetResult


def of_log(path: Path, unfinished: int, objectives: PromisedLatency) -> float | None:
    """Of a request log (JSON lines); requests that never finished are misses. None without requests."""
    good = total = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        request = json.loads(line)
        total += 1
        slow = request["itl_ms"] is not None and request["itl_ms"] > objectives.inter_token * 1000
        good += request["ttft_ms"] <= objectives.ttft * 1000 and not slow
    total += unfinished
    return good / total if total else None


def of_fleet(result: FleetResult, objectives: PromisedLatency) -> float:
    """Of a static fleet; single tokens have no time per output token and cannot miss it."""
    late = result.ttft_ms > objectives.ttft * 1000
    slow = result.itl_ms > objectives.inter_token * 1000  # NaN compares False
    return float(1.0 - (late | slow).mean())
