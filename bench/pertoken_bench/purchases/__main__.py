"""`python -m pertoken_bench.purchases`: decide on half of a recorded demand, pay on the other half, write it down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from pertoken_bench.purchases.page import FLEETS, RATIOS, clients_section, section, written
from pertoken_bench.purchases.series import COLUMNS, burstgpt, clients
from pertoken_bench.purchases.trial import Outcome, sight_of, trial

PAGE: Final = Path(__file__).parents[3] / "docs" / "purchase.md"
DECIDED_HOURS: Final = 30 * 24


def main(
    output: Annotated[Path, typer.Option(help="Page whose section is written.")] = PAGE,
    clients_file: Annotated[
        Path | None, typer.Option("--clients", help="ServeGen's client windows; without it that table stays.")
    ] = None,
) -> None:
    """Write the measured section of docs/purchase.md."""
    page = output.read_text(encoding="utf-8")
    outcomes = {
        COLUMNS[name]: outcomes_of(values[:DECIDED_HOURS], values[DECIDED_HOURS:])
        for name, values in burstgpt().items()
    }
    page = written(page, "burstgpt", section(outcomes))
    if clients_file is not None:
        page = written(page, "clients", clients_section(_clients(clients_file)))
    output.write_text(page, encoding="utf-8")


def _clients(path: Path) -> list[list[Outcome]]:
    told = []
    for values in clients(path).values():
        half = len(values) // 2
        if values[half:].any():
            told.append(outcomes_of(values[:half], values[half:]))
    return [outcomes for outcomes in told if outcomes]


def outcomes_of(past: np.ndarray, came: np.ndarray) -> list[Outcome]:
    """Every size of fleet and price; none where the past allows no forecast."""
    sight = sight_of(past, len(came))
    return [] if sight is None else [trial(sight, came, fleet, ratio) for fleet in FLEETS for ratio in RATIOS]


if __name__ == "__main__":
    typer.run(main)
