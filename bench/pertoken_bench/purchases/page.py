"""The measured section of docs/purchase.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from pertoken_bench.purchases.trial import Outcome

FLEETS: Final = (4, 16, 64)
RATIOS: Final = (0.4, 0.5, 0.6, 0.7, 0.8)
WITHIN: Final = 1.05
WAYS: Final[Mapping[str, Callable[[Outcome], float]]] = {
    "the plan": lambda outcome: outcome.plan,
    "forecast alone": lambda outcome: outcome.forecast_alone,
    "last weeks alone": lambda outcome: outcome.past_alone,
    "all on demand": lambda outcome: outcome.on_demand,
    "peak reserved": lambda outcome: outcome.peak,
}


class NoMarks(ValueError):
    """The page lacks the marks between which a section is written."""


def written(page: str, name: str, text: str) -> str:
    """The page with a section between its marks replaced.

    Raises:
        NoMarks: they are not there.
    """
    begin, end = f"<!-- {name}: written by make purchases -->\n", f"<!-- {name}: end -->"
    if begin not in page or end not in page:
        raise NoMarks(f"no marks {begin.strip()} … {end}")
    head, rest = page.split(begin, 1)
    return f"{head}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}"


def section(outcomes: Mapping[str, Sequence[Outcome]]) -> str:
    """What was decided on days 1 to 30 and paid on days 31 to 61, by series, fleet and price."""
    rows = [
        "| demand | GPUs, mean | reserved ÷ on demand | reserved | in hindsight | " + " | ".join(WAYS) + " |",
        "|---|---|---|---|---|" + "---|" * len(WAYS),
    ]
    for name, told in outcomes.items():
        rows += [
            f"| {name} | {outcome.gpus} | {outcome.ratio:.1f} | {outcome.reserved} | {outcome.hindsight} | "
            + " | ".join(_above(way(outcome)) for way in WAYS.values())
            + " |"
            for outcome in told
        ]
    worst = "; ".join(
        f"{name}: {_above(max(outcome.plan for outcome in told))} at worst, "
        f"{_above(float(np.mean([outcome.plan for outcome in told])))} on average"
        for name, told in outcomes.items()
    )
    return f"Above the best purchase in hindsight, the plan paid: {worst}.\n\n" + "\n".join(rows) + "\n"


def clients_section(outcomes: Sequence[Sequence[Outcome]]) -> str:
    """How often and how far each way of deciding missed, over many series."""
    flat = [outcome for told in outcomes for outcome in told]
    rows = ["| decided on | within 5 % | median | 90 % of the cases below |", "|---|---|---|---|"]
    for name, way in WAYS.items():
        paid = np.array([way(outcome) for outcome in flat])
        within = float((paid <= WITHIN).mean())
        median, high = (float(np.quantile(paid, level)) for level in (0.5, 0.9))
        rows.append(f"| {name} | {within:.0%} | {_above(median)} | {_above(high)} |")
    return f"{len(outcomes)} series, {len(flat)} decisions.\n\n" + "\n".join(rows) + "\n"


def _above(paid: float) -> str:
    return f"+{max(0.0, paid - 1.0) * 100:.1f} %"
