"""Pods that have ended hold and cost nothing, though their objects stay."""

from __future__ import annotations

from typing import Any

import pytest
from clusterlab import Lab, adopted

pytestmark = pytest.mark.e2e

PRICE = 360  # USD per GPU-hour: ten cents a second, so that seconds show in a bill
REASONS = ("Evicted", "UnexpectedAdmissionError", "OutOfnvidia.com/gpu", "Evicted")


def failed(lab: Lab) -> list[str]:
    return [pod["metadata"]["name"] for pod in lab.pods("chat") if pod["status"].get("phase") == "Failed"]


def serving(lab: Lab) -> list[str]:
    return [pod["metadata"]["name"] for pod in lab.pods("chat") if pod["status"].get("phase") == "Running"]


def account(lab: Lab) -> tuple[float, float]:
    """Observed seconds, and USD billed in them."""
    cost: dict[str, Any] = lab.status("chat").get("cost") or {}
    return float(cost.get("windowSeconds") or 0), float(cost.get("bill") or 0)


def test_failed_pods_are_not_billed(lab):
    pool = lab.pool(nodes=[8], price=str(PRICE))
    lab.load("chat", requests_per_second=2)
    lab.deployment("chat", pool, 2)
    lab.service("chat", adopted("chat", pool, minReplicas=2, maxReplicas=2), minReplicas=2)
    lab.until(lambda: lab.ready("chat") == 2)
    for count, reason in enumerate(REASONS, start=1):
        lab.behave(serving(lab)[0], "fail", reason, "the node said no")
        lab.until(lambda count=count: len(failed(lab)) == count and lab.ready("chat") == 2)
    lab.cycles(2)
    began, billed = lab.until(lambda: account(lab)[1] and account(lab))

    lab.stack.kubectl("delete", "pod", "-n", lab.namespace, failed(lab)[0], "--grace-period=0", "--wait=false")
    seconds, usd = lab.until(lambda: account(lab)[0] >= began + 10 and account(lab), 40)

    rate = (usd - billed) / (seconds - began)
    assert rate == pytest.approx(2 * PRICE / 3600, rel=0.25), "two replicas serve, and only they cost"
    assert float(lab.status("chat")["cost"]["spendPerHour"]) == 2 * PRICE
    assert lab.status("chat")["readyReplicas"] == 2
    held = lab.cluster.get("AcceleratorPool", "", pool)["status"]
    assert (held["used"], held["free"]) == (2, 6)
    assert float(held["spendPerHour"]) == 2 * PRICE
