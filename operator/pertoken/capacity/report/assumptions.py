"""What the plan rests on, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pertoken.capacity.report.figures import Figures
from pertoken.capacity.report.purchase import days_of
from pertoken.capacity.report.tags import Markup, element, facts, listed, section, table, together
from pertoken.capacity.report.times import date_of, days_text
from pertoken.units import HOURS_PER_DAY, PER_CENT

Json = Mapping[str, Any]
OWN_CLOCK: Final = 1980  # histories that count from zero begin in 1970


def assumption_section(figures: Figures) -> Markup:
    """Premises, back-tests by lead, and remarks."""
    document = figures.document
    return section(
        "Assumptions, and how sure",
        "assumptions",
        facts(
            ("history", days_text(document["history_hours"] // HOURS_PER_DAY)),
            ("futures", together(figures.count("futures"), " drawn jointly for all services")),
            ("GPUs suffice for", f"{document['confidence_percent']:g} % of the futures in every hour"),
            ("growth beside the history's own", f"{document['growth_per_month'] * PER_CENT:+g} % per 30 days"),
            *((f"event {event['name']}", _event(event)) for event in document["events"]),
        ),
        _prices(figures),
        _by_lead(figures),
        element(
            "p",
            "P90 held: share of past hours that stayed below the P90 which was known then; 90 % is aimed at. "
            "WAPE: sum of absolute errors of the P50 over the sum of what came. What a replica carries is "
            "modelled, or calibrated where measurements were given.",
        ),
        element("h3", "To be known"),
        listed(_remarks(document)) or element("p", "Nothing had to be assumed."),
    )


def _event(event: Json) -> str:
    whom = ", ".join(event["services"]) or "all services"
    begin, end = (date_of(event[key]).text for key in ("begin_s", "end_s"))
    return f"{event['factor']:g} times the demand from {begin} to {end}, {whom}"


def _prices(figures: Figures) -> Markup:
    rows = []
    for index, pool in enumerate(figures.document["pools"]):
        at = f"pools.{index}"
        rows.append(
            (
                pool["name"],
                pool["accelerator"],
                figures.count(f"{at}.gpus_per_node"),
                figures.usd(f"{at}.on_demand_usd_per_gpu_hour", ""),
                days_of(pool["lead_s"]),
            )
        )
    heads = ("pool", "GPU", "GPUs of a node", "USD per GPU-hour on demand", "lead time")
    return table(heads, rows, "Pools")


def _by_lead(figures: Figures) -> Markup:
    heads = ("service", "hours ahead", "WAPE", "seasonal naive's", "P90 held", "95 % interval")
    rows = []
    for index, service in enumerate(figures.document["services"]):
        for span, score in enumerate(service["backtest"]["by_lead"]):
            at = f"services.{index}.backtest.by_lead.{span}"
            low, high = (figures.share(f"{at}.p90_coverage_{end}") for end in ("low", "high"))
            begin, end = score["lead_hours"]
            shares = [figures.share(f"{at}.{key}") for key in ("wape", "seasonal_naive_wape", "p90_coverage")]
            rows.append((service["name"], f"{begin} to {end}", *shares, together(low, " to ", high)))
    told = table(heads, rows, "Back-tests by how far ahead was forecast")
    return element("details", element("summary", "Back-tests by how far ahead was forecast"), told)


def _remarks(document: Json) -> list[str]:
    of: dict[str, list[str]] = {}
    for service in document["services"]:
        for remark in service["remarks"]:
            of.setdefault(remark, []).append(service["name"])
    lines = [f"{', '.join(names)}: {remark}" for remark, names in of.items()]
    lines += [f"not planned: {mistake}" for mistake in document["unplanned"]]
    lines += document["remarks"]
    if date_of(document["start_s"]).year < OWN_CLOCK:
        lines.append("The history counts from a begin of its own, and so do all dates here.")
    return lines
