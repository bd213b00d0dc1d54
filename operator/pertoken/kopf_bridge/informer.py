"""Runs Kopf inside our own event loop until told to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import kopf

from pertoken.adapters.kube.resources import WATCHED
from pertoken.control.inventory import Inventory
from pertoken.control.sync import Sync
from pertoken.control.waker import Waker
from pertoken.kopf_bridge.registry import Login, build_registry
from pertoken.kopf_bridge.settings import configure

LOGGER = logging.getLogger(__name__)

LONGEST_PAUSE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Informer:
    """Feeds the inventory with watch events.

    Attributes:
        sync: asked for lists when a watch has broken off.
        namespaces: to watch; empty for the whole cluster.
        stop: set it to end cleanly.
    """

    inventory: Inventory
    waker: Waker
    sync: Sync
    login: Login
    namespaces: Sequence[str]
    stop: asyncio.Event

    async def run(self) -> None:
        """Watch until `stop` is set."""
        registry = build_registry([kind.key for kind in WATCHED.values()], self.inventory, self.waker.saw, self.login)
        selectors = {kind.key: kind.label_selector for kind in WATCHED.values() if kind.label_selector}
        watch = partial(run_informer, registry, selectors=selectors, namespaces=self.namespaces, stop=self.stop)
        await keep_informed(watch, self.stop, self.sync.ask)


async def keep_informed(watch: Callable[[], Awaitable[None]], stop: asyncio.Event, missed: Callable[[], None]) -> None:
    """Watch until told to end; a watch that breaks off begins anew.

    Args:
        watch: returns when it is told to end, by `stop` or by a signal (Kopf takes SIGTERM and SIGINT over from
            whoever heard them before), and raises when it breaks off.
        stop: set it to end cleanly.
        missed: told after each fault: events may have been lost, only lists tell what holds now.
    """
    for pause in _pauses():
        try:
            await watch()
        except Exception:
            LOGGER.exception("watching broke off, beginning anew in %g s", pause)
        else:
            return
        if stop.is_set():
            return
        missed()
        try:
            await asyncio.wait_for(stop.wait(), pause)
        except TimeoutError:
            continue
        return


def _pauses() -> Iterator[float]:
    pause = 1.0
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


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
