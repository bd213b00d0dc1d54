"""Grids, names and the choice on the training window."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.domain.world import PlannerSettings
from pertoken_bench.policies.registry import ENTRIES, GRID_SIZE, PERTOKEN_GRID, ROWS, digest, knobs_of, with_knobs
from pertoken_bench.policies.tuning import BUDGET, TraceWindow, Trial, TrialScore, choose, tune, windows

DOCUMENT = Path(__file__).parents[2] / "docs" / "policies.md"
DESIGN_NAMES = (
    "hpa-gpu",
    "hpa-queue",
    "hpa-running",
    "keda-waiting",
    "kpa",
    "aibrix-apa",
    "wva-v1",
    "wva-v2",
    "llmd-queue",
    "llmd-token",
    "llmd-slo",
    "dynamo-sla",
    "ray-serve",
    "sageserve",
    "chiron",
)


def test_every_name_exists_and_is_documented():
    text = DOCUMENT.read_text()
    assert set(DESIGN_NAMES) <= set(ENTRIES)
    for name, entry in ENTRIES.items():
        assert entry.name == name
        assert entry.source
        assert f"`{name}`" in text, name


def test_results_name_their_grids():
    """A changed grid is a changed benchmark: the document must say so."""
    assert digest() in DOCUMENT.read_text()


@pytest.mark.parametrize("name", sorted(ROWS))
def test_grids_are_of_one_size_without_the_defaults(name: str):
    row = ROWS[name]
    assert len(row.grid) == GRID_SIZE == BUDGET - 1
    assert len({tuple(sorted(point.items())) for point in row.grid}) == GRID_SIZE
    default = {knob: knobs_of(row.default)[knob] for knob in row.knobs}
    assert default not in [dict(point) for point in row.grid]
    for point in row.grid:
        assert with_knobs(row.default, point) != row.default


def test_pertoken_is_searched_by_the_same_rule():
    known = {field.name for field in fields(PlannerSettings)}
    assert len(PERTOKEN_GRID) == GRID_SIZE
    assert all(set(point) <= known for point in PERTOKEN_GRID)
    default = PlannerSettings()
    assert {name: getattr(default, name) for name in PERTOKEN_GRID[0]} not in [dict(p) for p in PERTOKEN_GRID]


def test_unknown_knob_names_those_that_exist():
    with pytest.raises(ValueError, match="knob 'trget' of HpaKnobs: expected one of target, down_window"):
        ENTRIES["hpa-gpu"].make({"trget": 3.0})


def test_nested_knobs_are_set_where_they_belong():
    settings = with_knobs(ROWS["wva-v2"].default, {"up": 0.9, "queue_threshold": 7.0})
    assert (settings.tokens.up, settings.tokens.queue_threshold, settings.saturation.queue_threshold) == (0.9, 7.0, 7.0)


def trial(usd: float, attainment: float) -> Trial:
    return Trial({"usd": usd}, TrialScore(usd, attainment))


@pytest.mark.parametrize(
    ("trials", "chosen"),
    [
        pytest.param([(5, 0.99), (3, 0.96), (2, 0.90)], 1, id="cheapest that attains"),
        pytest.param([(5, 0.80), (3, 0.90), (2, 0.90)], 2, id="none attains: best, then cheapest"),
        pytest.param([(3, 0.96), (3, 0.97)], 1, id="equal cost: better attainment"),
        pytest.param([(3, 0.96), (3, 0.96)], 0, id="equal: the earlier"),
    ],
)
def test_choice(trials, chosen):
    candidates = [trial(*pair) for pair in trials]
    assert choose(candidates, 0.95) is candidates[chosen]


@given(st.lists(st.tuples(st.floats(1, 100), st.floats(0, 1)), min_size=1, max_size=9), st.floats(0, 1))
def test_choice_is_never_dominated_among_those_that_attain(pairs, required):
    trials = [trial(*pair) for pair in pairs]
    best = choose(trials, required).outcome
    able = [t.outcome for t in trials if t.outcome.attainment >= required]
    if able:
        assert best.attainment >= required - 1e-9
        assert best.usd <= min(outcome.usd for outcome in able)
    else:
        assert best.attainment == max(t.outcome.attainment for t in trials)


def test_search_tries_defaults_and_grid_once_each_and_logs_all():
    tried = []

    def evaluate(settings):
        tried.append(settings)
        return TrialScore(10.0 - len(tried), 0.99 if len(tried) < 5 else 0.5)

    tuned = tune("hpa-queue", ENTRIES["hpa-queue"].grid, evaluate, 0.95)
    assert tried == [{}, *ENTRIES["hpa-queue"].grid]
    assert tuned.settings == tried[3]
    assert tuned.kept
    log = tuned.log()
    assert len(log) == BUDGET
    assert [record["chosen"] for record in log].index(True) == 3
    assert {record["budget"] for record in log} == {BUDGET}


def test_search_has_one_budget():
    with pytest.raises(ValueError, match="policy x: 2 settings to try, every grid has 8"):
        tune("x", [{}, {}], lambda _: TrialScore(1.0, 1.0), 0.95)


@given(st.floats(0, 1e6), st.floats(1, 1e6), st.floats(0.01, 0.99))
def test_training_and_scored_windows_are_disjoint(start, seconds, share):
    training, scored = windows(start, seconds, share)
    assert not training.overlaps(scored)
    assert training.seconds + scored.seconds == pytest.approx(seconds)
    assert TraceWindow(start, start + 1.0).overlaps(TraceWindow(start + 0.5, start + 2.0))
