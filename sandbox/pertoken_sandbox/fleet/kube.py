"""A small asyncio client for the Kubernetes API: requests, and list+watch that survives restarts and 410 Gone."""

import asyncio
import json
import logging
import random
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
import kubernetes.client
import kubernetes.config

logger = logging.getLogger(__name__)

Json = dict[str, Any]
Event = tuple[Literal["ADDED", "MODIFIED", "DELETED", "SYNCED"], Json]

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
_WATCH_SECONDS = 240


class ApiError(Exception):
    """The API server answered with a status of 400 or more."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


class FleetKubeClient:
    """Talks to the API server that a kubeconfig's current context names."""

    def __init__(self, kubeconfig: Path) -> None:
        self._server, self._ssl, self._headers = _credentials(kubeconfig)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._ssl, limit=64)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The open session; entering the client opens it."""
        if self._session is None:
            raise RuntimeError("the client is not open")
        return self._session

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        params: Mapping[str, str] | None = None,
    ) -> Json:
        """One call.

        Raises:
            ApiError: a status of 400 or more.
            aiohttp.ClientError, TimeoutError: no answer.
        """
        data = None if body is None else json.dumps(body)
        async with self.session.request(
            method,
            self._server + path,
            data=data,
            params=params,
            headers={"Content-Type": content_type} if data is not None else {},
            timeout=aiohttp.ClientTimeout(total=30),
        ) as response:
            answer: Json = await response.json(content_type=None)
            if response.status >= 400:
                raise ApiError(response.status, answer.get("reason", ""), answer.get("message", ""))
            return answer

    async def list_watch(self, path: str, field_selector: str = "") -> AsyncIterator[Event]:
        """Yield a resource's objects and changes for ever.

        Every (re)list yields ADDED for each object, then one SYNCED whose object maps ``uids`` to the set that exists,
        so that the reader can forget what vanished while nobody watched.
        """
        delay = 0.2
        while True:
            try:
                async for event in self._list_and_watch(path, field_selector):
                    delay = 0.2
                    yield event
            except ApiError as error:
                if error.status not in {410, 429} and error.status < 500:
                    logger.warning("watch of %s: %s", path, error)
            except (aiohttp.ClientError, TimeoutError, OSError, json.JSONDecodeError) as error:
                logger.info("watch of %s interrupted: %s", path, error)
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))
            delay = min(delay * 2, 5.0)

    async def _list_and_watch(self, path: str, field_selector: str) -> AsyncIterator[Event]:
        selector = {"fieldSelector": field_selector} if field_selector else {}
        listed = await self.request("GET", path, params=selector)
        for item in listed["items"]:
            yield "ADDED", item
        yield "SYNCED", {"uids": {item["metadata"]["uid"] for item in listed["items"]}}
        version = listed["metadata"]["resourceVersion"]
        while True:
            params = {
                **selector,
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": version,
                "timeoutSeconds": str(_WATCH_SECONDS),
            }
            timeout = aiohttp.ClientTimeout(total=_WATCH_SECONDS + 30, sock_connect=10)
            async with self.session.get(
                self._server + path, params=params, timeout=timeout, read_bufsize=1 << 22
            ) as response:
                if response.status >= 400:
                    raise ApiError(response.status, "", await response.text())
                async for line in response.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiError(event["object"].get("code", 500), "watch", event["object"].get("message", ""))
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield event["type"], event["object"]


def _credentials(path: Path) -> tuple[str, ssl.SSLContext | bool, dict[str, str]]:
    """Server, TLS and headers of a kubeconfig's current context, as the Kubernetes client reads them."""
    read: Any = kubernetes.client.Configuration()
    loaders: Any = kubernetes.config  # not typed
    loaders.load_kube_config(config_file=str(path), client_configuration=read, persist_config=False)
    headers = {str(each["key"]): str(each["value"]) for each in read.auth_settings().values()}
    if not read.host.startswith("https"):
        return read.host, False, headers
    tls = ssl.create_default_context(cafile=read.ssl_ca_cert)
    if not read.verify_ssl:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    if read.cert_file:
        tls.load_cert_chain(read.cert_file, read.key_file)
    return read.host, tls, headers
