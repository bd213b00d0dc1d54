"""List prices of GPUs, for estimates alone: dated, with their source, and never used for an objective.

The one table of prices: `docs/reference/catalog.md` prints it, and a test holds documents, examples, the demo and the
benchmark's scenarios to it, as far as they do not call a price a contract's.

Prices of the same GPU differ by a factor of three to four between providers, terms and months. Whoever decides by
money gives the own price; an estimate without one says whose price it took.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

_SKYPILOT: Final = "skypilot-org/skypilot-catalog v8"
_PAGE: Final = "deploybase.ai, RunPod prices"
_COMPARED: Final = "pricegpu.pages.dev, H100 vs A100"


@dataclass(frozen=True, slots=True)
class ListPrice:
    """One price on a public list.

    Attributes:
        gpu: catalog id.
        usd_per_hour: per GPU, on demand unless `terms` says otherwise.
        provider, terms: whose price it is, and for what.
        source, as_of: where and when it was read.
    """

    gpu: str
    usd_per_hour: Decimal
    provider: str
    source: str
    as_of: str
    terms: str = "on demand"

    def __str__(self) -> str:
        return f"{self.usd_per_hour} USD per GPU-hour ({self.provider}, {self.terms}, {self.as_of})"


LIST_PRICES: Final[tuple[ListPrice, ...]] = (
    ListPrice("h100-sxm", Decimal("2.95"), "Nebius", _SKYPILOT, "2026"),
    ListPrice("h200-sxm", Decimal("3.50"), "Nebius", _SKYPILOT, "2026"),
    ListPrice("b200-sxm", Decimal("5.50"), "Nebius", _SKYPILOT, "2026"),
    ListPrice("l40s", Decimal("1.55"), "Nebius", _SKYPILOT, "2026"),
    ListPrice("gh200", Decimal("2.29"), "Lambda", _SKYPILOT, "2026"),
    ListPrice("mi300x", Decimal("6.00"), "Azure", "openshift-psap/performance-dashboard", "2026-04-05"),
    ListPrice("a100-sxm-80gb", Decimal("2.45"), "RunPod", _PAGE, "2026-03"),
    ListPrice("l4", Decimal("0.78"), "RunPod", _PAGE, "2026-03"),
    ListPrice("a100-sxm-40gb", Decimal("1.84"), "AWS", "AWS EC2 Capacity Blocks pricing", "2025-01", "capacity block"),
)
# Other prices on public lists: what documents, examples and the benchmark calculate with apart from the above.
OTHER_PRICES: Final[tuple[ListPrice, ...]] = (
    ListPrice("a100-sxm-80gb", Decimal("1.49"), "lowest of several", _COMPARED, "2026"),
    ListPrice("a100-sxm-80gb", Decimal("1.39"), "RunPod", _PAGE, "2026-03", "spot"),
    ListPrice("l40s", Decimal("0.79"), "RunPod", _PAGE, "2026-03", "spot"),
    ListPrice("l4", Decimal("0.44"), "RunPod", _PAGE, "2026-03", "spot"),
    ListPrice("h100-sxm", Decimal("2.69"), "RunPod", _PAGE, "2026-03", "spot"),
)
_BY_GPU: Final = {price.gpu: price for price in LIST_PRICES}


def list_price(gpu: str) -> ListPrice | None:
    """The list price of a catalog id; None where none is known."""
    return _BY_GPU.get(gpu)
