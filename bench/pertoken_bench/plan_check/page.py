"""The part of docs/capacity.md that `make plan-check` writes, and `make plan-tests` leaves as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pertoken_bench.plan_check.trial import Trial

BEGIN: Final = "<!-- realised days: written by make plan-check -->"
END: Final = "<!-- realised days: end -->"
INTRODUCTION: Final = """## Fleets on the day that came

`make plan-check` plans the day after some days of a recorded series and gives the P90 fleet of four of its hours to the
simulator, 25 minutes of each, with traffic drawn from what came (clients as bursty as in the scenarios). The history
has single requests of the last day before (drawn likewise, four stretches of 25 minutes); *usual* fleets are planned
without them, with bursts as they usually are. *Least*: the fewest replicas that keep the objective (requests within
both latencies); *one fewer* keeps less. *Sized*: replicas by the same sizing for the rate that came, so that *sized
over least* tells what the sizing buys too much and the forecast's P90 is left out.
"""


def section(trials: Sequence[Trial], day: str) -> str:
    """The part, between its marks."""
    return "\n".join([BEGIN, INTRODUCTION, f"{day}:", "", *_sums(trials), "", *_pieces(trials), "", END])


def with_section(text: str, part: str) -> str:
    """A page with the part in the place of its former one, else at its end."""
    begin, end = text.find(BEGIN), text.find(END)
    if begin < 0 or end < begin:
        return f"{text.rstrip()}\n\n{part}\n"
    return text[:begin] + part + text[end + len(END) :]


def section_of(text: str) -> str | None:
    """The part of a page; None for none."""
    begin, end = text.find(BEGIN), text.find(END)
    return None if begin < 0 or end < begin else text[begin : end + len(END)]


def _sums(trials: Sequence[Trial]) -> list[str]:
    rows = [
        f"| {each.name} | {each.days} days | {each.kept:.1%} | {each.kept_usual:.1%} | {each.required:.0%} | "
        f"{'yes' if min(each.kept, each.kept_usual) >= each.required else 'no'} | {each.oversized:.2f} |"
        for each in trials
    ]
    head = "| series | history | kept by the plan's fleets | by the usual ones | objective | holds | sized over least |"
    return [head, "|---|---|---|---|---|---|---|", *rows]


def _pieces(trials: Sequence[Trial]) -> list[str]:
    rows = []
    for each in trials:
        for piece in each.pieces:
            least = "-" if piece.least is None else str(piece.least)
            fewer = "-" if piece.kept_less is None else f"{piece.kept_less:.2%}"
            rows.append(
                f"| {each.name} | {piece.hour}:00 | {piece.requests:,} | {piece.of_p90:.0%} | {piece.planned} | "
                f"{piece.kept:.2%} | {piece.usual} | {piece.kept_usual:.2%} | {piece.sized} | {least} | {fewer} |"
            )
    head = (
        "| series | hour | requests | demand ÷ its P90 | planned | kept | usual | kept | sized | least | "
        "kept on one fewer |"
    )
    return [head, "|---|---|---|---|---|---|---|---|---|---|---|", *rows]
