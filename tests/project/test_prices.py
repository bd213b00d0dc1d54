"""One table of prices: documents, examples and scenarios take theirs from it, or call them a contract's."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from pertoken.catalog.lookup import SHIPPED
from pertoken.catalog.prices import LIST_PRICES, OTHER_PRICES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MANIFESTS = [*sorted((ROOT / "examples").rglob("*.yaml")), *sorted((ROOT / "charts/pertoken/ci").glob("*.yaml"))]
SCENARIOS = sorted((ROOT / "bench/scenarios").rglob("*.yaml"))
LISTED = {(row.gpu, row.usd_per_hour) for row in (*LIST_PRICES, *OTHER_PRICES)}
PRICE = re.compile(r'pricePerGPUHour: "([0-9.]+)"')
ACCELERATOR = re.compile(r"accelerator: ([\w-]+)")
IN_PROSE = re.compile(r"\b(A100|H100) at ([0-9]+\.[0-9]{2}) USD")
SXM = {"A100": "a100-sxm-80gb", "H100": "h100-sxm"}


def unknown(document: str) -> list[str]:
    """Prices of one manifest that no list has and no contract."""
    if "contract" in document:
        return []
    gpus = ACCELERATOR.findall(document) or ["none"]
    return [price for price in PRICE.findall(document) if (gpus[0], Decimal(price)) not in LISTED]


@pytest.mark.parametrize("path", [*PAGES, *MANIFESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_price_is_of_the_table_or_of_a_contract(path: Path):
    text = path.read_text(encoding="utf-8")
    documents = text.split("\n---") if path.suffix == ".yaml" else re.split(r"^```|^---$", text, flags=re.MULTILINE)
    assert [price for document in documents for price in unknown(document)] == []
    assert [each for each in IN_PROSE.findall(text) if (SXM[each[0]], Decimal(each[1])) not in LISTED] == []


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenarios_rent_at_the_tables_prices(path: Path):
    pools = [each for each in path.read_text(encoding="utf-8").split("- apiVersion") if "kind: AcceleratorPool" in each]
    assert [price for pool in pools if "purchase: Spot" not in pool for price in unknown(pool)] == []


def test_every_price_has_a_gpu_a_source_and_a_date():
    for row in (*LIST_PRICES, *OTHER_PRICES):
        assert SHIPPED.known_gpu(row.gpu) is not None
        assert row.source
        assert re.fullmatch(r"20\d\d(-\d\d(-\d\d)?)?", row.as_of)
