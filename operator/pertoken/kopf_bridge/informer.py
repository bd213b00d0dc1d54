"""Runs Kopf inside our own event loop until told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import kopf

from pertoken.kopf_bridge.settings import configure


async def run_informer(
    registry: kopf.OperatorRegistry,
    *,
    selectors: dict[tuple[str, str, str], str],
    namespaces: Sequence[str],
    stop: asyncio.Event,
) -> None:
    """Watch every registered kind until `stop` is set. Any fault of a watcher ends this coroutine with its error.

    Args:
        registry: handlers from `build_registry`.
        selectors: (group, version, plural) -> label selector that the API server applies.
        namespaces: to watch; empty for the whole cluster.
        stop: set it to end cleanly.
    """
    settings = kopf.OperatorSettings()
    configure(settings)
    for key, selector in selectors.items():
        settings.watching.label_selectors[key] = selector
    await kopf.operator(
        registry=registry,
        settings=settings,
        standalone=True,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        stop_flag=stop,
    )
