"""What the planner remembers from one cycle to the next: one frozen value with a JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final

from pertoken.domain.identity import ServiceKey
from pertoken.forecast.demand import DemandSample
from pertoken.forecast.error_budget import ErrorBudget
from pertoken.forecast.losses import Losses
from pertoken.forecast.slo_knee import SloKnee
from pertoken.frozen import dataclass, replace
from pertoken.performance.calibrate import Calibration
from pertoken.performance.clumps import Clumping
from pertoken.raw.codec import CodecError, decode, encode

GATEWAY: Final = "gateway queue"  # in `ServiceMemory.told`, beside the names of needs
_LEDGER: Final = 11  # its place in a service's memory of version 2


@dataclass(frozen=True, slots=True)
class PastRecommendation:
    """Replicas recommended at an instant, before stabilization."""

    at: float
    replicas: int


@dataclass(frozen=True, slots=True)
class Change:
    """Replicas that were added (positive) or removed at an instant."""

    at: float
    delta: int


@dataclass(frozen=True, slots=True)
class Command:
    """The last scale action.

    Attributes:
        at: when it was decided.
        before, desired: replicas.
        manager: who had set the replicas before.
        resource_version: of the workload before.
        applied: the workload has since been seen with `desired` replicas.
    """

    at: float
    before: int
    desired: int
    manager: str
    resource_version: str
    applied: bool = False


@dataclass(frozen=True, slots=True)
class Roll:
    """A rolling change of the batch cap.

    Attributes:
        started_at: when the new value was decided.
        base: replicas without the extra one.
        surge: an extra replica is part of the roll.
        evicted_uid, evicted_at: the last pod evicted, "" for none.
        bad_since: when the value now being taken back was set; containers started between then and the roll back run
            with it. None in a forward roll.
    """

    started_at: float
    base: int
    surge: bool
    evicted_uid: str = ""
    evicted_at: float = 0.0
    bad_since: float | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """What full replicas delivered, as a share of what the model says of them.

    Attributes:
        key: of the pod template and model that it belongs to, as of a calibration.
        share: at most 1.
        at: when it was measured, seconds since the epoch.
    """

    key: str
    share: float
    at: float


@dataclass(frozen=True, slots=True)
class CapProof:
    """What the engines of a pod template have shown of their batch cap.

    Attributes:
        key: workload and pod template; another template is judged anew.
        pod: which ran more requests than the cap allows; empty where the engines keep to it.
        running: requests that it ran.
        most: that it could have run with the cap.
        at: when that was seen, seconds since the epoch.
    """

    key: str
    pod: str = ""
    running: float = 0.0
    most: int = 0
    at: float = 0.0

    @property
    def refuted(self) -> bool:
        """The engines do not run with the cap."""
        return bool(self.pod)


@dataclass(frozen=True, slots=True)
class VariantMemory:
    """History of one variant.

    Attributes:
        start_seconds: learnt time from having a node to Ready.
        tail_inter_token: measured percentile / modelled one.
        ours: pertoken has set the replicas before.
        reverts: instants at which somebody else took a change back.
        fed_back_at: last time that measured latency alone added a replica.
        blocked_cap, blocked_chunk, blocked_until: cap and chunk that were rolled back, and until when they are not
            tried again.
        queued_since: since when every replica has had requests waiting without a break, None while one has not.
        delivered: what replicas with a growing queue deliver; the model is not believed beyond it.
        absent_since: since when replicas that are asked for have no pods although nothing is starting; None if all do.
        cap_proof: that engines keep to their cap, or that they do not; None while neither was seen.
        clumping: how far prompts hold answers up.
        losses: replicas that got lost lately.
    """

    recommendations: tuple[PastRecommendation, ...] = ()
    changes: tuple[Change, ...] = ()
    calibration: Calibration = field(default_factory=Calibration)
    tail_inter_token: float = 1.0
    start_seconds: float | None = None
    command: Command | None = None
    ours: bool = False
    reverts: tuple[float, ...] = ()
    fed_back_at: float = 0.0
    roll: Roll | None = None
    blocked_cap: int | None = None
    blocked_until: float = 0.0
    queued_since: float | None = None
    delivered: Delivered | None = None
    absent_since: float | None = None
    cap_proof: CapProof | None = None
    blocked_chunk: int | None = None
    clumping: Clumping = Clumping()
    losses: Losses = Losses()  # last: what is saved is read by position


@dataclass(frozen=True, slots=True)
class Shape:
    """Mean request of a service: tokens, share of cached prompt tokens, mean resident context where measured."""

    input_tokens: float
    output_tokens: float
    cached_share: float = 0.0
    context: float | None = None


@dataclass(frozen=True, slots=True)
class Utilization:
    """Load over the modelled sustainable rate of the replicas that served, at an instant."""

    at: float
    utilization: float


@dataclass(frozen=True, slots=True)
class ServiceMemory:
    """History of one service.

    Attributes:
        uid: of the object; another uid is another service.
        seen_since: first cycle that saw it.
        fresh_since: since when its metrics have been fresh without a gap, None while they are not.
        shape: mean request.
        demand: samples of the last forty minutes, oldest first.
        knee: utilization at which the percentile is just kept.
        utilizations: lately, oldest first.
        idle_since: no request since, None while there are some.
        panic_until: no scale-down before.
        conflicted_until, conflict: hands off until, and from whom.
        told: names of the signals that not every engine has and that have been seen of this service.
        budget: requests that missed their objectives lately.
    """

    uid: str
    seen_since: float
    fresh_since: float | None = None
    shape: Shape | None = None
    demand: tuple[DemandSample, ...] = ()
    knee: SloKnee = field(default_factory=SloKnee)
    utilizations: tuple[Utilization, ...] = ()
    idle_since: float | None = None
    panic_until: float = 0.0
    conflicted_until: float = 0.0
    conflict: str = ""
    variants: Mapping[str, VariantMemory] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    budget: ErrorBudget = field(default_factory=ErrorBudget)


@dataclass(frozen=True, slots=True)
class PoolMemory:
    """A pool that could not schedule pods of a variant: no more scale-ups until `backoff_until`."""

    backoff_until: float = 0.0
    withdrawals: int = 0


NOT_REFUSED: Final = PoolMemory()


def backoff_key(pool: str, service: ServiceKey, variant: str) -> str:
    """Under which name a pool's refusals of one variant are remembered.

    Pods that no node takes may ask for what no node has: other services' pods must not wait for them.
    """
    return f"{pool}/{service}/{variant}"


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything remembered. Services by ``namespace/name``, pools by `backoff_key`."""

    services: Mapping[str, ServiceMemory] = field(default_factory=dict)
    pools: Mapping[str, PoolMemory] = field(default_factory=dict)
    planned_at: float | None = None

    def service(self, key: ServiceKey) -> ServiceMemory | None:
        """One service's history."""
        return self.services.get(str(key))

    def pool(self, pool: str, service: ServiceKey, variant: str) -> PoolMemory:
        """How a pool refused one variant's pods lately."""
        return self.pools.get(backoff_key(pool, service, variant), NOT_REFUSED)


EMPTY: Final = Memory()


def shortened(memory: Memory, cycles: int) -> Memory:
    """The same with the demand of the last `cycles` only: what forecasts missed is learnt anew, the rest stays."""
    services = {
        name: replace(
            service,
            demand=service.demand[len(service.demand) - cycles :] if cycles < len(service.demand) else service.demand,
        )
        for name, service in memory.services.items()
    }
    return replace(memory, services=services)


def to_json(memory: Memory) -> Any:
    """The memory as JSON data."""
    return encode(memory)


def from_json(data: Any) -> Memory:
    """The memory that `to_json` wrote.

    Raises:
        ValueError: the data is no memory.
    """
    memory = decode(Memory, data)
    assert isinstance(memory, Memory)  # noqa: S101 - narrows the codec's Any
    return memory


def without_ledgers(data: Any) -> Any:
    """JSON data of a memory of version 2 without the accounts, which the planner kept then.

    Raises:
        ValueError: the data is no memory of version 2.
    """
    if not isinstance(data, list) or not data or not isinstance(data[0], dict):
        raise CodecError("not a planner memory of version 2")
    services = {name: _without_ledger(fields) for name, fields in data[0].items()}
    return [services, *data[1:]]


def _without_ledger(fields: Any) -> Any:
    if not isinstance(fields, list):
        raise CodecError("not a service's memory of version 2")
    return [*fields[:_LEDGER], *fields[_LEDGER + 1 :]]
