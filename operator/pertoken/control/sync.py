"""Lists of every watched kind, at the start, every few minutes, and when a watch has lost events."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

from pertoken.control.inventory import Inventory
from pertoken.ports import AdapterError, ClusterReader, NotFound

LOGGER = logging.getLogger(__name__)

RETRY_SECONDS: Final = 5.0


class KindNotServed(Exception):
    """The cluster lacks a kind that pertoken cannot do without; the message says what to do."""


@dataclass(slots=True)
class Sync:
    """Lists every kind regularly, as watches may lose events.

    Attributes:
        interval_seconds: between two lists of everything; a list that failed is tried again sooner.
    """

    inventory: Inventory
    reader: ClusterReader
    interval_seconds: float
    _asked: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(self) -> None:
        """A watch broke off: only a list tells what holds now."""
        self._asked.set()

    async def run(self) -> None:
        """List until cancelled.

        Raises:
            KindNotServed: a kind is unknown to the cluster.
        """
        while True:
            whole = await self.list_all()
            try:
                await asyncio.wait_for(self._asked.wait(), self.interval_seconds if whole else RETRY_SECONDS)
            except TimeoutError:
                continue
            self._asked.clear()

    async def list_all(self) -> bool:
        """One list of every kind; False when one of them failed, which leaves what was known of that kind.

        Raises:
            KindNotServed: a kind is unknown to the cluster.
        """
        return all([await self._list(plural) for plural in self.inventory.plurals])

    async def _list(self, plural: str) -> bool:
        resync = self.inventory.begin_resync(plural)
        try:
            listing = await asyncio.to_thread(self.reader.list, plural)
        except NotFound as error:
            raise KindNotServed(
                f"the cluster does not serve {plural}: {error}; install the CRDs first (kubectl apply -f crds/)"
            ) from error
        except AdapterError as error:
            LOGGER.warning("listing %s failed, trying again: %s", plural, error)
            return False
        except Exception:
            LOGGER.exception("listing %s failed, trying again", plural)
            return False
        ghosts = self.inventory.finish_resync(resync, listing.items)
        if ghosts:
            LOGGER.info("%d %s had vanished without an event", ghosts, plural)
        return True
