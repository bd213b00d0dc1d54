"""Scores of the capacity plan's forecasts: recorded series are read, and the shipped ones are forecast well."""

import numpy as np
import pytest

from pertoken_bench.plan_tests.page import page
from pertoken_bench.plan_tests.prior import prior_of
from pertoken_bench.plan_tests.score import back_tests, median_ratio, pooled, weeks
from pertoken_bench.plan_tests.series import ADDED, HELD_OUT, TUNED, recorded

DAY = 24


@pytest.fixture(scope="module")
def tested():
    return back_tests([each for each in recorded() if not each.client], horizon=7 * DAY)


def test_every_second_series_is_held_out_and_gaps_are_gaps():
    series = recorded()
    splits = [each.split for each in series]

    assert abs(splits.count(TUNED) - splits.count(HELD_OUT)) <= 1
    by_name = {each.name: each.values for each in series}
    assert len(by_name["burstgpt-all"]) == 61 * DAY
    assert 0 < np.isnan(by_name["servegen-m-mid"]).sum() < 2 * DAY


def test_over_services_the_p90_is_held_and_the_naive_forecast_beaten(tested):
    scores = [each.outlook.score for each in tested]
    share, low, high = pooled([score.coverage for score in scores], [1.0] * len(scores))

    assert len(tested) == 15
    assert 0.85 <= share <= 0.95
    assert low < share < high
    assert median_ratio([(score.wape, score.naive_wape) for score in scores]) < 1.0


def test_weeks_that_came_are_scored_with_what_was_known_before():
    (series,) = (each for each in recorded() if each.name == "burstgpt-conversation")
    scored = list(weeks([series]))

    assert [week.days for week in scored] == [4, 5, 7, 9, 11, 14, 21, 28, 42]
    assert all(0 <= week.coverage <= 1 and week.wape > 0 for week in scored)


def test_further_histories_are_scored_and_shown(tmp_path, tested):
    file = tmp_path / "mine.csv"
    hours = np.arange(8 * DAY)
    rows = [f"{hour * 3600},{100 + 50 * np.sin(hour / DAY * 2 * np.pi):.1f}" for hour in hours]
    file.write_text("\n".join(["time_s,requests", *rows]))
    (mine,) = (each for each in recorded([file]) if each.split == ADDED)

    text = page([*tested, *back_tests([mine], DAY)], list(weeks([mine])), prior_of(tested))

    assert mine.name == "mine"
    assert "| `mine` | added | 8 | " in text
    assert max(map(len, (line for line in text.splitlines() if not line.startswith("|")))) <= 120


def test_the_prior_is_of_tuned_series_and_ascends(tested):
    prior = prior_of(tested)

    assert prior.series[0] == sum(each.series.split == TUNED for each in tested)
    assert all(sorted(row) == list(row) for row in prior.rows)


def test_series_that_weigh_more_count_more():
    assert pooled([1.0, 0.0], [3.0, 1.0])[0] == 0.75
    assert pooled([0.9] * 5, [1.0] * 5) == pytest.approx((0.9, 0.9, 0.9))
