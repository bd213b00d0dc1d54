"""Shortfalls, and everything that must be ordered, by date."""

from __future__ import annotations

from pertoken.capacity.report.figures import Figures
from pertoken.capacity.report.purchase import days_of
from pertoken.capacity.report.tags import Markup, element, section, table, together


def order_section(figures: Figures) -> Markup:
    """What falls short and when to order, the earliest first."""
    dated = sorted([*_short(figures), *_reserved(figures)], key=lambda entry: entry[0])
    heads = ("order by", "pool", "what", "for", "needed from")
    told = table(heads, [row for _, row in dated], "Lead times are those of the plan's offers, else of the pools")
    unknown = [pool["name"] for pool in figures.document["pools"] if pool["existing_gpus"] is None]
    return section(
        "Shortfalls and dates to order by",
        "orders",
        told if dated else element("p", "Nothing is short and nothing has to be ordered ahead."),
        element("p", f"Nobody says how many GPUs there are in {', '.join(unknown)}.", class_="bad")
        if unknown
        else None,
    )


def _short(figures: Figures) -> list[tuple[int, tuple[str, ...]]]:
    rows: list[tuple[int, tuple[str, ...]]] = []
    for index, pool in enumerate(figures.document["pools"]):
        at = f"pools.{index}"
        if pool["first_shortfall_s"] is None:
            continue
        late = element("strong", " overdue", class_="bad") if pool["overdue"] else None
        what = together(figures.gpus(f"{at}.short_gpus"), " short of ", figures.gpus(f"{at}.peak_gpus"))
        rows.append(
            (
                pool["order_by_s"],
                (
                    together(figures.time(f"{at}.order_by_s"), late),
                    pool["name"],
                    what,
                    f"shortfall; {days_of(pool['lead_s'])} lead time",
                    figures.time(f"{at}.first_shortfall_s"),
                ),
            )
        )
    return rows


def _reserved(figures: Figures) -> list[tuple[int, tuple[str, ...]]]:
    rows: list[tuple[int, tuple[str, ...]]] = []
    for index, entry in enumerate(figures.document["purchase"]["reserved"]):
        at = f"purchase.reserved.{index}"
        rows.append(
            (
                entry["order_by_s"],
                (
                    figures.time(f"{at}.order_by_s"),
                    entry["pool"],
                    together(figures.gpus(f"{at}.gpus"), " reserved"),
                    f"offer {entry['offer']}, {entry['term_days']} days",
                    figures.time(f"{at}.begin_s"),
                ),
            )
        )
    return rows
