import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.forecast.demand import (
    DemandSample,
    Forecast,
    Growth,
    Horizon,
    ServedFlow,
    _experts,
    _means,
    _sums,
    blend,
    demand_of,
    growth_of,
    mean_request,
)
from pertoken.forecast.demand import forecast as forecast_of
from pertoken.forecast.slo_knee import Aim
from pertoken.forecast.tuning import FORECASTING

CYCLE = 15.0
LEAD = 60.0
HISTORY = round(FORECASTING.history_seconds / CYCLE)
LONG = round(FORECASTING.long_seconds / CYCLE)
LONG_ENOUGH = round((FORECASTING.settling_seconds + FORECASTING.proving_seconds) / CYCLE) + 8


def forecast(history, lead, cycle=CYCLE, *, weight=0.0, residence=0.0):
    return forecast_of(history, Horizon(lead, cycle, residence), weight)


def samples(values, step=CYCLE):
    """Output tokens as given, no prompts: the work is the value itself."""
    return [DemandSample(step * i, value / 200, 0.0, value, 0.0) for i, value in enumerate(values)]


def served(**changes):
    return ServedFlow(**{"requests": 10.0, "input_tokens": 10_000.0, "output_tokens": 2000.0, **changes})


@pytest.mark.parametrize(
    ("shown", "growth", "requests", "inputs", "output"),
    [
        (served(), Growth(), 10.0, 10_000.0, 2000.0),
        (served(), Growth(5.0, 5.0), 15.0, 15_000.0, 3000.0),
        (served(rejections=2.0), Growth(), 12.0, 12_000.0, 2400.0),
        (served(), Growth(-4.0, -4.0), 6.0, 6000.0, 1200.0),
        (served(output_tokens=500.0), Growth(0.0, 7.5), 10.0, 10_000.0, 2000.0),
        (served(requests=0.0, input_tokens=0.0, output_tokens=100.0), Growth(0.0, -2.0), 0.0, 0.0, 0.0),
        (served(), Growth(0.0, 1000.0), 10.0, 10_000.0, 4000.0),
        (served(), Growth(5.0, 1000.0), 15.0, 15_000.0, 5000.0),
    ],
    ids=[
        "steady", "backlog grows", "refused", "backlog shrinks", "ramp: generation lags", "running dry",
        "no more in flight than arrives", "nor than arrives and waits",
    ],
)  # fmt: skip
def test_demand_is_what_is_served_and_what_piles_up(shown, growth, requests, inputs, output):
    assert demand_of(shown, (1000.0, 200.0), growth) == pytest.approx((requests, inputs, output))


def test_growth_is_measured_over_the_window():
    history = [DemandSample(t, 1, 1, 1, waiting, waiting + 20) for t, waiting in ((0, 0), (15, 10), (30, 20), (45, 30))]

    assert growth_of(history, (40.0, 64.0), 60.0, 60.0) == Growth(40 / 60, 44 / 60)
    assert growth_of([], (40.0, 60.0), 60.0, 60.0) == Growth()
    assert growth_of(history[-1:], (40.0, 60.0), 45.5, 60.0) == Growth()


def test_the_mean_request_is_a_ratio_of_sums_so_a_lag_cancels():
    ramp = [DemandSample(CYCLE * i, 10.0, 10_000.0, 1000.0 if i < 5 else 2200.0, 0.0) for i in range(LONG)]

    requests, inputs, outputs = mean_request(ramp, CYCLE)

    assert requests == pytest.approx(10.0 * LONG * CYCLE)
    assert inputs == pytest.approx(1000.0)
    assert outputs == pytest.approx((5 * 100 + 15 * 220) / 20)
    assert mean_request([], CYCLE) == (0.0, 0.0, 0.0)


def aim(percentile, margin=0.0):
    """The percentile, and a part of what may miss it left unused."""
    return Aim(percentile, (percentile + margin * (100 - percentile)) / 100)


def headroom(expected):
    """Over the forecast, for the 95th percentile."""
    return expected.needed(0.0, aim(95)) / expected.work - 1.0


def test_a_flat_series_is_forecast_flat_and_needs_hardly_any_headroom():
    expected = forecast(samples([2000.0] * HISTORY), LEAD, CYCLE)

    assert expected.work == pytest.approx(2000.0)
    assert expected.trust > 0.9
    assert headroom(expected) < 0.01
    assert expected.needed(0.1, aim(95)) == pytest.approx(2200.0)


def test_a_ramp_is_followed_by_the_trend():
    rising = [1000.0 + 20.0 * i for i in range(LONG_ENOUGH)]

    expected = forecast(samples(rising), LEAD, CYCLE)

    assert rising[-1] < expected.work <= rising[-1] + 20.0 * LEAD / CYCLE


def test_a_fall_is_followed_not_anticipated():
    expected = forecast(samples([2000.0] * 60 + [1000.0] * 15), LEAD, CYCLE)

    assert 950.0 <= expected.work <= 1250.0


def noisy(share):
    return samples([1000.0 * (1.0 + share * ((7 * i) % 11 - 5) / 5) for i in range(HISTORY)])


def test_noise_asks_for_headroom_and_more_noise_for_more():
    calm, wild = forecast(noisy(0.1), LEAD, CYCLE), forecast(noisy(0.3), LEAD, CYCLE)

    assert 0.0 < headroom(calm) < headroom(wild) < FORECASTING.most_headroom


def test_noise_shorter_than_a_requests_stay_averages_out():
    assert headroom(forecast(noisy(0.3), LEAD, CYCLE, residence=300.0)) < 0.25 * headroom(
        forecast(noisy(0.3), LEAD, CYCLE)
    )


def test_the_margin_leaves_misses_unused():
    expected = forecast(noisy(0.2), LEAD, CYCLE)

    assert expected.needed(0.0, aim(95, 0.5)) > expected.needed(0.0, aim(95)) > expected.needed(0.0, aim(80))


def test_peaks_that_recur_are_planned_for_beyond_the_usual_ceiling():
    spiky = samples([4000.0 if i % 10 < 2 else 500.0 for i in range(HISTORY)])

    assert forecast(spiky, 180.0, CYCLE).needed(0.0, aim(95)) > 3500.0


@pytest.mark.parametrize(("lead", "least", "most"), [(30.0, 0.0, 0.03), (120.0, 0.02, 0.06), (480.0, 0.08, 0.16)])
def test_before_errors_are_known_headroom_is_guessed_from_the_lead(lead, least, most):
    expected = forecast(samples([1000.0] * 5), lead, CYCLE)

    assert expected.trust == 0.0
    assert least < headroom(expected) < most
    assert expected.needed(0.8, aim(95)) == pytest.approx(1800.0)


def test_nobody_plans_below_the_present():
    assert Forecast(1000.0, 3000.0).needed(0.1, aim(95)) == 3000.0


def test_no_samples_no_forecast():
    assert forecast([], 100.0) == Forecast()


def test_prompt_tokens_count_by_their_weight():
    history = [DemandSample(0.0, 1.0, 1000.0, 200.0, 0.0)]

    assert forecast(history, LEAD, weight=0.1).work == pytest.approx(300.0)


@given(values=st.lists(st.floats(0, 1e5), min_size=1, max_size=80), lead=st.floats(0, 600), residence=st.floats(0, 300))
def test_a_forecast_stays_within_what_was_seen_and_its_growth(values, lead, residence):
    expected = forecast(samples(values), lead, CYCLE, residence=residence)

    assert 0.0 <= expected.work <= max(values) * FORECASTING.most_growth + 1e-6
    assert min(values) - 1e-6 <= expected.present <= max(values) + 1e-6
    assert expected.present <= expected.needed(0.0, aim(95, 0.4)) <= max(expected.ceiling, expected.present) + 1e-6
    assert 0.0 <= expected.trust < 1.0
    assert sum(probability for _, probability in expected.cases) == pytest.approx(1.0)


@given(values=st.lists(st.floats(1, 1e4), min_size=2, max_size=60), factor=st.floats(0.1, 100))
def test_forecasts_scale_with_demand(values, factor):
    plain, scaled = forecast(samples(values), LEAD, CYCLE), forecast(samples([v * factor for v in values]), LEAD, CYCLE)

    assert scaled.work == pytest.approx(plain.work * factor, rel=1e-3)


def test_blending_starts_with_the_first_value():
    assert blend(None, 5.0, 1.0) == 5.0
    assert blend(0.0, 10.0, 0.25) == pytest.approx(2.5)
    assert blend(0.0, 10.0, 1e6) == 10.0


def waves(step):
    """The whole history: demand swings by a third within twenty minutes, with two faster ripples."""
    times = np.arange(0.0, FORECASTING.history_seconds, step)
    values = 1000.0 + 300.0 * np.sin(times / 190.0) + 80.0 * np.sin(times / 41.0) + 40.0 * np.sin(times / 23.0)
    return [DemandSample(at, value / 200, 0.0, value, 0.0) for at, value in zip(times, values, strict=True)]


@pytest.mark.parametrize("lead", [60.0, 180.0, 600.0])
def test_spans_are_of_time_whatever_the_cycle(lead):
    usual, fast = forecast(waves(15.0), lead, 15.0, residence=60.0), forecast(waves(5.0), lead, 5.0, residence=60.0)

    assert fast.work == pytest.approx(usual.work, rel=0.03)
    assert fast.present == pytest.approx(usual.present, rel=0.03)
    assert fast.trust == pytest.approx(usual.trust, abs=0.02)
    assert fast.needed(0.0, aim(95, 0.4)) == pytest.approx(usual.needed(0.0, aim(95, 0.4)), rel=0.03)


def test_the_mean_request_is_of_the_same_time_whatever_the_cycle():
    assert mean_request(waves(5.0), 5.0) == pytest.approx(mean_request(waves(15.0), 15.0), rel=0.03)


def test_a_step_that_nothing_could_be_ready_for_does_not_drive_head_room_for_as_long_as_it_is_remembered():
    calm = [5.0 + (index % 2) * 0.1 for index in range(60)]
    steady = [60.0 + (index % 2) for index in range(60)]

    after = forecast(samples([value * 200 for value in calm + steady]), 150.0)

    assert after.cases[:, 0].max() > after.ceiling  # the step is remembered
    assert after.needed(0.0, aim(95, 0.3)) < 1.1 * after.work


def test_cases_beyond_the_ceiling_count_where_there_are_no_others():
    only = Forecast(100.0, 90.0, np.array([[400.0, 1.0]]), ceiling=150.0)

    assert only.needed(0.0, aim(95)) == 150.0


SERIES = st.lists(st.floats(0, 1e4), min_size=1, max_size=60).map(np.array)


@given(SERIES, st.integers(1, 70))
def test_means_are_over_the_span_or_over_what_there_is(series, span):
    plain = [float(np.mean(series[max(0, end - span) : end])) for end in range(1, len(series) + 1)]

    assert _means(_sums(series), span) == pytest.approx(plain, rel=1e-9, abs=1e-6)


@given(SERIES)
def test_the_trend_is_that_of_two_short_spans(series):
    span = round(FORECASTING.short_seconds / CYCLE)
    short = _means(_sums(series), span)
    *_, trend = _experts(series, Horizon(LEAD, CYCLE), FORECASTING).T

    for at, value in enumerate(series):
        if at + 1 < 2 * span:
            assert trend[at] == value
            continue
        slope = (short[at] - short[at - span]) / span
        ahead = short[at] + slope * (span / 2 + FORECASTING.trend_damping * LEAD / CYCLE)
        assert trend[at] == pytest.approx(min(max(ahead, 0.0), max(value, short[at]) * FORECASTING.most_growth))
