"""When a cycle is due before its time: a user changed something, or something was made that should be looked at."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from pertoken.ports import Json

WAKING: Final = frozenset({"inferenceservices", "acceleratorpools"})


@dataclass(slots=True)
class Waker:
    """The watches report each event to it; the planning loop waits on it between two cycles.

    Attributes:
        gather_seconds: pause after the first change, so that changes which come together lead to one cycle.
    """

    gather_seconds: float = 1.0
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: dict[str, tuple[str, str]] = field(default_factory=dict)

    def wake(self) -> None:
        """Ask for a cycle soon."""
        self._wanted.set()

    def saw(self, plural: str, obj: Json, deleted: bool) -> None:
        """A watch event. Generation, annotations and deletion alone wake the cycle: its status writes must not."""
        if plural not in WAKING:
            return
        meta = obj["metadata"]
        uid = meta["uid"]
        face = (str(meta.get("generation")), str(sorted((meta.get("annotations") or {}).items())))
        before = self._seen.pop(uid, None)
        if not deleted:
            self._seen[uid] = face
        if deleted or face != before:
            self.wake()

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until a cycle is asked for."""
        try:
            await asyncio.wait_for(self._wanted.wait(), seconds)
        except TimeoutError:
            return
        await asyncio.sleep(self.gather_seconds)
        self._wanted.clear()
