"""Token prices of the last plan: by basis and kind, and as LiteLLM's table of model prices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from pertoken.domain.cost import TokenPrices
from pertoken.domain.plan import Decision, Plan
from pertoken.units import TOKENS_PER_MILLION

AVERAGE: Final = "average"
BASES: Final = (AVERAGE, "marginal", "replica")
# LiteLLM's names of fields, USD per single token (its model_prices_and_context_window.json).
_FIELDS: Final = {
    "input": "input_cost_per_token",
    "cached_input": "cache_read_input_token_cost",
    "output": "output_cost_per_token",
}
_DIGITS: Final = 6


def prices_of(decision: Decision, basis: str) -> Mapping[str, float]:
    """USD per million tokens by kind; kinds that are not known are left out.

    Args:
        decision: on a service.
        basis: ``average`` adds up to the bill; ``marginal`` is one more token now; ``replica`` is one that takes a
            further replica.
    """
    cost = decision.cost
    if basis == AVERAGE:
        told = {"input": cost.input, "cached_input": cost.cached_input, "output": cost.output}
    else:
        told = _kinds(cost.one_more if basis == "marginal" else cost.replica)
    return {kind: value for kind, value in told.items() if value is not None and isfinite(value)}


def _kinds(prices: TokenPrices | None) -> dict[str, float | None]:
    if prices is None:
        return {}
    return {"input": prices.input, "cached_input": prices.cached_input, "output": prices.output}


def litellm_table(plan: Plan, basis: str) -> dict[str, Any]:
    """LiteLLM's table: a service by the name that its engines serve; by namespace and name where several share one."""
    names = Counter(decision.served_name for decision in plan.decisions)
    table = {}
    for decision in plan.decisions:
        prices = prices_of(decision, basis)
        if not {"input", "output"} <= prices.keys():
            continue
        alone = decision.served_name and names[decision.served_name] == 1
        entry = {_FIELDS[kind]: _short(value / TOKENS_PER_MILLION) for kind, value in prices.items()}
        name = decision.served_name if alone else str(decision.service)
        table[name] = {"litellm_provider": "hosted_vllm", "mode": "chat", **entry}
    return table


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
