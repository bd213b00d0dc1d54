"""The part of CEL in which people write device selectors: comparisons of a device's driver, attributes and capacity.

Beside true and false a term can be an attribute that the device lacks (an error to the scheduler, so no match), or
something that is not implemented here (`Undecided`). ``false && x`` is false and ``true || x`` is true whatever x is,
as CEL has it.
https://kubernetes.io/docs/reference/using-api/cel/, "Kubernetes CEL libraries" for quantities.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from pertoken.control.quantities import quantity

MAX_LETTERS: Final = 10_240  # the API server takes no longer expression
_DEEPEST: Final = 30  # parentheses within parentheses
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\")|(?P<number>\d{1,18})(?![\w.])|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign>&&|\|\||==|!=|<=|>=|[<>!().,\[\]]))"
)


class Undecided(Enum):
    """Stands for the value of a term that cannot be evaluated."""

    ABSENT = "the device has no such attribute"
    UNKNOWN = "not understood here"


@dataclass(frozen=True, slots=True)
class DeviceSubject:
    """A device as selectors see it.

    Attributes:
        attributes: values by domain and name.
        capacity: amounts by domain and name.
    """

    driver: str
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    capacity: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class _NotUnderstood(Exception):
    """The expression uses a part of CEL that is not implemented here."""


def matches(expression: str, device: DeviceSubject) -> bool | None:
    """Whether a selector takes a device; None where that cannot be told."""
    try:
        value = _Reader(_tokens(expression), device).whole()
    except _NotUnderstood:
        return None
    if value is Undecided.ABSENT:
        return False
    return value if isinstance(value, bool) else None


def literals(expression: str) -> frozenset[str]:
    """Every text in quotes."""
    try:
        return frozenset(value for kind, value in _tokens(expression) if kind == "text")
    except _NotUnderstood:
        return frozenset()


@lru_cache(maxsize=1024)
def _tokens(expression: str) -> tuple[tuple[str, str], ...]:
    text = expression.strip()
    if len(text) > MAX_LETTERS:
        raise _NotUnderstood
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _NotUnderstood
        kind = str(match.lastgroup)
        raw = match[kind]
        tokens.append((kind, re.sub(r"\\(.)", r"\1", raw[1:-1]) if kind == "text" else raw))
        at = match.end()
    return tuple(tokens)


_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TEXT_METHODS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": str.__contains__,
}
_QUANTITY_METHODS: Final[Mapping[str, Callable[[Decimal, Decimal], int | bool]]] = {
    "compareTo": lambda left, right: (left > right) - (left < right),
    "isGreaterThan": operator.gt,
    "isLessThan": operator.lt,
}


@dataclass(slots=True)
class _Reader:
    """Parses and evaluates an expression for one device, from left to right."""

    tokens: tuple[tuple[str, str], ...]
    device: DeviceSubject
    at: int = 0
    depth: int = 0

    def whole(self) -> Any:
        value = self._either()
        if self.at != len(self.tokens):
            raise _NotUnderstood
        return value

    def _next(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def _take(self, *wanted: str) -> str:
        """Consume and return the next sign if it is one of these; else consume nothing and return an empty text."""
        kind, value = self._next()
        if kind == "sign" and value in wanted:
            self.at += 1
            return value
        return ""

    def _expect(self, wanted: str) -> None:
        if not self._take(wanted):
            raise _NotUnderstood

    def _either(self) -> Any:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _NotUnderstood
        value = self._both()
        while self._take("||"):
            value = _joined(value, self._both(), decisive=True)
        self.depth -= 1
        return value

    def _both(self) -> Any:
        value = self._compared()
        while self._take("&&"):
            value = _joined(value, self._compared(), decisive=False)
        return value

    def _compared(self) -> Any:
        left = self._negated()
        sign = self._take("==", "!=", "<", "<=", ">", ">=")
        if sign:
            return _compare(left, sign, self._negated())
        if self._next() == ("name", "in"):
            self.at += 1
            return _within(left, self._negated())
        return left

    def _negated(self) -> Any:
        if not self._take("!"):
            return self._value()
        value = self._negated()
        return not value if isinstance(value, bool) else value if isinstance(value, Undecided) else Undecided.UNKNOWN

    def _value(self) -> Any:
        value = self._plain()
        while True:
            if self._take("."):
                value = self._member(value)
            elif self._take("["):
                key = self._either()
                self._expect("]")
                value = _item(value, key)
            else:
                return value

    def _plain(self) -> Any:
        if self._take("("):
            value = self._either()
            self._expect(")")
            return value
        if self._take("["):
            return self._list("]")
        kind, word = self._next()
        self.at += 1
        match kind:
            case "text":
                return word
            case "number":
                return int(word)
            case "name":
                return self._named(word)
        raise _NotUnderstood

    def _named(self, word: str) -> Any:
        if word in {"true", "false"}:
            return word == "true"
        if word == "device":
            return self.device
        if self._take("("):
            arguments = self._list(")")
            return _quantity(arguments[0]) if word == "quantity" and len(arguments) == 1 else Undecided.UNKNOWN
        return Undecided.UNKNOWN

    def _list(self, end: str) -> list[Any]:
        values: list[Any] = []
        while not self._take(end):
            if values:
                self._expect(",")
            values.append(self._either())
        return values

    def _member(self, value: Any) -> Any:
        kind, name = self._next()
        if kind != "name":
            raise _NotUnderstood
        self.at += 1
        if self._take("("):
            return _called(value, name, self._list(")"))
        if isinstance(value, DeviceSubject):
            parts = {"driver": value.driver, "attributes": value.attributes, "capacity": value.capacity}
            return parts.get(name, Undecided.UNKNOWN)
        return _item(value, name)


def _joined(left: Any, right: Any, *, decisive: bool) -> Any:
    """Value of ``||`` and ``&&``; one side that is `decisive` settles it even if the other cannot be evaluated."""
    if decisive in (left, right) and (left is decisive or right is decisive):
        return decisive
    for each in (left, right):
        if not isinstance(each, bool):
            return each if isinstance(each, Undecided) else Undecided.UNKNOWN
    return not decisive


def _open(*values: Any) -> Undecided | None:
    return next((value for value in values if isinstance(value, Undecided)), None)


def _compare(left: Any, sign: str, right: Any) -> Any:
    opened = _open(left, right)
    if opened is not None:
        return opened
    if type(left) is not type(right):
        return Undecided.UNKNOWN
    if sign in {"==", "!="}:
        return (left == right) is (sign == "==")
    return _ORDER[sign](left, right) if isinstance(left, str | int | Decimal) else Undecided.UNKNOWN


def _within(value: Any, among: Any) -> Any:
    opened = _open(value, among)
    if opened is not None:
        return opened
    return value in among if isinstance(among, list | Mapping) and isinstance(value, str | int) else Undecided.UNKNOWN


def _item(value: Any, key: Any) -> Any:
    """An attribute by its domain and name. A domain that the device has nothing of is empty."""
    opened = _open(value, key)
    if opened is not None:
        return opened
    if not isinstance(value, Mapping) or not isinstance(key, str):
        return Undecided.UNKNOWN
    item = value.get(key, Undecided.ABSENT)
    holds_domains = all(isinstance(each, Mapping) for each in value.values())
    return {} if item is Undecided.ABSENT and holds_domains and "." in key else item


def _called(value: Any, name: str, arguments: list[Any]) -> Any:
    opened = _open(value, *arguments)
    if opened is not None:
        return opened
    if len(arguments) != 1:
        return Undecided.UNKNOWN
    [argument] = arguments
    if isinstance(value, str) and isinstance(argument, str) and name in _TEXT_METHODS:
        return _TEXT_METHODS[name](value, argument)
    if isinstance(value, Decimal) and isinstance(argument, Decimal) and name in _QUANTITY_METHODS:
        return _QUANTITY_METHODS[name](value, argument)
    return Undecided.UNKNOWN


def _quantity(text: Any) -> Any:
    try:
        return quantity(text)
    except ValueError:
        return Undecided.UNKNOWN
