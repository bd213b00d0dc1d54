"""Fields that the API takes and this version does not act upon yet. A version that acts on a field deletes its line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pertoken.api.rules import located


@dataclass(frozen=True, slots=True)
class Inert:
    """A field whose value changes nothing.

    Attributes:
        at: location of the object that holds it, as in `rules.Rule.at`.
        field: name of the field.
        inert: whether this value would have to be acted upon; unset fields never are.
    """

    at: str
    field: str
    inert: Callable[[Any], bool] = bool


def _is_not(*words: object) -> Callable[[Any], bool]:
    return lambda value: value not in words


SERVICE_FIELDS = (Inert("spec.variants[]", "role", _is_not("Combined")),)

POOL_FIELDS = (Inert("spec", "priceFrom"),)


def inert_fields(obj: Mapping[str, Any], table: Iterable[Inert]) -> tuple[str, ...]:
    """Paths of the fields in a raw object that nothing acts upon."""
    paths = []
    for entry in table:
        for path, part in located(obj, entry.at):
            value = part.get(entry.field)
            if value is not None and entry.inert(value):
                paths.append(f"{path}.{entry.field}")
    return tuple(paths)
