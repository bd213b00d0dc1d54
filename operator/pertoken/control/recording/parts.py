"""The parts of a recorded world as JSON and back, by the fields' names.

pydantic reads them by the type hints of the domain's own dataclasses: a field that the writer did not know yet takes
its default, one that the reader does not know any more is left out. Floats keep all their digits, decimals travel as
text. Only metrics need a form of their own, since JSON has no mappings by pod.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from pertoken.catalog.gpus import Gpu
from pertoken.catalog.lookup import Catalog
from pertoken.catalog.models import Model
from pertoken.domain.cluster import PodFact
from pertoken.domain.identity import PodKey, ServiceKey
from pertoken.domain.metrics import MetricsHealth, MetricsSnapshot, Offer, PodMetrics
from pertoken.domain.route import RouteView
from pertoken.domain.signal import Counter, Histogram, LatencyKind, Signal
from pertoken.domain.world import PlannerSettings, PoolView, ServiceView
from pertoken.frozen import dataclass
from pertoken.planner.tuning import Tuning

Part = TypeVar("Part")


class NotReadable(ValueError):
    """JSON that has not the form of what it stands for, in one line."""


@dataclass(frozen=True, slots=True)
class _ToldByPod(PodMetrics):
    """The same with mappings, which pydantic knows, in place of a protocol."""

    values: Mapping[Signal, float] = field(default_factory=dict)
    counters: Mapping[Counter, float] = field(default_factory=dict)
    histograms: Mapping[LatencyKind, Histogram] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SnapshotForm:
    """A `MetricsSnapshot` without mappings by pod and by pairs."""

    health: MetricsHealth
    window_seconds: float
    fresh_seconds: float
    pods: tuple[_ToldByPod, ...] = ()
    gateway_queue: tuple[tuple[str, str, float], ...] = ()
    gateway_rejections_per_second: tuple[tuple[str, str, float], ...] = ()
    offers: Mapping[str, Offer] = field(default_factory=dict)
    wake_signals: tuple[tuple[str, str, str, float], ...] = ()
    gateways: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Step:
    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Variant:
    variant: str


@dataclass(frozen=True, slots=True)
class _Decision:
    service: ServiceKey
    variants: list[_Variant]
    conditions: dict[str, dict[str, Any]]
    trace: list[_Step]


@dataclass(frozen=True, slots=True)
class _Subject:
    service: ServiceKey
    variant: str
    pod: PodKey | None = None


@dataclass(frozen=True, slots=True)
class _Action:
    type: str
    action: _Subject


@dataclass(frozen=True, slots=True)
class PlanShape:
    """What comparing plans asks of a recorded one, whichever version made it."""

    decisions: list[_Decision]
    actions: list[_Action]
    pools: list[dict[str, Any]]


SERVICE: Final = TypeAdapter(ServiceView)
POOL: Final = TypeAdapter(PoolView)
ROUTES: Final = TypeAdapter(tuple[RouteView, ...])
POD: Final = TypeAdapter(PodFact)
SETTINGS: Final = TypeAdapter(PlannerSettings)
TUNING: Final = TypeAdapter(Tuning)
PLAN_SHAPE: Final = TypeAdapter(PlanShape)
_SNAPSHOT: Final = TypeAdapter(SnapshotForm)
_GPUS: Final = TypeAdapter(tuple[Gpu, ...])
_MODELS: Final = TypeAdapter(tuple[Model, ...])


def written(value: Any) -> bytes:
    """A value made of dataclasses, mappings by text, tuples, decimals and plain values as JSON; infinities are kept."""
    return to_json(value, inf_nan_mode="constants", fallback=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"cannot record {type(value).__name__}")


def read(kind: TypeAdapter[Part], data: Any, name: str) -> Part:
    """The value that `written` made into this JSON data; `name` is for messages.

    Raises:
        NotReadable: the data has another form.
    """
    try:
        return kind.validate_json(json.dumps(data))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in (name, *first["loc"]))
        raise NotReadable(f"{place}: {first['msg']}") from error


def snapshot_form(snapshot: MetricsSnapshot) -> Mapping[str, Any]:
    """A profile's metrics as `written` takes them."""
    return {
        **{name: getattr(snapshot, name) for name in ("health", "window_seconds", "fresh_seconds", "offers")},
        "pods": [_told(metrics) for metrics in snapshot.pods.values()],
        "wake_signals": [(*key, value) for key, value in snapshot.wake_signals.items()],
        "gateways": sorted(snapshot.gateways),
        "gateway_queue": [(*key, value) for key, value in snapshot.gateway_queue.items()],
        "gateway_rejections_per_second": [
            (*key, value) for key, value in snapshot.gateway_rejections_per_second.items()
        ],
    }


def snapshot_of(data: Any) -> MetricsSnapshot:
    """The metrics of a profile that `snapshot_form` laid out.

    Raises:
        NotReadable: the data has another form.
    """
    form = read(_SNAPSHOT, data, "metrics")
    names = [item.name for item in fields(PodMetrics)]
    pods = [PodMetrics(**{name: getattr(told, name) for name in names}) for told in form.pods]
    return MetricsSnapshot(
        health=form.health,
        window_seconds=form.window_seconds,
        fresh_seconds=form.fresh_seconds,
        pods={metrics.pod: metrics for metrics in pods},
        gateway_queue={(namespace, name): value for namespace, name, value in form.gateway_queue},
        gateway_rejections_per_second={
            (namespace, name): value for namespace, name, value in form.gateway_rejections_per_second
        },
        offers=form.offers,
        wake_signals={(signal, namespace, name): value for signal, namespace, name, value in form.wake_signals},
        gateways=form.gateways,
    )


def _told(metrics: PodMetrics) -> Mapping[str, Any]:
    readings = ("values", "counters", "histograms")
    plain = {item.name: getattr(metrics, item.name) for item in fields(metrics) if item.name not in readings}
    return {**plain, **{name: dict(getattr(metrics, name).items()) for name in readings}}


def catalog_form(catalog: Catalog) -> Mapping[str, Any]:
    """A catalog's rows as `written` takes them."""
    return {"gpus": catalog.gpus, "models": catalog.models}


def catalog_of(data: Any) -> Catalog:
    """The catalog that `catalog_form` laid out.

    Raises:
        NotReadable: the data has another form.
    """
    if not isinstance(data, dict):
        raise NotReadable(f"catalog: {type(data).__name__}; expected its rows")
    return Catalog(read(_GPUS, data.get("gpus"), "catalog.gpus"), read(_MODELS, data.get("models"), "catalog.models"))
