"""The lines of a recording: a header, then one line for each cycle. The format has a version of its own.

A line holds what `account_and_plan` was given, and the plan that it made. Services, pools and pods that are equal to
those of the line before stand as their place there. What the last cycle handed on (planner memory and ledger) stands in
a segment's first line, and in every line that does not start from what the line before led to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter

from pertoken.catalog.lookup import Catalog
from pertoken.control import saved as states
from pertoken.control.recording import parts
from pertoken.control.recording.parts import NotReadable
from pertoken.control.saved import Saved
from pertoken.domain.cluster import PodFact
from pertoken.domain.identity import PodKey, ServiceKey
from pertoken.domain.plan import Plan
from pertoken.domain.world import PoolView, ServiceView, World
from pertoken.planner.tuning import Tuning
from pertoken.raw.codec import CodecError

FORMAT: Final = 1
MARK: Final = "pertoken recording"
LAST_INSTANT: Final = 253_402_300_800  # the year 10000 begins
MOST_WORDS: Final = 200  # of a mistake, as characters

Item = TypeVar("Item")


class BadRecording(ValueError):
    """What was read is no recording that this version can replay; one line that names the place."""


@dataclass(frozen=True, slots=True)
class Header:
    """What holds for the cycles that follow: the version that recorded them, its numbers, and its catalog."""

    version: str
    tuning: Tuning
    catalog: Catalog


@dataclass(frozen=True, slots=True)
class Decided:
    """One cycle as it happened: what it was given, and its plan. `started_from` is what the last one handed on."""

    number: int
    now: float
    world: World
    started_from: Saved
    plan: Plan


@dataclass(frozen=True, slots=True)
class Recorded:
    """One cycle.

    Attributes:
        header: that it stands under.
        number: of the cycle in the process that recorded it.
        now: seconds since the epoch, for which it was planned.
        world: without accounts, which are worked out anew.
        continues: it started from what the cycle before handed on.
        saved: what it started from; None where it continues within a segment.
        plan: what was decided, as JSON data.
    """

    header: Header
    number: int
    now: float
    world: World
    continues: bool
    saved: Saved | None
    plan: Any


def plan_lists(plan: Plan) -> Mapping[str, Sequence[bytes]]:
    """The parts of a plan as JSON, one by one: pydantic holds the interpreter while it writes a value."""
    return {
        "decisions": [parts.written(decision) for decision in plan.decisions],
        "actions": [parts.written({"type": type(action).__name__, "action": action}) for action in plan.actions],
        "pools": [parts.written(figures) for figures in plan.pools],
    }


def plan_data(plan: Plan) -> Any:
    """A plan as the JSON data that a recording holds of it."""
    return json.loads(_object({name: _list(items) for name, items in plan_lists(plan).items()}))


def header_line(header: Header) -> bytes:
    """The first line of a segment."""
    fields = {"kind": MARK, "format": FORMAT, "version": header.version, "tuning": header.tuning}
    return parts.written({**fields, "catalog": parts.catalog_form(header.catalog)}) + b"\n"


@dataclass(slots=True)
class Encoder:
    """Writes the cycles of one segment: each line builds upon the one before."""

    _before: World | None = None

    def line(self, cycle: Decided, *, continues: bool) -> bytes:
        """One cycle; `continues` as in `Recorded`."""
        world, last = cycle.world, self._before
        saved = None if continues and last is not None else states.to_json(cycle.started_from)
        metrics = {name: parts.written(parts.snapshot_form(told)) for name, told in world.metrics.items()}
        fields = {
            "cycle": parts.written(cycle.number),
            "now": parts.written(cycle.now),
            "continues": parts.written(continues),
            "saved": parts.written(saved),
            "settings": parts.written(world.settings),
            "services": _list(_changed(world.services, last.services if last else (), _service_key)),
            "pools": _list(_changed(world.pools, last.pools if last else (), _pool_key)),
            "pods": _list(_changed(world.pods, last.pods if last else (), _pod_key)),
            "metrics": _object(metrics),
            "plan": _object({name: _list(items) for name, items in plan_lists(cycle.plan).items()}),
        }
        if world.routes:
            fields["routes"] = parts.written(world.routes)
        self._before = world
        return _object(fields) + b"\n"


@dataclass(slots=True)
class Decoder:
    """Reads lines in their order; a header begins anew."""

    _header: Header | None = None
    _last: Recorded | None = None

    def line(self, text: bytes) -> Recorded | None:
        """The cycle of a line; None for a header.

        Raises:
            BadRecording: the line is neither.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadRecording("no JSON; expected a line of a recording") from error
        if not isinstance(data, dict):
            raise BadRecording(f"a JSON {type(data).__name__}; expected a line of a recording")
        if "kind" in data or self._header is None:
            self._header, self._last = _header(data), None
            return None
        try:
            self._last = self._cycle(data, self._header)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise BadRecording(_why(error)) from error
        return self._last

    def _cycle(self, data: Mapping[str, Any], header: Header) -> Recorded:
        last = self._last.world if self._last else None
        saved = data["saved"]
        parts.read(parts.PLAN_SHAPE, data["plan"], "plan")
        world = World(
            services=_restored(parts.SERVICE, data["services"], "services", last.services if last else ()),
            pools=_restored(parts.POOL, data["pools"], "pools", last.pools if last else ()),
            pods=_restored(parts.POD, data["pods"], "pods", last.pods if last else ()),
            metrics={str(name): parts.snapshot_of(told) for name, told in data["metrics"].items()},
            catalog=header.catalog,
            settings=parts.read(parts.SETTINGS, data["settings"], "settings"),
            routes=parts.read(parts.ROUTES, data.get("routes", []), "routes"),
        )
        return Recorded(
            header=header,
            number=int(data["cycle"]),
            now=_instant(data["now"]),
            world=world,
            continues=bool(data["continues"]),
            saved=None if saved is None else states.from_json(saved),
            plan=data["plan"],
        )


def _instant(value: Any) -> float:
    if not isinstance(value, int | float) or not 0 <= value < LAST_INSTANT:
        raise NotReadable(f"now: {str(value)[:MOST_WORDS]}; expected seconds since the epoch")
    return float(value)


def _why(error: Exception) -> str:
    """The error as one line for the user; Python's wording only where it helps."""
    if isinstance(error, KeyError):
        return f"{error.args[0]}: missing; expected every field of a cycle"
    words = " ".join(str(error).split())[:MOST_WORDS]
    return words if isinstance(error, NotReadable | CodecError) else f"not a cycle: {words}"


def _header(data: Mapping[str, Any]) -> Header:
    if data.get("kind") != MARK:
        raise BadRecording(f"kind: {data.get('kind')!r}; expected {MARK!r}")
    version = data.get("version")
    if data.get("format") != FORMAT:
        raise BadRecording(f"format: {data.get('format')!r} of pertoken {version}; expected {FORMAT}")
    try:
        return Header(
            str(version), parts.read(parts.TUNING, data.get("tuning"), "tuning"), parts.catalog_of(data.get("catalog"))
        )
    except (ValueError, TypeError) as error:
        raise BadRecording(_why(error)) from error


def _changed(items: Sequence[Item], before: Sequence[Item], key: Callable[[Item], Hashable]) -> Iterator[bytes]:
    """Each item as JSON, or as its place among the items of the line before, where it is equal to one there."""
    places = {key(item): place for place, item in enumerate(before)}
    for item in items:
        place = places.get(key(item))
        yield parts.written(item if place is None or before[place] != item else place)


def _restored(adapter: TypeAdapter[Item], data: Sequence[Any], name: str, before: Sequence[Item]) -> tuple[Item, ...]:
    return tuple(before[item] if isinstance(item, int) else parts.read(adapter, item, name) for item in data)


def _service_key(view: ServiceView) -> ServiceKey:
    return view.spec.key


def _pool_key(view: PoolView) -> str:
    return view.spec.name


def _pod_key(pod: PodFact) -> tuple[PodKey, str]:
    return pod.key, pod.uid


def _object(values: Mapping[str, bytes]) -> bytes:
    return b"{" + b",".join(parts.written(name) + b":" + value for name, value in values.items()) + b"}"


def _list(values: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(values) + b"]"
