"""Every query of the dashboards against a real Prometheus that scrapes the operator's own exporter."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pertoken.adapters.clock import SystemClock
from pertoken.cli.reference.metrics_out import exported
from pertoken.control.capacity_plans import CapacityPlanFigures, PlannedPool
from pertoken.domain.cost import AttributionFigures, CostFigures
from pertoken.domain.identity import PodKey, ServiceKey
from pertoken.domain.metrics import MetricsHealth, MetricsSnapshot, PodMetrics
from pertoken.domain.plan import (
    Condition,
    Decision,
    DemandFigures,
    LatencyFigures,
    Plan,
    PoolFigures,
    VariantDecision,
    Verdict,
)
from pertoken.domain.reasons import Reason
from pertoken.ports import CycleSummary
from pertoken.telemetry.metrics import OperatorMetrics, ProcessState
from pertoken_sandbox.binaries import ensure
from pertoken_sandbox.dashboards.boards import artifacts
from pertoken_sandbox.prometheus import PrometheusServer, Scraping

ROOT = Path(__file__).parents[2]
BOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(text) for path, text in artifacts()}
QUERIES = [
    pytest.param(target["expr"], id=f"{name}-{panel['title']}-{target['refId']}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    for target in panel["targets"]
]
CHOICES = [
    pytest.param(choice["query"]["query"], id=f"{name}-{choice['name']}")
    for name, board in BOARDS.items()
    for choice in board["templating"]["list"]
    if choice["type"] == "query"
]
SCRAPE_SECONDS = 0.5
ROUNDS = 14
IN_GRAFANA = {"$__rate_interval": "4s", "$__range": "6s", "$namespace": ".*", "$service": ".*", "$pool": ".*"}


def decision(name: str, step: int) -> Decision:
    """A busy service as the demo has it: above its target, one variant scaling, latency near the objective."""
    variant = VariantDecision(
        "a100",
        current=17 + step,
        desired=19,
        ready=17,
        reason=Reason.LATENCY_AT_RISK,
        cap=32,
        desired_cap=72,
        chunk=2048,
        desired_chunk=4096,
        operating_batch=26.2,
        gpus_per_replica=1,
        capacity_per_replica=1188.0,
        gpu_utilization=0.82,
        kv_usage=0.4,
    )
    conditions = {
        "WithinCostTarget": Condition(Verdict.FALSE, Reason.COST_ABOVE_TARGET, ""),
        "ScalingLimited": Condition(Verdict.TRUE, Reason.AT_MAXIMUM, ""),
    }
    return Decision(
        ServiceKey("chat-demo", name),
        Reason.LATENCY_AT_RISK,
        "",
        (variant,),
        conditions,
        CostFigures(
            index=1.04,
            blended=0.0614,
            input=0.03,
            cached_input=0.01,
            output=0.2,
            marginal=0.0296,
            idle_share=0.2,
            per_thousand_requests=0.08,
            reachable=0.0461,
            reachable_index=0.75,
            spend_per_hour=46.5 + step,
            attribution=AttributionFigures(work=0.7, idle=0.2, warming=0.05, unallocated=0.05),
            good_low=0.06,
            good_high=0.07,
            joules_per_token=0.3,
        ),
        LatencyFigures(
            95, ttft=0.9, inter_token=0.05, missed_share=0.06, ttft_objective=2.0, inter_token_objective=0.075
        ),
        DemandFigures(9000.0, 10504.0, 55.0, 13717.0, 11.0, 34.0, 400.0),
    )


def world(step: int) -> Plan:
    pools = (PoolFigures("a100", 24, 19, 5, 5, 2, 46.5), PoolFigures("h100", 8, 0, 8, 8, 0, 0.0))
    return Plan((decision("chat", step), decision("search", step)), (), pools)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    now = SystemClock().now()
    plans = (CapacityPlanFigures("year", now - 3600, now + 9e5, (PlannedPool("a100", 30, 6),)),)
    state = ProcessState(lambda: True, lambda: True, lambda: 30.0, lambda: {"pods": 0}, lambda: plans)
    metrics = OperatorMetrics(SystemClock(), state)
    snapshot = MetricsSnapshot(
        MetricsHealth(ok=True), 90.0, 60.0, {PodKey("n", "p"): PodMetrics(PodKey("n", "p"), 4.0)}
    )
    phases = {"observe": 0.3, "plan": 0.02, "act": 0.1}
    summary = CycleSummary(number=1, ok=True, phases=phases, outcomes={("scale_up", "done"): 1})

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, content_type = metrics.render(self.headers.get("Accept", ""))
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            return

    page = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    target = f"127.0.0.1:{page.server_port}"
    scraping = Scraping(static_targets=(target,), interval_seconds=SCRAPE_SECONDS)
    server = PrometheusServer(ensure("prometheus"), tmp_path_factory.mktemp("dashboards"), scraping)
    try:
        server.start()
        for step in range(ROUNDS):
            metrics.update(world(step), replace(summary, number=step), {"default": snapshot})
            metrics.reported(0.4)
            time.sleep(SCRAPE_SECONDS)
        stop = threading.Event()

        def go_on() -> None:
            while not stop.wait(SCRAPE_SECONDS):
                metrics.update(world(ROUNDS), summary, {"default": snapshot})
                metrics.reported(0.4)

        going = threading.Thread(target=go_on, daemon=True)
        going.start()
        yield server.url
        stop.set()
        going.join()
    finally:
        server.stop()
        page.shutdown()
        page.server_close()


def ask(url: str, path: str, **parameters: str) -> Any:
    address = f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=20) as answer:
        return json.load(answer)["data"]


def filled(expression: str) -> str:
    for name, value in IN_GRAFANA.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


@pytest.mark.e2e
@pytest.mark.parametrize("expression", QUERIES)
def test_a_panels_query_has_an_answer(prometheus: str, expression: str):
    result = ask(prometheus, "query", query=filled(expression))["result"]
    assert result
    assert all(value not in {"NaN", "+Inf", "-Inf"} for _, value in (series["value"] for series in result))


@pytest.mark.e2e
@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_has_values(prometheus: str, choice: str):
    selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", filled(choice)).groups()
    assert ask(prometheus, f"label/{label}/values", **{"match[]": selector})


@pytest.mark.e2e
def test_what_is_left_out_would_be_seen(prometheus: str):
    assert ask(prometheus, "query", query="pertoken_service_cost_indx")["result"] == []


def test_files_are_those_of_the_source():
    assert {path: (ROOT / path).read_text() for path, _ in artifacts()} == dict(artifacts()), "make docs"


@pytest.mark.parametrize("name", BOARDS)
def test_panels_lie_side_by_side_with_units_and_only_stable_metrics(name: str):
    board = BOARDS[name]
    stable = {family.name + ending for family in exported() if family.stable for ending in ("", "_sum", "_count")}
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            assert set(re.findall(r"\bpertoken_\w+", target["expr"])) <= stable
    assert len({panel["title"] + panel["type"] for panel in board["panels"]}) == len(board["panels"])
