"""The queue with state-dependent service against numeric cases of llm-d and llm-inferno (see data/README.md)."""

import json
from math import ceil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.model.state_queue import LinearEngine, served, sized, steady_state

GROUPS = json.loads((Path(__file__).parent / "data" / "queue_vectors.json").read_text(encoding="utf-8"))["groups"]
CASES = {group["id"]: group["cases"] for group in GROUPS}
MILLI = 1e-3


def engine(given, batch=None, queue=None):
    return LinearEngine(
        given["alpha"] * MILLI,
        given["beta"] * MILLI,
        given["gamma"] * MILLI,
        given["I"],
        given["O"],
        batch or given["maxBatch"],
        given["maxQueue"] if queue is None else queue,
    )


@pytest.mark.parametrize("case", CASES["qa_prefill_abg"], ids=lambda case: case["name"])
def test_prefill_times(case):
    assert engine(case["input"], 8, 0).prefill(case["input"]["batch"]) == pytest.approx(case["expected"] * MILLI)


@pytest.mark.parametrize("case", CASES["qa_decode_abg"], ids=lambda case: case["name"])
def test_decode_times(case):
    assert engine(case["input"], 8, 0).decode(case["input"]["batch"]) == pytest.approx(case["expected"] * MILLI)


def test_constant_rates_are_the_textbook_queue():
    case = CASES["mm1_properties"][0]
    found = steady_state(case["input"]["lam"], case["input"]["mu"][:1], case["input"]["K"])

    assert found.in_system == pytest.approx(case["expected"]["L"])
    assert found.throughput == pytest.approx(case["expected"]["tput"])


def test_solving_and_sizing_as_documented():
    solve, target = (case for case in CASES["qa_readme_old"])
    found = served(engine(solve["input"]), solve["input"]["rps"])
    expected = solve["expected"]

    assert found.chain.throughput == pytest.approx(expected["throughput"], rel=1e-6)
    assert found.chain.response == pytest.approx(expected["resp"] * MILLI, rel=1e-5)
    assert found.chain.wait == pytest.approx(expected["wait"] * MILLI, rel=2e-4)
    assert found.chain.in_service == pytest.approx(expected["in_service"], rel=1e-5)
    assert found.ttft == pytest.approx(expected["ttft"] * MILLI, rel=2e-4)
    assert found.inter_token == pytest.approx(expected["itl"] * MILLI, rel=1e-5)

    given, expected = target["input"], target["expected"]
    sizes = sized(engine(given), given["slo_ttft"] * MILLI, given["slo_itl"] * MILLI)

    assert sizes.by_ttft == pytest.approx(expected["rate_ttft"], rel=1e-5)
    assert sizes.by_inter_token == pytest.approx(expected["rate_itl"], rel=1e-5)
    assert sizes.largest == pytest.approx(expected["max_rate"], rel=1e-5)


@pytest.mark.parametrize("case", CASES["qa_size_grid_computed"], ids=lambda case: case["name"])
def test_sizes_of_the_grid(case):
    given, expected = case["input"], case["expected"]
    model = engine(given)
    sizes = sized(model, given["slo_ttft"] * MILLI, given["slo_itl"] * MILLI)

    assert sizes.by_ttft == pytest.approx(expected["rate_ttft"], rel=1e-5)
    assert sizes.by_inter_token == pytest.approx(expected["rate_itl"], rel=1e-5)
    assert sizes.rate is not None
    assert served(model, sizes.rate).inter_token == pytest.approx(expected["itl"] * MILLI, rel=1e-4)


@pytest.mark.parametrize(
    "case", CASES["inferno_alloc_small"] + CASES["inferno_alloc_large"], ids=lambda case: case["name"]
)
def test_replicas_for_targets(case):
    given, expected, parameters = case["input"], case["expected"], case["input"]["perf"]
    batch = max(int(parameters["maxBatchSize"] * parameters["atTokens"] / given["O"]), 1)
    model = engine({**parameters, **given}, batch, 10 * batch)
    sizes = sized(model, given["slo_ttft"] * MILLI, given["slo_itl"] * MILLI)
    assert sizes.rate is not None
    demand = given["rpm"] / 60.0
    replicas = max(ceil(demand / served(model, sizes.rate).chain.throughput), given["min_replicas"])
    found = served(model, demand / replicas)

    assert (batch, replicas) == (expected["max_batch"], expected["replicas"])
    assert replicas * parameters["accCount"] * given["acc_cost"] == pytest.approx(expected["cost"])
    assert found.inter_token == pytest.approx(expected["itl"] * MILLI, rel=1e-4)
    assert found.ttft == pytest.approx(expected["ttft_as_reported"] * MILLI, rel=1e-3)


@pytest.mark.parametrize("case", CASES["qa_validity"], ids=lambda case: str(case["input"]))
def test_what_cannot_be_is_refused(case):
    given = {"alpha": 1, "beta": 0.01, "gamma": 0.001, "I": 10, "O": 10, "maxBatch": 8, "maxQueue": 16, **case["input"]}

    def build():
        model = LinearEngine(1e-3, 1e-5, 1e-6, given["I"], given["O"], given["maxBatch"], given["maxQueue"])
        return model.service_rates()

    if case["expected_error"]:
        with pytest.raises(ValueError, match="expected"):
            build()
    else:
        assert build()


def test_a_target_below_an_idle_engine_is_out_of_reach():
    found = sized(engine(CASES["qa_readme_old"][0]["input"]), ttft=1e-3, inter_token=None)

    assert found.by_ttft is None
    assert found.rate is None
    assert found.by_inter_token == found.largest


rates = st.floats(0.01, 100)


@given(arrivals=rates, service=st.lists(rates, min_size=1, max_size=30), extra=st.integers(0, 50))
def test_laws_of_every_chain(arrivals, service, extra):
    found = steady_state(arrivals, service, len(service) + extra)

    assert 0 < found.throughput <= arrivals * (1 + 1e-12)
    assert found.throughput == pytest.approx(arrivals * (1 - found.blocked))
    assert found.in_system == pytest.approx(found.throughput * found.response)
    assert found.in_service <= min(found.in_system, len(service)) * (1 + 1e-9)
    assert found.wait >= 0
    assert 0 < found.busy <= 1


@pytest.mark.parametrize(("arrivals", "service", "places"), [(0, [1], 1), (1, [], 1), (1, [0], 1), (1, [1, 1], 1)])
def test_chains_need_rates_and_places(arrivals, service, places):
    with pytest.raises(ValueError, match="expected positive rates"):
        steady_state(arrivals, service, places)
