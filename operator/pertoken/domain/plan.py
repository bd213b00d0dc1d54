"""What one planning cycle decided, with its reasons, and the actions that carry it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pertoken.domain.identity import PodKey, ServiceKey, WorkloadRef
from pertoken.domain.reasons import Reason


@dataclass(frozen=True, slots=True)
class Step:
    """One stage's contribution to a decision.

    Attributes:
        stage: name of the planner stage, e.g. ``sizing``.
        before: what the stage was given, as short text (``"3 replicas"``).
        after: what it handed on.
        reason: why.
        detail: the numbers behind it, name -> text with unit.
    """

    stage: str
    before: str
    after: str
    reason: Reason
    detail: Mapping[str, str] = field(default_factory=dict)


class Verdict(StrEnum):
    """Status of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A condition in the making: status, reason, and a message that ends with numbers."""

    verdict: Verdict
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class CalibrationFigures:
    """What was learnt about one variant: gains multiply the modelled times (1 = the model was right)."""

    decode_gain: float = 1.0
    prefill_gain: float = 1.0
    ttft_offset_seconds: float = 0.0
    samples: int = 0


@dataclass(frozen=True, slots=True)
class VariantDecision:
    """Replicas and cap of one variant.

    Attributes:
        current: spec.replicas as observed.
        desired: what the plan wants now (includes the extra replica of a rolling cap change).
        ready: pods serving.
        cap: sequences per engine that starts now; whoever set it; None where it is not known.
        desired_cap: what the planner wants; None where the engine has no cap.
        operating_batch: decoding sequences per ready pod, None without metrics.
        gpus_per_replica: 0 when unknown.
        capacity_per_replica: output tokens per second that one replica sustains within the objectives.
        gpu_utilization: share in [0, 1], None without metrics.
    """

    variant: str
    current: int
    desired: int
    ready: int
    reason: Reason
    cap: int | None = None
    desired_cap: int | None = None
    cap_reason: Reason = Reason.BATCH_CAP_KEPT
    cap_message: str = ""
    pods_on_new_cap: int = 0
    operating_batch: float | None = None
    gpus_per_replica: int = 0
    capacity_per_replica: float | None = None
    gpu_utilization: float | None = None
    kv_usage: float | None = None
    calibration: CalibrationFigures = CalibrationFigures()


@dataclass(frozen=True, slots=True)
class AttributionFigures:
    """The bill by what it bought; the shares add up to 1.

    Attributes:
        input, cached_input, output: USD per million tokens of the work alone, by GPU time; None without such tokens.
        output_low, output_high: output price if decodes are said to come second, and first.
        work, idle, warming, unallocated: shares of the bill.
    """

    input: float | None = None
    cached_input: float | None = None
    output: float | None = None
    output_low: float | None = None
    output_high: float | None = None
    work: float = 0.0
    idle: float = 0.0
    warming: float = 0.0
    unallocated: float = 0.0


@dataclass(frozen=True, slots=True)
class CostFigures:
    """Money of one service over its cost window (or what of it has been seen).

    Attributes:
        index: bill / tokens at the price list; None without enough traffic or price.
        bill_usd: all GPU time of pods from bound to their end, in the window.
        window_seconds: part of the window that has been observed.
        finished_requests, input_tokens, cached_input_tokens, output_tokens: of finished requests in the window.
        blended: USD per million tokens, input and output counted alike.
        input, cached_input, output: prices that add up to the bill: the price list scaled by the index, without a list
            the attributed prices with idle and starting GPUs loaded on them.
        marginal: USD per million tokens of one more unit of load at the operating point.
        idle_share: share of billed GPU time that did no work, in [0, 1].
        per_thousand_requests: USD.
        reachable: lowest USD per million tokens (blended) that the model reaches within the objectives.
        reachable_index: the index at that price.
        spend_per_hour: USD per hour of the GPUs held now.
        attribution: the bill by what it bought, None without prices or traffic.
        good_low, good_high: least and most USD per million tokens of requests that kept the latency objectives.
        joules_per_token: of the GPUs whose power is measured, None if that is not all of them.
    """

    index: float | None = None
    bill_usd: float | None = None
    window_seconds: float = 0.0
    finished_requests: float = 0.0
    input_tokens: float = 0.0
    cached_input_tokens: float = 0.0
    output_tokens: float = 0.0
    blended: float | None = None
    input: float | None = None
    cached_input: float | None = None
    output: float | None = None
    marginal: float | None = None
    idle_share: float | None = None
    per_thousand_requests: float | None = None
    reachable: float | None = None
    reachable_index: float | None = None
    spend_per_hour: float | None = None
    attribution: AttributionFigures | None = None
    good_low: float | None = None
    good_high: float | None = None
    joules_per_token: float | None = None


@dataclass(frozen=True, slots=True)
class LatencyFigures:
    """Latency at the objective's percentile, seconds, over the metrics window; None where not measured.

    `*_low` and `*_high` are the histogram edges between which the value certainly lies.
    """

    percentile: int = 95
    ttft: float | None = None
    ttft_low: float | None = None
    ttft_high: float | None = None
    inter_token: float | None = None
    inter_token_low: float | None = None
    inter_token_high: float | None = None


@dataclass(frozen=True, slots=True)
class DemandFigures:
    """Demand now and at the start-up lead, tokens per second; None when it is not known."""

    input_tokens_per_second: float | None = None
    output_tokens_per_second: float | None = None
    requests_per_second: float | None = None
    forecast_output_tokens_per_second: float | None = None
    lead_seconds: float = 0.0
    waiting: float | None = None
    running: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """One service's outcome of a cycle.

    Attributes:
        reason: headline.
        message: one sentence with numbers.
        judgements: conditions other than Ready, by condition type; Accepted only where the catalog lacks something.
        acts: False in Recommend and Off modes and while paused.
        trace: every stage's step, in order.
    """

    service: ServiceKey
    reason: Reason
    message: str
    variants: tuple[VariantDecision, ...]
    judgements: Mapping[str, Judgement]
    cost: CostFigures = CostFigures()
    latency: LatencyFigures = LatencyFigures()
    demand: DemandFigures = DemandFigures()
    limited_by: Reason | None = None
    acts: bool = True
    trace: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """GPUs of one pool.

    Attributes:
        placeable: GPUs that a replica of the largest size in use could still get.
        judgement: what Accepted says where the catalog lacks its accelerator, None otherwise.
    """

    name: str
    total: int
    used: int
    free: int
    placeable: int
    pending: int
    spend_per_hour_usd: float | None = None
    judgement: Judgement | None = None


@dataclass(frozen=True, slots=True)
class SetReplicas:
    """Scale a workload through its scale subresource.

    Attributes:
        resource_version: precondition; a conflict drops the action and the next cycle plans anew.
    """

    service: ServiceKey
    variant: str
    target: WorkloadRef
    current: int
    desired: int
    reason: Reason
    resource_version: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class SetBatchCap:
    """Write a variant's batch cap into its ConfigMap; `previous` is kept for rolling back."""

    service: ServiceKey
    variant: str
    target: WorkloadRef
    previous: int | None
    value: int
    reason: Reason
    message: str = ""
    rolled_back: bool = False


@dataclass(frozen=True, slots=True)
class EvictPod:
    """Evict one pod through the Eviction API so that its successor starts with the new cap."""

    service: ServiceKey
    variant: str
    pod: PodKey
    uid: str
    reason: Reason
    message: str = ""


@dataclass(frozen=True, slots=True)
class CompleteBatchCap:
    """Mark the cap change as completed in the variant's ConfigMap."""

    service: ServiceKey
    variant: str
    target: WorkloadRef
    value: int
    reason: Reason
    message: str = ""


Action = SetReplicas | SetBatchCap | EvictPod | CompleteBatchCap


@dataclass(frozen=True, slots=True)
class Plan:
    """Outcome of one cycle: decisions for all services, actions in the order in which to carry them out."""

    decisions: tuple[Decision, ...]
    actions: tuple[Action, ...]
    pools: tuple[PoolFigures, ...] = ()
