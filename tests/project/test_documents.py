"""Documents that must keep up with the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from pertoken.domain.reasons import Reason

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_every_reason_is_explained(reason: Reason):
    assert f"`{reason.value}`" in (ROOT / "docs" / "troubleshooting.md").read_text()
