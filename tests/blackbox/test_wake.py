"""A service without replicas is woken by what a gateway or a signal of the metrics profile shows in Prometheus."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request

import pytest
from clusterlab import adopted
from clusterlab.manifests import MODEL

pytestmark = pytest.mark.e2e

QUEUE = "llm_d_epp_flow_control_queue_size"
SATURATION = "llm_d_epp_flow_control_pool_saturation"
LABELS = f'fairness_id="default",priority="0",inference_pool="chat",model_name="{MODEL}",target_model_name="{MODEL}"'


class Gateway:
    """The metrics page of a gateway that holds requests while no replica serves."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)


@pytest.fixture
def gateway(lab):
    page = Gateway()
    lab.extra_page("gateway", page.text, namespace=lab.namespace, pod="epp-0")
    return page


def asleep(lab, signal):
    pool = lab.pool(nodes=[4])
    lab.deployment("chat", pool, replicas=0)
    lab.service("chat", adopted("chat", pool, minReplicas=0), minReplicas=0, idleSeconds=60, wakeSignal=signal)
    lab.cycles(4)
    assert lab.replicas("chat") == 0


def held(lab):
    """What Prometheus itself knows of the gateway's queue."""
    form = urllib.parse.urlencode({"query": f'{QUEUE}{{namespace="{lab.namespace}"}}'})
    url = f"{lab.stack.prometheus.url}/api/v1/query?{form}"
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback
        return json.load(answer)["data"]["result"]


def test_a_request_that_the_gateway_holds_wakes_within_two_cycles_of_its_scrape(lab, gateway):
    asleep(lab, {"source": "GatewayQueue"})
    unseen = lab.until(lambda: lab.says("chat", "MetricsAvailable", "False", "SignalsMissing"))
    assert unseen, "nothing in Prometheus would wake it"

    gateway.lines = [f'{SATURATION}{{inference_pool="chat"}} 0']
    lab.until(lambda: lab.says("chat", "MetricsAvailable", "True", "NoTraffic"))
    lab.throughout(4, lambda: lab.replicas("chat") == 0, says="a gateway that holds nothing wakes nobody")

    gateway.lines = [f"{QUEUE}{{{LABELS}}} 1"]
    lab.until(lambda: held(lab), says="Prometheus has scraped it")
    began = lab.operator.cycles()
    lab.until(lambda: lab.replicas("chat") == 1)
    assert lab.operator.cycles() - began <= 3, "the cycle under way when it was scraped, and two more"
    assert any(each.name == "chat" for each in lab.audit(resource="deployments/scale"))


def test_a_signal_of_the_profile_wakes_and_its_absence_does_not(lab, gateway):
    asleep(lab, {"source": "ProfileSignal", "name": "held"})
    assert "tells no signal held" in lab.condition("chat", "MetricsAvailable")["message"]

    gateway.lines = [f'proxy_held_requests{{target_model_name="{MODEL}"}} 2']
    lab.until(lambda: lab.replicas("chat") == 1)
    lab.until(lambda: lab.ready("chat") == 1)

    gateway.lines = []  # nobody tells the signal any more: what serves is not put to sleep
    lab.until(lambda: lab.says("chat", "MetricsAvailable", "False", "SignalsMissing"))
    lab.throughout(6, lambda: lab.replicas("chat") == 1)
