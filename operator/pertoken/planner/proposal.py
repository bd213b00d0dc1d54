"""The work item of the pipeline's first half: one service, from its state to the replicas that it asks of the pools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import Enum
from typing import Final

from pertoken.domain.identity import ServiceKey
from pertoken.domain.plan import DemandFigures
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Behavior
from pertoken.domain.trace import NO_DETAIL, Detail, Step, text_of
from pertoken.frozen import dataclass, replace
from pertoken.performance.steady import Sustainable, Unreachable
from pertoken.planner.assessment import NOT_ASSESSED, Assessment
from pertoken.planner.memory import Delivered
from pertoken.planner.service_state import ServiceState, VariantState

NO_DEMAND: Final = DemandFigures()
DEFAULT_BEHAVIOR: Final = Behavior()


class Status(Enum):
    """What a variant's count is at this point of the pipeline. Stages decide by it; reasons are for readers alone."""

    FREE = "free"  # follows demand, within limits
    IDLE = "idle"  # nothing has been asked for: goes to zero
    LAGGING = "lagging"  # a window or a rate holds it for now: it is about to move
    WAITING = "waiting"  # its pods are on the way or refused: asking for more brings nothing
    BLOCKED = "blocked"  # a rollout, an unknown GPU count or a pool that backs off keeps it where it is
    HELD = "held"  # metrics do not allow to plan: what serves stays
    GIVEN_UP = "given up"  # replicas go whatever demand is: nothing schedules them, or a higher priority needs them
    HANDS_OFF = "hands off"  # somebody else scales it
    OFF = "off"  # the user switched planning off

    @property
    def may_grow(self) -> bool:
        """More may be asked for, also in place of another variant."""
        return self not in (Status.WAITING, Status.BLOCKED, Status.HELD, Status.GIVEN_UP)

    @property
    def stuck(self) -> bool:
        """Nothing that the planner does moves it."""
        return self in (Status.BLOCKED, Status.HELD, Status.HANDS_OFF)


@dataclass(frozen=True, slots=True)
class Stance:
    """Whether decisions about the service are carried out.

    Attributes:
        inactive: why they are only shown, None if they are carried out.
        off: the user switched planning off.
        conflict: why pertoken keeps its hands off, None if nobody else scales the service.
        conflict_words: who does, and by which sign that is known; told also where it is no conflict.
        taken_back: the sign is that changes were taken back.
    """

    inactive: Reason | None = None
    off: bool = False
    conflict: Reason | None = None
    conflict_words: str = ""
    taken_back: bool = False

    @property
    def acts(self) -> bool:
        """Decisions are carried out, and the service competes for GPUs."""
        return self.inactive is None and self.conflict is None


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one replica of a variant carries.

    Attributes:
        point: sustainable operating point of one engine within the objectives that can be kept.
        rate: requests per second of the whole replica (all its data-parallel engines).
        unreachable: an objective that no size keeps, None if all can be kept.
    """

    point: Sustainable
    rate: float
    unreachable: Unreachable | None = None

    def times(self, share: float) -> Capacity:
        """What is really carried: the percentile is lost before, or after, the modelled rate."""
        return replace(self, rate=self.rate * share)


@dataclass(frozen=True, slots=True)
class VariantProposal:
    """Replicas proposed for one variant.

    Attributes:
        capacity: of one replica; None where no model tells.
        sized: replicas as sized, before anything limited them.
        least: replicas that carry the demand, without tolerance or caution; None where no model tells.
        late: measured latency alone added replicas.
        spare: replicas that the demand does not ask for: they spend what the cost target leaves.
    """

    state: VariantState
    replicas: int
    reason: Reason
    status: Status = Status.FREE
    capacity: Capacity | None = None
    sized: int = 0
    least: int | None = None
    late: bool = False
    spare: int = 0

    @property
    def name(self) -> str:
        """Of the variant."""
        return self.state.name

    @property
    def base(self) -> int:
        """Replicas from which the proposal counts: a hold keeps what serves, a rolling cap change's extra one too."""
        return self.state.current if self.status is Status.HELD else self.state.steady

    @property
    def rate(self) -> float:
        """Requests per second that one replica carries; 0 where no model tells."""
        return 0.0 if self.capacity is None else self.capacity.rate

    def at(self, replicas: int, reason: Reason | None = None, status: Status | None = None) -> VariantProposal:
        """The same variant at another count; reason and status stay where they are not given."""
        return replace(
            self,
            replicas=replicas,
            reason=self.reason if reason is None else reason,
            status=self.status if status is None else status,
        )


@dataclass(frozen=True, slots=True)
class SizingFigures:
    """What sizing knows of the whole service.

    Attributes:
        demand: now and at the lead.
        rate: requests per second to be carried, with head-room and backlog; None without a model.
        utilization: present load over the modelled sustainable rate of what serves; None without a model.
        trust: how much of the forecast's cases is learnt, 0 to 1.
        delivered: by variant, what full replicas were seen to deliver.
    """

    demand: DemandFigures = NO_DEMAND
    rate: float | None = None
    utilization: float | None = None
    trust: float = 0.0
    delivered: Mapping[str, Delivered] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One service on its way through the first half of the pipeline. Every stage returns it changed.

    What no stage has filled in yet is what holds everything: not assessed, not sized, the replicas that are.

    Attributes:
        state: facts and memory; `notice` and `estimate` renew the memory.
        stance: by `notice`.
        assessment: by `assess`.
        sizing: by `size`.
        variants: cheapest first once they are sized.
        behavior: how fast replicas may move in this cycle, by `stabilize`.
        withdrawn: pods that are given up, by variant, by `constrain`.
        trace: a step for everything that a stage changed or found.
    """

    state: ServiceState
    variants: tuple[VariantProposal, ...]
    stance: Stance = Stance()
    assessment: Assessment = NOT_ASSESSED
    sizing: SizingFigures = SizingFigures()
    behavior: Behavior = DEFAULT_BEHAVIOR
    withdrawn: Mapping[str, int] = field(default_factory=dict)
    trace: tuple[Step, ...] = ()

    @property
    def key(self) -> ServiceKey:
        """Of the service."""
        return self.state.spec.key

    @property
    def idle(self) -> bool:
        """Every variant goes to zero."""
        return bool(self.variants) and all(variant.status is Status.IDLE for variant in self.variants)

    @property
    def planned(self) -> bool:
        """Replicas follow demand: metrics allow it and the user wants it."""
        return not self.assessment.holds and not self.stance.off

    def with_state(self, state: ServiceState) -> Proposal:
        """The same proposal on a newer state."""
        by_name = state.by_name
        return replace(
            self,
            state=state,
            variants=tuple(replace(variant, state=by_name[variant.name]) for variant in self.variants),
        )

    def with_variants(self, variants: Iterable[VariantProposal], *steps: Step) -> Proposal:
        """The same service with other counts, and the steps that say why."""
        return replace(self, variants=tuple(variants), trace=(*self.trace, *steps))

    def with_withdrawals(self, withdrawn: Mapping[str, int]) -> Proposal:
        """The same proposal with pods that are given up, by variant."""
        return replace(self, withdrawn=withdrawn)

    def noting(self, *steps: Step) -> Proposal:
        """The same proposal with more steps in its trace."""
        return replace(self, trace=(*self.trace, *steps))


def begun(state: ServiceState) -> Proposal:
    """The proposal before the first stage: everything stays as it is."""
    held = (VariantProposal(v, v.current, Reason.HELD_NO_METRICS, Status.HELD) for v in state.variants)
    return Proposal(state, tuple(held))


def step(
    stage: str, change: tuple[object, object], reason: Reason, detail: Detail = NO_DETAIL, *, variant: str = ""
) -> Step:
    """A step of the trace; `change` is what the stage was given and what it handed on."""
    return Step(stage, text_of(change[0]), text_of(change[1]), reason, variant, detail)


UNCHANGED: Final = ("", "")
