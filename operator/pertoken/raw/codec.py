"""Frozen dataclasses to JSON and back, by their type hints: compact (fields by position) and exact.

Floats keep all their digits, decimals travel as text, so that a replayed cycle is equal bit for bit. New fields are
added at the end of their dataclass and with a default, so that what an earlier version wrote is still read. What can be
worked out of the other fields is marked `DERIVED` and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

_PLAIN = (str, int, float, bool, NoneType)
# Metadata of a field that is worked out of the others and is not saved; it is given by name alone (`kw_only`).
DERIVED: Final = MappingProxyType({"saved": False})


class CodecError(ValueError):
    """The JSON does not have the form of the type."""


def encode(value: Any) -> Any:
    """A value made of dataclasses, tuples, mappings, decimals and plain values as JSON data."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return [encode(getattr(value, name)) for name, _ in _shape(value.__class__)]
    raise CodecError(f"cannot encode {type(value).__name__}")


def decode(kind: Any, data: Any) -> Any:
    """The value of type `kind` that `encode` made into `data`.

    Raises:
        CodecError: the data has another form.
    """
    try:
        return _reader(kind)(data)
    except (TypeError, AttributeError, ArithmeticError, KeyError) as error:
        raise CodecError(f"not a {kind}: {error}") from error


@lru_cache(maxsize=256)
def _shape(kind: type) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(kind)
    return tuple((item.name, hints[item.name]) for item in fields(kind) if item.metadata.get("saved", True))


@lru_cache(maxsize=256)
def _reader(kind: Any) -> Callable[[Any], Any]:
    if get_origin(kind) is not None:
        return _generic_reader(kind)
    if is_dataclass(kind) and isinstance(kind, type):
        readers = [_reader(hint) for _, hint in _shape(kind)]
        least = sum(1 for item in fields(kind) if item.default is MISSING and item.default_factory is MISSING)
        return lambda data: _build(kind, readers, max(least, 1), data)
    if kind is Decimal:
        return lambda data: Decimal(_a(str, data))
    if kind is float:
        return lambda data: float(_a((int, float), data))
    return lambda data: _a(kind, data)


def _generic_reader(kind: Any) -> Callable[[Any], Any]:
    """Readers of ``X | None``, ``tuple[X, ...]`` and mappings from text."""
    origin = get_origin(kind)
    if origin is UnionType:
        inner = _reader(next(arg for arg in get_args(kind) if arg is not NoneType))
        return lambda data: None if data is None else inner(data)
    if origin is tuple:
        item = _reader(get_args(kind)[0])
        return lambda data: tuple(item(entry) for entry in _a(list, data))
    value = _reader(get_args(kind)[1])
    return lambda data: {str(key): value(entry) for key, entry in _a(dict, data).items()}


def _build(kind: type, readers: list[Callable[[Any], Any]], least: int, data: Any) -> Any:
    """An instance from its fields in order; trailing ones that the writer did not know yet take their defaults."""
    entries = _a(list, data)
    if not least <= len(entries) <= len(readers):
        raise CodecError(f"{kind.__name__} has {len(readers)} fields, got {len(entries)}")
    return kind(*(reader(entry) for reader, entry in zip(readers, entries, strict=False)))


def _a(kind: Any, data: Any) -> Any:
    if not isinstance(data, kind):
        raise CodecError(f"expected {kind}, got {type(data).__name__}")
    return data
