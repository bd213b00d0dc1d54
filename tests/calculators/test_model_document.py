import doctest
from pathlib import Path

import pytest

from pertoken.calculators.closed_loop import Clients
from pertoken.calculators.estimate import Deployment, estimate
from pertoken.catalog.lookup import SHIPPED

DOCUMENT = Path(__file__).parents[2] / "docs" / "model.md"


def test_the_worked_number_is_computed_as_written():
    tested = doctest.testfile(str(DOCUMENT), module_relative=False, optionflags=doctest.REPORT_NDIFF)

    assert tested.attempted > 8
    assert tested.failed == 0


def test_the_worked_number_is_what_estimate_says():
    deployment = Deployment(SHIPPED.model("meta-llama/Llama-3.1-8B"), SHIPPED.gpu("h100-sxm"))
    step = estimate(deployment, Clients(32, 2048, 256)).decode_step

    assert f"'{1e3 * step:.3f} ms'" in DOCUMENT.read_text(encoding="utf-8")
    assert step == pytest.approx(9.573e-3, rel=1e-4)
