"""What Prometheus shows of engines, GPUs and their neighbours, and whether pertoken can tell pods by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pertoken.adapters.prometheus.client import Answers, QueryClient
from pertoken.adapters.prometheus.engines import ENGINES
from pertoken.adapters.prometheus.profile import MetricsProfile
from pertoken.adapters.prometheus.promql import Query
from pertoken.cli.doctor.findings import Finding, bad, doubt, good

LATE: Final = 30.0  # seconds between scrapes above which the operator's rate window holds fewer than four
OLD: Final = 60.0  # seconds after which a sample is stale with the settings that ship
SKEW: Final = 5.0  # seconds that two clocks may differ: a third of a cycle
_PRESENCE: Final = {row.name: row.presence.name for row in ENGINES.values() if row.presence is not None}
_DCGM: Final = "DCGM_FI_DEV_GPU_UTIL"


def _queries() -> list[Query]:
    queries = [Query("clock", "time()", required=False)]
    for engine, name in _PRESENCE.items():
        queries += [
            Query(f"{engine} pods", f'count(group by (namespace, pod) ({name}{{pod!=""}}))', required=False),
            Query(f"{engine} without pod", f'count({name}{{pod=""}} or {name}{{namespace=""}})', required=False),
            Query(f"{engine} renamed", f'count({name}{{exported_pod!=""}})', required=False),
            Query(f"{engine} age", f"max(time() - timestamp({name}))", required=False),
            Query(f"{engine} interval", f"300 / min(count_over_time({name}[5m]))", required=False),
        ]
    queries += [
        Query("DCGM pods", f'count({_DCGM}{{pod!=""}})', required=False),
        Query("DCGM renamed", f'count({_DCGM}{{exported_pod!=""}})', required=False),
        Query("DCGM all", f"count({_DCGM})", required=False),
        Query("kube-state-metrics", "count(kube_deployment_status_replicas)", required=False),
        Query("OpenCost", "count(node_gpu_hourly_cost > 0)", required=False),
        Query(
            "gateway", 'count({__name__=~"(llm_d_epp|inference_extension)_flow_control_queue_size"})', required=False
        ),
    ]
    return queries


@dataclass(frozen=True, slots=True)
class _Shown:
    """Single figures by query's name; None where there is no series."""

    answers: Answers

    def figure(self, name: str) -> float | None:
        result: Any = self.answers.results.get(name)
        try:
            # A scalar is [time, value], a vector a list of series.
            raw = result[1] if name == "clock" else result[0]["value"][1]
            return float(raw)
        except (IndexError, KeyError, TypeError, ValueError):
            return None


def prometheus_findings(profile: MetricsProfile, now: float) -> Iterator[Finding]:
    """Everything that can be said of one Prometheus; `now` by this machine's clock, seconds since the epoch."""
    client = QueryClient(profile)
    try:
        answers = client.run(_queries())
    finally:
        client.close()
    reasons = {failure.why for failure in answers.failures.values()}
    if not answers.results:
        todo = "give its address as seen from here (--prometheus-url), and its credentials as PERTOKEN_PROMETHEUS_…"
        yield bad("Prometheus", f"{profile.url}: {'; '.join(sorted(reasons))}", todo)
        return
    yield good("Prometheus", f"{profile.url} answers in {answers.seconds:.2f} s")
    for why in sorted(reasons):
        yield doubt(
            "Prometheus", f"some queries failed: {why}", "raise its limits, or PERTOKEN_PROMETHEUS_TIMEOUT_SECONDS"
        )
    shown = _Shown(answers)
    yield from _clock(shown, now)
    yield from _engines(shown)
    yield from _gpus(shown)
    yield from _neighbours(shown)


def _clock(shown: _Shown, now: float) -> Iterator[Finding]:
    there = shown.figure("clock")
    if there is None:
        return
    apart = there - now
    if abs(apart) > SKEW:
        words = f"Prometheus' clock is {abs(apart):.1f} s {'ahead of' if apart > 0 else 'behind'} this machine's"
        yield doubt(
            "clock", words, "run NTP on both: ages of samples are judged by Prometheus' clock, bills by Kubernetes'"
        )
    else:
        yield good("clock", f"Prometheus and this machine differ by {abs(apart):.1f} s")


def _engines(shown: _Shown) -> Iterator[Finding]:
    seen = False
    for engine in _PRESENCE:
        pods, without = shown.figure(f"{engine} pods"), shown.figure(f"{engine} without pod")
        if not pods and not without:
            continue
        seen = True
        yield from _one_engine(engine, shown, pods or 0.0, without or 0.0)
    if not seen:
        names = ", ".join(_PRESENCE.values())
        todo = "add a PodMonitor for the engines' port (path /metrics, every 15 s); SGLang needs --enable-metrics"
        yield bad("engine metrics", f"none of {names}", todo)


def _one_engine(engine: str, shown: _Shown, pods: float, without: float) -> Iterator[Finding]:
    subject = f"{engine} metrics"
    if shown.figure(f"{engine} renamed"):
        todo = (
            "the engine's own labels were renamed, the scrape's stand: nothing to do, if pod and namespace are the "
            "engines'. Else set honorLabels: true, or labels of a metrics profile to exported_pod, exported_namespace"
        )
        yield doubt(subject, "series carry exported_pod beside pod (honorLabels)", todo)
    if without:
        todo = "relabel __meta_kubernetes_namespace and __meta_kubernetes_pod_name, as a PodMonitor does"
        tell = doubt if pods else bad
        yield tell(subject, f"{without:.0f} series without the labels namespace and pod: they belong to nobody", todo)
    if pods:
        yield good(subject, f"{pods:.0f} pods")
    age, interval = shown.figure(f"{engine} age"), shown.figure(f"{engine} interval")
    if age is not None and age > OLD:
        yield bad(
            subject, f"the oldest sample is {age:.0f} s old: stale", "is the scrape failing? see Prometheus' targets"
        )
    if interval is not None and interval > LATE:
        todo = "scrape every 15 s, or set PERTOKEN_SCRAPE_INTERVAL_SECONDS and a rate window of four scrapes"
        yield doubt(subject, f"scraped about every {interval:.0f} s", todo)


def _gpus(shown: _Shown) -> Iterator[Finding]:
    pods, renamed, every = (shown.figure(f"DCGM {name}") for name in ("pods", "renamed", "all"))
    if not every:
        todo = "install dcgm-exporter and scrape it; pertoken works without, but tells no utilization and no power"
        yield doubt("GPU metrics", f"no {_DCGM}", todo)
    elif renamed:
        todo = "honorLabels: true in its ServiceMonitor, or gpu.labels of a profile: exported_namespace, exported_pod"
        yield doubt(
            "GPU metrics", f"{renamed:.0f} series name the pod in exported_pod: pod is the exporter's own", todo
        )
    elif not pods:
        yield doubt("GPU metrics", f"{every:.0f} series, none names a pod", "set DCGM_EXPORTER_KUBERNETES=true")
    else:
        yield good("GPU metrics", f"{pods:.0f} GPUs of pods")


def _neighbours(shown: _Shown) -> Iterator[Finding]:
    told: Mapping[str, tuple[str, str]] = {
        "kube-state-metrics": (
            "replicas over time",
            "install it: without, `adopt` and `bench --history` count pods that answered",
        ),
        "OpenCost": ("prices of nodes", "give prices yourself, or scrape OpenCost"),
        "gateway": ("requests that the gateway holds", "only with the inference gateway: to wake from zero"),
    }
    for name, (what, todo) in told.items():
        figure = shown.figure(name)
        if figure:
            yield good(name, f"{figure:.0f} series: {what}")
        else:
            yield doubt(name, f"not seen ({what})", todo)
