"""numba's compiler with types, and the one place that imports it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

import numba

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def compiled(function: FunctionT) -> FunctionT:
    """Compile to machine code on first use; kept on disk between processes. No fast-math: same seed, same bytes."""
    return cast("FunctionT", numba.njit(cache=True, error_model="numpy")(function))


class Ints(Protocol):
    """The integer memory, as compiled code uses it."""

    def __getitem__(self, index: int, /) -> int: ...
    def __setitem__(self, index: int, value: int, /) -> None: ...


class Reals(Protocol):
    """The real memory, as compiled code uses it."""

    def __getitem__(self, index: int, /) -> float: ...
    def __setitem__(self, index: int, value: float, /) -> None: ...
