"""One cycle's metrics, as the Prometheus adapter hands them over."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Mapping
from dataclasses import field
from typing import Final, Protocol, TypeVar

from pertoken.domain.identity import PodKey
from pertoken.domain.signal import Counter, Histogram, LatencyKind, Signal
from pertoken.frozen import dataclass

UNKNOWN_WINDOW_SECONDS: Final = 60.0  # rate window where there is no metrics profile: nothing is measured then


@dataclass(frozen=True, slots=True)
class Offer:
    """What an engine gives, by its row of the engine table. GPU figures come from another exporter and are in no offer.

    Attributes:
        signals, histograms: in every version and from its start: one that a pod does not show is gone.
        ever, ever_histograms: in some version: what is not among them is never told.
        begins_with_traffic: histograms and totals appear with the first request.
    """

    signals: frozenset[Signal] = frozenset()
    histograms: frozenset[LatencyKind] = frozenset()
    ever: frozenset[Signal] = frozenset()
    ever_histograms: frozenset[LatencyKind] = frozenset()
    begins_with_traffic: bool = False


Name = TypeVar("Name")
Value_co = TypeVar("Value_co", covariant=True)


class Readings(Protocol[Name, Value_co]):
    """What one pod tells, by name; any dictionary is one. What the pod does not tell is missing, and stays missing."""

    def __contains__(self, name: object, /) -> bool:
        """Whether the pod tells it."""

    def __getitem__(self, name: Name, /) -> Value_co:
        """What the pod tells; KeyError for what it does not tell."""

    def get(self, name: Name, /) -> Value_co | None:
        """What the pod tells, None for what it does not tell. There is no default: missing is no number."""

    def items(self) -> ItemsView[Name, Value_co]:
        """All that it tells."""

    def __len__(self) -> int:
        """How much it tells."""


@dataclass(frozen=True, slots=True)
class PodMetrics:
    """What one pod's series say. A signal without an entry is missing, never zero; so is one that is stale.

    What is stale is left out before anything decides: the source drops a signal that its pod's page has ceased to show,
    `MetricsSnapshot.fresh` pods whose newest sample is too old.

    Attributes:
        age_seconds: age of the newest sample of the pod's series.
        values: signals; rates over the profile's window.
        counters: running totals (last value seen within the look-back, also of pods that are gone).
        histograms: latency distributions over the window.
        engine: row of the engine table by which the pod was recognized; empty if unknown.
        release: versions of the engine that show what the pod shows, in words; empty where they cannot be told.
        lacks: what those versions do not have, as far as that can be told.
        per_token: its time per output token is made of the times between tokens, since there is no figure per request.
    """

    pod: PodKey
    age_seconds: float
    values: Readings[Signal, float] = field(default_factory=dict)
    counters: Readings[Counter, float] = field(default_factory=dict)
    histograms: Readings[LatencyKind, Histogram] = field(default_factory=dict)
    engine: str = ""
    release: str = ""
    lacks: frozenset[Signal | LatencyKind | Counter] = frozenset()
    per_token: bool = False


@dataclass(frozen=True, slots=True)
class MetricsHealth:
    """Whether the source answered this cycle: `ok`, or why not (unreachable, partial, bad answer).

    Attributes:
        partial: the source answered but said that its answer is incomplete; it counts as no answer.
    """

    ok: bool
    why: str = ""
    partial: bool = False


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """All pods of one profile in one cycle.

    Attributes:
        window_seconds: rate window of the values.
        fresh_seconds: samples older than this are stale.
        gateway_queue: requests held before the engines, by (namespace, served model name).
        gateway_rejections_per_second: requests refused before the engines, same key.
        offers: what each engine gives, by row of the engine table; empty where that is not known.
        gateways: namespaces in which a gateway holds requests while no replica serves, whether or not it does now.
        wake_signals: gauges that the administrator named for `wakeSignal`, by (signal, namespace, served model name).
    """

    health: MetricsHealth
    window_seconds: float
    fresh_seconds: float
    pods: Mapping[PodKey, PodMetrics] = field(default_factory=dict)
    gateway_queue: Mapping[tuple[str, str], float] = field(default_factory=dict)
    gateway_rejections_per_second: Mapping[tuple[str, str], float] = field(default_factory=dict)
    offers: Mapping[str, Offer] = field(default_factory=dict)
    wake_signals: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    gateways: frozenset[str] = frozenset()

    def fresh(self, pods: Iterable[PodKey]) -> tuple[PodMetrics, ...]:
        """What these pods tell, as far as it is recent; nothing while the source gives no answer."""
        if not self.health.ok:
            return ()
        told = (self.pods.get(pod) for pod in pods)
        return tuple(m for m in told if m is not None and m.age_seconds <= self.fresh_seconds and m.values)
