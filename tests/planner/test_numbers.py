"""No number decides outside a `tuning` module, and every one there says its unit and where it comes from."""

import ast
from dataclasses import is_dataclass
from pathlib import Path

import pytest

import pertoken
from pertoken.accounting import tuning as accounting
from pertoken.calculators import tuning as advising
from pertoken.capacity import tuning as capacity
from pertoken.capacity.purchase import tuning as purchasing
from pertoken.forecast import tuning as forecast
from pertoken.numbers import numbers_of
from pertoken.performance import tuning as performance
from pertoken.planner import tuning as planner
from pertoken.routing import tuning as routing

ROOT = Path(pertoken.__file__).parent
PLAIN = (0, 1, 2)
TUNING = "tuning.py"
DRAWN = "capacity/report/"  # the plan's page: what it shows was decided before
PROVENANCE = ("measured on ", "convention", "by contract", "by definition", "guess")
# What decides nothing, by file and name.
ALLOWED = {
    ("accounting/bill.py", "EXACT"): "digits of exact decimals",
    ("accounting/statement.py", "_PRICE"): "digits of exact decimals",
    ("accounting/statement.py", "_LEAST_PLACES"): "places of a price",
    ("accounting/ledger.py", "_PLANNERS_LEDGER"): "place in a saved form",
    ("capacity/purchase/document.py", "SHARE_PLACES"): "places of a printed share",
    ("capacity/again.py", "DAYS_PER_WEEK"): "of the calendar",
    ("capacity/document.py", "PLACES"): "places of a printed share",
    ("capacity/document.py", "FIGURES"): "digits of a printed rate",
    ("capacity/document.py", "MOST_PLACES"): "of a double",
    ("capacity/document.py", ""): "base of decimal digits",
    ("capacity/exports/patch.py", "MEDIAN"): "per cent, by definition",
    ("capacity/forecast/days.py", "DAYS_PER_WEEK"): "of the calendar",
    ("capacity/forecast/misses.py", "LEVELS"): "a grid to interpolate on",
    ("capacity/forecast/misses.py", "_TAPER"): "from the median to the outer tenths, by definition",
    ("capacity/forecast/seasons.py", "_GOLDEN"): "the golden section",
    ("capacity/forecast/models.py", "_DAILY"): "four weeks, by the model's name",
    ("capacity/forecast/outlook.py", "MEDIAN"): "per cent, by definition",
    ("capacity/forecast/outlook.py", "P90"): "per cent, by definition",
    ("capacity/forecast/outlook.py", "_TWO_SIDED_95"): "of the normal distribution",
    ("capacity/futures.py", "MEDIAN"): "per cent, by definition",
    ("capacity/futures.py", "confidence"): "the API's default",
    ("capacity/history/bins.py", ""): "digits of a time in seconds",
    ("capacity/history/table.py", "CHUNK"): "rows that are held as text",
    ("capacity/history/table.py", "have"): "columns in a message",
    ("capacity/spec.py", "horizon_days"): "the API's default",
    ("capacity/spec.py", "confidence"): "the API's default",
    ("capacity/spec.py", "history_days"): "the API's default",
    ("planner/memory.py", "_LEDGER"): "place in a saved form",
    ("planner/assessment.py", "PANIC"): "member of an enumeration",
    ("planner/conditions/latency.py", "LARGEST_SECONDS"): "open end of a histogram, in words",
    ("planner/placement.py", "INT64_DIGITS"): "what the API server takes",
    ("planner/placement.py", "INT64_BITS"): "what the API server takes",
}
GROUPS = {
    "planner": planner.TUNING,
    "forecasting": forecast.FORECASTING,
    "knee": forecast.KNEE,
    "budget": forecast.BUDGET,
    "accounting": accounting.TUNING,
    "sustained": performance.SUSTAINED,
    "calibrating": performance.CALIBRATING,
    "clumps": performance.CLUMPS,
    "purchasing": purchasing.TUNING,
    "history": capacity.HISTORY,
    "demand": capacity.DEMAND,
    "days": capacity.DAYS,
    "back-tests": capacity.BACKTEST,
    "misses": capacity.MISSES,
    "futures": capacity.FUTURES,
    "mixes": capacity.MIX,
    "advising": advising.TUNING,
    "seasons": capacity.SEASONS,
    "again": capacity.AGAIN,
    "routing": routing.ROUTING,
}


def named(tree):
    """Constants of a module or class by the name that they are assigned to."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name):
                names |= {id(part): target.id for part in ast.walk(node.value)}
    return names


def numbers(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = named(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value not in PLAIN:
            yield names.get(id(node), ""), node


def places():
    for layer in ("planner", "accounting", "forecast", "capacity"):
        for path in sorted((ROOT / layer).rglob("*.py")):
            if path.name != TUNING and not path.relative_to(ROOT).as_posix().startswith(DRAWN):
                for name, node in numbers(path):
                    yield path.relative_to(ROOT).as_posix(), name, node


def test_no_number_decides_outside_tuning():
    left = [
        f"{file}:{node.lineno}: {node.value} {name}" for file, name, node in places() if (file, name) not in ALLOWED
    ]

    assert left == []


def test_what_is_allowed_is_there():
    assert {(file, name) for file, name, _ in places()} == set(ALLOWED)


@pytest.mark.parametrize("group", GROUPS)
def test_every_number_says_its_unit_and_where_it_comes_from(group):
    for number in numbers_of(GROUPS[group]):
        assert number.unit, number.path
        assert number.source.startswith(PROVENANCE), number.path


def test_the_groups_of_a_tuning_are_frozen():
    for group in GROUPS.values():
        assert is_dataclass(group)
        assert type(group).__dataclass_params__.frozen
