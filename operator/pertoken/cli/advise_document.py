"""Advice as data: figures with their unit in the name, the same that the table shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from pertoken.calculators.advice import Advice, ContextPrice, Row, against_api, rate_at_budget, surety
from pertoken.calculators.fleet import Fleet
from pertoken.cli.advise_subject import Question
from pertoken.cli.rendering import plain_figure
from pertoken.domain.service import PriceList
from pertoken.units import MILLISECONDS

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answered:
    """One question and its answer.

    Attributes:
        budget: USD per hour; None where none is given.
        api: prices of an API; None where none are given.
    """

    question: Question
    advice: Advice
    budget: float | None = None
    api: PriceList | None = None

    @property
    def best(self) -> Row | None:
        """The change that saves most now, models of unknown quality left out."""
        known = (row for row in self.advice.rows if not row.change.unknown_quality)
        return next((row for row in known if row.saved_usd_per_month > 0), None)


def answer_document(answered: Answered) -> Json:
    """One variant's advice."""
    question, advice = answered.question, answered.advice
    load = question.requests.load
    return {
        "service": question.service or None,
        "variant": question.variant or None,
        "of": title(question),
        "requests_per_second": _digits(question.demand.rate),
        "input_tokens": _digits(load.input_tokens),
        "output_tokens": _digits(load.output_tokens),
        "cached_share": _digits(load.cached_share),
        "answer_tokens": {"p50": _digits(question.requests.answers[0]), "p95": _digits(question.requests.answers[1])},
        "replicas_ready": question.running,
        "present": None if advice.present is None else _with_options(advice.present, answered),
        "keeps_objectives": advice.kept,
        "changes": [_row(row, answered) for row in advice.rows],
        "per_thousand_context_tokens": {
            "computed": _context(advice.context),
            "cached": _context(advice.cached_context),
        },
    }


def title(question: Question) -> str:
    """One line that says what the figures are of."""
    setup, load = question.setup, question.requests.load
    gpus = setup.parallelism.gpus
    count = f"{gpus} x " if gpus > 1 else ""
    cached = f", {load.cached_share:.0%} of the input cached" if load.cached_share else ""
    return (
        f"{setup.model.id} ({setup.precision}) on {count}{setup.gpu.id} at {setup.price_source}; "
        f"{plain_figure(question.demand.rate, 4)} requests/s of {plain_figure(load.input_tokens, 4)} input and "
        f"{plain_figure(load.output_tokens, 4)} output "
        f"tokens{cached}"
    )


def note_of(row: Row, limits: Mapping[str, str]) -> str:
    """What a change takes, by the change itself and by the manifest."""
    return "; ".join(words for words in (row.change.note, limits.get(row.change.kind.value, "")) if words)


def _row(row: Row, answered: Answered) -> Json:
    change = row.change
    return {
        "change": change.kind.value,
        "and_tensor_parallelism": change.widened,
        "before": change.before,
        "after": change.after,
        "note": note_of(row, answered.question.limits),
        "saved_usd_per_month": round(row.saved_usd_per_month, 2),
        **_with_options(row.fleet, answered),
    }


def _with_options(fleet: Fleet, answered: Answered) -> Json:
    """A fleet with what an API and a budget make of it."""
    figures = _fleet(fleet)
    demand = answered.question.demand
    if answered.budget is not None:
        figures["requests_per_second_at_budget"] = _or_none(rate_at_budget(fleet, demand, answered.budget))
    if answered.api is not None:
        compared = against_api(fleet, demand, answered.api)
        thresholds = compared.thresholds
        figures["against_api"] = {
            "api_usd_per_month": round(compared.api_usd_per_month, 2),
            "break_even_requests_per_second": _or_none(thresholds.first),
            "always_cheaper_from_requests_per_second": _or_none(thresholds.always),
            "utilization_at_break_even": _or_none(thresholds.utilization),
            "utilization": _digits(compared.utilization),
        }
    return figures


def _fleet(fleet: Fleet) -> Json:
    missed = fleet.missed
    return {
        "replicas": fleet.replicas,
        "gpus": fleet.replicas * fleet.setup.parallelism.gpus,
        "usd_per_gpu_hour": str(fleet.setup.usd_per_gpu_hour),
        "price": fleet.setup.price_source,
        "usd_per_month": round(fleet.usd_per_month, 2),
        "usd_per_million_tokens": _digits(fleet.usd_per_million),
        "usd_per_million_tokens_at_full_use": _digits(fleet.usd_per_million_full),
        "usd_per_thousand_answers": {
            "p50": _digits(fleet.usd_per_thousand[0]),
            "p95": _digits(fleet.usd_per_thousand[1]),
        },
        "requests_per_second_per_replica": _digits(fleet.carried),
        "bound_by": fleet.binding,
        "cost_index": _or_none(fleet.index),
        "missed": None
        if missed is None
        else f"{missed.what}: {missed.seconds * MILLISECONDS:.0f} ms on an idle replica, "
        f"the objective is {missed.objective * MILLISECONDS:.0f} ms",
        "how_sure": surety(fleet.setup).value,
        "basis": fleet.setup.gpu.efficiency.basis.value,
    }


def _context(price: ContextPrice | None) -> Json | None:
    if price is None:
        return None
    return {
        "usd_per_thousand_requests": _digits(price.usd_per_thousand_requests),
        "usd_per_month": round(price.usd_per_month, 2),
    }


def _digits(value: float) -> float:
    return float(f"{value:.6g}")


def _or_none(value: float | None) -> float | None:
    """Nothing where there is no figure, or no finite one."""
    return None if value is None or not isfinite(value) else _digits(value)
