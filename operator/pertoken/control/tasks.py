"""Long-running parts, run side by side until one of them ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

LOGGER = logging.getLogger(__name__)


class Part(Protocol):
    """Something that runs as long as the process does."""

    async def run(self) -> None:
        """Run until cancelled; what ends of itself ends all others."""


async def run_together(parts: Mapping[str, Part], stop: asyncio.Event) -> None:
    """Run all parts, each as a task of its name, until `stop` is set or one ends; then cancel the others.

    A fault of any part ends all of them, so that the process is restarted. The first fault is raised once every part
    has ended, further ones are logged.
    """
    tasks = [asyncio.create_task(part.run(), name=name) for name, part in parts.items()]
    stopping = asyncio.create_task(stop.wait(), name="stop")
    ended: set[asyncio.Task[Any]] = set()
    try:
        ended, _ = await asyncio.wait((*tasks, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*tasks, stopping):
            task.cancel()
        await asyncio.wait((*tasks, stopping))
    in_order = sorted(tasks, key=lambda task: task not in ended)
    faults = [(task, error) for task in in_order if not task.cancelled() and (error := task.exception()) is not None]
    for task, error in faults[1:]:
        LOGGER.error("%s failed, too", task.get_name(), exc_info=error)
    if faults:
        LOGGER.error("%s failed: everything ends", faults[0][0].get_name())
        raise faults[0][1]
