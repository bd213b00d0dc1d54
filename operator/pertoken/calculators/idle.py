"""What no number of replicas changes: latencies of an idle replica, and what tokens cost on a full one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pertoken.accounting.cost_index import request_value
from pertoken.domain.service import PriceList
from pertoken.performance.steady import Engine, Load, Sustainable, Targets, at_batch, sustainable_rate
from pertoken.performance.tuning import SUSTAINED
from pertoken.units import SECONDS_PER_HOUR, TOKENS_PER_MILLION

# Kinder to an engine than any real traffic.
SHORT: Final = Load(16.0, 16.0)
# What other commands take where nothing is said.
USUAL: Final = Load(1000.0, 200.0)


@dataclass(frozen=True, slots=True)
class Idle:
    """One sequence of a short prompt on an engine that does nothing else, by the catalog's model; seconds."""

    ttft: float
    inter_token: float


def idle(engine: Engine) -> Idle:
    """Latencies of an idle replica."""
    point = at_batch(engine, SHORT, SUSTAINED.least_batch, Targets())
    return Idle(point.ttft, point.inter_token)


@dataclass(frozen=True, slots=True)
class FullTokens:
    """The usual request on a full replica without any latency objective.

    Attributes:
        usd_per_million: all tokens alike.
        index: bill over the tokens' value.
    """

    usd_per_million: float
    index: float


def full(engine: Engine, usd_per_hour: float, prices: PriceList) -> FullTokens | None:
    """About the least that tokens can cost; None where the engine carries nothing, or the prices are zero.

    Args:
        engine: one data-parallel rank.
        usd_per_hour: of that rank.
        prices: what tokens may cost.
    """
    point, value = sustainable_rate(engine, USUAL, Targets()), request_value(USUAL, prices)
    if not isinstance(point, Sustainable) or point.rate <= 0 or value <= 0:
        return None
    usd = usd_per_hour / SECONDS_PER_HOUR / point.rate
    return FullTokens(usd / (USUAL.input_tokens + USUAL.output_tokens) * TOKENS_PER_MILLION, usd / value)
