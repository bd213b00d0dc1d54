"""Range queries over a real Prometheus whose blocks were written beforehand: three hours of a service's past."""

import contextlib
import os
import socket
import subprocess
import time
import urllib.request
from dataclasses import replace

import numpy as np
import pytest

from pertoken.adapters.prometheus.demand import read_demand
from pertoken.adapters.prometheus.history import HistoryQuery, HistoryUnavailable, Ranges, read_history
from pertoken.adapters.prometheus.profile import MetricsProfile
from pertoken.domain.identity import ServiceKey, WorkloadRef
from pertoken.domain.service import EngineKind, ModelSpec, ServiceSpec, VariantSpec
from pertoken_sandbox import binaries

HOURS = 3
PER_MINUTE = {
    "vllm:request_success_total": 30,
    "vllm:request_prompt_tokens_sum": 33000,
    "vllm:request_generation_tokens_sum": 6000,
}


GAP = range(140, 152)  # minutes without a replica count


def pods_at(minute):
    """One replica, then two."""
    return ("chat-1", "chat-2") if minute >= 90 else ("chat-1",)


def lines(end):
    """OpenMetrics text of two services that share a namespace and a name's beginning."""
    start = end - HOURS * 3600
    for metric, grows in PER_MINUTE.items():
        yield f"# TYPE {metric.removesuffix('_total')} {'counter' if metric.endswith('_total') else 'unknown'}"
        for service, factor in (("chat", 1), ("chat-large", 5)):
            for pod in ("chat-1", "chat-2"):
                name = pod.replace("chat", service)
                for copy in ("a", "b"):  # scraped by two jobs: one figure, not two
                    first = next(m for m in range(HOURS * 60) if pod in pods_at(m))
                    for minute in range(first, HOURS * 60 + 1):
                        value = (minute - first) * grows * factor
                        labels = f'namespace="llm",pod="{name}",engine="0",model_name="{service}",job="{copy}"'
                        if metric.endswith("_total"):
                            labels += ',finished_reason="stop"'
                        yield f"{metric}{{{labels}}} {value} {start + minute * 60}"
    yield "# TYPE vllm:num_requests_running gauge"
    for minute in range(HOURS * 60 + 1):
        for pod in pods_at(minute):
            labels = f'namespace="llm",pod="{pod}",engine="0",model_name="chat"'
            yield f"vllm:num_requests_running{{{labels}}} 3 {start + minute * 60}"
    yield "# TYPE kube_deployment_status_replicas gauge"
    for minute in sorted({*range(HOURS * 60 + 1)} - {*GAP}):
        labels, count = 'namespace="llm",deployment="chat"', len(pods_at(minute)) + 1
        yield f"kube_deployment_status_replicas{{{labels}}} {count} {start + minute * 60}"
    yield "# EOF"


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    """URL of a Prometheus with that past and nothing to scrape."""
    home = tmp_path_factory.mktemp("past")
    end = int(time.time()) // 60 * 60  # noqa: TID251 - a server that is there
    (home / "past.om").write_text("\n".join(lines(end)) + "\n")
    make = [
        str(binaries.ensure("promtool")),
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        home / "past.om",
        home / "data",
    ]
    done = subprocess.run(make, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (home / "prometheus.yml").write_text("{}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(binaries.ensure("prometheus")), f"--config.file={home}/prometheus.yml"]
    command += [f"--storage.tsdb.path={home}/data", f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"GOMAXPROCS": "1"})
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, process, home / "log")
        yield url
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(url, process, log):
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/-/ready", timeout=5):  # noqa: S310 - own
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, "Prometheus did not start"
        time.sleep(0.05)


def asked(**changes):
    base = {
        "namespace": "llm", "service": "chat", "served_name": "chat", "engine": "vllm",
        "workloads": {"a100": WorkloadRef("apps/v1", "Deployment", "llm", "chat")}, "days": 2.5 / 24,
    }  # fmt: skip
    return HistoryQuery(**base | changes)


def test_traffic_and_replicas_of_the_service_alone(past):
    history = read_history(MetricsProfile(past), asked())
    assert history.source == "kube-state-metrics"
    requests, inputs, outputs = (sum(column) for column in history.counts)
    assert inputs / requests == pytest.approx(1100, rel=1e-6)
    assert outputs / requests == pytest.approx(200, rel=1e-6)
    assert history.counts[0][10:15] == pytest.approx([60.0] * 5, rel=0.02)  # two minutes each
    assert history.counts[0][-10:-5] == pytest.approx([120.0] * 5, rel=0.02)
    assert {round(value) for value in history.replicas["a100"]} == {2, 3}  # a gap is no scale-down
    assert 4 <= history.held <= 6
    assert history.unknown <= 1  # the step in which the record ends may not be told


def test_pods_that_answered_where_nothing_else_counts(past):
    other = {"a100": WorkloadRef("apps/v1", "Deployment", "llm", "unknown")}
    history = read_history(MetricsProfile(past), asked(workloads=other))
    assert history.source.startswith("pods that answered")
    assert history.replicas["a100"][10] == 1
    assert history.replicas["a100"][-10] == 2
    assert history.held == 0
    with pytest.raises(HistoryUnavailable, match="no replica counts"):
        read_history(MetricsProfile(past), asked(workloads=other | {"b": other["a100"]}))


def test_what_is_not_there_is_said(past):
    with pytest.raises(HistoryUnavailable, match="no finished requests"):
        read_history(MetricsProfile(past), asked(served_name="nobody"))
    with pytest.raises(HistoryUnavailable, match="--days"):
        read_history(MetricsProfile(past), asked(days=0.0001))


def service_of(name, engine=EngineKind.VLLM):
    variant = VariantSpec("a", "p", WorkloadRef("apps/v1", "Deployment", "llm", name), owned=False, engine=engine)
    return ServiceSpec(ServiceKey("llm", name), "u", 1, ModelSpec(name, name), (variant,))


def test_demand_by_the_hour_with_gaps_that_are_not_zeros(past):
    history = read_demand(MetricsProfile(past), [service_of("chat"), service_of("silent")], 2)
    chat, silent = history.services
    known = np.isfinite(chat.requests)

    assert history.start_s % 3600 == 0
    assert history.hours == 48
    assert 2 <= known.sum() <= 4
    assert not known[:40].any()
    # One pod, then two, of 30 requests a minute; the last whole hour began up to 29 minutes before the second one.
    assert 2700 <= chat.requests[known].max() <= 3650
    assert (chat.input_tokens[known] / chat.requests[known]) == pytest.approx(1100, rel=1e-3)
    assert not np.isfinite(silent.requests).any()


def test_services_are_told_apart_whatever_else_is_asked_with_them(past, monkeypatch):
    asked = []
    real = Ranges.series
    monkeypatch.setattr(Ranges, "series", lambda self, query, *rest: asked.append(query) or real(self, query, *rest))
    alone = read_demand(MetricsProfile(past), [service_of("chat")], 1)
    few = len(asked)
    crowd = [service_of(f"a.b/c-{index}") for index in range(40)]
    among = read_demand(MetricsProfile(past), [*crowd, service_of("chat")], 1)

    assert len(asked) == 2 * few
    np.testing.assert_array_equal(among.services[-1].requests, alone.services[0].requests)
    assert not any(np.isfinite(each.requests).any() for each in among.services[:-1])


def test_several_engines_of_a_service_are_added_and_nothing_at_all_is_refused(past):
    mixed = replace(
        service_of("chat"), variants=(*service_of("chat").variants, *service_of("x", EngineKind.SGLANG).variants)
    )
    both = read_demand(MetricsProfile(past), [mixed], 1)
    alone = read_demand(MetricsProfile(past), [service_of("chat")], 1)

    assert np.nansum(both.services[0].requests) == pytest.approx(np.nansum(alone.services[0].requests))
    with pytest.raises(HistoryUnavailable, match="no finished requests of any service in 1 days"):
        read_demand(MetricsProfile(past), [service_of("silent")], 1)
