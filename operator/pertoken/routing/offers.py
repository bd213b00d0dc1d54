"""What the tiers of a route offer in this cycle, from the plan that was just made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pertoken.domain.cost import CostFigures
from pertoken.domain.identity import ServiceKey
from pertoken.domain.plan import Decision, DemandFigures, VariantDecision
from pertoken.domain.route import ApiPrices, RouteSpec, TierSpec
from pertoken.domain.service import ServiceSpec
from pertoken.frozen import dataclass
from pertoken.routing.split import Segment, TierOffer
from pertoken.routing.tuning import Routing
from pertoken.units import SECONDS_PER_HOUR, THOUSAND, TINY, TOKENS_PER_MILLION


@dataclass(frozen=True, slots=True)
class Answer:
    """The mean request of a route, tokens; `cached` is the share of the input that hits a cache."""

    input_tokens: float
    output_tokens: float
    cached: float = 0.0


@dataclass(frozen=True, slots=True)
class TierState:
    """One tier in this cycle.

    Attributes:
        offer: to the split.
        ready: requests per second that the replicas which serve now carry; None where that is not bounded.
        served: requests per second that its engines take up; None where they do not tell, or it is an API.
        usd_per_thousand: of 1,000 answers by full replicas, or by the price list; None where no price is known.
        why: why it can take nothing, or why nothing is known of it; empty where neither is so.
        by_variant: requests per second that each variant carries now.
    """

    spec: TierSpec
    offer: TierOffer
    ready: float | None = None
    served: float | None = None
    usd_per_thousand: float | None = None
    why: str = ""
    by_variant: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class _Rate:
    """One variant's replicas: requests per second and USD per second of each, and how many there can be and are."""

    rate: float
    usd: float | None
    most: int
    ready: int

    @property
    def usd_per_request(self) -> float:
        """Of a full replica; 0 without a price."""
        return (self.usd or 0.0) / self.rate


def tier_states(
    route: RouteSpec,
    services: Mapping[ServiceKey, ServiceSpec],
    decisions: Mapping[ServiceKey, Decision],
    tuning: Routing,
) -> tuple[TierState, ...]:
    """Every tier of a route, in the order of its spec."""
    answer = mean_answer([decisions[key] for key in _services(route) if key in decisions])
    states = []
    for tier in route.tiers:
        if tier.prices is not None:
            most = tuning.unseen if route.signal is None and _services(route) else 1.0
            states.append(_external(tier, tier.prices, answer, most))
        elif tier.service is not None:
            states.append(_service(tier, services.get(tier.service), decisions.get(tier.service), tuning))
    return tuple(states)


def _services(route: RouteSpec) -> list[ServiceKey]:
    return [tier.service for tier in route.tiers if tier.service is not None]


def mean_answer(decisions: Sequence[Decision]) -> Answer | None:
    """Of all services of a route together; None while nothing is asked for."""
    requests = inputs = outputs = 0.0
    for decision in decisions:
        told = _lengths(decision.demand)
        if told is not None:
            requests, inputs, outputs = (
                one + other for one, other in zip((requests, inputs, outputs), told, strict=True)
            )
    if requests <= TINY:
        return None
    return Answer(inputs / requests, outputs / requests, _cached([decision.cost for decision in decisions]))


def _lengths(demand: DemandFigures) -> tuple[float, float, float] | None:
    told = (demand.requests_per_second, demand.input_tokens_per_second, demand.output_tokens_per_second)
    if any(value is None for value in told):
        return None
    requests, inputs, outputs = (value or 0.0 for value in told)
    return requests, inputs, outputs


def _cached(costs: Sequence[CostFigures]) -> float:
    computed, cached = sum(cost.input_tokens for cost in costs), sum(cost.cached_input_tokens for cost in costs)
    return min(cached / computed, 1.0) if computed > 0 else 0.0


def _external(tier: TierSpec, prices: ApiPrices, answer: Answer | None, most: float) -> TierState:
    if answer is None:
        why = "no request has been seen whose price could be told"
        return TierState(tier, TierOffer(tier.name, tier.quality, (), shut=True), why=why)
    usd = usd_of(prices, answer)
    offer = TierOffer(tier.name, tier.quality, (Segment(float("inf"), usd),), most=most)
    return TierState(tier, offer, usd_per_thousand=usd * THOUSAND)


def usd_of(prices: ApiPrices, answer: Answer) -> float:
    """USD of one answer at a provider's price list."""
    cached = answer.input_tokens * answer.cached
    usd = (answer.input_tokens - cached) * float(prices.input) + cached * float(prices.cached_input)
    return (usd + answer.output_tokens * float(prices.output)) / TOKENS_PER_MILLION


def _service(tier: TierSpec, service: ServiceSpec | None, decision: Decision | None, tuning: Routing) -> TierState:
    closed = TierOffer(tier.name, tier.quality, (), shut=True)
    if service is None or decision is None:
        return TierState(tier, closed, ready=0.0, why=f"InferenceService {tier.service} is not there, or not accepted")
    served = decision.demand.requests_per_second
    ready = sum(variant.ready for variant in decision.variants)
    rates = _rates(decision.variants)
    if not rates:
        why = f"what {tier.service} carries is not known yet"
        offer = TierOffer(tier.name, tier.quality, (), fixed=tuning.probe) if ready else closed
        return TierState(tier, offer, served=served, why=why)
    ordered = sorted(rates.items(), key=lambda item: (item[1].usd_per_request, item[0]))
    held = max(service.min_replicas, sum(variant.min_replicas for variant in service.variants))
    offer = _offer(tier, [rate for _, rate in ordered], held)
    cheapest = ordered[0][1]
    return TierState(
        spec=tier,
        offer=offer,
        ready=sum(rate.ready * rate.rate for rate in rates.values()),
        served=served,
        usd_per_thousand=None if cheapest.usd is None else cheapest.usd_per_request * THOUSAND,
        why=f"the pools of {tier.service} have no room for a replica" if offer.shut else "",
        by_variant={name: rate.ready * rate.rate for name, rate in rates.items()},
    )


def _rates(variants: Sequence[VariantDecision]) -> dict[str, _Rate]:
    """By variant; none where one that serves does not tell what it carries."""
    rates = {}
    for variant in variants:
        rate, most = variant.requests_per_replica, variant.most_replicas
        if rate is None or rate <= TINY or most is None:
            if variant.ready:
                return {}
            continue
        usd = None if variant.usd_per_hour is None else variant.usd_per_hour / SECONDS_PER_HOUR
        rates[variant.variant] = _Rate(rate, usd, most, variant.ready)
    return rates


def _offer(tier: TierSpec, rates: Sequence[_Rate], held: int) -> TierOffer:
    """Segments of variants, the cheapest first; replicas that are held anyway, or that open the tier, are free."""
    if not any(rate.most > 0 for rate in rates):
        return TierOffer(tier.name, tier.quality, (), shut=True)
    free, opening = held, 0.0
    if held == 0:
        first = next(rate for rate in rates if rate.most > 0)
        free, opening = 1, first.usd or 0.0
    segments = []
    for rate in rates:
        gratis = min(free, rate.most)
        free -= gratis
        segments.append(Segment(gratis * rate.rate, 0.0))
        segments.append(Segment((rate.most - gratis) * rate.rate, rate.usd_per_request))
    used = tuple(sorted((s for s in segments if s.room > TINY), key=lambda segment: segment.usd))
    return TierOffer(tier.name, tier.quality, used, opening)
