"""Every number that decides on routes, with its unit and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pertoken.numbers import number


@dataclass(frozen=True, slots=True)
class Routing:
    """Numbers of splits."""

    most_shift: float = number(
        0.2, "of the requests per cycle", "guess: any split is reached in 5 cycles, and a mistake costs a fifth"
    )
    worth: float = number(
        0.02, "of the cost of the split that holds", "guess: prices and demand move by as much from cycle to cycle"
    )
    slack: float = number(0.02, "of a tier's capacity", "guess: beyond it a split that holds is given up")
    dead_band: float = number(
        0.02, "share of the requests", "guess: a smaller distance of measured from target share is chance"
    )
    fall: float = number(0.2, "of the way per cycle", "guess: what a cycle believes of a fall of demand, see solve")
    probe: float = number(
        0.05, "share of the requests", "guess: what a tier gets of which nothing is known yet, to learn from"
    )
    unseen: float = number(
        0.95, "share of the requests", "guess: most that goes to APIs whose traffic nobody counts for us"
    )
    reverts: int = number(3, "times", "by contract: from then on hands off, as of replicas")
    revert_seconds: float = number(600.0, "s", "by contract: within which they count")
    overload: float = number(
        1000.0, "times the dearest answer", "by definition: no price makes a full tier worth more than one with room"
    )
    frontier_points: int = number(9, "points", "guess: enough to see where quality becomes dear")


ROUTING: Final = Routing()
