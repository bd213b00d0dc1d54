"""The what-ifs beside the plan."""

from __future__ import annotations

from pertoken.capacity.report.bars import bar
from pertoken.capacity.report.figures import Figures
from pertoken.capacity.report.tags import Markup, element, listed, section, table, together


def what_if_section(figures: Figures) -> Markup | None:
    """One row each; None where nothing else was tried."""
    tried = figures.document["what_ifs"]
    if not tried:
        return None
    most = max([figures.document["purchase"]["usd_per_month"], *(entry["usd_per_month"] for entry in tried)])
    heads = ("what if", "USD a month", "", "change", "peak GPUs", "short GPUs", "first shortfall")
    rows = [
        _row("the plan", ("pools", "purchase.usd_per_month", None), figures, most),
        *(
            _row(entry["what_if"], (f"{at}.pools", f"{at}.usd_per_month", f"{at}.change_usd_per_month"), figures, most)
            for at, entry in ((f"what_ifs.{index}", entry) for index, entry in enumerate(tried))
        ),
    ]
    lines = [f"{entry['what_if']}: {text}" for entry in tried for text in (*entry["unplanned"], *entry["remarks"])]
    return section(
        "What if", "what-if", table(heads, rows, "The same demand with something changed, bought anew"), listed(lines)
    )


def _row(name: str, paths: tuple[str, str, str | None], figures: Figures, most: float) -> tuple[str, ...]:
    pools, usd, change = paths
    money = figures.at(usd)
    return (
        element("strong", name),
        figures.usd(usd, ""),
        bar([("plan" if change is None else "other", money)], most),
        "" if change is None else figures.usd(change, "", "+"),
        _pools(figures, pools, "peak_gpus"),
        _pools(figures, pools, "short_gpus"),
        _first(figures, pools),
    )


def _pools(figures: Figures, at: str, key: str) -> Markup:
    parts = [
        element("span", f"{pool['name']} ", figures.count(f"{at}.{index}.{key}"), class_="part")
        for index, pool in enumerate(figures.at(at))
        if pool[key] is not None
    ]
    return together(*parts)


def _first(figures: Figures, at: str) -> Markup:
    """The earliest shortfall of any pool."""
    short = [
        (pool["first_shortfall_s"], index)
        for index, pool in enumerate(figures.at(at))
        if pool["first_shortfall_s"] is not None
    ]
    return figures.time(f"{at}.{min(short)[1]}.first_shortfall_s") if short else element("span", "none")
