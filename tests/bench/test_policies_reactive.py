"""Knative, AIBrix, Ray Serve, llm-d, Chiron: their arithmetic in tables worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken_bench.policies import aibrix, chiron, kpa, llmd, rayserve
from pertoken_bench.policies.aibrix import AibrixKpaSettings, Apa, ApaSettings, SampleWindow


@pytest.mark.parametrize(
    ("ready", "stable", "panic", "wanted"),
    [
        pytest.param(1, 69.0, 69.0, 1, id="70 in flight per pod are aimed at"),
        pytest.param(1, 71.0, 71.0, 2, id="one more"),
        pytest.param(4, 70.0, 70.0, 2, id="at most half per tick"),
        pytest.param(4, 280.0, 559.0, 8, id="panic from twice the pods"),
        pytest.param(4, 280.0, 420.0, 4, id="no panic below it"),
        pytest.param(0, 0.0, 0.0, 0, id="nothing"),
    ],
)
def test_kpa_tick(ready, stable, panic, wanted):
    assert kpa.Kpa().wanted(0.0, ready, stable, panic) == wanted


def test_kpa_panic_never_goes_down_and_ends_a_stable_window_after():
    scaler = kpa.Kpa()
    assert scaler.wanted(0.0, 1, 70.0, 700.0) == 10
    assert scaler.wanted(2.0, 10, 70.0, 70.0) == 10  # still in panic
    assert scaler.wanted(60.0, 10, 70.0, 70.0) == 10
    assert scaler.wanted(62.0, 10, 70.0, 70.0) == 5  # over; then half per tick
    assert scaler.wanted(64.0, 5, 70.0, 70.0) == 2


def test_kpa_scale_down_delay_keeps_the_largest():
    scaler = kpa.Kpa(kpa.KpaSettings(delay=30.0))
    assert scaler.wanted(0.0, 4, 280.0, 280.0) == 4
    assert scaler.wanted(28.0, 4, 140.0, 140.0) == 4
    assert scaler.wanted(30.0, 4, 140.0, 140.0) == 2


@pytest.mark.parametrize(
    ("replicas", "ratio", "wanted"),
    [
        (4, 1.05, 4),
        (4, 0.95, 4),
        (4, 1.1, 4),
        (4, 1.2, 5),
        (4, 3.0, 8),
        (4, 0.9, 4),
        (4, 0.8, 4),
        (4, 0.7, 3),
        (5, 0.1, 2),
        (1, 5.0, 2),
    ],
)
def test_apa_step(replicas, ratio, wanted):
    assert aibrix.apa(replicas, ratio, ApaSettings()) == wanted


def test_apa_cooldown_forgets_after_its_window():
    scaler = Apa(ApaSettings(fixed=True), SampleWindow(180.0))
    assert scaler.cooled(0.0, 4, 8) == 8
    assert scaler.cooled(290.0, 8, 2) == 8
    assert scaler.cooled(300.0, 8, 3) == 3


@pytest.mark.parametrize(("fixed", "wanted"), [(False, [8, 2, 2]), (True, [8, 8, 8])])
def test_apa_cooldown_as_shipped_lets_one_low_recommendation_win(fixed, wanted):
    scaler = Apa(ApaSettings(fixed=fixed), SampleWindow(180.0))
    cooled = [scaler.cooled(0.0, 4, 8), scaler.cooled(10.0, 8, 2), scaler.cooled(20.0, 8, 7)]
    assert cooled == wanted


@pytest.mark.parametrize(
    ("pods", "mean", "wanted", "guarded"),
    [
        pytest.param((4, 4), 1.0, 8, 8, id="all Ready"),
        pytest.param((8, 4), 1.0, 16, 8, id="use of four is what eight at target carry"),
        pytest.param((6, 4), 1.0, 12, 8, id="4 x 1.0 / 0.5"),
        pytest.param((6, 4), 0.6, 7, 6, id="never below what there is"),
        pytest.param((6, 4), 0.2, 3, 4, id="downwards: (0.8 + 1.0) / 0.5 = 3.6"),
        pytest.param((6, 4), 0.3, 3, 5, id="downwards: (1.2 + 1.0) / 0.5 = 4.4"),
    ],
)
def test_aibrix_pending_guard(pods, mean, wanted, guarded):
    assert aibrix.pending_guard(*pods, mean, 0.5, wanted) == guarded


def test_aibrix_kpa_does_not_grow_with_the_pods_unless_fixed():
    # Four pods at 0.8 with target 0.5 need 6.4 pods; as shipped the mean is divided by the target: 2.
    assert aibrix.aibrix_kpa(4, 0.8, 0.8, AibrixKpaSettings()) == 2
    assert aibrix.aibrix_kpa(4, 3.2, 3.2, AibrixKpaSettings(fixed=True)) == 7


@pytest.mark.parametrize(
    ("running", "total", "factor", "wanted"),
    [(2, 4.0, 1.0, 2), (2, 9.0, 1.0, 5), (5, 4.0, 1.0, 2), (5, 8.0, 0.1, 4), (1, 0.0, 1.0, 0)],
)
def test_ray_serve_replicas(running, total, factor, wanted):
    settings = rayserve.RayServeSettings(up_factor=factor, down_factor=factor)
    assert rayserve.wanted_replicas(running, total, settings) == wanted


def test_ray_serve_delays_and_starts_anew_when_the_direction_changes():
    scaler = rayserve.RayServe()
    assert [scaler.decide(5.0 * n, 2, 4) for n in range(7)] == [2] * 6 + [4]
    assert scaler.decide(35.0, 4, 2) == 4
    assert scaler.decide(600.0, 4, 5) == 4  # a single wish upwards …
    assert scaler.decide(605.0, 4, 2) == 4  # … and the 600 s begin again
    assert scaler.decide(1204.0, 4, 2) == 4
    assert scaler.decide(1205.0, 4, 2) == 2


def test_ray_serve_steady_time_does_not_count_towards_a_delay():
    scaler = rayserve.RayServe()
    assert {scaler.decide(5.0 * n, 4, 4) for n in range(200)} == {4}
    assert scaler.decide(1000.0, 4, 3) == 4
    assert scaler.decide(1599.0, 4, 3) == 4
    assert scaler.decide(1600.0, 4, 3) == 3


@pytest.mark.parametrize(
    ("replicas", "ready", "pressure", "wanted"),
    [
        pytest.param(4, 4, 0.40, 4, id="the lower edge holds"),
        pytest.param(4, 4, 0.55, 4, id="the upper edge holds"),
        pytest.param(4, 0, 0.66, 5, id="no credit without a Ready pod"),
        pytest.param(4, 4, 0.5, 4, id="between both shares"),
        pytest.param(4, 4, 0.66, 5, id="4 x 0.2 = 0.8"),
        pytest.param(4, 4, 2.0, 15, id="4 x 2.64 = 10.5"),
        pytest.param(4, 3, 0.88, 5, id="credit of pods on their way: 4 x 0.2"),
        pytest.param(8, 8, 0.2, 4, id="down by half"),
        pytest.param(8, 8, 0.36, 8, id="8 x 0.1 = 0.8, floored"),
        pytest.param(8, 2, 0.6, 3, id="the law as published undershoots while most pods start"),
    ],
)
def test_slo_law(replicas, ready, pressure, wanted):
    assert llmd.slo_ask(replicas, ready, pressure, llmd.SloSettings()) == wanted


@pytest.mark.parametrize(
    ("replicas", "pending", "demand", "wanted"),
    [(4, 2, 3.0, 3.0), (4, 2, 5.0, 4.0), (4, 2, 9.0, 7.0), (4, 0, 9.0, 9.0)],
)
def test_queue_guard(replicas, pending, demand, wanted):
    assert llmd.guarded(replicas, pending, demand) == wanted


@given(st.integers(1, 50), st.floats(0, 2))
def test_slo_law_is_monotone_in_the_pressure(replicas, pressure):
    settings = llmd.SloSettings()
    assert llmd.slo_ask(replicas, replicas, pressure, settings) <= llmd.slo_ask(
        replicas, replicas, min(2.0, pressure * 1.1), settings
    )


def test_chiron_batch_grows_below_and_halves_above():
    settings = chiron.ChironSettings()
    assert chiron.next_batch(32.0, 0.5, settings, 256.0) == 40.0
    assert chiron.next_batch(32.0, 1.2, settings, 256.0) == 16.0
    assert chiron.next_batch(255.0, 0.5, settings, 256.0) == 256.0
    assert chiron.back_pressure(0.04, 0.05, None, 100.0) == pytest.approx(0.8)
    assert chiron.back_pressure(0.04, 0.05, 120.0, 100.0) == 1.2


@pytest.mark.parametrize(
    ("requests", "batch", "replicas", "share"), [(0.0, 32.0, 4, 0.0), (33.0, 32.0, 4, 0.5), (500.0, 32.0, 4, 1.0)]
)
def test_chiron_busy_share(requests, batch, replicas, share):
    assert chiron.busy_share(requests, batch, replicas) == share


def test_chiron_drains_a_batch_queue():
    assert chiron.drain_seconds(10, 0.5, 3000.0, 100.0) == 35.0
    assert chiron.drain_seconds(0, 0.5, 0.0, 0.0) == 0.0
