"""Numbers and texts of foreign objects. What is out of bounds is refused, never cut to fit."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

MAX_SHOWN: Final = 60
MOST_DIGITS: Final = 18  # below 2**63, as in every integer of the Kubernetes API
MOST_COUNT: Final = 2**31 - 1  # replicas, restarts, revisions: the API's int32
MOST_SEQUENCES: Final = 65_536  # a batch cap; engines are run with at most a few thousand
MOST_STEP_TOKENS: Final = 1_048_576  # tokens per engine step; the API's own bound
MOST_SECONDS: Final = 2.0**35  # the year 3058, as seconds since the epoch

_DIGITS: Final = re.compile(r"[0-9]{1,18}")
_DECIMAL: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{0,18})?")


class Malformed(ValueError):
    """A field of a foreign object holds what it cannot hold.

    Attributes:
        field: path from the object's root, empty when it is not known.
        value: what it holds.
        expectation: what would be right.
    """

    def __init__(self, field: str, value: object, expectation: str) -> None:
        """Field, value, expectation."""
        self.field, self.value, self.expectation = field, value, expectation
        super().__init__(f"{field}: {shown(value)}: {expectation}")


def shown(value: Any) -> str:
    """A value as it may stand in a line: short, text in quotes."""
    if value is None:
        return "missing"
    if isinstance(value, Mapping):
        text = "{" + ", ".join(_clipped(key) for key in list(value)[:MAX_SHOWN]) + "}"
    elif isinstance(value, list | tuple):
        text = f"list of {len(value)}"
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, str):
        text = f'"{_clipped(value)}"'
    else:
        text = _clipped(value)
    text = " ".join(text.split())
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def _clipped(value: object) -> str:
    """The beginning of a value's text; whole numbers beyond what Python prints are told by their size."""
    if isinstance(value, int) and abs(value) >= 10**MAX_SHOWN:
        return f"number of {math.ceil(value.bit_length() * math.log10(2))} digits"
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def whole_number(value: object, most: int = MOST_COUNT) -> int | None:
    """A count from 0 to `most`, given as number or as plain ASCII digits; None for anything else.

    Signs, spaces, other scripts' digits, exponents, fractions and booleans are something else.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        number = int(value) if value.is_integer() and abs(value) <= most else None
    elif isinstance(value, str):
        number = int(value) if _DIGITS.fullmatch(value) else None
    else:
        number = value if isinstance(value, int) else None
    return number if number is not None and 0 <= number <= most else None


def count(value: object, field: str, default: int = 0, most: int = MOST_COUNT) -> int:
    """A count that may be unset.

    Raises:
        Malformed: it is set to something else.
    """
    if value is None:
        return default
    number = whole_number(value, most)
    if number is None:
        raise Malformed(field, value, f"a whole number from 0 to {most}")
    return number


def seconds(value: object) -> float | None:
    """A time in seconds since the epoch, as decimal text; None for anything else."""
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        return None
    number = float(value)
    return number if number <= MOST_SECONDS else None


def deeper_than(value: object, most: int) -> bool:
    """Whether mappings and lists are nested more than `most` deep. Needs no recursion."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(most):
        # By identity: a value that YAML anchors repeat is looked at once per level.
        inner = {id(child): child for parent in level for child in _children(parent)}
        level = list(inner.values())
        if not level:
            return False
    return bool(level)


def _children(parent: dict[Any, Any] | list[Any]) -> Iterator[dict[Any, Any] | list[Any]]:
    for child in parent.values() if isinstance(parent, dict) else parent:
        if isinstance(child, dict | list):
            yield child
