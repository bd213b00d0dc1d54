"""Every reason code: the one vocabulary of conditions, events, metrics, logs and documents."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why something is as it is. One word in CamelCase; `docs/troubleshooting.md` explains each."""

    # Acceptance of the object
    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    POOL_NOT_FOUND = "PoolNotFound"
    UNKNOWN_MODEL = "UnknownModel"
    UNKNOWN_ACCELERATOR = "UnknownAccelerator"
    ACCESS_DENIED = "AccessDenied"
    TEMPLATE_REJECTED = "TemplateRejected"
    NAME_TAKEN = "NameTaken"
    NAMESPACE_NOT_ENABLED = "NamespaceNotEnabled"
    FIELDS_NOT_ACTED_ON = "FieldsNotActedOn"
    POOLS_OVERLAP = "PoolsOverlap"

    # Target
    TARGET_FOUND = "TargetFound"
    TARGET_NOT_FOUND = "TargetNotFound"
    KIND_NOT_ALLOWED = "KindNotAllowed"
    GPU_COUNT_UNKNOWN = "GpuCountUnknown"
    OBJECT_UNREADABLE = "ObjectUnreadable"

    # Metrics
    METRICS_FRESH = "MetricsFresh"
    METRICS_STALE = "MetricsStale"
    METRICS_MISSING = "MetricsMissing"
    SIGNALS_MISSING = "SignalsMissing"
    METRICS_WARMING_UP = "MetricsWarmingUp"
    PROMETHEUS_UNREACHABLE = "PrometheusUnreachable"
    PROMETHEUS_PARTIAL = "PrometheusPartial"
    NO_TRAFFIC = "NoTraffic"

    # Scaling
    READY_FOR_SCALE = "ReadyForScale"
    AT_DESIRED = "AtDesired"
    REPLICAS_INCREASED = "ReplicasIncreased"
    REPLICAS_DECREASED = "ReplicasDecreased"
    DEMAND_ROSE = "DemandRose"
    DEMAND_FELL = "DemandFell"
    QUEUE_BACKLOG = "QueueBacklog"
    LATENCY_AT_RISK = "LatencyAtRisk"
    KV_CACHE_FULL = "KvCacheFull"
    GPU_UTILIZATION_HIGH = "GpuUtilizationHigh"
    GPU_UTILIZATION_LOW = "GpuUtilizationLow"
    IDLE = "Idle"
    WITHIN_TOLERANCE = "WithinTolerance"
    STABILIZED = "Stabilized"
    SCALE_UP_LIMITED = "ScaleUpLimited"
    SCALE_DOWN_LIMITED = "ScaleDownLimited"
    AT_MINIMUM = "AtMinimum"
    AT_MAXIMUM = "AtMaximum"
    POOL_EXHAUSTED = "PoolExhausted"
    RECLAIMED_FOR_PRIORITY = "ReclaimedForPriority"
    PLACEMENT_UNKNOWN = "PlacementUnknown"
    SPEND_CAPPED = "SpendCapped"
    ROLLOUT_IN_PROGRESS = "RolloutInProgress"
    WAITING_FOR_PODS = "WaitingForPods"
    UNSCHEDULABLE_WITHDRAWN = "UnschedulableWithdrawn"
    POOL_BACKING_OFF = "PoolBackingOff"
    UNLIMITED = "DesiredWithinRange"
    SCALE_FAILED = "ScaleFailed"
    HELD_NO_METRICS = "HeldNoMetrics"
    PLANNING_FAILED = "PlanningFailed"

    # Batch size
    BATCH_CAP_KEPT = "BatchCapKept"
    BATCH_CAP_RAISED = "BatchCapRaised"
    BATCH_CAP_LOWERED = "BatchCapLowered"
    BATCH_CHANGE_STARTED = "BatchChangeStarted"
    BATCH_CHANGE_ROLLING = "BatchChangeRolling"
    BATCH_CHANGE_COMPLETED = "BatchChangeCompleted"
    BATCH_CHANGE_ROLLED_BACK = "BatchChangeRolledBack"
    BATCH_CHANGE_WOULD_INTERRUPT = "BatchChangeWouldInterrupt"
    BATCH_CHANGE_TOO_SOON = "BatchChangeTooSoon"
    BATCH_CHANGE_NOT_WORTH_IT = "BatchChangeNotWorthIt"
    BATCH_FIXED = "BatchFixed"
    BATCH_NOT_ACTUATED = "BatchNotActuated"

    # Cost and latency
    WITHIN_COST_TARGET = "WithinCostTarget"
    COST_ABOVE_TARGET = "CostAboveTarget"
    COST_TARGET_UNREACHABLE = "CostTargetUnreachable"
    INSUFFICIENT_TRAFFIC = "InsufficientTraffic"
    NO_COST_TARGET = "NoCostTarget"
    NO_PRICE = "NoPrice"
    WITHIN_LATENCY_TARGET = "WithinLatencyTarget"
    LATENCY_ABOVE_TARGET = "LatencyAboveTarget"
    LATENCY_TARGET_UNREACHABLE = "LatencyTargetUnreachable"
    LATENCY_UNDECIDED = "LatencyUndecided"
    NO_LATENCY_TARGET = "NoLatencyTarget"

    # Modes
    RECOMMENDING = "Recommending"
    PAUSED = "Paused"
    NOT_PAUSED = "NotPaused"
    SWITCHED_OFF = "SwitchedOff"
    FROZEN = "Frozen"
    NOT_CONFLICTED = "NotConflicted"
    TARGET_TAKEN = "TargetTaken"
    CONFLICTING_MANAGER = "ConflictingManager"
    FOREIGN_AUTOSCALER = "ForeignAutoscaler"
