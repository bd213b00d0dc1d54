"""The one connection to the API server: credentials, time limits, typed errors. All bodies are plain dicts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import urllib3
import yaml
from kubernetes import client as kube
from kubernetes import config as kube_config

from pertoken.adapters.kube.errors import error_for, error_from_network, status_of
from pertoken.adapters.kube.sending import Guard, guarded, use_guards
from pertoken.ports import Json, Unavailable
from pertoken.raw import json_text

LOGGER = logging.getLogger(__name__)

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Where the cluster is and how long a request may take.

    Attributes:
        kubeconfig: file; None for the pod's service account.
        context: of the kubeconfig, None for its current one.
        connect_seconds, read_seconds: limits of each request that only reads.
        write_seconds: limit of a request that changes something, connecting included. It must end before somebody else
            can lead: see `LeaseSpec.margin_seconds`.
        pool_size: connections kept open; also the number of threads that can be served without waiting.
    """

    kubeconfig: Path | None = None
    context: str | None = None
    connect_seconds: float = 3.0
    read_seconds: float = 10.0
    write_seconds: float = 4.5
    pool_size: int = 8


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One call.

    Attributes:
        path: already quoted, begins with a slash.
        content_type: of the body; plain JSON unless it is a patch.
        read_seconds: other read limit than the client's; a write keeps the client's limit in any case.
        guard: asked each time before bytes go out; what it raises ends the request.
    """

    method: str
    path: str
    query: Mapping[str, str | int | bool] | None = None
    body: Json | list[Json] | None = None
    content_type: str = "application/json"
    read_seconds: float | None = None
    guard: Guard | None = None

    @property
    def writes(self) -> bool:
        """Whether it may change something."""
        return self.method != "GET"

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Caller(Protocol):
    """What reader, writer and elector need of a client."""

    def call(self, request: ApiRequest) -> Json:
        """Send one request and return the parsed answer. Raises AdapterError."""


class KubeClient:
    """Thread-safe JSON client of one API server.

    Nothing is retried: the planning cycle is the retry, and the elector has its own rhythm. Tokens of service
    accounts are re-read from their file every minute, as they are rotated.
    """

    def __init__(self, options: ClientOptions) -> None:
        """Load credentials; opens no connection yet.

        Raises:
            Unavailable: when there are no usable credentials, with what was looked for.
        """
        self._options = options
        configuration = _configuration(options)
        # False, not 0: urllib3 then raises the first error itself instead of a MaxRetryError around it.
        configuration.retries = False
        configuration.connection_pool_maxsize = options.pool_size
        self._api: Any = kube.ApiClient(configuration)  # the library is only partly typed
        use_guards(self._api.rest_client.pool_manager)
        self._api.user_agent = f"pertoken/{version('pertoken')}"

    @property
    def host(self) -> str:
        """Address of the API server."""
        return str(self._api.configuration.host)

    def call(self, request: ApiRequest) -> Json:
        """Send one request.

        Returns:
            The parsed answer; empty for an empty one.

        Raises:
            AdapterError: see `pertoken.ports`; `Expired` for a stale continue token.
        """
        timeouts = self._limits(request)
        headers = {"Accept": "application/json"}
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        try:
            parameters = self._api.param_serialize(
                method=request.method,
                resource_path=request.path,
                query_params=list((request.query or {}).items()),
                header_params=headers,
                body=request.body,
                auth_settings=["BearerToken"],
            )
            with guarded(request.guard):
                answer = self._api.call_api(*parameters, _request_timeout=timeouts)
                body: bytes = answer.read() or b""
        except kube.ApiException as error:  # status 0: TLS trouble, the only one raised below response parsing
            raise Unavailable(f"{request}: {error.reason}") from error
        except (urllib3.exceptions.HTTPError, OSError, kube_config.ConfigException) as error:
            raise error_from_network(error, str(request)) from error
        if not 200 <= answer.status <= 299:
            raise error_for(answer.status, status_of(body), str(request))
        return _parsed(body, request)

    def _limits(self, request: ApiRequest) -> tuple[float, float]:
        """Seconds to connect and to read."""
        options = self._options
        if not request.writes:
            return options.connect_seconds, request.read_seconds or options.read_seconds
        connect = min(options.connect_seconds, options.write_seconds / 3)
        read = options.write_seconds - connect
        return connect, min(request.read_seconds or read, read)

    def reachable(self) -> bool:
        """Whether the API server says that it is ready; for readiness probes (at most 2 s per read)."""
        try:
            self.call(ApiRequest("GET", "/version", read_seconds=2.0))
        except Exception as error:  # noqa: BLE001 - a probe answers yes or no
            LOGGER.debug("the API server is not reachable: %s", error)
            return False
        return True

    def close(self) -> None:
        """Close idle connections."""
        self._api.close()


def _parsed(body: bytes, request: ApiRequest) -> Json:
    if not body:
        return {}
    try:
        parsed: Any = json_text.loads(body)
    except ValueError as error:
        raise Unavailable(f"{request}: the answer is no JSON: {body[:80]!r}") from error
    if not isinstance(parsed, dict):
        raise Unavailable(f"{request}: the answer is no object")
    return parsed


def _configuration(options: ClientOptions) -> kube.Configuration:
    configuration = kube.Configuration()
    loaders: Any = kube_config  # not typed
    try:
        if options.kubeconfig is None:
            loaders.load_incluster_config(client_configuration=configuration)
        else:
            loaders.load_kube_config(
                config_file=str(options.kubeconfig),
                context=options.context,
                client_configuration=configuration,
                persist_config=False,
            )
    except (kube_config.ConfigException, yaml.YAMLError, OSError, ValueError, KeyError, TypeError) as error:
        source = options.kubeconfig or "the pod's service account (no kubeconfig given)"
        raise Unavailable(f"no usable credentials from {source}: {error}") from error
    return configuration
