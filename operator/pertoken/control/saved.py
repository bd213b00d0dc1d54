"""What one cycle hands to the next, and what survives restarts: planner memory, ledger and routes, as one value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from pertoken.accounting import ledger as ledgers
from pertoken.accounting.ledger import Ledger
from pertoken.planner import memory as memories
from pertoken.planner.memory import Memory
from pertoken.raw.codec import CodecError
from pertoken.routing import memory as routes_memory
from pertoken.routing.memory import Routes

VERSION: Final = 3
LEDGERS_IN_MEMORY: Final = 2  # the version before: the planner kept each service's account


@dataclass(frozen=True, slots=True)
class Saved:
    """Planner memory, ledger and what is remembered of the routes, of the same cycle."""

    memory: Memory = memories.EMPTY
    ledger: Ledger = ledgers.EMPTY
    routes: Routes = routes_memory.EMPTY


NOTHING: Final = Saved()


def shortened(saved: Saved, cycles: int) -> Saved:
    """The same with the demand of the last `cycles` only."""
    return replace(saved, memory=memories.shortened(saved.memory, cycles))


def to_json(saved: Saved) -> dict[str, Any]:
    """All of it as JSON data."""
    data = {"version": VERSION, "memory": memories.to_json(saved.memory), "ledger": ledgers.to_json(saved.ledger)}
    return {**data, "routes": routes_memory.to_json(saved.routes)} if saved.routes.routes else data


def from_json(data: Any) -> Saved:
    """What `to_json` wrote, in this version or the one before.

    Raises:
        ValueError: another version, or nothing that was saved at all.
    """
    version = data.get("version") if isinstance(data, dict) else None
    if version == VERSION:
        routes = routes_memory.from_json(data["routes"]) if "routes" in data else routes_memory.EMPTY
        return Saved(memories.from_json(data.get("memory")), ledgers.from_json(data.get("ledger")), routes)
    if version == LEDGERS_IN_MEMORY:
        memory = memories.without_ledgers(data.get("memory"))
        return Saved(memories.from_json(memory), ledgers.from_planners_memory(data["memory"][0]))
    raise CodecError(f"not a state of version {LEDGERS_IN_MEMORY} or {VERSION}")
