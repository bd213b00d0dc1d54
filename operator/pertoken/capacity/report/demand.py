"""What services will be asked for, and how good such forecasts were on their past."""

from __future__ import annotations

from typing import Final

import numpy as np

from pertoken.capacity.answer import Answer
from pertoken.capacity.forecast.outlook import P90
from pertoken.capacity.plan import ServicePlan
from pertoken.capacity.report.chart import Area, Chart, Line, chart_figure
from pertoken.capacity.report.figures import Figures
from pertoken.capacity.report.tags import Markup, element, facts, section, table, together
from pertoken.capacity.report.times import days_text
from pertoken.units import HOURS_PER_DAY, PER_CENT, SECONDS_PER_HOUR

MOST_CHARTS: Final = 24  # the busiest services; all are in the table
P10: Final = PER_CENT - P90
PAST_DAYS: Final = 14
RATE: Final = " tokens/s"


def demand_section(figures: Figures, answer: Answer) -> Markup:
    """A table of all services and a chart of each."""
    services = answer.plan.planned.services
    busiest = sorted(range(len(services)), key=lambda index: -float(services[index].p90.max()))[:MOST_CHARTS]
    left = len(services) - len(busiest)
    return section(
        "Demand",
        "demand",
        _table(figures),
        *(_service(figures, services[index], index) for index in sorted(busiest)),
        element("p", f"Charts of the {MOST_CHARTS} busiest services; {left} more are in the table.") if left else None,
    )


def _table(figures: Figures) -> Markup:
    heads = ("service", "mean P50", "peak P50", "peak P90", "WAPE", "seasonal naive's", "P90 held")
    rows = []
    for index, service in enumerate(figures.document["services"]):
        at = f"services.{index}"
        rows.append(
            (
                service["name"],
                figures.rate(f"{at}.forecast.*.p50_tokens_per_s", RATE, "mean"),
                figures.rate(f"{at}.forecast.*.p50_tokens_per_s", RATE, "max"),
                figures.rate(f"{at}.forecast.*.p90_tokens_per_s", RATE, "max"),
                figures.share(f"{at}.backtest.wape"),
                figures.share(f"{at}.backtest.seasonal_naive_wape"),
                figures.share(f"{at}.backtest.p90_coverage"),
            )
        )
    return table(heads, rows, "Forecast of the horizon, and back-tests on the past with what was known then")


def _service(figures: Figures, service: ServicePlan, index: int) -> Markup:
    at = f"services.{index}"
    told = figures.document["services"][index]
    return element(
        "article",
        element("h3", told["name"], element("small", told["model"])),
        chart_figure(_chart(figures, service, index), _caption(figures)),
        facts(
            ("WAPE of back-tests", together(figures.share(f"{at}.backtest.wape"), " (", *_naive(figures, at), ")")),
            ("P90 held", _held(figures, at)),
            ("forecast model", told["backtest"]["model"]),
            ("mean request", _request(figures, at)),
            *((f"replicas of {each['variant']}", _replica(figures, at, n)) for n, each in enumerate(told["replicas"])),
        ),
    )


def _naive(figures: Figures, at: str) -> tuple[str, ...]:
    return ("seasonal naive ", figures.share(f"{at}.backtest.seasonal_naive_wape"))


def _held(figures: Figures, at: str) -> Markup:
    if figures.at(f"{at}.backtest.p90_coverage") is None:
        return element("span", "unknown: the history is too short for back-tests")
    low, high = (figures.share(f"{at}.backtest.p90_coverage_{end}") for end in ("low", "high"))
    hours = figures.count(f"{at}.backtest.hours")
    return together(
        figures.share(f"{at}.backtest.p90_coverage"),
        " of ",
        hours,
        " forecast hours (95 % interval ",
        low,
        " to ",
        high,
        ")",
    )


def _request(figures: Figures, at: str) -> Markup:
    inputs, outputs = (figures.count(f"{at}.request.{name}_tokens") for name in ("input", "output"))
    return together(inputs, " input and ", outputs, " output tokens")


def _replica(figures: Figures, at: str, index: int) -> Markup:
    at = f"{at}.replicas.{index}"
    return together(
        "at most ",
        figures.count(f"{at}.most"),
        f" on pool {figures.at(f'{at}.pool')}, each ",
        figures.gpus(f"{at}.gpus"),
        " and ",
        figures.rate(f"{at}.requests_per_s", " requests/s"),
    )


def _caption(figures: Figures) -> str:
    days = figures.document["horizon_days"]
    return f"Up to {PAST_DAYS} days before and {days_text(days)} of plan; 80 % of futures lie between P10 and P90. UTC."


def _chart(figures: Figures, service: ServicePlan, index: int) -> Chart:
    document = figures.document
    hours = document["horizon_days"] * HOURS_PER_DAY
    past = service.demand.tokens[-min(hours // 2, PAST_DAYS * HOURS_PER_DAY, len(service.demand.tokens)) :]
    ahead = figures.at(f"services.{index}.forecast")
    median, high = (np.array([hour[f"{name}_tokens_per_s"] for hour in ahead]) for name in ("p50", "p90"))
    low = np.minimum(service.quantile(P10), median)
    name = document["services"][index]["name"]
    since, at = len(past), f"services.{index}.forecast.*"
    lines = [
        Line("observed", "past", past),
        Line("P90", "high", high, f"{at}.p90_tokens_per_s", since),
        Line("P50", "median", median, f"{at}.p50_tokens_per_s", since),
    ]
    return Chart(
        label=f"Tokens per second of {name}: observed, then P50 and P90 by the hour",
        unit="tokens per second (input and output)",
        start_s=document["start_s"] - since * SECONDS_PER_HOUR,
        hours=since + hours,
        areas=(Area("P10 to P90", "fan", low, high, since),),
        lines=lines,
        divided_at=since,
    )
