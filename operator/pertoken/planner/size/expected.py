"""What sizing by the model works with: capacities, the order of variants by cost, and the demand at the lead."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from pertoken.domain.plan import DemandFigures
from pertoken.forecast.demand import Forecast, Horizon, forecast
from pertoken.frozen import dataclass
from pertoken.performance.steady import Load
from pertoken.planner.memory import Delivered
from pertoken.planner.proposal import Capacity
from pertoken.planner.service_state import ServiceState, VariantState
from pertoken.planner.size.capacity import RequestWork, capacity_of, delivered_of, share_of, work_of
from pertoken.units import SECONDS_PER_HOUR, TINY


@dataclass(frozen=True, slots=True)
class Expected:
    """What sizing by the model works with.

    Attributes:
        load: the mean request.
        capacities: of one replica by variant, as far as they are believed.
        delivered: by variant, what full replicas were seen to deliver.
        order: variants, the cheapest per request first.
        demand: now and at the lead.
        ahead: the forecast of work.
        work: how traffic is turned into requests.
    """

    load: Load
    capacities: Mapping[str, Capacity]
    delivered: Mapping[str, Delivered]
    order: tuple[VariantState, ...]
    demand: DemandFigures
    ahead: Forecast
    work: RequestWork

    def rate(self, work: float) -> float:
        """Mean requests per second that make this much work."""
        return work / max(self.work.per_request, TINY)

    @property
    def carried(self) -> float:
        """Requests per second that the serving replicas carry."""
        return sum(variant.ready * self.capacities[variant.name].rate for variant in self.order)


def expected(state: ServiceState, demand: DemandFigures) -> Expected | None:
    """None where the model does not know the requests or one of the variants."""
    load = state.load
    if load is None or not state.samples:
        return None
    modelled = {
        variant.name: capacity
        for variant in state.variants
        if variant.engine is not None
        and (capacity := capacity_of(variant.engine, load, state.targets, variant.ranks, state.results)) is not None
    }
    if len(modelled) < len(state.variants):
        return None
    capacities, delivered = _believed(state, modelled, load)
    order = sorted(state.variants, key=lambda variant: _cost_per_request(state, variant, capacities[variant.name]))
    cheapest = capacities[order[0].name]
    work = work_of(cheapest, load)
    longest = state.tuning.estimate.longest_residence
    residence = min(load.output_tokens * cheapest.point.point.inter_token, longest)
    near = state.tuning.stabilization.looked_ahead
    ahead_seconds = demand.lead_seconds * (near + (1.0 - near) * state.inertia)
    horizon = Horizon(ahead_seconds, state.settings.cycle_seconds, residence)
    ahead = forecast(state.samples, horizon, work.input_weight, state.tuning.forecasting)
    ahead = ahead.raised((state.view.routed or 0.0) * work.per_request)
    return Expected(load, capacities, delivered, tuple(order), demand, ahead, work)


def _believed(
    state: ServiceState, modelled: Mapping[str, Capacity], load: Load
) -> tuple[dict[str, Capacity], dict[str, Delivered]]:
    """Capacities as far as the SLO knee and full replicas do not refute them, and what those delivered."""
    believed, delivered = {}, {}
    for variant in state.variants:
        capacity = modelled[variant.name].times(state.knee)
        shown = delivered_of(state, variant, capacity, work_of(capacity, load))
        believed[variant.name] = capacity.times(round(share_of(shown, state.now, state.tuning.delivered), 2))
        if shown is not None:
            delivered[variant.name] = shown
    return believed, delivered


def _cost_per_request(state: ServiceState, variant: VariantState, capacity: Capacity) -> tuple[bool, float, str]:
    """USD per request at the sustainable rate; variants that miss an objective or have no price come last.

    Replicas that get lost are paid for twice while their replacements start.
    """
    starting = state.losses_of(variant) * state.start_of(variant) / SECONDS_PER_HOUR
    hourly = inf if variant.usd_per_hour is None else variant.usd_per_hour * (1.0 + starting)
    price = hourly / max(capacity.rate, TINY)
    return capacity.unreachable is not None, price, variant.name
