"""What one cycle hands to the next, and what survives restarts: the planner's memory and the ledger, as one value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from pertoken.accounting import ledger as ledgers
from pertoken.accounting.ledger import Ledger
from pertoken.planner import memory as memories
from pertoken.planner.memory import Memory
from pertoken.raw.codec import CodecError

VERSION: Final = 3
LEDGERS_IN_MEMORY: Final = 2  # the version before: the planner kept each service's account


@dataclass(frozen=True, slots=True)
class Saved:
    """Planner memory and ledger of the same cycle."""

    memory: Memory = memories.EMPTY
    ledger: Ledger = ledgers.EMPTY


NOTHING: Final = Saved()


def shortened(saved: Saved, cycles: int) -> Saved:
    """The same with the demand of the last `cycles` only."""
    return replace(saved, memory=memories.shortened(saved.memory, cycles))


def to_json(saved: Saved) -> dict[str, Any]:
    """All of it as JSON data."""
    return {"version": VERSION, "memory": memories.to_json(saved.memory), "ledger": ledgers.to_json(saved.ledger)}


def from_json(data: Any) -> Saved:
    """What `to_json` wrote, in this version or the one before.

    Raises:
        ValueError: another version, or nothing that was saved at all.
    """
    version = data.get("version") if isinstance(data, dict) else None
    if version == VERSION:
        return Saved(memories.from_json(data.get("memory")), ledgers.from_json(data.get("ledger")))
    if version == LEDGERS_IN_MEMORY:
        memory = memories.without_ledgers(data.get("memory"))
        return Saved(memories.from_json(memory), ledgers.from_planners_memory(data["memory"][0]))
    raise CodecError(f"not a state of version {LEDGERS_IN_MEMORY} or {VERSION}")
