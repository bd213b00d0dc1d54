"""Results that are kept from cycle to cycle."""

import pytest

from pertoken.performance.results import CYCLES, Results


@pytest.fixture
def asked():
    """The arguments that `double` was really worked out for."""
    return []


@pytest.fixture
def double(asked):
    def worked_out(value):
        asked.append(value)
        return None if value == 0 else 2 * value

    return worked_out


def test_a_result_is_worked_out_once(double, asked):
    results = Results()
    assert [results.of(double, value) for value in (1, 2, 1, 0, 0)] == [2, 4, 2, None, None]
    assert asked == [1, 2, 0]


def test_functions_have_results_of_their_own():
    results = Results()
    assert results.of(abs, -1) == 1
    assert results.of(str, -1) == "-1"


@pytest.mark.parametrize(("quiet", "worked_out_again"), [(CYCLES, 0), (2 * CYCLES, 1)])
def test_what_nobody_asks_for_in_a_generation_of_cycles_and_more_is_dropped(double, asked, quiet, worked_out_again):
    results = Results()
    results.of(double, 1)
    for _ in range(quiet):
        results.end_cycle()
    results.of(double, 1)
    assert len(asked) == 1 + worked_out_again
    assert len(results) == 1


def test_what_is_asked_for_now_and_then_stays(double, asked):
    results = Results()
    for _ in range(10):
        results.of(double, 1)
        for _ in range(CYCLES):
            results.end_cycle()
    assert asked == [1]


def test_no_more_is_kept_than_it_may():
    results = Results(most=10)
    for value in range(1000):
        assert results.of(abs, -value) == value
        assert len(results) <= 20
