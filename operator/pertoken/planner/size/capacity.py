"""What one replica carries: the model's sustainable rate, as far as measurements do not refute it.

A replica on which requests have waited without a break for a whole rate window works as fast as it can, whatever its
cap, its settings or its neighbours are. If its queue grows, what it delivers is its capacity for this traffic. That
share of the modelled capacity is kept, and forgotten with a half-life: a replica that is never loaded beyond it cannot
show that it was wrong.
"""

from __future__ import annotations

from pertoken.domain.signal import Signal
from pertoken.forecast.demand import blend
from pertoken.frozen import dataclass
from pertoken.performance.results import Results
from pertoken.performance.steady import Engine, Load, Targets, eased_rate
from pertoken.planner.memory import Delivered
from pertoken.planner.proposal import Capacity
from pertoken.planner.service_state import ServiceState, VariantState
from pertoken.planner.tuning import MOST_PREFILL_SHARE, DeliveredCapacity
from pertoken.units import TINY


@dataclass(frozen=True, slots=True)
class RequestWork:
    """How traffic is turned into requests per second.

    Attributes:
        input_weight: GPU time of a prompt token in units of a generated token's.
        per_request: work of the mean request, in generated tokens.
    """

    input_weight: float
    per_request: float


def capacity_of(
    engine: Engine, load: Load, targets: Targets, ranks: int = 1, results: Results | None = None
) -> Capacity | None:
    """Sustainable rate of one replica; objectives that cannot be kept at any size are named and left out."""
    eased = eased_rate(engine, load, targets, results)
    return None if eased is None else Capacity(eased.point, eased.point.rate * ranks, eased.missed)


def work_of(capacity: Capacity, load: Load) -> RequestWork:
    """The weight of prompts at the operating point of a fully used replica, and the work of the mean request."""
    share = min(capacity.point.point.prefill_share, MOST_PREFILL_SHARE)
    weight = share / (1.0 - share) * load.steps / max(load.input_tokens, 1.0)
    return RequestWork(weight, load.input_tokens * weight + load.output_tokens)


def delivered_of(state: ServiceState, variant: VariantState, capacity: Capacity, work: RequestWork) -> Delivered | None:
    """What is known of the variant's real capacity after this cycle.

    Args:
        state: of the service.
        variant: of it.
        capacity: what one replica is modelled to sustain.
        work: of requests.
    """
    key = variant.memory.calibration.key
    known = variant.memory.delivered
    if known is not None and known.key != key:
        known = None
    rate = _rate(variant, work)
    if rate is None or capacity.rate <= TINY or (known is not None and known.at >= state.now):
        return known
    tuning = state.tuning.delivered
    share = min(max(rate / capacity.rate, tuning.least_share), 1.0)
    believed = share_of(known, state.now, tuning)
    if _full(state, variant):
        # Down at once: that much is proven. Up slowly: one good window may be chance.
        better = blend(believed, share, state.settings.cycle_seconds / tuning.better_seconds)
        return Delivered(key, share if share < believed else better, state.now)
    return Delivered(key, share, state.now) if known is not None and share > believed else known


def share_of(delivered: Delivered | None, now: float, tuning: DeliveredCapacity) -> float:
    """Part of the modelled capacity that is believed, at most 1."""
    if delivered is None:
        return 1.0
    remembered: float = 2.0 ** (-max(0.0, now - delivered.at) / tuning.half_life)
    return 1.0 - (1.0 - delivered.share) * remembered


def _full(state: ServiceState, variant: VariantState) -> bool:
    since, waiting = variant.memory.queued_since, variant.seen(Signal.WAITING)
    if since is None or state.now - since < state.window:
        return False
    return waiting >= state.tuning.delivered.full_waiting * variant.ready and state.queue_grows


def _rate(variant: VariantState, work: RequestWork) -> float | None:
    """Requests per second that one replica delivers; None where one of them does not tell."""
    pods = variant.warmed_up
    signals = (Signal.PROMPT_TOKENS_PER_SECOND, Signal.GENERATION_TOKENS_PER_SECOND)
    if not pods or any(signal not in pod.values for pod in pods for signal in signals):
        return None
    prompts, generated = (sum(pod.values[signal] for pod in pods) / len(pods) for signal in signals)
    return (prompts * work.input_weight + generated) / max(work.per_request, TINY)
