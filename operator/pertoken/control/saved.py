"""What one cycle hands to the next, and what survives restarts: planner memory, ledger and routes, as one value."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from pertoken.accounting import ledger as ledgers
from pertoken.accounting.ledger import Ledger, ServiceLedger
from pertoken.planner import memory as memories
from pertoken.planner.memory import Memory, ServiceMemory
from pertoken.raw.codec import CodecError
from pertoken.routing import memory as routes_memory
from pertoken.routing.memory import Routes

VERSION: Final = 3
_INSTANTS: Final = 1e8  # seconds since the epoch are larger
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


def coarsened(saved: Saved, buckets: int) -> Saved:
    """The same with the accounts' sums in fewer buckets; the bill is the same to the last digit."""
    return replace(saved, ledger=ledgers.coarsened(saved.ledger, buckets))


def of_services(saved: Saved, shards: int) -> list[Saved]:
    """The same in parts, by the services' names; what belongs to no service is in the first part."""
    memories_of: list[dict[str, ServiceMemory]] = [{} for _ in range(shards)]
    accounts_of: list[dict[str, ServiceLedger]] = [{} for _ in range(shards)]
    for name, memory in saved.memory.services.items():
        memories_of[_shard_of(name, shards)][name] = memory
    for name, account in saved.ledger.services.items():
        accounts_of[_shard_of(name, shards)][name] = account
    parts = [Saved(replace(saved.memory, services=memory, pools={})) for memory in memories_of]
    parts[0] = replace(saved, memory=replace(saved.memory, services=memories_of[0]))
    return [
        replace(part, ledger=replace(saved.ledger, services=account))
        for part, account in zip(parts, accounts_of, strict=True)
    ]


def merged(parts: Iterable[Saved]) -> Saved:
    """The whole again; of a service that is in several parts what was planned last counts."""
    whole = NOTHING
    for part in sorted(parts, key=lambda part: part.memory.planned_at or 0.0):
        memory = replace(
            part.memory,
            services={**whole.memory.services, **part.memory.services},
            pools={**whole.memory.pools, **part.memory.pools},
        )
        ledger = replace(part.ledger, services={**whole.ledger.services, **part.ledger.services})
        whole = Saved(memory, ledger, part.routes if part.routes.routes else whole.routes)
    return whole


def _shard_of(name: str, shards: int) -> int:
    return zlib.crc32(name.encode()) % shards


def rounded(data: Any) -> Any:
    """JSON data with six digits of every figure; instants, whole numbers and decimals (the bill) keep all of theirs."""
    if isinstance(data, float):
        return float(f"{data:.6g}") if abs(data) < _INSTANTS else data
    if isinstance(data, list):
        return [rounded(each) for each in data]
    if isinstance(data, dict):
        return {key: rounded(each) for key, each in data.items()}
    return data


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
