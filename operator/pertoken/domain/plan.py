"""What one planning cycle decided, with its reasons, and the actions that carry it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from pertoken.domain.cost import NO_FIGURES, CostFigures, TokenWork
from pertoken.domain.identity import PodKey, ServiceKey, WorkloadRef
from pertoken.domain.reasons import Reason
from pertoken.domain.route import FrontierFigures, SetWeights, TierFigures
from pertoken.domain.trace import Step
from pertoken.frozen import dataclass
from pertoken.units import PER_CENT


class Verdict(StrEnum):
    """Status of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of an object's status: a verdict, a reason, and a message that ends with numbers."""

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
        chunk: tokens per step of an engine that starts now; whoever set it; None where it is not known.
        desired_chunk: what the planner wants; None where the engine does not read it from pertoken.
        operating_batch: decoding sequences per ready pod, None without metrics.
        gpus_per_replica: 0 when unknown.
        capacity_per_replica: output tokens per second that one replica sustains within the objectives.
        gpu_utilization: share in [0, 1], None without metrics.
        token_work: of a mean request at the operating point, None where no model knows the engine.
        unknown: why what the variant needs is not known, empty where it is; `desired` is then what is there.
        requests_per_replica: requests per second that one replica is believed to carry within the objectives.
        usd_per_hour: of one replica; None without a price.
        most_replicas: that it can have now, pools and maximum considered; worked out only behind a route.
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
    chunk: int | None = None
    desired_chunk: int | None = None
    pods_on_new_cap: int = 0
    operating_batch: float | None = None
    gpus_per_replica: int = 0
    capacity_per_replica: float | None = None
    gpu_utilization: float | None = None
    kv_usage: float | None = None
    calibration: CalibrationFigures = CalibrationFigures()
    token_work: TokenWork | None = None
    unknown: str = ""
    requests_per_replica: float | None = None
    usd_per_hour: float | None = None
    most_replicas: int | None = None


@dataclass(frozen=True, slots=True)
class LatencyFigures:
    """Latency at the objective's percentile, seconds, over the metrics window; None where not measured.

    `*_low` and `*_high` are the histogram edges between which the value certainly lies.

    Attributes:
        missed_share: of recent requests, those that missed an objective (the error budget's); None without any.
        ttft_objective, inter_token_objective, stall_objective: what is owed at the percentile, seconds; None where
            nothing is.
        stall: gap between two tokens, where it is owed; its percentile is of all gaps.
    """

    percentile: int = 95
    ttft: float | None = None
    ttft_low: float | None = None
    ttft_high: float | None = None
    inter_token: float | None = None
    inter_token_low: float | None = None
    inter_token_high: float | None = None
    missed_share: float | None = None
    ttft_objective: float | None = None
    inter_token_objective: float | None = None
    stall: float | None = None
    stall_low: float | None = None
    stall_high: float | None = None
    stall_objective: float | None = None

    @property
    def allowed_share(self) -> float:
        """Share of requests that may miss an objective."""
        return 1.0 - self.percentile / PER_CENT


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
        conditions: conditions other than Ready, by condition type; Accepted only where the catalog lacks something.
        acts: False in Recommend and Off modes and while paused.
        trace: every stage's step, in order.
        served_name: by which its engines answer.
    """

    service: ServiceKey
    reason: Reason
    message: str
    variants: tuple[VariantDecision, ...]
    conditions: Mapping[str, Condition]
    cost: CostFigures = NO_FIGURES
    latency: LatencyFigures = LatencyFigures()
    demand: DemandFigures = DemandFigures()
    limited_by: Reason | None = None
    acts: bool = True
    trace: tuple[Step, ...] = ()
    served_name: str = ""


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """GPUs of one pool.

    Attributes:
        placeable: GPUs that a replica of the largest size in use could still get.
        condition: what Accepted says where the catalog lacks its accelerator, None otherwise.
    """

    name: str
    total: int
    used: int
    free: int
    placeable: int
    pending: int
    spend_per_hour_usd: float | None = None
    condition: Condition | None = None


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
    """Write a variant's batch cap and prefill chunk into its ConfigMap; those of before are kept for rolling back.

    Attributes:
        previous, value: the cap before and after, sequences.
        previous_chunk, chunk: tokens per step before and after; None where the engines read none.
    """

    service: ServiceKey
    variant: str
    target: WorkloadRef
    previous: int | None
    value: int
    reason: Reason
    message: str = ""
    rolled_back: bool = False
    previous_chunk: int | None = None
    chunk: int | None = None


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


@dataclass(frozen=True, slots=True)
class RemoveWorkload:
    """Delete what pertoken made for a variant that is no more: Service, disruption budget and cap, then the workload.

    Attributes:
        variant: name of the workload.
        service_uid: of the InferenceService that must control each of the objects.
        uid: of the workload.
    """

    service: ServiceKey
    variant: str
    target: WorkloadRef
    service_uid: str
    uid: str
    reason: Reason
    message: str = ""


Action = SetReplicas | SetBatchCap | EvictPod | CompleteBatchCap | RemoveWorkload


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """What a cycle decided on one route.

    Attributes:
        conditions: by type.
        quality: expected at the weights; None where none are set.
        usd_per_thousand: USD of 1,000 answers at the weights; None where it is not known.
        requests: per second, demand of the route; None where it is not known.
        not_carried: requests per second beyond what the tiers carry within the floor.
        action: None where the weights stand, or are not to be written.
    """

    route: ServiceKey
    reason: Reason
    message: str
    tiers: tuple[TierFigures, ...] = ()
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    quality: float | None = None
    usd_per_thousand: float | None = None
    requests: float | None = None
    not_carried: float = 0.0
    frontier: tuple[FrontierFigures, ...] = ()
    action: SetWeights | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Outcome of one cycle: decisions for all services, actions in the order in which to carry them out."""

    decisions: tuple[Decision, ...]
    actions: tuple[Action, ...]
    pools: tuple[PoolFigures, ...] = ()
    routes: tuple[RouteDecision, ...] = ()
