"""Documents that must keep up with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pertoken.domain.reasons import Reason

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_every_reason_is_explained(reason: Reason):
    assert f"`{reason.value}`" in (ROOT / "docs" / "troubleshooting.md").read_text()


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_every_reason_is_given_somewhere(reason: Reason):
    source = ROOT / "operator" / "pertoken"
    naming = source / "domain" / "reasons.py"
    words = source / "planner" / "explain.py"
    telling = [path for path in source.rglob("*.py") if path not in {naming, words}]

    assert any(re.search(rf"\bReason\.{reason.name}\b", path.read_text()) for path in telling)
