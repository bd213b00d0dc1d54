"""The page: every part of the plan in one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pertoken.capacity.answer import Answer
from pertoken.capacity.report.advice import advice_section
from pertoken.capacity.report.assumptions import assumption_section
from pertoken.capacity.report.demand import demand_section
from pertoken.capacity.report.figures import Figures
from pertoken.capacity.report.gpus import end_s, gpu_section
from pertoken.capacity.report.headline import headline
from pertoken.capacity.report.orders import order_section
from pertoken.capacity.report.purchase import purchase_section
from pertoken.capacity.report.style import STYLE
from pertoken.capacity.report.tags import Markup, element
from pertoken.capacity.report.times import date_of, days_text
from pertoken.capacity.report.whatifs import what_if_section

# Nothing is fetched, nothing runs: a browser holds the page to that, whatever text it carries.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html_page(answer: Answer, document: Mapping[str, Any]) -> str:
    """The page.

    Args:
        answer: with what the document does not hold: the observed past, and quantiles below the median.
        document: of the answer (`answer_document`); every figure of the page is one of it.
    """
    figures = Figures(document)
    name = document["name"]
    title = f"Capacity plan {name}".rstrip()
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    body = element(
        "body",
        element("header", element("h1", title), element("p", _span(figures))),
        element(
            "main",
            headline(figures),
            demand_section(figures, answer),
            gpu_section(figures),
            purchase_section(figures),
            order_section(figures),
            what_if_section(figures),
            advice_section(figures),
            assumption_section(figures),
        ),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _span(figures: Figures) -> Markup:
    document = figures.document
    end = date_of(end_s(figures))
    return element(
        "span",
        f"{days_text(document['horizon_days'])} from ",
        figures.time("start_s"),
        " to ",
        element("time", end.text, datetime=end.machine),
        f". GPUs suffice at P{document['confidence_percent']:g} of ",
        figures.count("futures"),
        " futures.",
    )
