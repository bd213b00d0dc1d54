"""What is bought, beside simpler ways to buy, and what of it stands idle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pertoken.capacity.purchase.tuning import TUNING
from pertoken.capacity.report.bars import bar, bar_rows
from pertoken.capacity.report.chart import keyed
from pertoken.capacity.report.figures import PER_CENT_SIGN, Figures, usd_text
from pertoken.capacity.report.gpus import end_s
from pertoken.capacity.report.headline import compared_rows, saved_words
from pertoken.capacity.report.tags import Markup, element, section, table, together
from pertoken.capacity.report.times import days_text
from pertoken.units import HOURS_PER_DAY, PER_CENT, SECONDS_PER_HOUR

Json = dict[str, Any]
WAYS: Final = {"committed": "committed", "reserved": "reserved", "on_demand": "on demand", "spot": "spot"}


def purchase_section(figures: Figures) -> Markup:
    """Money by pool and way, the same need bought in simpler ways, and every purchase."""
    return section(
        "Purchase",
        "purchase",
        element("h3", "Compared"),
        _compared(figures),
        element("h3", "By pool and way"),
        _mix(figures),
        _reserved(figures),
        _hourly(figures),
        _unserved(figures),
        element(
            "p",
            f"A month is {TUNING.hours_per_month} hours; a reservation counts with its part of the horizon.",
        ),
    )


def _compared(figures: Figures) -> Markup:
    rows = compared_rows(figures)
    most = max(usd for _, _, usd in rows)
    plan = rows[0][2]
    return bar_rows(
        [
            (
                name,
                bar([("plan" if path == rows[0][1] else "other", usd)], most),
                figures.usd(path),
                None if path == rows[0][1] else element("span", saved_words(usd, plan), class_="more"),
            )
            for name, path, usd in rows
        ]
    )


def mix(figures: Figures) -> Mapping[str, Mapping[str, float]]:
    """USD of an average month by pool and way; together the plan's cost."""
    document = figures.document
    begin, end = document["start_s"], end_s(figures)
    usd = {pool["name"]: dict.fromkeys(WAYS, 0.0) for pool in document["pools"]}
    for way in ("committed", "on_demand", "spot"):
        for entry in document["purchase"][way]:
            usd[entry["pool"]][way] += entry["usd_per_month"]
    for entry in document["purchase"]["reserved"]:
        runs = max(0, min(entry["end_s"], end) - max(entry["begin_s"], begin))
        usd[entry["pool"]]["reserved"] += entry["usd_per_month"] * runs / (end - begin)
    return usd


def _mix(figures: Figures) -> Markup:
    usd = mix(figures)
    sums = {pool: sum(ways.values()) for pool, ways in usd.items()}
    used = [way for way in WAYS if any(ways[way] > 0 for ways in usd.values())]
    rows = [
        (
            pool,
            bar([(way, ways[way]) for way in used], max(sums.values())),
            f"{usd_text(sums[pool])} USD",
            element("span", _ways(ways), class_="more"),
        )
        for pool, ways in usd.items()
    ]
    return together(keyed(*((way, WAYS[way]) for way in used)), bar_rows(rows))


def _ways(ways: Mapping[str, float]) -> str:
    return ", ".join(f"{WAYS[way]} {usd_text(usd)}" for way, usd in ways.items() if usd > 0)


def _reserved(figures: Figures) -> Markup | None:
    entries = [(entry, f"purchase.reserved.{n}") for n, entry in enumerate(figures.document["purchase"]["reserved"])]
    heads = ("pool", "offer", "GPUs", "runs", "order by", "USD a month", "used", "idle GPUs", "idle USD a day")
    rows: list[tuple[str, ...]] = [
        (
            entry["pool"],
            f"{entry['offer']} ({entry['term_days']} days at {entry['usd_per_gpu_hour']:g} USD/GPU-hour)",
            figures.count(f"{at}.gpus"),
            together(figures.time(f"{at}.begin_s"), " to ", figures.time(f"{at}.end_s")),
            figures.time(f"{at}.order_by_s"),
            figures.usd(f"{at}.usd_per_month", ""),
            figures.share(f"{at}.used_share"),
            figures.count(f"{at}.idle_gpus"),
            figures.usd(f"{at}.idle_usd_per_day", ""),
        )
        for entry, at in entries
    ]
    rows += [_committed(figures, entry, n) for n, entry in enumerate(figures.document["purchase"]["committed"])]
    return table(heads, rows, "Reserved and committed GPUs, and what of them stands idle") if rows else None


def _committed(figures: Figures, entry: Json, index: int) -> tuple[str, ...]:
    at = f"purchase.committed.{index}"
    used = f"{(1 - entry['idle_gpus'] / entry['gpus']) * PER_CENT:.1f}{PER_CENT_SIGN}"
    return (
        entry["pool"],
        "committed already",
        figures.count(f"{at}.gpus"),
        "all the time",
        "",
        figures.usd(f"{at}.usd_per_month", ""),
        used,
        figures.count(f"{at}.idle_gpus"),
        figures.usd(f"{at}.idle_usd_per_day", ""),
    )


def _hourly(figures: Figures) -> Markup:
    heads = ("pool", "bought", "GPUs at most", "GPU-hours a month", "GPUs on average", "USD a month")
    rows = []
    for way in ("on_demand", "spot"):
        for index, entry in enumerate(figures.document["purchase"][way]):
            at = f"purchase.{way}.{index}"
            rows.append(
                (
                    entry["pool"],
                    WAYS[way],
                    figures.count(f"{at}.peak_gpus"),
                    figures.count(f"{at}.gpu_hours_per_month"),
                    f"{entry['gpu_hours_per_month'] / TUNING.hours_per_month:.1f}",
                    figures.usd(f"{at}.usd_per_month", ""),
                )
            )
    return table(heads, rows, "Bought by the hour")


def _unserved(figures: Figures) -> Markup | None:
    """What on demand's ceiling leaves unserved."""
    lines = [
        element(
            "p",
            f"Pool {entry['pool']}: ",
            figures.count(f"purchase.unserved.{index}.gpu_hours_per_month", " GPU-hours"),
            " a month lie above what can be had on demand and are not served.",
            class_="bad",
        )
        for index, entry in enumerate(figures.document["purchase"]["unserved"])
    ]
    return together(*lines) if lines else None


def days_of(seconds: float) -> str:
    """A lead time in words."""
    days = seconds / (HOURS_PER_DAY * SECONDS_PER_HOUR)
    return days_text(days) if days >= 1 else f"{seconds / 60:g} minutes"
