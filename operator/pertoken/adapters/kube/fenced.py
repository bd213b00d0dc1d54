"""A caller that checks the fence before every request that changes something."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pertoken.adapters.kube.client import ApiRequest, Caller
from pertoken.control.fence import Fence
from pertoken.ports import Json


@dataclass(frozen=True, slots=True)
class FencedCaller:
    """Implements `Caller`: asks the fence before each request that writes, dry runs and events included.

    Below the writer, so that an operation of several requests is checked between them, and again where the bytes go
    out, so that a process which was stopped in between does not send what it was allowed to send before.
    """

    client: Caller
    fence: Fence

    def call(self, request: ApiRequest) -> Json:
        """Send one request. Raises Withheld where it would write and may not."""
        if not request.writes:
            return self.client.call(request)
        self.fence.check()
        return self.client.call(replace(request, guard=self.fence.check))
