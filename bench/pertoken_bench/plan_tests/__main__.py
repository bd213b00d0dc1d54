"""`python -m pertoken_bench.plan_tests [FILE…]`: score the capacity plan's forecasts and write docs/capacity.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pertoken.capacity.history.value import HistoryError
from pertoken_bench.plan_check.page import section_of, with_section
from pertoken_bench.plan_tests.page import page
from pertoken_bench.plan_tests.prior import prior_of
from pertoken_bench.plan_tests.score import back_tests, weeks
from pertoken_bench.plan_tests.series import recorded

PAGE = Path(__file__).parents[3] / "docs" / "capacity.md"


def main() -> int:
    """Write the page; with further files print it instead."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="further histories (CSV); the page is then printed")
    files = parser.parse_args().files
    try:
        series = recorded(files)
    except HistoryError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    tested = back_tests(series)
    text = page(tested, list(weeks(series)), prior_of(tested))
    if files:
        sys.stdout.write(text)
    else:
        part = section_of(PAGE.read_text(encoding="utf-8"))
        PAGE.write_text(text if part is None else with_section(text, part), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
