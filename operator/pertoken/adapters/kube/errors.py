"""What the API server or the network answers, as the errors of the ports."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import urllib3

from pertoken.ports import (
    AdapterError,
    AlreadyExists,
    Conflict,
    Forbidden,
    Json,
    NotFound,
    Refused,
    Timeout,
    Unavailable,
)

# The API server's own wording of a missing permission; admission, quota and pod security also answer 403.
_LACKS_PERMISSION = re.compile(r"cannot \w+ (resource|path)")

# What the API server answers with 500 although the request is at fault: a field that the schema of a server-side
# apply does not know, and an eviction that several disruption budgets cover.
_REFUSALS_AS_500 = ("failed to create typed patch object", "more than one PodDisruptionBudget")


class Expired(Refused):
    """A list's continue token is too old (410): begin the list anew."""


_BY_CODE: Mapping[int, type[AdapterError]] = {
    400: Refused,
    403: Forbidden,
    404: NotFound,
    405: NotFound,
    409: Conflict,
    410: Expired,
    413: Refused,
    415: Refused,
    422: Refused,
    504: Timeout,
}


def status_of(body: bytes) -> Json:
    """The Status object of an error answer; what is no JSON becomes its message."""
    try:
        parsed: Any = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, dict):
        return parsed
    return {"message": body[:500].decode("utf-8", "replace").strip()}


def error_for(code: int, status: Json, request: str) -> AdapterError:
    """The error for an HTTP answer that is no success.

    Args:
        code: HTTP status.
        status: the Kubernetes Status object.
        request: verb and path, for messages of servers that say nothing.
    """
    message = status.get("message") or f"HTTP {code}"
    details = f"{request}: {message}"
    if code == 401:
        return Forbidden(f"{request}: the API server does not accept the credentials (missing or expired)")
    if code == 403 and not _LACKS_PERMISSION.search(message):
        return Refused(details)
    if code == 409 and status.get("reason") == "AlreadyExists":
        return AlreadyExists(details)
    if code == 429 and _by_budget(status):
        return Refused(f"{details} {_causes(status)}".rstrip())
    if code == 500 and any(words in message for words in _REFUSALS_AS_500):
        return Refused(details)
    return _BY_CODE.get(code, Unavailable)(details)


def error_from_network(error: Exception, request: str) -> AdapterError:
    """The error for a request that got no answer."""
    words = f"{request}: {type(error).__name__}: {error}"
    if isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError) and not isinstance(
        error, urllib3.exceptions.NewConnectionError
    ):
        return Timeout(words)
    return Unavailable(words)


def _by_budget(status: Json) -> bool:
    """429 of an eviction; a 429 without this cause is the API server shedding load."""
    return any(cause.get("reason") == "DisruptionBudget" for cause in _cause_list(status))


def _causes(status: Json) -> str:
    return "; ".join(cause.get("message", "") for cause in _cause_list(status))


def _cause_list(status: Json) -> list[Json]:
    return list((status.get("details") or {}).get("causes") or ())
