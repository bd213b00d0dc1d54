from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pertoken.calculators.closed_fit import Point, fit, fit_best
from pertoken.calculators.closed_loop import AS_SERVED, Clients, ClosedGains, closed_loop
from pertoken.calculators.estimate import Deployment
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.service import Parallelism

DEPLOYMENT = Deployment(SHIPPED.model("meta-llama/Llama-3.1-70B"), SHIPPED.gpu("h100-sxm"), Parallelism(tensor=4))
ENGINE, SERVED = DEPLOYMENT.coefficients, DEPLOYMENT.serving
LOADS = [Clients(c, i, 256) for c, i in ((2, 512), (8, 2048), (16, 512), (32, 4096), (64, 1024), (24, 8000))]


def measured(gains, loads=LOADS):
    loops = [closed_loop(ENGINE, SERVED, clients, gains) for clients in loads]
    return [Point(clients, loop.inter_token, loop.ttft) for clients, loop in zip(loads, loops, strict=True)]


def error(gains, points):
    return max(abs(closed_loop(ENGINE, SERVED, p.clients, gains).inter_token / p.inter_token - 1) for p in points)


@settings(deadline=None, max_examples=30)
@given(decode=st.floats(0.7, 1.5), prefill=st.floats(0.7, 1.5), ttft=st.floats(0.5, 2.5))
def test_gains_that_made_the_points_are_found_again(decode, prefill, ttft):
    points = measured(ClosedGains(decode, prefill, ttft))
    fitted = fit(ENGINE, SERVED, points)

    assert fitted.gains.decode == pytest.approx(decode, rel=0.06)
    assert fitted.gains.ttft == pytest.approx(ttft, rel=0.12)
    assert error(fitted.gains, points) <= max(0.02, error(AS_SERVED, points))
    assert fitted.error_after <= fitted.error_before + 1e-9


def test_without_points_nothing_is_learnt():
    assert fit(ENGINE, SERVED, []).gains == AS_SERVED


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_gains_stay_within_their_bounds(factor):
    points = [replace(p, inter_token=p.inter_token * factor, ttft=p.ttft * factor) for p in measured(AS_SERVED)]
    fitted = fit(ENGINE, SERVED, points)

    assert 0.5 <= fitted.gains.decode <= 2.0
    assert 0.5 <= fitted.gains.prefill <= 2.0
    assert 0.2 <= fitted.gains.ttft <= 5.0
    assert fitted.outliers == len(points)


def test_one_point_far_off_hardly_moves_the_others():
    points = measured(AS_SERVED)
    wild = [*points[:-1], replace(points[-1], inter_token=points[-1].inter_token * 10)]

    assert error(fit(ENGINE, SERVED, wild).gains, points) < 0.05


def test_growth_of_the_first_tokens_time_is_learnt():
    truth = ClosedGains(ttft=1.3, ttft_clients=0.3, ttft_input=0.2)
    fitted = fit(ENGINE, SERVED, measured(truth)).gains

    assert fitted.ttft_clients == pytest.approx(0.3, abs=0.08)
    assert fitted.ttft_input == pytest.approx(0.2, abs=0.08)


def test_clients_that_do_not_wait_tell_that_the_cache_is_larger():
    """Four times the sequences that the modelled cache holds, and no wait: so they fit."""
    small = replace(ENGINE, kv_capacity=30_000.0)
    loads = [Clients(c, 2000, 500) for c in (4, 16, 32, 48)]
    points = measured(AS_SERVED, loads)
    fitted = fit_best(small, {"": SERVED}, points)

    assert fitted.gains.capacity * small.kv_capacity >= 48 * 2250 * 0.9
    assert fitted.error_after < 0.05
    assert fit(small, SERVED, points).penalty > fitted.penalty


def test_the_cache_is_left_alone_where_it_is_not_filled():
    assert fit_best(ENGINE, {"": SERVED}, measured(ClosedGains(1.2, 1.1, 1.5))).gains.capacity == 1.0


def test_the_profile_that_made_the_points_is_chosen():
    deployment = replace(DEPLOYMENT, engine="sglang")
    loops = [closed_loop(ENGINE, deployment.serving, clients) for clients in LOADS]
    points = [Point(clients, loop.inter_token, loop.ttft) for clients, loop in zip(LOADS, loops, strict=True)]

    assert fit_best(ENGINE, DEPLOYMENT.profiles, points).profile == "sglang"


@settings(deadline=None, max_examples=50)
@given(clients=st.floats(1, 300), more=st.floats(1, 50), prompt=st.integers(64, 8000), answer=st.integers(2, 2000))
def test_more_clients_wait_longer_for_every_token(clients, more, prompt, answer):
    few = closed_loop(ENGINE, SERVED, Clients(clients, prompt, answer))
    many = closed_loop(ENGINE, SERVED, Clients(clients + more, prompt, answer))

    assert many.inter_token >= few.inter_token * (1 - 1e-9)
    assert many.ttft > few.ttft
