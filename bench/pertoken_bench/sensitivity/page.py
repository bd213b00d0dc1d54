"""The page `docs/tuning.md`: every number that decides, where it comes from, and what half and double of it do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final

from pertoken.accounting import tuning as accounting
from pertoken.numbers import Number, numbers_of
from pertoken.performance import tuning as performance
from pertoken.planner.tuning import TUNING
from pertoken_bench.sensitivity.effects import Sensitivity, Variation, overall, varied_numbers

_HEAD: Final = """# Numbers that decide

<!-- Written by `make tuning`; do not edit. -->

Every number by which the planner, the forecast, the performance model and the accounts decide, with its unit and where
it comes from: *measured* on something that this repository holds, *convention* of somebody, *by contract* (the API
says so), or *guess*. They are fields of frozen groups in `tuning.py` of each layer; what differs between clusters is a
setting (`PERTOKEN_…`) instead. Spans of time are in seconds, whatever the length of a cycle.

"""
_NOT_VARIED: Final = (
    ("Performance model: sustained load", performance.SUSTAINED),
    ("Performance model: calibration", performance.CALIBRATING),
    ("Accounts", accounting.TUNING),
    ("Answers to a missed cost target", TUNING.answers),
)


def page(result: Sensitivity, *, quick: bool) -> str:
    """The whole page."""
    return _HEAD + "\n".join([*_method(result, quick=quick), *_varied(result), *_quiet(result), *_listed()]) + "\n"


def _method(result: Sensitivity, *, quick: bool) -> Iterator[str]:
    parts = ", ".join(f"`{piece.scenario}` ({piece.seconds:.0f} s)" for piece in result.pieces)
    yield "## What half and double do"
    yield ""
    if quick:
        yield "Made with `make tuning ARGS=--quick`: few pieces and one seed, so only large effects show."
        yield ""
    yield "Each number of the planner and the forecast at half and at double, against the shipped numbers with the same"
    yield f"arrivals, on the first part of {parts}; seeds: {', '.join(str(seed) for seed in result.seeds)}."
    yield (
        "A cell is the change of the bill in per cent / of the requests within their objectives in points, "
        "mean over the"
    )
    yield (
        "pieces. A share above one half is moved half way to 1 instead of being doubled. "
        "**Bold**: more than noise in one"
    )
    yield "piece at least, even where the pieces cancel. Noise is two standard deviations of the difference between two"
    yield "runs of the shipped numbers whose arrivals differ:"
    yield ""
    yield "| piece | USD, % | attained, points |"
    yield "| --- | ---: | ---: |"
    for name, noise in result.noise.items():
        yield f"| {name} | ±{noise.usd:.1f} | ±{noise.attained:.1f} |"
    mean = overall(result.noise)
    yield f"| mean over the pieces | ±{mean.usd:.1f} | ±{mean.attained:.1f} |"
    yield ""


def _varied(result: Sensitivity) -> Iterator[str]:
    for group, numbers in _groups(varied_numbers()):
        yield f"### {group}"
        yield ""
        yield "| number | value | unit | from | half | double |"
        yield "| --- | ---: | --- | --- | ---: | ---: |"
        for number in numbers:
            by_value = {variation.value: variation for variation in result.variations[number.path]}
            half = next((each for value, each in by_value.items() if value < number.value), None)
            double = next((each for value, each in by_value.items() if value > number.value), None)
            cells = (*_cells(number), _effect(result, half), _effect(result, double))
            yield f"| {' | '.join(cells)} |"
        yield ""


def _effect(result: Sensitivity, variation: Variation | None) -> str:
    if variation is None:
        return "-"
    change = variation.overall
    words = f"{_signed(change.usd)} / {_signed(change.attained)}"
    beyond = any(each.beyond(result.noise[name]) for name, each in variation.by_piece.items())
    return f"**{words}**" if beyond else words


def _signed(value: float) -> str:
    text = f"{value:+.1f}"
    return "0" if text in ("+0.0", "-0.0") else text


def _quiet(result: Sensitivity) -> Iterator[str]:
    """Numbers that change nothing beyond noise."""
    quiet = [path for path in result.variations if not result.matters(path)]
    yield "## Within noise"
    yield ""
    known = len(result.variations)
    yield f"{len(quiet)} of {known} numbers change nothing beyond noise in these pieces, which does not"
    yield "say that they are not needed: many guard against faults, outages and other managers, which no piece has."
    yield ""
    for group, paths in groupby(quiet, key=lambda path: path[0]):
        yield f"- {group}: {', '.join(f'`{path[-1]}`' for path in paths)}"
    yield ""


def _listed() -> Iterator[str]:
    yield "## Not varied"
    yield ""
    yield "The performance model's results are memoised, so its numbers are not handed in. Those of the accounts"
    yield "decide what is shown and billed, but for the horizon of money: it decides where a cost objective spends or"
    yield "gives up, and no piece has one. Those of the answers to a missed cost target only shape what is said."
    for title, tuning in _NOT_VARIED:
        yield ""
        yield f"### {title}"
        yield ""
        yield "| number | value | unit | from |"
        yield "| --- | ---: | --- | --- |"
        for number in numbers_of(tuning):
            yield f"| {' | '.join(_cells(number))} |"


def _groups(numbers: Iterable[Number]) -> Iterator[tuple[str, list[Number]]]:
    for group, members in groupby(numbers, key=lambda number: number.path[0]):
        yield group, list(members)


def _cells(number: Number) -> tuple[str, ...]:
    return f"`{number.path[-1]}`", f"{_plain(number.value)}", number.unit, number.source


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
