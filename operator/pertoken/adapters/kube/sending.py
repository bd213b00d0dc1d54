"""Connections that ask for leave each time before bytes go out.

A process may be stopped at any instant, between a check and the request that was checked too, and go on much later. So
the question is put where the bytes are handed to the kernel: before the head of a request and again before its body. A
server that got the head alone sees the connection end and does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

Guard = Callable[[], None]

_GUARD: ContextVar[Guard | None] = ContextVar("guard", default=None)


@contextmanager
def guarded(guard: Guard | None) -> Iterator[None]:
    """Requests of this thread ask `guard` before they send anything; what it raises ends the request."""
    token = _GUARD.set(guard)
    try:
        yield
    finally:
        _GUARD.reset(token)


def use_guards(pools: PoolManager) -> None:
    """Let a pool manager, which has no pools yet, make connections that ask."""
    pools.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


def _ask() -> None:
    guard = _GUARD.get()
    if guard is not None:
        guard()


class _Connection(HTTPConnection):
    def send(self, data: Any) -> None:
        """Hand bytes to the kernel."""
        if self.sock is None:
            self.connect()
        _ask()
        super().send(data)


class _TlsConnection(HTTPSConnection):
    def send(self, data: Any) -> None:
        """Hand bytes to the kernel."""
        if self.sock is None:
            self.connect()
        _ask()
        super().send(data)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
