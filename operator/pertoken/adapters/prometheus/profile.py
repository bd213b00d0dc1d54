"""An administrator's description of where and how metrics are found. Namespaced objects only name a profile."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import urlsplit

from pertoken.adapters.prometheus import gateway
from pertoken.adapters.prometheus.engines import ENGINES, EngineMetrics

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OPERATORS = ("=", "!=", "=~", "!~")
# Labels in which only copies differ: those of a pair of Prometheus servers or of what stores their samples, and those
# that ServiceMonitor and PodMonitor add to a target. No engine sets them itself.
REPLICA_LABELS = (
    *("prometheus", "prometheus_replica", "replica", "thanos_replica", "receive_replica", "monitor"),
    *("endpoint", "service", "container"),
)
SCRAPES_PER_WINDOW = 4  # fewer, and one missed scrape makes a rate vanish or jump


class ProfileError(ValueError):
    """A profile that cannot work; the message lists every mistake."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """One extra label matcher, written into every selector of its source.

    Attributes:
        value: taken literally (quotes and backslashes are escaped); a regular expression for ``=~`` and ``!~``.
    """

    label: str
    value: str
    operator: Literal["=", "!=", "=~", "!~"] = "="


@dataclass(frozen=True, slots=True)
class SeriesLabels:
    """Names of the labels that say to which pod a series belongs.

    A scrape that does not honour the exporter's own labels renames them: use ``exported_namespace`` and
    ``exported_pod`` for a DCGM exporter scraped that way.
    """

    namespace: str = "namespace"
    pod: str = "pod"


class Naming(Protocol):
    """What an installation calls the metrics of a source."""

    @property
    def renamed(self) -> tuple[tuple[str, str], ...]:
        """(own name, name here) of metrics or of whole histogram families."""

    @property
    def prefixes(self) -> tuple[tuple[str, str], ...]:
        """(own beginning, beginning here) of what is not renamed one by one."""


@dataclass(frozen=True, slots=True)
class EngineSource:
    """The engines' own metrics.

    Attributes:
        engines: rows of the engine table; a profile may serve several engines.
        labels: where namespace and pod stand.
        rank: label of the data-parallel rank, if the scrape renamed it (``exported_engine``); empty: the row's own.
        container_label: label that names the container.
        container: read only this container's series; empty: all.
        renamed: (name in the table, name in this Prometheus) of metrics or histogram families that were renamed.
        prefixes: (beginning in the table, beginning here), such as ``vllm:`` and ``vllm_``.
        replica_labels: labels, besides ``job``, in which only copies of one scrape target's series differ.
    """

    engines: tuple[str, ...] = ("vllm",)
    labels: SeriesLabels = SeriesLabels()
    rank: str = ""
    container_label: str = "container"
    container: str = ""
    matchers: tuple[Matcher, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    prefixes: tuple[tuple[str, str], ...] = ()
    replica_labels: tuple[str, ...] = REPLICA_LABELS

    def rows(self) -> tuple[EngineMetrics, ...]:
        """The rows of the engine table, in the profile's order."""
        return tuple(ENGINES[name] for name in self.engines)


@dataclass(frozen=True, slots=True)
class GpuSource:
    """GPU utilization and power from a DCGM exporter.

    Attributes:
        device, instance: labels that hold the card and, of a part of a card (MIG), its number.
        host: label of the node, which tells cards apart whose `device` is a number.
        renamed, prefixes: as of the engines.
    """

    enabled: bool = True
    labels: SeriesLabels = SeriesLabels()
    matchers: tuple[Matcher, ...] = ()
    device: str = "UUID"
    instance: str = "GPU_I_ID"
    host: str = "Hostname"
    renamed: tuple[tuple[str, str], ...] = ()
    prefixes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class GatewaySource:
    """Requests that the gateway holds or refuses before an engine sees them.

    Attributes:
        queue: gauges of held requests, the first one present wins.
        refusals: counters with a label ``outcome``, the first one present wins.
        presence: gauges that a gateway with a queue shows all the time, whether or not it has held anything.
        labels: namespace of the services behind the gateway, and the gateway's pod (replicas add up).
        model: label with the name under which the engines serve the model (after the gateway's rewriting).
        signals: gauges that services name in `wakeSignal`, by the name of the signal; with the same labels.
    """

    enabled: bool = True
    queue: tuple[str, ...] = gateway.QUEUE
    refusals: tuple[str, ...] = gateway.REFUSALS
    presence: tuple[str, ...] = gateway.PRESENCE
    labels: SeriesLabels = SeriesLabels()
    model: str = "target_model_name"
    matchers: tuple[Matcher, ...] = ()
    signals: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Tls:
    """Trust and client certificate; the system's authorities without a `ca_file`."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    insecure_skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to sign in. Secrets stay in files, which are read again when they change.

    Attributes:
        tenant: value of the header ``X-Scope-OrgID`` (Mimir, Cortex, Loki-style gateways).
    """

    username: str = ""
    password_file: Path | None = None
    bearer_token_file: Path | None = None
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class MetricsProfile:
    """One Prometheus-compatible endpoint and the meaning of its series.

    Attributes:
        url: root of the query API (``/api/v1/query`` is appended).
        scrape_seconds: interval of the engines' scrape job.
        window_seconds: window of all rates; at least four scrapes.
        fresh_seconds: samples older than this are stale.
        lookback_seconds: how long the totals and the age of a pod that went away stay visible.
        timeout_seconds: limit for one whole cycle of queries.
        connect_seconds: limit for one connection.

    Raises:
        ProfileError: with every mistake, on construction.
    """

    url: str
    name: str = "default"
    engine: EngineSource = EngineSource()
    gpu: GpuSource = GpuSource()
    gateway: GatewaySource = GatewaySource()
    credentials: Credentials = Credentials()
    tls: Tls = Tls()
    scrape_seconds: float = 15.0
    window_seconds: float = 60.0
    fresh_seconds: float = 45.0
    lookback_seconds: float = 300.0
    timeout_seconds: float = 10.0
    connect_seconds: float = 3.0

    def __post_init__(self) -> None:
        mistakes = [*_url_mistakes(self.url), *_time_mistakes(self), *_credential_mistakes(self)]
        mistakes += _source_mistakes(self)
        if mistakes:
            raise ProfileError(f"metrics profile {self.name!r}: " + "; ".join(mistakes))


def _url_mistakes(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        yield "url must be http(s)://host[:port][/path]"
    if parts.username or parts.password:
        yield "url must not carry credentials; use credentials.username and credentials.password_file"
    if parts.query or parts.fragment:
        yield "url must end before any ? or #"


def _time_mistakes(profile: MetricsProfile) -> Iterator[str]:
    fields = ("scrape", "window", "fresh", "lookback", "timeout", "connect")
    seconds = {name: float(getattr(profile, f"{name}_seconds")) for name in fields}
    for name, value in seconds.items():
        if not (math.isfinite(value) and value >= 0.001):
            yield f"{name}_seconds={value:g} must be a positive number of seconds"
    if seconds["window"] < SCRAPES_PER_WINDOW * seconds["scrape"]:
        yield (
            f"window_seconds={seconds['window']:g} must be at least {SCRAPES_PER_WINDOW} scrape intervals "
            f"({SCRAPES_PER_WINDOW * seconds['scrape']:g})"
        )
    if seconds["lookback"] < seconds["window"]:
        yield f"lookback_seconds={seconds['lookback']:g} must not be shorter than window_seconds"
    if seconds["fresh"] < seconds["scrape"]:
        yield f"fresh_seconds={seconds['fresh']:g} must not be shorter than scrape_seconds"


def _credential_mistakes(profile: MetricsProfile) -> Iterator[str]:
    sign_in, tls = profile.credentials, profile.tls
    if bool(sign_in.username) != (sign_in.password_file is not None):
        yield "credentials.username and credentials.password_file belong together"
    if sign_in.username and sign_in.bearer_token_file:
        yield "credentials: either username or bearer_token_file"
    if any(ord(letter) < 0x20 or ord(letter) > 0x7E for letter in sign_in.tenant):
        yield "credentials.tenant must be printable ASCII"
    if tls.key_file and not tls.cert_file:
        yield "tls.key_file needs tls.cert_file"
    if tls.ca_file and tls.insecure_skip_verify:
        yield "tls: either ca_file or insecure_skip_verify"


def _source_mistakes(profile: MetricsProfile) -> Iterator[str]:
    engine, gpu, held = profile.engine, profile.gpu, profile.gateway
    if not engine.engines:
        yield "engine.engines must not be empty"
    unknown = [name for name in engine.engines if name not in ENGINES]
    if unknown:
        yield f"engine.engines: unknown {', '.join(map(repr, unknown))}, known are {', '.join(sorted(ENGINES))}"
    labels = [engine.container_label, held.model, gpu.device, gpu.instance, gpu.host, *engine.replica_labels]
    labels += [engine.rank] if engine.rank else []
    for name, naming in (("engine", engine), ("gpu", gpu)):
        yield from _naming_mistakes(name, naming)
    for source in (engine, gpu, held):
        labels += [source.labels.namespace, source.labels.pod, *(matcher.label for matcher in source.matchers)]
        for matcher in source.matchers:
            yield from _matcher_mistakes(matcher)
        if source.labels.namespace == source.labels.pod:
            yield f"label {source.labels.pod!r} cannot name both namespace and pod"
    for label in labels:
        if not _LABEL.fullmatch(label):
            yield f"{label!r} is not a label name"


def _naming_mistakes(source: str, naming: Naming) -> Iterator[str]:
    for field, pairs in (("renamed", naming.renamed), ("prefixes", naming.prefixes)):
        own = [name for name, _ in pairs]
        for name in sorted({name for name in own if own.count(name) > 1}):
            yield f"{source}.{field}: {name!r} stands twice"
        if any(not name for name in own) or (field == "renamed" and any(not here for _, here in pairs)):
            yield f"{source}.{field}: a name must not be empty"


def _matcher_mistakes(matcher: Matcher) -> Iterator[str]:
    if matcher.operator not in _OPERATORS:
        yield f"matcher on {matcher.label!r}: operator {matcher.operator!r} is none of {' '.join(_OPERATORS)}"
