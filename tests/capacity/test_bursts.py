"""Bursts of seconds: single requests at a rate, replicas that serve them, and what fleets carry."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pertoken.capacity.bursts.carried as carried_module
from pertoken.adapters.history_files import read_history_file
from pertoken.capacity.bursts.carried import AS_MODELLED, Carried, Carrier, carried_of, share_within, sized_for
from pertoken.capacity.bursts.replicas import Engine as Served
from pertoken.capacity.bursts.replicas import serve
from pertoken.capacity.bursts.stream import Stretch, drawn, repeated, stretches_of
from pertoken.capacity.tuning import BURSTS
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.service import Parallelism
from pertoken.performance.coefficients import engine_model
from pertoken.performance.results import Results
from pertoken.performance.steady import Engine, Load, Targets, eased_rate

CODE = Load(2000, 30)
TARGETS = Targets(0.05, 2.0)
ENGINE = Engine(
    engine_model(
        SHIPPED.known_model("meta-llama/Llama-3.1-8B-Instruct"), SHIPPED.known_gpu("a100-sxm-80gb"), Parallelism()
    )
)
RATE = eased_rate(ENGINE, CODE, TARGETS).point.rate
CARRIER = Carrier(ENGINE, CODE, TARGETS, RATE)
FLAT = Served(np.array([0.0, 0.01, 0.01, 0.01]), 1000.0, 0.0001)  # 10 ms a step, three sequences at once


def even(rate, seconds=600.0, inputs=2000.0, outputs=30.0):
    arrival = np.arange(0.0, seconds, 1.0 / rate)
    return Stretch(arrival, np.full(len(arrival), inputs), np.full(len(arrival), outputs), seconds)


def in_bursts(rate, size, seconds=600.0):
    alone = even(rate / size, seconds)
    return Stretch(
        *(np.repeat(each, size) for each in (alone.arrival, alone.input_tokens, alone.output_tokens)), seconds
    )


def served(*requests, engines=1, engine=FLAT):
    arrival, prompts, steps = (np.array(column, dtype=np.float64) for column in zip(*requests, strict=True))
    first, between = serve(arrival, prompts, steps, engines, engine)
    return first.round(6).tolist(), between.round(6).tolist()


@pytest.mark.parametrize(
    ("requests", "engines", "first", "between"),
    [
        ([(0.0, 500, 10)], 1, [0.06], [0.01]),  # a step of 10 ms and 500 x 0.1 ms
        ([(5.0, 2000, 10)], 1, [0.22], [0.01]),  # two full steps
        ([(0.0, 500, 10), (0.0, 500, 10)], 2, [0.06, 0.06], [0.01, 0.01]),  # one for each engine
        (
            [(0.0, 1000, 10), (0.0, 1000, 10)],
            1,
            [0.11, 0.22],
            [0.02, 0.01],
        ),  # the second prompt stalls the first answer
        ([(0.0, 0.5, 100)] * 4, 1, None, [0.01] * 4),  # the fourth waits for room in the batch
    ],
)
def test_a_replica_serves_as_its_steps_say(requests, engines, first, between):
    got, tokens = served(*requests, engines=engines)

    assert tokens == pytest.approx(between, abs=1e-3)
    if first is not None:
        assert got == pytest.approx(first, abs=1e-4)
    else:
        assert got[3] > 100 * 0.01 > got[2]


def test_bursts_need_more_replicas_than_the_same_rate_one_by_one():
    calm, bursts = (share_within(CARRIER, stretch, 2) for stretch in (even(RATE), in_bursts(RATE, 60)))

    assert calm > 0.95 > bursts
    assert share_within(CARRIER, in_bursts(RATE, 60), 12) > 0.95


def test_few_replicas_carry_less_than_their_sustainable_rates_and_many_share_bursts_out():
    carried = carried_of(CARRIER, (), 100 * RATE, Results())
    shares = np.array(carried.rates[1:]) / np.array(carried.sized[1:])

    assert shares[0] < 0.3
    assert shares[-1] > 0.4
    assert (np.diff(carried.rates) > 0).all()
    assert (shares <= 1.0).all()


def test_traffic_without_bursts_is_carried_as_modelled():
    load, targets = Load(2000, 300), Targets(0.05, 2.0)
    rate = eased_rate(ENGINE, load, targets).point.rate
    carried = carried_of(Carrier(ENGINE, load, targets, 0.8 * rate), (even(5.0, outputs=300.0),), 3 * rate, Results())

    assert carried.rates[-1] == pytest.approx(carried.sized[-1])
    assert carried_of(Carrier(ENGINE, load, Targets(), rate), (), rate, Results()) is AS_MODELLED


def test_services_that_are_alike_share_what_was_tried(monkeypatch):
    tried = []
    real = carried_module.share_within
    monkeypatch.setattr(carried_module, "share_within", lambda *asked: tried.append(asked) or real(*asked))
    results = Results()
    first = carried_of(CARRIER, (), 3.0, results)
    count = len(tried)
    like = replace(CARRIER, load=Load(1900, 31), rate=2 * RATE)
    second = carried_of(like, (), 30.0, results)

    assert len(tried) == count > 5
    np.testing.assert_allclose(second.rates, 2 * np.array(first.rates))
    carried_of(replace(CARRIER, load=Load(4000, 31)), (), 3.0, results)
    assert len(tried) > count


def test_the_rate_to_size_for_is_read_between_the_fleets_and_goes_on_beyond_the_last():
    carried = Carried((0.0, 2.0, 6.0), (0.0, 5.0, 10.0))

    np.testing.assert_allclose(carried.needed(np.array([0.0, 1.0, 2.0, 4.0, 6.0, 8.0])), [0, 2.5, 5, 7.5, 10, 12.5])
    np.testing.assert_allclose(AS_MODELLED.needed(np.array([3.0])), [3.0])
    np.testing.assert_allclose(sized_for(np.array([1.0, 8.0]), [carried, Carried((0.0, 1.0), (0.0, 3.0))]), [3.0, 24.0])
    np.testing.assert_allclose(sized_for(np.array([1.0]), []), [1.0])


@given(st.floats(0.05, 50.0))
def test_repeated_requests_come_at_the_rate_and_no_faster_than_recorded(rate):
    recorded = in_bursts(3.0, 5)
    stream = repeated((recorded, even(0.5)), rate)

    assert len(stream.arrival) <= BURSTS.most_requests
    if 60 < rate * stream.seconds < BURSTS.most_requests:
        assert stream.rate == pytest.approx(rate, rel=0.35)
    assert (np.diff(stream.arrival) >= 0).all()
    assert set(stream.input_tokens) <= {2000.0}


def test_drawn_requests_have_the_rate_the_mean_lengths_and_bursts():
    stream = drawn(CODE, 4.0)
    counts = np.bincount(stream.arrival.astype(int))

    assert stream.rate == pytest.approx(4.0, rel=0.2)
    assert stream.input_tokens.mean() == pytest.approx(2000, rel=0.1)
    assert stream.output_tokens.mean() == pytest.approx(30, rel=0.1)
    assert counts.var() / counts.mean() > 3


def test_stretches_are_taken_from_quiet_to_busy_whole_ones_alone():
    per = [200, 150, 400, 50, 300, 200]  # requests of each 25 minutes
    seconds = BURSTS.stretch_seconds
    arrival = np.concatenate([(index + np.arange(n) / n) * seconds for index, n in enumerate(per)])
    cut = stretches_of(arrival, np.ones(len(arrival)), np.ones(len(arrival)))

    assert [round(each.rate * seconds) for each in cut] == [
        150,
        300,
        400,
    ]  # not the first, the last, nor the sparse one
    assert all(each.arrival[0] == 0.0 and each.arrival[-1] < seconds for each in cut)


def test_single_requests_in_a_history_tell_how_they_come(tmp_path):
    rows = [f"{i * 5.0},100,10" for i in range(4000)]
    (tmp_path / "a.csv").write_text("\n".join(["arrival_s,input_tokens,output_tokens", *rows]))
    (tmp_path / "b.csv").write_text("\n".join(["time_s,requests", *(f"{i * 300},60" for i in range(80))]))
    single, rates = (read_history_file(tmp_path / f"{name}.csv", "chat").services[0] for name in "ab")

    assert [round(each.rate, 3) for each in single.stretches] == [0.2] * 3
    assert len(single.padded(1, 1).stretches) == 3
    assert rates.stretches == ()
