"""The money figures of a status: index, prices that add up to the bill, and what the bill bought."""

from __future__ import annotations

from decimal import Decimal

from pertoken.accounting.billed import BilledService
from pertoken.accounting.charges import spend_per_hour
from pertoken.accounting.cost_index import Tokens, cost_index, scaled_prices
from pertoken.accounting.goodput import good_share, shares_now, usd_per_million_good
from pertoken.accounting.ledger import Charged
from pertoken.accounting.statement import Prices, Statement, window_statement
from pertoken.accounting.tuning import TUNING
from pertoken.accounting.window import WindowSums
from pertoken.domain.cost import AttributionFigures, CostFigures
from pertoken.domain.service import PriceList
from pertoken.frozen import dataclass
from pertoken.units import THOUSAND, usd_per_million


def cost_figures(service: BilledService, sums: WindowSums, *, enough: bool) -> CostFigures:
    """Money over the window, and prices that add up to it. What needs the plan's models is None.

    Args:
        service: in this cycle.
        sums: its account over the window.
        enough: whether figures per token can be given: the finished tokens are all known, and are enough.
    """
    tokens = sums.tokens
    usd = sums.bill.usd if sums.bill.priced else None
    listed = None if service.spec.cost is None else service.spec.cost.prices
    money = _per_token(service, sums, listed) if usd is not None and enough else _PerToken()
    stated = window_statement(sums) if enough else None
    prices = _prices(stated, money.index, listed)
    return CostFigures(
        index=money.index,
        bill_usd=None if usd is None else float(usd),
        window_seconds=sums.seconds,
        finished_requests=tokens.requests,
        input_tokens=tokens.input,
        cached_input_tokens=tokens.cached,
        output_tokens=tokens.output,
        blended=money.blended,
        input=prices[0],
        cached_input=prices[1],
        output=prices[2],
        idle_share=sums.idle_share,
        per_thousand_requests=money.per_thousand_requests,
        spend_per_hour=spend_per_hour(service),
        attribution=None if stated is None else _attribution(stated, sums.charged),
        good_low=money.good[0],
        good_high=money.good[1],
        joules_per_token=_joules_per_token(sums) if enough else None,
    )


@dataclass(frozen=True, slots=True)
class _PerToken:
    """Figures of a priced window whose tokens are known; None where there are no such tokens."""

    index: float | None = None
    blended: float | None = None
    per_thousand_requests: float | None = None
    good: tuple[float | None, float | None] = (None, None)


def _per_token(service: BilledService, sums: WindowSums, listed: PriceList | None) -> _PerToken:
    tokens, usd = sums.tokens, sums.bill.usd
    return _PerToken(
        index=None if listed is None else cost_index(usd, tokens, listed),
        blended=usd_per_million(usd, tokens.input + tokens.output),
        per_thousand_requests=float(usd) / tokens.requests * THOUSAND,
        good=_good(service, usd, tokens),
    )


def _good(service: BilledService, usd: Decimal, tokens: Tokens) -> tuple[float | None, float | None]:
    """USD per million tokens of requests that keep the objectives, by the share that keeps them at present."""
    shares = shares_now(service)
    if not shares:
        return None, None
    return usd_per_million_good(float(usd), tokens.input + tokens.output, good_share(shares))


def _prices(
    stated: Statement | None, index: float | None, listed: PriceList | None
) -> tuple[float | None, float | None, float | None]:
    """Prices that add up to the bill: the list times the index, or those of the attribution."""
    if listed is not None:
        return (None, None, None) if index is None else scaled_prices(listed, index)
    loaded = None if stated is None else stated.loaded_prices
    if loaded is None:
        return None, None, None
    return _float(loaded.input), _float(loaded.cached_input), _float(loaded.output)


def _attribution(stated: Statement, charged: Charged) -> AttributionFigures:
    prices, usd = stated.prices or Prices(), float(stated.bill.usd)
    output = _float(prices.output)
    known = output is not None and charged.output > 0
    return AttributionFigures(
        input=_float(prices.input),
        cached_input=_float(prices.cached_input),
        output=output,
        output_low=output * charged.output_low / charged.output if known and output is not None else output,
        output_high=output * charged.output_high / charged.output if known and output is not None else output,
        work=float(stated.work.usd) / usd if usd > 0 else 0.0,
        idle=float(stated.idle.usd) / usd if usd > 0 else 0.0,
        warming=float(stated.warming.usd) / usd if usd > 0 else 0.0,
        unallocated=float(stated.unallocated.usd) / usd if usd > 0 else 0.0,
    )


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _joules_per_token(sums: WindowSums) -> float | None:
    """Only where the power of nearly all GPU time is known: a part of the energy over all tokens would mislead."""
    whole = sums.bill.gpu_seconds
    if whole <= 0 or sums.energy.seconds < TUNING.known_power * whole:
        return None
    return sums.energy.joules_per_token(sums.tokens)
