"""What a user asks for: services, variants, objectives."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from pertoken.domain.identity import ServiceKey, WorkloadRef
from pertoken.frozen import dataclass


class Mode(StrEnum):
    """Whether decisions are carried out, only shown, or not made."""

    AUTO = "Auto"
    RECOMMEND = "Recommend"
    OFF = "Off"


class Optimize(StrEnum):
    """`COST`: least spend that keeps latency. `LATENCY`: spend up to cost index 1 on head-room."""

    COST = "Cost"
    LATENCY = "Latency"


class WhenInfeasible(StrEnum):
    """Which objective yields when both cannot hold."""

    KEEP_LATENCY = "KeepLatency"
    KEEP_COST = "KeepCost"


class EngineKind(StrEnum):
    """Serving engines with actuation."""

    VLLM = "vllm"
    SGLANG = "sglang"
    GENERIC = "generic"


class BatchingMode(StrEnum):
    """`AUTO`: the planner moves the cap. `FIXED`: it stays at `max_sequences`."""

    AUTO = "Auto"
    FIXED = "Fixed"


@dataclass(frozen=True, slots=True)
class PriceList:
    """What tokens may cost, USD per million tokens."""

    input: Decimal
    cached_input: Decimal
    output: Decimal


@dataclass(frozen=True, slots=True)
class CostObjective:
    """Cost index = GPU bill over `window_seconds` / finished requests' tokens at `prices`; target: at most 1."""

    prices: PriceList
    window_seconds: int = 86400
    optimize: Optimize = Optimize.COST
    when_infeasible: WhenInfeasible = WhenInfeasible.KEEP_LATENCY
    hard_limit_factor: Decimal = Decimal(2)
    max_spend_per_hour: Decimal | None = None


@dataclass(frozen=True, slots=True)
class LatencyObjective:
    """Latency owed at `percentile`. None means that nothing is promised.

    Attributes:
        ttft_seconds: time to first token.
        inter_token_seconds: per-request mean time per output token.
        stall_seconds: gap between two tokens; its percentile is of all gaps.
        budget_seconds: time over which the percentile is owed; None where the user does not say.
        floor_percent: percentile below which sizing never aims; None where the user does not say.
    """

    ttft_seconds: float | None = None
    inter_token_seconds: float | None = None
    stall_seconds: float | None = None
    percentile: int = 95
    budget_seconds: float | None = None
    floor_percent: int | None = None


@dataclass(frozen=True, slots=True)
class Parallelism:
    """GPUs of one replica = tensor x pipeline x data (expert parallelism reuses them)."""

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert: int = 1

    @property
    def gpus(self) -> int:
        """GPUs that one replica occupies by its parallelism."""
        return self.tensor * self.pipeline * self.data


@dataclass(frozen=True, slots=True)
class Batching:
    """Bounds of the engine's cap on running sequences (`max_num_seqs`)."""

    mode: BatchingMode = BatchingMode.AUTO
    min_sequences: int = 8
    max_sequences: int = 256
    max_batched_tokens: int | None = None


class PolicyType(StrEnum):
    """Unit of a scaling policy, as in HPA v2."""

    PODS = "Pods"
    PERCENT = "Percent"


class SelectPolicy(StrEnum):
    """Which of several policies counts, as in HPA v2."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """At most `value` (pods or percent) within `period_seconds`."""

    type: PolicyType
    value: int
    period_seconds: int


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """Stabilization window and rate limits of one direction.

    Attributes:
        stabilization_seconds: None leaves the window to the planner.
        policies: none leave the rate to the planner.
    """

    stabilization_seconds: int | None
    policies: tuple[ScalingPolicy, ...]
    select: SelectPolicy = SelectPolicy.MAX

    @property
    def window(self) -> int:
        """Seconds of the stabilization window; 0 where it is left open."""
        return self.stabilization_seconds or 0


DEFAULT_SCALE_UP = ScalingRules(
    stabilization_seconds=0,
    policies=(ScalingPolicy(PolicyType.PERCENT, 100, 15), ScalingPolicy(PolicyType.PODS, 4, 15)),
)
DEFAULT_SCALE_DOWN = ScalingRules(stabilization_seconds=None, policies=())


@dataclass(frozen=True, slots=True)
class Behavior:
    """How fast replicas may move, shaped as in HPA v2; downwards it is learnt unless it is said."""

    scale_up: ScalingRules = DEFAULT_SCALE_UP
    scale_down: ScalingRules = DEFAULT_SCALE_DOWN


@dataclass(frozen=True, slots=True)
class VariantSpec:
    """One way to serve the model: GPU type, parallelism, engine configuration.

    Attributes:
        engine_version: as the user states it, empty where the image is to tell.
    """

    name: str
    pool: str
    workload: WorkloadRef
    owned: bool
    engine: EngineKind = EngineKind.VLLM
    parallelism: Parallelism = Parallelism()
    quantization: str = "bf16"
    min_replicas: int = 0
    max_replicas: int = 1
    batching: Batching = Batching()
    engine_version: str = ""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which model is served.

    Attributes:
        id: Hugging Face id, resolved by the catalog; empty for generic engines with no known model.
        served_name: name under which the engine answers.
        max_model_len: longest context in tokens, None for the model's own.
        architecture: inline `config.json` facts where the catalog lacks the model, None otherwise; the fact
            ``config`` is a whole `config.json` as text.
    """

    id: str
    served_name: str
    max_model_len: int | None = None
    architecture: tuple[tuple[str, int | float | str | bool], ...] | None = None


@dataclass(frozen=True, slots=True)
class ScheduledMinimum:
    """A minimum of all variants together that begins to hold at the times of a cron expression.

    Attributes:
        cron: five fields.
        time_zone: IANA name; the expression means its wall clock.
        duration_seconds: how long the minimum holds from each of them.
    """

    cron: str
    time_zone: str
    duration_seconds: int
    min_replicas: int

    def __str__(self) -> str:
        return f'schedule "{self.cron}" ({self.time_zone})'


@dataclass(frozen=True, slots=True)
class Freeze:
    """A time in which replicas and batch caps stay as they are.

    Attributes:
        start, end: seconds since the epoch; without a start it holds from now on.
        start_text, end_text: the same as the user wrote them.
        why: in the user's words, empty for none.
    """

    end: float
    end_text: str
    start: float | None = None
    start_text: str = ""
    why: str = ""

    def holds(self, now: float) -> bool:
        """Whether it is that time, `now` in seconds since the epoch."""
        return (self.start is None or self.start <= now) and now < self.end

    def __str__(self) -> str:
        begin = f"from {self.start_text} " if self.start_text else ""
        return f"frozen {begin}until {self.end_text}" + (f": {self.why}" if self.why else "")


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One accepted InferenceService.

    Attributes:
        wake_signal: name of the metrics profile's signal that keeps it awake; empty for the gateway's queue alone.
    """

    key: ServiceKey
    uid: str
    generation: int
    model: ModelSpec
    variants: tuple[VariantSpec, ...]
    mode: Mode = Mode.AUTO
    paused: bool = False
    cost: CostObjective | None = None
    latency: LatencyObjective = LatencyObjective()
    behavior: Behavior = Behavior()
    priority: int = 0
    min_replicas: int = 1
    idle_seconds: int = 600
    metrics_profile: str = "default"
    schedule: tuple[ScheduledMinimum, ...] = ()
    freeze: Freeze | None = None
    wake_signal: str = ""
