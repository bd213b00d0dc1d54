import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.model.demand import MAX_GROWTH, DemandSample, Served, backlog_growth, blend, demand_of, forecast, slope


def samples(values, step=15.0):
    return [DemandSample(step * i, value, value * 1000, value * 200, 0.0) for i, value in enumerate(values)]


def served(**changes):
    known = {"requests": 10.0, "finished": 10.0, "input_tokens": 10_000.0, "output_tokens": 2000.0}
    return Served(**{**known, "backlog": 0.0, "in_flight": 20.0, **changes})


@pytest.mark.parametrize(
    ("shown", "growth", "requests", "output"),
    [
        (served(), 0.0, 10.0, 2000.0),
        (served(), 5.0, 15.0, 3000.0),
        (served(rejections=2.0), 0.0, 12.0, 2400.0),
        (served(), -4.0, 6.0, 1200.0),
        (served(output_tokens=1000.0), 0.0, 10.0, 2000.0),
        (served(requests=0.0, input_tokens=0.0, output_tokens=0.0), 0.0, 0.0, 0.0),
    ],
    ids=["steady", "backlog grows", "refused", "backlog shrinks", "ramp", "nothing"],
)
def test_demand_is_more_than_what_is_served(shown, growth, requests, output):
    found = demand_of(shown, 200.0, growth)

    assert found[0] == pytest.approx(requests)
    assert found[2] == pytest.approx(output)


def test_growth_is_measured_over_the_window():
    history = [DemandSample(t, 1, 1, 1, backlog) for t, backlog in ((0, 0), (15, 10), (30, 20), (45, 30))]

    assert backlog_growth(history, 40.0, 60.0, 60.0) == pytest.approx(40 / 60)
    assert backlog_growth([], 40.0, 60.0, 60.0) == 0.0
    assert backlog_growth(history[-1:], 40.0, 45.5, 60.0) == 0.0


def test_a_flat_series_is_forecast_flat():
    assert forecast(samples([10.0] * 20), 120.0, 285.0) == pytest.approx((10.0, 2000.0))


def test_a_ramp_is_extrapolated_over_the_lead():
    requests, _ = forecast(samples([10.0 + i * 0.5 for i in range(20)]), 120.0, 285.0)

    assert requests == pytest.approx(19.5 + 120 * 0.5 / 15, rel=0.02)


def test_growth_is_capped():
    requests, _ = forecast(samples([i * 10.0 for i in range(20)]), 3600.0, 285.0)

    assert requests == pytest.approx(190.0 * MAX_GROWTH)


def test_a_falling_series_is_followed_not_anticipated():
    requests, _ = forecast(samples([20.0] * 10 + [10.0] * 10), 120.0, 285.0)

    assert requests == pytest.approx(10.0, rel=0.15)


def test_noise_has_no_trend():
    noise = [10 + (-1) ** i for i in range(20)]

    assert abs(slope([(15.0 * i, value) for i, value in enumerate(noise)])) < 0.002
    assert slope([(0.0, 1.0)] * 6) == 0.0
    assert slope([(0.0, 1.0)]) == 0.0


def test_no_samples_no_forecast():
    assert forecast([], 100.0, 0.0) == (0.0, 0.0)


@given(values=st.lists(st.floats(0, 1e4), min_size=1, max_size=40), lead=st.floats(0, 600))
def test_a_forecast_is_never_below_the_present(values, lead):
    found = forecast(samples(values), lead, 15.0 * (len(values) - 1))

    assert found[0] >= values[-1]


def test_blending_starts_with_the_first_value():
    assert blend(None, 5.0, 1.0) == 5.0
    assert blend(0.0, 10.0, 2.0) == pytest.approx(2.5)
    assert blend(0.0, 10.0, 1e6) == 10.0
