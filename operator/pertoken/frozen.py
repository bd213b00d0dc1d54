"""Frozen dataclasses for the pure layers, which make hundreds of them per service and cycle.

mypy sees the standard library's `dataclass` and `replace`, and refuses every assignment to a field of a frozen value.
The interpreter leaves that check out: Python makes a frozen value by one guarded call per field, which took a seventh
of a cycle's CPU. Equality and hash are those of a frozen dataclass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "derived", "replace"]

if TYPE_CHECKING:
    from dataclasses import dataclass, replace

    derived = property
else:

    def dataclass(*, frozen: bool = False, eq: bool = True, **options: bool) -> Callable[[type], type]:
        """The decorator `dataclasses.dataclass`; a value is `frozen` for the type checker alone."""

        def decorate(cls: type) -> type:
            hashed = frozen and eq and "__hash__" not in vars(cls)
            cls = dataclasses.dataclass(eq=eq, unsafe_hash=hashed, **options)(cls)
            cls.__replace__ = _replacement(cls)
            return cls

        return decorate

    class derived:  # noqa: N801 - a decorator
        """A property that is worked out of the fields once per value, on a dataclass without slots.

        The result lies in the value's `__dict__`, where it is found before this descriptor is asked. Values that
        `replace` makes work it out anew; comparison, hash and text of a value know fields alone.
        """

        def __init__(self, work_out: Callable[[Any], Any]) -> None:
            self._work_out, self._name, self.__doc__ = work_out, work_out.__name__, work_out.__doc__

        def __get__(self, value: Any, owner: type | None = None) -> Any:
            """The result, kept from now on."""
            if value is None:
                return self
            result = value.__dict__[self._name] = self._work_out(value)
            return result

    def replace(value: Any, /, **changes: Any) -> Any:
        """A new value with some fields changed, as by `dataclasses.replace`."""
        own = getattr(value, "__replace__", None)
        return dataclasses.replace(value, **changes) if own is None else own(**changes)

    def _replacement(cls: type) -> Callable[..., Any]:
        """The method that `replace` calls; from Python 3.13 on every dataclass has one of this name."""
        fields = [field for field in dataclasses.fields(cls) if field.init]
        if len(fields) <= 1 or any(field.kw_only for field in fields):  # `attrgetter` gives no tuple of one
            return dataclasses.replace
        places = {field.name: place for place, field in enumerate(fields)}
        in_order = attrgetter(*places)

        def replaced(value: Any, /, **changes: Any) -> Any:
            arguments = [*in_order(value)]
            for name, change in changes.items():
                arguments[places[name]] = change
            return cls(*arguments)

        return replaced
