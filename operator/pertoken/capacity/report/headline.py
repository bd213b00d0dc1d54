"""The answer in four figures and a sentence."""

from __future__ import annotations

from typing import Any, Final

from pertoken.capacity.report.figures import NONE, PER_CENT_SIGN, Figures, usd_text
from pertoken.capacity.report.tags import Markup, element, section
from pertoken.capacity.report.times import days_text
from pertoken.units import PER_CENT

Json = dict[str, Any]
COMPARED: Final = {
    "all_on_demand": "all on demand",
    "peak_reserved": "the peak reserved",
    "todays_fleet": "today's fleet kept",
}


def earliest(figures: Figures) -> tuple[int, Json] | None:
    """Index and pool of the first shortfall; None without one."""
    pools = list(enumerate(figures.document["pools"]))
    short = [entry for entry in pools if entry[1]["first_shortfall_s"] is not None]
    return min(short, key=lambda entry: entry[1]["first_shortfall_s"], default=None)


def headline(figures: Figures) -> Markup:
    """Cost, saving, first shortfall, date to order by; and what the budget says."""
    document = figures.document
    confidence = f"P{document['confidence_percent']:g}"
    budget = document["purchase"].get("budget")
    tiles = (
        _tile(
            "Cost per month",
            figures.usd("purchase.usd_per_month"),
            element("span", "expected; not above ", figures.usd("purchase.usd_per_month_high"), f" at {confidence}"),
        ),
        _saving(figures),
        *_short(figures),
    )
    return section(
        "In short",
        "short",
        element("div", *tiles, class_="tiles"),
        None
        if budget is None
        else element(
            "p", budget["message"][:1].upper(), budget["message"][1:], ".", class_="good" if budget["fits"] else "bad"
        ),
    )


def _tile(name: str, value: str, words: str | None, tone: str | None = None) -> Markup:
    return element(
        "div", element("h3", name), element("p", value, class_="value"), element("p", words), class_=tone or "tile"
    )


def _saving(figures: Figures) -> Markup:
    purchase = figures.document["purchase"]
    saved, whole = purchase["saving_against_all_on_demand_usd_per_month"], purchase["all_on_demand_usd_per_month"]
    share = saved / whole * PER_CENT if whole else 0.0
    words = element("span", f"{share:.0f}{PER_CENT_SIGN} of ", figures.usd("purchase.all_on_demand_usd_per_month"))
    value = figures.usd("purchase.saving_against_all_on_demand_usd_per_month")
    return _tile("Saving a month against all on demand", value, words)


def _short(figures: Figures) -> tuple[Markup, Markup]:
    """First shortfall, and until when to order against it."""
    first = earliest(figures)
    if first is None:
        return _enough(figures)
    index, pool = first
    at = f"pools.{index}"
    missing = element("span", f"pool {pool['name']}: ", figures.gpus(f"{at}.short_gpus"), " short at its worst hour")
    late = "overdue: what is ordered now comes too late for the first hours"
    return (
        _tile("First shortfall", figures.time(f"{at}.first_shortfall_s"), missing, "tile warn"),
        _tile(
            "Order by",
            figures.time(f"{at}.order_by_s"),
            late if pool["overdue"] else f"for pool {pool['name']}",
            "tile alarm" if pool["overdue"] else "tile warn",
        ),
    )


def _enough(figures: Figures) -> tuple[Markup, Markup]:
    document = figures.document
    unknown = [pool["name"] for pool in document["pools"] if pool["existing_gpus"] is None]
    if unknown:
        words = f"nobody says how many GPUs there are in {', '.join(unknown)}"
        return _tile("First shortfall", "unknown", words), _tile("Order by", NONE, "unknown")
    words = f"what exists suffices for {days_text(document['horizon_days'])}"
    return _tile("First shortfall", "none", words, "tile well"), _tile(
        "Order by", NONE, "nothing is short", "tile well"
    )


def compared_rows(figures: Figures) -> list[tuple[str, str, float]]:
    """Name, path and USD per month of the plan and of simpler ways to buy; those that are known."""
    purchase = figures.document["purchase"]
    rows = [("this plan", "purchase.usd_per_month")]
    rows += [(name, f"purchase.{key}_usd_per_month") for key, name in COMPARED.items()]
    return [(name, path, usd) for name, path in rows if (usd := purchase[path.removeprefix("purchase.")]) is not None]


def saved_words(usd: float, plan_usd: float) -> str:
    """How a way to buy stands against the plan."""
    more = "more" if usd >= plan_usd else "less"
    return f"{usd_text(abs(usd - plan_usd))} USD a month {more}"
