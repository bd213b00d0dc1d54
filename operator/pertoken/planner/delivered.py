"""What full replicas deliver bounds what the model is believed; a queue that grows asks for more whatever it says.

A replica on which requests have waited without a break for a whole rate window works as fast as it can, whatever its
cap, its settings or its neighbours are. If its queue grows, what it delivers is its capacity for this traffic. That
share of the modelled capacity is kept, and forgotten with a half-life: a replica that is never loaded beyond it cannot
show that it was wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from pertoken.domain.signal import Signal
from pertoken.forecast.demand import blend
from pertoken.planner.facts import ServiceFacts, VariantFacts
from pertoken.planner.memory import Delivered

QUEUED_WAITING: Final = 1.0  # requests on a pod: it is never without work
FULL_WAITING: Final = 4.0  # requests per replica: more than what arrivals by chance leave
GROWN_WAITING: Final = 2.0  # requests per serving replica from which on a growing queue asks for a replica
HALF_LIFE_SECONDS: Final = 7200.0  # of a share below 1
WEIGHT: Final = 0.3  # of one cycle's share that is better than the one believed
LEAST_SHARE: Final = 0.05  # of the modelled capacity: an engine that hangs would ask for any number of replicas
MORE_SHARE: Final = 0.1  # of the replicas added at a time
EPSILON: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Work:
    """How traffic is turned into requests per second.

    Attributes:
        input_weight: GPU time of a prompt token in units of a generated token's.
        per_request: work of the mean request, in generated tokens.
    """

    input_weight: float
    per_request: float


def queued_since(variant: VariantFacts, now: float) -> float | None:
    """Since when requests have waited on every replica without a break; None while one has none, or does not tell."""
    waiting = [pod.values.get(Signal.WAITING) for pod in variant.measured]
    if not waiting or any(one is None or one < QUEUED_WAITING for one in waiting):
        return None
    return now if variant.memory.queued_since is None else variant.memory.queued_since


def grows(facts: ServiceFacts) -> bool:
    """Whether more requests wait than a rate window ago."""
    waiting = facts.waiting
    before = [sample for sample in facts.memory.demand if sample.at <= facts.now - facts.window]
    return waiting is not None and bool(before) and waiting > before[-1].backlog


def measured(facts: ServiceFacts, variant: VariantFacts, capacity: float, work: Work) -> Delivered | None:
    """What is known of the variant's real capacity after this cycle.

    Args:
        facts: of the service.
        variant: of it.
        capacity: requests per second that one replica is modelled to sustain.
        work: of requests.
    """
    key = variant.memory.calibration.key
    known = variant.memory.delivered
    if known is not None and known.key != key:
        known = None
    rate = _rate(facts, variant, work)
    if rate is None or capacity <= EPSILON:
        return known
    share = min(max(rate / capacity, LEAST_SHARE), 1.0)
    now = share_of(known, facts.now)
    if _full(facts, variant):
        # Down at once: that much is proven. Up slowly: one good window may be chance.
        return Delivered(key, share if share < now else blend(now, share, WEIGHT, horizon=1.0), facts.now)
    return Delivered(key, share, facts.now) if known is not None and share > now else known


def share_of(delivered: Delivered | None, now: float) -> float:
    """Part of the modelled capacity that is believed, at most 1."""
    if delivered is None:
        return 1.0
    remembered: float = 0.5 ** (max(0.0, now - delivered.at) / HALF_LIFE_SECONDS)
    return 1.0 - (1.0 - delivered.share) * remembered


def more_for_the_queue(facts: ServiceFacts, variants: Sequence[VariantFacts], wanted: int) -> int:
    """Replicas to add to those of the first variant because the queue grows and nothing is on the way; 0 for none."""
    waiting = facts.waiting
    serving, steady = sum(v.ready for v in variants), sum(v.steady for v in variants)
    if waiting is None or waiting <= GROWN_WAITING * serving or not grows(facts):
        return 0
    if wanted > steady or any(variant.starting or _is_new(variant, facts) for variant in variants):
        return 0
    return max(1, ceil(MORE_SHARE * steady))


def _is_new(variant: VariantFacts, facts: ServiceFacts) -> bool:
    """Replicas were added, or began to serve, so lately that the rate window does not show yet what they do."""
    command = variant.memory.command
    ordered = command is not None and command.desired > command.before and facts.now - command.at < 2 * facts.window
    return ordered or any(facts.now - pod.ready_at < facts.window for pod in variant.living if pod.ready_at is not None)


def _full(facts: ServiceFacts, variant: VariantFacts) -> bool:
    since, waiting = variant.memory.queued_since, variant.seen(Signal.WAITING)
    if since is None or facts.now - since < facts.window:
        return False
    return waiting >= FULL_WAITING * variant.ready and grows(facts)


def _rate(facts: ServiceFacts, variant: VariantFacts, work: Work) -> float | None:
    """Requests per second that one replica delivers; None where one of them does not tell."""
    pods = variant.seasoned(facts.now, facts.window)
    signals = (Signal.PROMPT_TOKENS_PER_SECOND, Signal.GENERATION_TOKENS_PER_SECOND)
    if not pods or any(signal not in pod.values for pod in pods for signal in signals):
        return None
    prompts, generated = (sum(pod.values[signal] for pod in pods) / len(pods) for signal in signals)
    return (prompts * work.input_weight + generated) / max(work.per_request, EPSILON)
