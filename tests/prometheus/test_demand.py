"""What arrived, from what was finished, refused and piled up."""

import numpy as np
import pytest

from pertoken.adapters.prometheus.demand import SERVICES, _groups, asked_for, batched

NO = np.nan


@pytest.mark.parametrize(
    ("finished", "refused", "inside", "arrived"),
    [
        ([10, 10, 10], [0, 0, 0], [NO, NO, NO], [10, 10, 10]),
        ([10, 10, 10], [0, 5, 0], [4, 4, 4], [10, 15, 10]),
        ([10, 10, 10], [0, 0, 0], [4, 34, 4], [10, 40, 0]),  # what piled up is worked off, and not asked for twice
        ([10, NO, 10], [0, 5, 0], [4, 9, 14], [10, NO, 15]),  # not known is not zero
        ([10, 10, 10], [0, 0, 0], [4, NO, 9], [10, 10, 10]),
        ([1, 1, 1], [0, 0, 0], [90, 5, 5], [1, 0, 1]),  # a pod that dies takes its requests with it
    ],
)
def test_demand_is_what_left_and_by_how_much_the_system_filled(finished, refused, inside, arrived):
    columns = (np.array(column, dtype=np.float64) for column in (finished, refused, inside))

    np.testing.assert_array_equal(asked_for(*columns), arrived)


def test_many_services_are_asked_for_at_once_within_the_length_of_a_query():
    keys = [("llm", f"model-{index:04d}") for index in range(120)]
    groups = list(batched(keys, SERVICES))

    assert [len(group) for group in groups] == [50, 50, 20]
    assert [key for group in groups for key in group] == keys
    assert [len(group) for group in batched([("n", "x" * 400)] * 5, SERVICES)] == [2, 2, 1]
    assert list(batched([], SERVICES)) == []


def test_a_query_names_its_services_as_they_are_and_no_others():
    (asked,) = _groups([("a", "org/m-1.5"), ("b", "x+y")], named=True)
    (by_namespace,) = _groups([("a", "")], named=False)

    assert asked.matchers == (("namespace", "=~", "a|b"), ("model_name", "=~", r"org/m\-1\.5|x\+y"))
    assert (by_namespace.matchers, by_namespace.labels) == ((("namespace", "=~", "a"),), "namespace")
