"""numba's compiler with types, and the one place that imports it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numba

from pertoken.catalog import engines

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def _cache_folder() -> Path:
    """Where machine code is kept: a folder for each state of the engine's sources.

    numba looks only at the file of the function itself, and compiled code holds other files' constants and functions.
    """
    here = Path(__file__).parent
    text = b"".join(path.read_bytes() for path in [*sorted(here.glob("*.py")), Path(engines.__file__)])
    return here / "__pycache__" / hashlib.sha256(text).hexdigest()[:16]


_config: Any = numba.config  # its variables are made when it is imported, out of a type checker's sight
if not _config.CACHE_DIR:  # the user's NUMBA_CACHE_DIR goes first
    _config.CACHE_DIR = str(_cache_folder())


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
