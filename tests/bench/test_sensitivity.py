"""Half and double of every number: what is varied, what counts as noise, what the page says."""

import pytest

from pertoken.numbers import Number, numbers_of
from pertoken.planner.tuning import TUNING
from pertoken_bench.sensitivity.effects import FigureChange, Sensitivity, Variation, noise, varied, with_number
from pertoken_bench.sensitivity.page import page
from pertoken_bench.sensitivity.pieces import CostAndAttainment, Piece, run_piece


@pytest.mark.parametrize(
    ("value", "expected"),
    [(60.0, [30.0, 120.0]), (3, [2, 6]), (1, [2]), (0.1, [0.05, 0.2]), (0.5, [0.25, 0.75]), (0.995, [0.4975, 0.9975])],
    ids=["seconds", "count", "one cannot be halved", "small share", "half", "nearly all"],
)
def test_half_and_double(value, expected):
    assert list(varied(Number(("x",), value, "s", "guess"))) == pytest.approx(expected)


def test_every_number_of_the_planner_can_be_varied_and_nothing_else_changes():
    for number in numbers_of(TUNING):
        other = next(varied(number))
        changed = with_number(TUNING, number.path, other)

        pairs = zip(numbers_of(TUNING), numbers_of(changed), strict=True)
        assert [after.path for before, after in pairs if before != after] == [number.path]


@pytest.mark.parametrize("path", [("no",), ("cap", "no"), ("cap",), ("cap", "rush_lifetimes", "no")])
def test_what_is_no_number_is_refused(path):
    with pytest.raises(KeyError):
        with_number(TUNING, path, 1.0)


def test_noise_is_two_deviations_of_a_difference():
    scores = [CostAndAttainment(usd, attained) for usd, attained in ((99.0, 95.0), (101.0, 97.0))]

    spread = noise(scores, 1)

    assert spread.usd == pytest.approx(4.0)
    assert spread.attained == pytest.approx(4.0)
    assert FigureChange(-4.1, 0.0).beyond(spread)
    assert not FigureChange(3.9, -3.9).beyond(spread)


def test_the_page_lists_every_number_and_marks_what_is_more_than_noise():
    piece = Piece("azure-conv", 600.0, {})
    loud = ("panic", "seconds")
    effects = {
        number.path: tuple(
            Variation(value, {"azure-conv": FigureChange(7.0 if number.path == loud else 0.5, -0.01)})
            for value in varied(number)
        )
        for number in numbers_of(TUNING)
    }

    text = page(Sensitivity({"azure-conv": FigureChange(1.0, 1.0)}, effects, (piece,), (0,)), quick=True)

    assert "--quick" in text
    assert text.count("**+7.0 / 0**") == 2
    assert "| `seconds` | 60 | s | convention: Knative" in text
    for number in numbers_of(TUNING):
        assert f"| `{number.path[-1]}` |" in text
    assert f"{len(effects) - 1} of {len(effects)} numbers" in text


def test_a_number_that_is_handed_in_decides():
    piece = Piece("azure-conv", 500.0, {"chat/a100": 3})
    shipped = run_piece(piece, 0, TUNING)

    spare = run_piece(piece, 0, with_number(TUNING, ("knee", "prior"), 0.45))

    assert spare.usd > 1.05 * shipped.usd
    assert run_piece(piece, 0, TUNING) == shipped
