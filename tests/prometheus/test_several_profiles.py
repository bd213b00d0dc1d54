"""Several metrics profiles in one cycle, each with its own endpoint, tenant and labels, on real Prometheus servers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lab import plant, service_spec

from pertoken.adapters.catalog_files import CatalogFolder
from pertoken.adapters.prometheus import queries
from pertoken.adapters.prometheus.profile import MetricsProfile
from pertoken.adapters.prometheus.profile_settings import profiles
from pertoken.control.observer import Observer
from pertoken.domain.identity import PodKey
from pertoken.domain.plan import Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.signal import Signal

SCRAPE, WINDOW, FRESH = 0.5, 4.0, 1.5
# team-b renames labels and metrics, has a tenant, and runs two engines behind one service.
TEAM_B = """
team-b:
  url: {url}
  credentials: {{tenant: team-b}}
  engine:
    engines: [vllm, sglang]
    labels: {{namespace: k8s_namespace, pod: k8s_pod}}
    prefixes: {{"vllm:": vllm_}}
"""


def ours(_):
    return 'vllm:num_requests_running{engine="0",namespace="a",pod="chat-0"} 8\n'


def theirs(_):
    return (
        'vllm_num_requests_running{engine="0",k8s_namespace="b",k8s_pod="chat-v-0"} 3\n'
        'sglang:num_running_reqs{k8s_namespace="b",k8s_pod="chat-s-0"} 5\n'
    )


@pytest.fixture(scope="module")
def servers(launcher, prometheus_programs, target):
    """Two Prometheus servers, one for each team's engines."""
    if "3.16" not in prometheus_programs:
        pytest.skip("no Prometheus 3.16 on this machine")
    target.pages |= {"ours": ours, "theirs": theirs}
    started = []
    for name, series in (("ours", "vllm:num_requests_running"), ("theirs", "vllm_num_requests_running")):
        server = launcher.start(prometheus_programs["3.16"], "3.16", [launcher.job(name, name, target)], scrape=SCRAPE)
        server.wait_for(series)
        started.append(server)
    return started


@pytest.fixture
def asked(servers, proxy_to, source_of):
    """An observer of both profiles, each behind a proxy of its own."""
    proxies = [proxy_to(server.url) for server in servers]
    default = MetricsProfile(
        proxies[0].url, scrape_seconds=SCRAPE, window_seconds=WINDOW, fresh_seconds=FRESH, lookback_seconds=20.0
    )
    named = profiles(TEAM_B.format(url=proxies[1].url), default)
    sources = {name: source_of(profile) for name, profile in named.items()}
    unused = None
    observer = Observer(unused, sources, CatalogFolder(None), unused, unused, unused)
    return observer, named, proxies


def running(snapshot):
    return {key: pod.values[Signal.RUNNING] for key, pod in snapshot.pods.items()}


def test_each_profile_tells_its_own_pods_with_its_own_endpoint_tenant_and_labels(asked):
    observer, _, (ours, theirs) = asked
    told = observer.measure()

    assert {name: snapshot.health.ok for name, snapshot in told.items()} == {"default": True, "team-b": True}
    assert running(told["default"]) == {PodKey("a", "chat-0"): 8}
    assert running(told["team-b"]) == {PodKey("b", "chat-v-0"): 3, PodKey("b", "chat-s-0"): 5}
    assert {pod.engine for pod in told["team-b"].pods.values()} == {"vllm", "sglang"}
    assert {headers.get("X-Scope-OrgID") for headers, _ in ours.seen} == {None}
    assert {headers.get("X-Scope-OrgID") for headers, _ in theirs.seen} == {"team-b"}


def test_queries_of_a_cycle_are_those_of_the_profiles_whatever_the_number_of_services(asked):
    observer, named, proxies = asked
    observer.measure()

    sent = [sum(proxy.hits.values()) for proxy in proxies]
    assert sent == [len(queries.plan(named[name]).queries()) for name in ("default", "team-b")]


@pytest.mark.parametrize("broken", [0, 1])
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"status": 503}, Reason.PROMETHEUS_UNREACHABLE),
        ({"extra": {"warnings": ["a store did not answer"]}}, Reason.PROMETHEUS_PARTIAL),
    ],
    ids=["fails", "is partial"],
)
def test_a_profile_that_fails_holds_its_own_services_alone(asked, broken, how, reason):
    observer, _, proxies = asked
    for name, value in how.items():
        setattr(proxies[broken], name, value)
    told = observer.measure()
    names = ("default", "team-b")
    assert {name: told[name].health.ok for name in names} == {name: name != names[broken] for name in names}

    fleet = plant("chat", "other", rate=5.0, replicas=2)
    fleet.services = {
        "chat": service_spec(metrics_profile="default"),
        "other": service_spec("other", metrics_profile="team-b"),
    }
    shown = fleet.world

    def world():
        sound = fleet.metrics()
        return replace(shown(), metrics={name: sound if told[name].health.ok else told[name] for name in names})

    fleet.world = world
    plan = fleet.step()

    verdicts = {decision.service.name: decision.conditions["MetricsAvailable"] for decision in plan.decisions}
    held, free = (("chat", "other"), ("other", "chat"))[broken]
    assert (verdicts[held].verdict, verdicts[held].reason) == (Verdict.FALSE, reason)
    assert verdicts[free].verdict is Verdict.TRUE
