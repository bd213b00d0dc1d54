"""Requests that change something, let through one by one."""

from __future__ import annotations

from dataclasses import dataclass

from pertoken.adapters.kube.client import Caller, Request
from pertoken.control.fence import Fence
from pertoken.ports import Json


@dataclass(frozen=True, slots=True)
class FencedCaller:
    """Implements `Caller`: asks the fence before each request that writes, dry runs and events included.

    Below the writer, so that an operation of several requests is checked between them.
    """

    client: Caller
    fence: Fence

    def call(self, request: Request) -> Json:
        """Send one request. Raises Withheld where it would write and may not."""
        if request.writes:
            self.fence.check()
        return self.client.call(request)
