"""The handlers: store what a watch says, wake the cycle where a user changed something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import kopf

from pertoken.kopf_bridge.settings import configure

DELETED = "DELETED"


class Sink(Protocol):
    """Where watch events go."""

    def put(self, plural: str, obj: dict[str, Any]) -> None:
        """A new or changed object."""

    def drop(self, plural: str, obj: dict[str, Any]) -> None:
        """A deleted object."""


def build_registry(
    kinds: Mapping[str, tuple[str, str]],
    sink: Sink,
    wake: Callable[[str, dict[str, Any], bool], None],
    login: Callable[..., kopf.ConnectionInfo | None],
    selectors: Mapping[str, str],
) -> kopf.OperatorRegistry:
    """A registry of event handlers only.

    Args:
        kinds: plural -> (group, version) of every watched kind; the core group is the empty string.
        sink: the inventory.
        wake: told of each event (plural, object, deleted); decides whether the cycle should run soon.
        login: gives Kopf its credentials.
        selectors: plural -> label selector applied by the API server.

    Returns:
        The registry to hand to `kopf.operator`.
    """
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(login)

    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings)
        for plural, selector in selectors.items():
            group, version = kinds[plural]
            settings.watching.label_selectors[group, version, plural] = selector

    kopf.on.startup(registry=registry)(start)
    for plural, (group, version) in kinds.items():
        kopf.on.event(group, version, plural, registry=registry)(_handler(plural, sink, wake))
    return registry


def _handler(plural: str, sink: Sink, wake: Callable[[str, dict[str, Any], bool], None]) -> Callable[..., Any]:
    async def on_event(event: Mapping[str, Any], **_: Any) -> None:
        obj = dict(event["object"])
        deleted = event["type"] == DELETED
        (sink.drop if deleted else sink.put)(plural, obj)
        wake(plural, obj, deleted)

    on_event.__name__ = f"on_{plural}"
    return on_event
