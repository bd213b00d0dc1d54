"""What differs between two plans for one cycle, by service and field, with the reason of the stage that parted them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pertoken.control.recording.replay import Replayed

# What users act upon; everything else of a plan is figures and words.
_OF_VARIANT: Final = ("desired", "desired_cap", "reason", "cap_reason")
_OF_SERVICE: Final = ("reason", "limited_by", "acts")
_OF_CONDITION: Final = ("verdict", "reason")
_POOLS: Final = "pools"
_MOST_TEXT: Final = 60  # characters of a value that is shown


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that differs.

    Attributes:
        cycle, now: number of the first cycle in which it does, and its time in seconds since the epoch.
        service: ``namespace/name``; empty for pools.
        field: such as ``a100.desired`` (of a variant) or ``WithinCostTarget.reason`` (of a condition).
        before, after: recorded, and now.
        stage, reason: of the first step of the decision trace that is another one; of the decision where none is.
        cycles: how many cycles in a row it holds.
        decides: users act upon it; else it is a figure or words.
    """

    cycle: int
    now: float
    service: str
    field: str
    before: str
    after: str
    stage: str
    reason: str
    cycles: int = 1
    decides: bool = True


def differences(replayed: Replayed) -> Iterator[Difference]:
    """Everything that differs in one cycle; nothing where both plans are equal bit for bit."""
    before, after = replayed.recorded.plan, replayed.plan
    if json.dumps(before) == json.dumps(after):
        return
    was, now = _decisions(before), _decisions(after)
    for service in sorted({*was, *now}):
        yield from _of_service(replayed, service, was.get(service, {}), now.get(service, {}))
    yield from _compared(
        Difference(replayed.recorded.number, replayed.recorded.now, "", "", "", "", "", "", decides=False),
        _flat(before.get("pools"), _POOLS),
        _flat(after.get("pools"), _POOLS),
        frozenset(),
    )


def in_a_row(listed: Iterable[Difference]) -> list[Difference]:
    """The same difference in cycles that follow each other as one."""
    rows: list[Difference] = []
    open_rows: dict[tuple[str, str], int] = {}
    for each in listed:
        place = open_rows.get((each.service, each.field))
        if place is not None and _goes_on(rows[place], each):
            rows[place] = replace(rows[place], cycles=rows[place].cycles + 1)
            continue
        open_rows[each.service, each.field] = len(rows)
        rows.append(each)
    return rows


def _goes_on(row: Difference, each: Difference) -> bool:
    return row.cycle + row.cycles == each.cycle and (row.before, row.after) == (each.before, each.after)


def _decisions(plan: Any) -> Mapping[str, Mapping[str, Any]]:
    """Each service's decision with its actions, by ``namespace/name``."""
    decisions = {_name(decision["service"]): {**decision, "actions": {}} for decision in plan["decisions"]}
    for entry in plan["actions"]:
        action = entry["action"]
        of = decisions.setdefault(_name(action["service"]), {"actions": {}})
        subject = f"{action['variant']}.{entry['type']}"
        of["actions"][f"{subject}.{action['pod']['name']}" if "pod" in action else subject] = action
    return decisions


def _name(key: Mapping[str, str]) -> str:
    return f"{key['namespace']}/{key['name']}"


def _of_service(
    replayed: Replayed, service: str, was: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[Difference]:
    stage, reason = _parting(was.get("trace") or [], now.get("trace") or [])
    about = Difference(
        cycle=replayed.recorded.number,
        now=replayed.recorded.now,
        service=service,
        field="",
        before="",
        after="",
        stage=stage,
        reason=reason or str(now.get("reason", "")),
    )
    yield from _compared(about, _fields(was), _fields(now), _deciding(was) | _deciding(now))


def _parting(was: list[Any], now: list[Any]) -> tuple[str, str]:
    """Stage and reason of the first trace step that differs."""
    for place, step in enumerate(now):
        if place >= len(was) or was[place] != step:
            return str(step["stage"]), str(step["reason"])
    return (str(was[len(now)]["stage"]), "") if len(was) > len(now) else ("", "")


def _fields(decision: Mapping[str, Any]) -> dict[str, Any]:
    """A decision as leaves by path; variants and conditions by their names, the trace by stage."""
    named = {
        **{
            name: value
            for name, value in decision.items()
            if name not in {"service", "variants", "conditions", "trace"}
        },
        **{variant["variant"]: variant for variant in decision.get("variants") or ()},
        **(decision.get("conditions") or {}),
        "trace": {f"{place}.{step['stage']}": step for place, step in enumerate(decision.get("trace") or ())},
    }
    return _flat(named, "")


def _deciding(decision: Mapping[str, Any]) -> frozenset[str]:
    """Paths of what users act upon."""
    variants = [variant["variant"] for variant in decision.get("variants") or ()]
    conditions = decision.get("conditions") or {}
    actions = [path for path in _flat(decision.get("actions"), "actions") if path.endswith((".desired", ".value"))]
    return frozenset(
        (
            *_OF_SERVICE,
            *(f"{variant}.{name}" for variant in variants for name in _OF_VARIANT),
            *(f"{kind}.{name}" for kind in conditions for name in _OF_CONDITION),
            *actions,
        )
    )


def _flat(value: Any, path: str) -> dict[str, Any]:
    """Leaves by path."""
    if isinstance(value, dict) and value:
        return {
            k: v for name, item in value.items() for k, v in _flat(item, f"{path}.{name}" if path else name).items()
        }
    if isinstance(value, list) and value:
        return {k: v for place, item in enumerate(value) for k, v in _flat(item, f"{path}.{place}").items()}
    return {path: value}


def _compared(
    about: Difference, was: Mapping[str, Any], now: Mapping[str, Any], deciding: frozenset[str]
) -> Iterator[Difference]:
    for path in dict.fromkeys((*was, *now)):
        before, after = _text(was, path), _text(now, path)
        if before != after:
            yield replace(about, field=path, before=before, after=after, decides=path in deciding)


def _text(values: Mapping[str, Any], path: str) -> str:
    """A value as text, all digits kept; "-" where there is none."""
    value = values.get(path)
    if value is None or value in ({}, []):
        return "-"
    return value if isinstance(value, str) else json.dumps(value)
