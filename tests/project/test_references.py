"""Generated pages and the chart's schema of settings are those that the code makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pertoken.cli.reference.chart_values import documented
from pertoken.cli.reference.metrics_out import exported
from pertoken.cli.reference.pages import artifacts
from pertoken.settings import Settings

ROOT = Path(__file__).parents[2]
MADE = dict(artifacts(ROOT))


@pytest.mark.parametrize("path", MADE, ids=str)
def test_what_stands_there_is_what_the_code_makes(path: Path):
    assert (ROOT / path).read_text() == MADE[path], "make docs"


def test_every_setting_says_what_it_does():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_family_has_a_unit_a_text_and_one_row():
    names = [family.name for family in exported()]
    assert len(names) == len(set(names)) > 45
    assert [family.name for family in exported() if not family.text] == []
    flags = {family.name for family in exported() if family.unit == "0 or 1"}
    assert flags == {
        *("pertoken_build_info", "pertoken_inventory_synced", "pertoken_leader", "pertoken_metrics_source_up"),
        *("pertoken_service_acting", "pertoken_service_condition", "pertoken_route_condition"),
    }


def test_a_comment_over_several_lines_belongs_to_the_value_below_it():
    text = "# Of the file.\n\n# -- First\n# and second.\na:\n  # -- Inner.\n  b: 1\n  c: 2\n# no value's\nd: 3\n"
    assert list(documented(text)) == [(("a",), "First and second."), (("a", "b"), "Inner.")]
