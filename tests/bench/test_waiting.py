import heapq
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken_bench.accuracy.waiting.bursts import (
    ArrivalRecord,
    Arrivals,
    Lengths,
    cascade,
    prior_burstiness,
    rebuild,
    regularity,
    request_sizes,
    share_variance,
    uniform,
)
from pertoken_bench.accuracy.waiting.queue import (
    Seen,
    Servers,
    fit_burstiness,
    head_of_line,
    queue,
    waiting,
)

INTERVAL = 15.0


def exact(at, service, servers):
    free = [0.0] * servers
    waits = []
    for arrival, length in zip(at, service, strict=True):
        start = max(arrival, free[0])
        heapq.heapreplace(free, start + length)
        waits.append(start - arrival)
    return np.array(waits)


def stream(minutes, rate, burst, seed):
    """Arrivals in clumps of `burst` requests within a second, at a rate that swings over minutes; exponential work."""
    random = np.random.default_rng(seed)
    seconds = minutes * 60
    swing = rate * (1 + 0.6 * np.sin(np.arange(seconds) / 97.0))
    clumps = random.poisson(swing / burst)
    starts = np.repeat(np.arange(seconds), clumps) + random.random(clumps.sum())
    at = np.sort((np.repeat(starts, burst) + random.random(len(starts) * burst)) % seconds)
    return at, random.exponential(1.0, len(at))


def scraped(at, work, interval=INTERVAL):
    slot = (at // interval).astype(int)
    sizes = tuple(np.quantile(work, (np.arange(256) + 0.5) / 256))
    return ArrivalRecord(
        interval, tuple(np.bincount(slot).astype(float)), tuple(np.bincount(slot, weights=work)), sizes
    )


@pytest.mark.parametrize("burst", [1, 8])
@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize("utilization", [0.5, 0.7])
def test_waiting_from_scrapes_is_that_of_the_requests(burst, servers, utilization):
    at, work = stream(60, 6.0, burst, seed=burst)
    record = scraped(at, work)
    speed = record.offered / (servers * utilization)
    seen = Servers(2, record.offered / (2 * 0.4))
    burstiness = fit_burstiness(record, Seen(seen, float(exact(at, work / seen.speed, 2).mean())))

    waits = waiting(record, Servers(servers, speed), burstiness)

    replay = exact(at, work / speed, servers)
    assert waits.utilization == pytest.approx(utilization)
    assert waits.mean == pytest.approx(replay.mean(), rel=0.25)
    assert waits.percentile(95) == pytest.approx(np.percentile(replay, 95), rel=0.25)


def test_bursts_below_the_scrape_are_learnt_from_the_queue_time():
    at, work = stream(60, 6.0, 8, seed=3)
    record = scraped(at, work)
    servers = Servers(2, record.offered / (2 * 0.3))
    measured = float(exact(at, work / servers.speed, 2).mean())

    fitted = fit_burstiness(record, Seen(servers, measured))

    assert fitted > prior_burstiness(record)
    unfitted, learnt = waiting(record, servers).mean, waiting(record, servers, fitted).mean
    assert abs(learnt - measured) < abs(unfitted - measured)


def test_poisson_arrivals_wait_as_the_formula_says():
    random = np.random.default_rng(5)
    at = np.sort(random.random(40_000) * 3600 * 2)
    record = scraped(at, random.exponential(1.0, len(at)))

    waits = waiting(record, Servers(1, record.offered / 0.5), 0.0)

    service = 1.0 / (record.offered / 0.5)
    assert waits.mean == pytest.approx(head_of_line(1, 0.5, service, 1.0), rel=0.1)


arrivals = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 20)), min_size=1, max_size=40)


@given(requests=arrivals, servers=st.integers(1, 5), speed=st.floats(0.5, 4))
def test_the_queue_is_first_come_first_served(requests, servers, speed):
    ordered = sorted(requests)
    at, work = np.array([a for a, _ in ordered]), np.array([w for _, w in ordered])

    served = queue(Arrivals(at, work), Servers(servers, speed))

    assert served == pytest.approx(exact(at, work / speed, servers), abs=1e-9)


counts = st.lists(st.integers(0, 30), min_size=1, max_size=20)


@given(counts=counts, burstiness=st.floats(0, 0.3), copy=st.integers(0, 3))
def test_rebuilt_arrivals_have_the_recorded_counts_and_work(counts, burstiness, copy):
    work = tuple(2.0 * count for count in counts)
    record = ArrivalRecord(INTERVAL, tuple(map(float, counts)), work, (1.0, 2.0, 5.0))

    rebuilt = rebuild(record, burstiness, copy=copy)

    slot = np.minimum((rebuilt.at // INTERVAL).astype(int), len(counts) - 1)
    assert list(np.bincount(slot, minlength=len(counts))) == counts
    assert np.bincount(slot, weights=rebuilt.work, minlength=len(counts)) == pytest.approx(work)
    assert all(before <= after for before, after in pairwise(rebuilt.at))
    again = rebuild(record, burstiness, copy=copy)
    assert np.array_equal(rebuilt.at, again.at)
    assert np.array_equal(rebuilt.work, again.work)


@given(rate=st.floats(0.2, 5))
def test_a_forecast_scales_the_number_of_requests(rate):
    record = ArrivalRecord(INTERVAL, (40.0,) * 50, (8.0,) * 50)

    rebuilt = rebuild(record, 0.01, rate)

    assert len(rebuilt.at) == pytest.approx(2000 * rate, abs=51)
    assert rebuilt.work.sum() == pytest.approx(400 * rate, rel=0.05, abs=1.0)


@given(intervals=st.integers(1, 5), halvings=st.integers(0, 6), burstiness=st.floats(0, 1))
def test_cascades_share_out_everything(intervals, halvings, burstiness):
    shares = cascade(intervals, halvings, burstiness, 0)

    assert shares.shape == (intervals, 2**halvings)
    assert shares.sum(axis=1) == pytest.approx(1.0)
    assert shares.min() >= 0


def test_the_variance_of_halves_is_measured_without_counting_noise():
    random = np.random.default_rng(1)
    quiet = random.poisson(20.0, 4000)
    side = np.where(random.random(2000) < 0.5, 0.7, 0.3)
    left = random.binomial(random.poisson(40.0, 2000), side)
    right = random.poisson(40.0 * (1 - side))
    bursty = np.stack([left, right], axis=1).ravel()

    assert share_variance(quiet) < 0.002
    assert share_variance(bursty) == pytest.approx(0.04, rel=0.15)
    assert share_variance([3.0]) == 0.0


def test_even_arrivals_wait_less_than_by_chance():
    random = np.random.default_rng(8)
    steps = random.gamma(4.0, 0.05, 20_000)  # 5 requests/s, squared variation of gaps 1/4
    at = np.cumsum(steps)
    work = random.exponential(1.0, len(steps))
    record = scraped(at, work)
    servers = Servers(1, record.offered / 0.6)

    waits = waiting(record, servers)

    assert regularity(record.requests) == pytest.approx(0.25, abs=0.15)
    assert waits.mean == pytest.approx(exact(at, work / servers.speed, 1).mean(), rel=0.25)
    assert waits.mean < 0.85 * head_of_line(1, 0.6, 1.0 / servers.speed, 1.0)


@pytest.mark.parametrize(
    ("counts", "least"), [([], 1.0), ([5.0, 0.0] * 50, 1.0), ([1.0, 0.0], 1.0), ([9.0, 9.0] * 99, 0.0)]
)
def test_regularity_is_one_unless_counts_are_evener_than_chance(counts, least):
    assert least <= regularity(counts) <= max(least, 0.2)


def test_chance_does_not_pass_for_evenness():
    random = np.random.default_rng(4)

    assert np.mean([regularity(random.poisson(30.0, 240)) for _ in range(50)]) > 0.95


def test_hashed_numbers_are_even_and_streams_differ():
    stream, other_stream = uniform(20_000, 0), uniform(20_000, 1)

    assert np.histogram(stream, 10, (0, 1))[0] == pytest.approx(2000, rel=0.1)
    assert abs(np.corrcoef(stream, other_stream)[0, 1]) < 0.02
    assert abs(np.corrcoef(stream[:-1], stream[1:])[0, 1]) < 0.02


def test_sizes_follow_the_histograms_and_their_means():
    inputs = Lengths((100, 1000, np.inf), (50, 40, 10), 420.0)
    outputs = Lengths((10, 100), (0, 0), 50.0)

    sizes = np.array(request_sizes(inputs, outputs, 0.001, 0.01))

    assert sizes.mean() == pytest.approx(0.42 + 0.5, rel=1e-6)
    assert sizes.std() > 0.2


def test_more_replicas_wait_less_and_more_load_waits_longer():
    at, work = stream(20, 5.0, 4, seed=9)
    record = scraped(at, work)
    speed = record.offered / 2

    by_servers = [waiting(record, Servers(count, speed), 0.02).mean for count in (3, 4, 8)]
    by_rate = [waiting(record, Servers(4, speed), 0.02, rate).mean for rate in (0.5, 1.0, 1.5)]

    assert by_servers == sorted(by_servers, reverse=True)
    assert by_rate == sorted(by_rate)


def test_busy_services_are_run_on_work_in_cells(monkeypatch):
    monkeypatch.setattr("pertoken_bench.accuracy.waiting.queue.LARGEST", 60_000)
    at, work = stream(30, 60.0, 1, seed=2)
    record = scraped(at, work)
    servers = Servers(40, record.offered / (40 * 0.8))
    assert sum(record.requests) > 60_000
    whole = waiting(record, servers, 0.0)

    replay = exact(at, work / servers.speed, 40)

    assert whole.mean == pytest.approx(replay.mean(), rel=0.25)
    assert whole.percentile(95) == pytest.approx(np.percentile(replay, 95), rel=0.25)


@pytest.mark.parametrize(
    ("servers", "utilization", "wait"),
    [(1, 0.5, 1.0), (1, 0.8, 4.0), (2, 0.5, 1 / 3), (1, 0.0, 0.0), (3, 1.0, float("inf"))],
)
def test_head_of_line_waiting_of_exponential_work(servers, utilization, wait):
    assert head_of_line(servers, utilization, 1.0, 1.0) == pytest.approx(wait)
    assert head_of_line(servers, utilization, 1.0, 0.0) == pytest.approx(wait / 2)


def test_an_empty_record_waits_for_nothing():
    empty = ArrivalRecord(INTERVAL, (0.0, 0.0), (0.0, 0.0))

    waits = waiting(empty, Servers(1))

    assert (waits.mean, waits.percentile(95)) == (0.0, 0.0)
    assert fit_burstiness(empty, Seen(Servers(1), 0.0)) == prior_burstiness(empty)


@pytest.mark.parametrize("bad", [{"interval": 0.0}, {"work": (1.0,)}, {"requests": (-1.0, 1.0)}, {"sizes": (-1.0,)}])
def test_records_must_make_sense(bad):
    with pytest.raises(ValueError, match="expected"):
        replace(ArrivalRecord(INTERVAL, (1.0, 1.0), (1.0, 1.0)), **bad)


@pytest.mark.parametrize(("servers", "rate"), [(Servers(0), 1.0), (Servers(1, 0.0), 1.0), (Servers(1), -1.0)])
def test_waiting_needs_servers(servers, rate):
    with pytest.raises(ValueError, match="expected"):
        waiting(ArrivalRecord(INTERVAL, (1.0,), (1.0,)), servers, rate=rate)
