"""What arrived, from what was finished, refused and piled up."""

import numpy as np
import pytest

from pertoken.adapters.prometheus.demand import asked_for

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
