"""Rules between fields of a CapacityPlan, in CEL and in Python as in `pertoken.api.rules`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from pertoken.api.rules import NAME_RULE, Fault, Json, Rule


def _entries(parent: Json, field: str) -> list[Json]:
    value = parent.get(field)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _unique_pools(spec: Json) -> Iterator[Fault]:
    yield from _repeated(spec, "pools", "pool")


def _unique_offers(pool: Json) -> Iterator[Fault]:
    yield from _repeated(pool, "reserved", "name")


def _repeated(parent: Json, field: str, key: str) -> Iterator[Fault]:
    entries = _entries(parent, field)
    counts = Counter(str(entry.get(key)) for entry in entries)
    for index, entry in enumerate(entries):
        if counts[str(entry.get(key))] > 1:
            yield f"{field}[{index}].{key}", entry.get(key)


def _unique_services(spec: Json) -> Iterator[Fault]:
    entries = _entries(spec, "services")
    counts = Counter((str(entry.get("namespace")), str(entry.get("name"))) for entry in entries)
    for index, entry in enumerate(entries):
        if counts[str(entry.get("namespace")), str(entry.get("name"))] > 1:
            yield f"services[{index}].name", entry.get("name")


def _ends_after_begin(event: Json) -> Iterator[Fault]:
    begin, end = (_moment(event.get(field)) for field in ("startTime", "endTime"))
    if begin is not None and end is not None and end <= begin:
        yield "endTime", event.get("endTime")


def _moment(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _shrinks_to_nothing(growth: Json) -> Iterator[Fault]:
    text = growth.get("percentPerMonth")
    if not isinstance(text, str):
        return
    try:
        value = Decimal(text)
    except InvalidOperation:
        return
    if value.is_finite() and not -100 < value <= 1000:
        yield "percentPerMonth", text


def _order_bounds(offer: Json) -> Iterator[Fault]:
    low, high = offer.get("minNodes", 0), offer.get("maxNodes")
    if isinstance(low, int) and isinstance(high, int) and low > high:
        yield "maxNodes", high


PLAN_RULES = (
    NAME_RULE,
    Rule("spec", "each service once", None, _unique_services),
    Rule("spec", "each pool once", None, _unique_pools),
    Rule("spec.pools[]", "each offer of a pool once", None, _unique_offers),
    Rule(
        "spec.events[]",
        "after startTime",
        "timestamp(self.endTime) > timestamp(self.startTime)",
        _ends_after_begin,
    ),
    Rule(
        "spec.growth",
        "above -100 and at most 1000",
        "double(self.percentPerMonth) > -100.0 && double(self.percentPerMonth) <= 1000.0",
        _shrinks_to_nothing,
    ),
    Rule(
        "spec.pools[].reserved[]",
        "at least minNodes",
        "!has(self.maxNodes) || self.minNodes <= self.maxNodes",
        _order_bounds,
    ),
)
