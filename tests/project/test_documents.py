"""Documents that must keep up with the code."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from pertoken.domain.reasons import Reason
from pertoken.planner.pipeline import PROPOSE, SETTLE, SHARE

ROOT = Path(__file__).parents[2]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
# A folder is named with a closing slash; what has a placeholder, a blank or an address in it is no path.
PATH = re.compile(r"(?<![\w./:~-])[\w.-]+(?:/[\w.-]+)*(?:/|/[\w-]+\.(?:py|md|yaml|toml))(?![\w*{</-])")


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_every_reason_is_explained(reason: Reason):
    assert f"`{reason.value}`" in (ROOT / "docs" / "troubleshooting.md").read_text()


def given_reasons() -> set[str]:
    """Reasons that the product gives: comparing with one, or having words for it, gives none."""
    source = ROOT / "operator" / "pertoken"
    names = set()
    for path in source.rglob("*.py"):
        if path in {source / "domain" / "reasons.py", source / "planner" / "explain.py"}:
            continue
        tree = ast.parse(path.read_text())
        compared = {id(part) for node in ast.walk(tree) if isinstance(node, ast.Compare) for part in ast.walk(node)}
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(ast.Name("Reason"), name) if id(node) not in compared:
                    names.add(name)
    return names


def test_every_reason_is_given_somewhere():
    assert {reason.name for reason in Reason} - given_reasons() == set()


def test_no_reason_is_explained_that_is_none():
    rows = [row for row in (ROOT / "docs" / "troubleshooting.md").read_text().splitlines() if row.startswith("| `")]
    codes = {code for row in rows for code in re.findall(r"`([A-Z]\w+)`", row.split(" | ")[0])}

    assert codes
    assert codes - {reason.value for reason in Reason} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_to_files_lead_somewhere(document: Path):
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", document.read_text())

    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", [ARCHITECTURE, ROOT / "CONTRIBUTING.md"], ids=lambda document: document.name)
def test_named_paths_exist(document: Path):
    sources = (ROOT, ROOT / "operator" / "pertoken", document.parent)
    named = set(PATH.findall(document.read_text()))

    assert [path for path in sorted(named) if not any((source / path).exists() for source in sources)] == []


@pytest.mark.parametrize("record", sorted((ROOT / "docs" / "adr").glob("*.md")), ids=lambda record: record.name)
def test_modules_that_decision_records_name_exist(record: Path):
    sources = (ROOT, ROOT / "operator" / "pertoken")
    modules = {path for path in PATH.findall(record.read_text()) if path.endswith(".py")}

    assert [path for path in sorted(modules) if not any((source / path).exists() for source in sources)] == []


def test_the_architecture_names_the_stages_in_their_order():
    rows = re.findall(r"^\| `(\w+)` \|", ARCHITECTURE.read_text(), re.MULTILINE)

    assert rows == [stage.__name__ for stage in (*PROPOSE, *SHARE, *SETTLE)]


def test_the_architecture_has_the_layers_of_the_linter():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["name"] == "Imports go down only")

    assert "\n".join(layers) in ARCHITECTURE.read_text()
