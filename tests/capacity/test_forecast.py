"""Forecasts by the hour: seasons are found, nothing of the future is used, misses are calibrated."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pertoken.capacity.forecast.backtest import Tested as OfService
from pertoken.capacity.forecast.backtest import backtest, before_days, origins_of, usable
from pertoken.capacity.forecast.days import day_types, filled
from pertoken.capacity.forecast.draw import draw, futures_of
from pertoken.capacity.forecast.misses import LEVELS, misses_of, restored, transformed
from pertoken.capacity.forecast.models import COMBINED, MODELS, NAIVE, forecasts
from pertoken.capacity.forecast.outlook import outlook_of, wilson
from pertoken.capacity.forecast.seasons import seasonal_levels

DAY, WEEK = 24, 168


def service(days, *, weekend=0.3, noise=0.1, seed=0, start=0):
    """Hours of a service with a day, a week and noise."""
    hours = np.arange(start, start + days * DAY)
    day = 1.0 + 0.6 * np.sin((hours % DAY - 9) / DAY * 2 * np.pi)
    week = np.where(hours // DAY % 7 >= 5, weekend, 1.0)
    return 100.0 * day * week * np.random.default_rng(seed).lognormal(0.0, noise, len(hours))


def test_every_model_repeats_a_week_that_repeats_itself():
    values = service(28, noise=0.0)
    ahead = service(7, noise=0.0, start=28 * DAY)

    (paths,) = forecasts([values], [WEEK])

    assert len(paths) == len(MODELS)
    for name, path in zip(MODELS, paths, strict=True):
        if name in {NAIVE, "seasonal smoothing"}:
            np.testing.assert_allclose(path, ahead, rtol=1e-6)
        else:
            assert np.abs(path - ahead).sum() / ahead.sum() < 0.2, name


def test_day_types_give_back_the_days_that_they_were_taken_from():
    values = service(28, noise=0.0)
    types = day_types(values)

    np.testing.assert_allclose(
        types.hours(types.levels[-7:], WEEK).reshape(7, DAY).sum(1), values[-WEEK:].reshape(7, DAY).sum(1), rtol=0.1
    )
    assert types.factors.mean() == pytest.approx(1.0)
    np.testing.assert_allclose(types.shapes.sum(axis=1), 1.0)


def test_gaps_are_filled_from_the_same_hour_and_never_with_zero():
    values = service(14, noise=0.0)
    holed = values.copy()
    holed[30:40] = np.nan

    np.testing.assert_allclose(filled(holed)[30:40], values[30 + WEEK : 40 + WEEK])
    assert (filled(np.full(48, np.nan)) == 0.0).all()


def test_what_comes_later_changes_nothing_that_was_forecast_before():
    values = service(14)
    changed = values.copy()
    changed[10 * DAY :] *= 50.0
    origins = origins_of(len(values), 3 * DAY, 28)

    first, second = backtest(values, origins), backtest(changed, origins)

    before = [index for index, origin in enumerate(origins.hours) if origin <= 10 * DAY]
    np.testing.assert_array_equal(first.forecast[before], second.forecast[before])
    assert not np.array_equal(first.forecast[-1], second.forecast[-1])


def test_origins_are_whole_days_before_the_end_and_leave_three_days_to_learn_from():
    origins = origins_of(10 * DAY + 5, 2 * DAY, 28)

    assert origins.hours == tuple(range(3 * DAY + 5, 10 * DAY, DAY))
    assert origins.leads == 2 * DAY
    assert len(origins_of(60 * DAY, DAY, 20).hours) <= 20
    assert origins_of(2 * DAY, DAY, 28).hours == ()


def test_a_gap_is_no_observation():
    values = service(14)
    values[12 * DAY : 13 * DAY] = np.nan
    tested = backtest(values, origins_of(len(values), DAY, 28))

    gap = tested.origins.hours.index(12 * DAY)
    assert np.isnan(tested.actual[gap]).all()
    assert not tested.known_by(len(values))[gap].any()


def test_too_few_known_hours_are_not_forecast():
    values = np.full(10 * DAY, np.nan)
    values[-40:] = 1.0

    assert usable(values) is None
    assert outlook_of(values, origins_of(len(values), DAY, 28)) is None


@pytest.mark.parametrize("days", [7, 14, 28])
def test_the_week_after_a_weekend_is_no_weekend(days):
    whole = service(days + 7, noise=0.05, seed=days)
    outlook = outlook_of(whole[: days * DAY], origins_of(days * DAY, WEEK, 28))

    came = whole[days * DAY :]
    assert np.abs(outlook.quantile(50.0) - came).sum() / came.sum() < 0.25
    assert (came <= outlook.quantile(90.0)).mean() >= 0.75


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 1000), st.sampled_from([7, 21]))
def test_quantiles_ascend_and_stay_within_what_was_seen(seed, days):
    values = service(days, noise=1.0, seed=seed)
    outlook = outlook_of(values, origins_of(len(values), WEEK, 7))

    levels = [outlook.quantile(level) for level in (5.0, 50.0, 90.0, 99.0)]
    assert all((low <= high + 1e-9).all() for low, high in pairwise(levels))
    assert (levels[-1] <= 1.5 * values.max()).all()
    assert (levels[0] >= 0).all()


def test_over_many_services_the_p90_is_neither_short_nor_lavish():
    shares = []
    for seed in range(15):
        whole = service(21, noise=0.25, seed=seed)
        outlook = outlook_of(whole[: 14 * DAY], origins_of(14 * DAY, WEEK, 28))
        shares.append((whole[14 * DAY :] <= outlook.quantile(90.0)).mean())

    assert 0.85 <= np.mean(shares) <= 0.97


def test_without_back_tests_the_misses_of_other_services_stand():
    none = misses_of(np.full((4, WEEK), np.nan))

    assert (none.own == 0.0).all()
    assert (np.diff(none.table, axis=1) >= 0).all()
    rough = misses_of(np.random.default_rng(0).normal(0.0, 1.0, (28, WEEK)))
    assert (rough.own[:3] > 0.7).all()
    assert rough.table[0, np.argmin(np.abs(LEVELS - 0.9))] == pytest.approx(1.28, abs=0.25)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1e-3, 1e6))
def test_a_miss_gives_back_the_value(value, forecast, usual):
    miss = transformed(np.array([value]), np.array([forecast]), usual)

    assert restored(miss, np.array([forecast]), usual)[0] == pytest.approx(value, rel=1e-6, abs=1e-6 * (usual + value))


def test_futures_agree_with_the_quantiles_and_repeat_with_their_seed():
    values = service(28, noise=0.4)
    origins = origins_of(len(values), 14 * DAY, 28)
    outlook = outlook_of(values, origins)

    futures = futures_of(outlook, draw(origins, 400, seed=1))

    assert futures.shape == (400, 14 * DAY)
    assert (futures >= 0).all()
    assert (futures <= outlook.quantile(90.0)).mean() == pytest.approx(0.9, abs=0.03)
    np.testing.assert_array_equal(futures, futures_of(outlook, draw(origins, 400, seed=1)))
    assert not np.array_equal(futures, futures_of(outlook, draw(origins, 400, seed=2)))


def test_what_peaked_together_peaks_together():
    shared = np.random.default_rng(7).lognormal(0.0, 0.5, 28 * DAY)
    one, two = (service(28, noise=0.02, seed=seed) * shared for seed in (1, 2))
    alone = service(28, noise=0.02, seed=3) * np.random.default_rng(8).lognormal(0.0, 0.5, 28 * DAY)
    origins = origins_of(28 * DAY, WEEK, 28)
    draws = draw(origins, 300, seed=0)

    def departures(values):
        futures = futures_of(outlook_of(values, origins), draws)
        return (futures / futures.mean(axis=0) - 1.0).ravel()

    together = np.corrcoef(departures(one), departures(two))[0, 1]
    apart = np.corrcoef(departures(one), departures(alone))[0, 1]
    assert together > 0.6
    assert apart < 0.5 * together


def test_futures_of_on_off_demand_are_no_burst_without_end():
    values = np.random.default_rng(1).lognormal(0.0, 0.3, 30 * DAY)
    values[20 * DAY : 23 * DAY] *= 40.0  # three days of thirty
    outlook = outlook_of(values, origins_of(len(values), 14 * DAY, 28))
    futures = futures_of(outlook, draw(origins_of(len(values), 14 * DAY, 28), 100, seed=0))

    assert futures.mean() < 3 * values.mean()
    assert futures.max() > 20.0  # bursts come again in some
    assert (outlook.quantile(90.0) <= 1.5 * np.maximum(outlook.forecast, np.quantile(values, 0.95)) + 1e-9).all()


def test_each_span_of_leads_has_the_model_that_was_best_there():
    origins = origins_of(40 * DAY, 7 * DAY, 28)
    shape = (len(origins.hours), 7 * DAY)
    errors = np.full((shape[0], len(MODELS), shape[1]), 10.0)
    errors[:, 1, :DAY] = 1.0
    errors[:, 3, DAY : 3 * DAY] = 1.0
    ones = np.ones((shape[0], len(MODELS), shape[1]))
    tested = OfService(
        origins,
        ones * np.arange(len(MODELS))[:, None],
        np.ones(shape),
        before_days(errors).swapaxes(1, 2),
        before_days(np.ones(shape)),
        np.ones(shape[0]),
    )
    models = tested.chosen()

    combined = MODELS.index(COMBINED)
    assert models == (1, 3, combined, combined, combined)
    assert tested.of_models(models)[0, [0, DAY, 3 * DAY]].tolist() == [1.0, 3.0, combined]
    assert tested.chosen(until=origins.hours[0]) == (combined,) * 5  # nothing was known then


@pytest.mark.parametrize("period", [DAY, WEEK])
def test_phases_are_smoothed_as_the_library_does_whatever_else_is_smoothed_beside_them(period):
    from statsforecast.models import SeasonalExponentialSmoothingOptimized  # noqa: PLC0415 - slow to load

    histories = [service(days, noise=0.3, seed=days)[cut:] for days, cut in ((14, 0), (40, 5), (22, 23))]

    for values, season in zip(histories, seasonal_levels(histories, period), strict=True):
        theirs = SeasonalExponentialSmoothingOptimized(period).forecast(y=values, h=period)["mean"]
        np.testing.assert_allclose(season, theirs, rtol=1e-3)


def test_beyond_three_days_the_median_is_the_forecast_and_p90_stays():
    miss = np.full((20, 14 * DAY), -1.0)
    miss[::5] = 2.0
    near, far = (misses_of(miss, np.array([0.1, 0.5, 0.9])).table[span] for span in (0, 3))

    assert near[1] < 0
    assert far[1] == pytest.approx(0.0)
    assert far[0] < 0 < far[2]


def test_the_interval_of_a_coverage_is_wilson_s():
    assert wilson(0.9, 100) == pytest.approx((0.8256, 0.9448), abs=1e-3)
    assert wilson(1.0, 5)[1] == 1.0
    assert wilson(0.0, 5)[0] == 0.0
