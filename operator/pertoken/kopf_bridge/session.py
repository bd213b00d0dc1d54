"""The HTTP session that Kopf reads lists and watches through: an object nested without end must not end them.

The API server takes objects nested 10,000 deep where a schema keeps unknown fields. Python's JSON parser raises far
above that, in the middle of Kopf, and the watch of the whole kind would end. Such objects are handed over cut.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import kopf

from pertoken.raw.json_text import cut, loads, may_be_deep


class _Lines:
    """A stream of JSON lines, each of them shallow enough to be parsed."""

    def __init__(self, stream: aiohttp.StreamReader) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Whole lines, as they come."""
        rest: list[bytes] = []
        async for chunk in self._stream.iter_chunked(size):
            whole, newline, begun = chunk.rpartition(b"\n")
            if newline:
                yield _shallow(b"".join((*rest, whole))) + newline
                rest = []
            rest.append(begun)
        yield _shallow(b"".join(rest))


def _shallow(lines: bytes) -> bytes:
    return b"\n".join(cut(line) if may_be_deep(line) else line for line in lines.split(b"\n"))


class ShallowResponse(aiohttp.ClientResponse):
    """An answer whose JSON is cut where it is nested too deep."""

    async def start(self, connection: Any) -> ShallowResponse:
        """Begin to read."""
        await super().start(connection)
        self.content: Any = _Lines(self.content)
        return self

    async def json(
        self, *, encoding: str | None = None, content_type: str | None = "application/json", **_: Any
    ) -> Any:
        """The whole answer."""
        return await super().json(encoding=encoding, loads=loads, content_type=content_type)


def with_session(info: kopf.ConnectionInfo) -> kopf.AiohttpSession:
    """The same connection, read through `ShallowResponse`. Call it in the event loop."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers=info.as_http_headers(),
        proxy=info.proxy_url,
        trust_env=info.trust_env,
        response_class=ShallowResponse,
    )
    return kopf.AiohttpSession(
        server=info.server,
        priority=info.priority,
        default_namespace=info.default_namespace,
        expiration=info.expiration,
        aiohttp_session=session,
    )
