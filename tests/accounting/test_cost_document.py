import doctest
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "cost.md"


def test_the_worked_numbers_are_what_the_code_says():
    tested = doctest.testfile(str(DOCUMENT), module_relative=False, optionflags=doctest.REPORT_NDIFF)

    assert tested.attempted > 15
    assert tested.failed == 0
