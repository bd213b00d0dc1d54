"""The handlers: store what a watch says, wake the cycle where a user changed something."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import kopf

from pertoken.kopf_bridge.session import with_session

LOGGER = logging.getLogger(__name__)

DELETED = "DELETED"


class Sink(Protocol):
    """Where watch events go."""

    def put(self, plural: str, obj: dict[str, Any]) -> None:
        """A new or changed object."""

    def drop(self, plural: str, obj: dict[str, Any]) -> None:
        """A deleted object."""


Wake = Callable[[str, dict[str, Any], bool], None]
Login = Callable[[kopf.OperatorSettings], kopf.ConnectionInfo]
SAME_CREDENTIALS_SECONDS = 5.0  # pause before credentials that were refused are tried once more


class _Sessions:
    """Logs in, and pauses before equal credentials are tried again: to Kopf no two sessions are equal."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._last: kopf.ConnectionInfo | None = None

    async def on_login(self, settings: kopf.OperatorSettings, **_: Any) -> kopf.AiohttpSession:
        info = self._login(settings)
        if info == self._last:
            await asyncio.sleep(SAME_CREDENTIALS_SECONDS)
        self._last = info
        return with_session(info)


def build_registry(
    kinds: Iterable[tuple[str, str, str]],
    sink: Sink,
    wake: Wake,
    login: Login,
) -> kopf.OperatorRegistry:
    """A registry of event handlers only.

    Args:
        kinds: (group, version, plural) of every watched kind; the core group is the empty string.
        sink: the inventory.
        wake: told of each event (plural, object, deleted); decides whether the cycle should run soon.
        login: gives Kopf its credentials.
    """
    registry = kopf.OperatorRegistry()

    kopf.on.login(registry=registry)(_Sessions(login).on_login)
    for group, version, plural in kinds:
        kopf.on.event(group, version, plural, registry=registry)(_handler(plural, sink, wake))
    return registry


def _handler(plural: str, sink: Sink, wake: Wake) -> Callable[..., Any]:
    async def on_event(event: Mapping[str, Any], **_: Any) -> None:
        obj = dict(event["object"])
        deleted = event["type"] == DELETED
        (sink.drop if deleted else sink.put)(plural, obj)
        try:
            wake(plural, obj, deleted)
        except Exception:
            # Without it the change is seen by the next regular cycle.
            LOGGER.exception("an event of %s did not wake the cycle", plural)

    on_event.__name__ = f"on_{plural}"
    return on_event
