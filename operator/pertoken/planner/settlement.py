"""The work item of the pipeline's second half: one service with what the pools gave it, on its way to a decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Final

from pertoken.domain.cost import NO_FIGURES, CostFigures
from pertoken.domain.plan import Action, Condition
from pertoken.domain.reasons import Reason
from pertoken.domain.trace import Step
from pertoken.frozen import dataclass, replace
from pertoken.planner.grant import Grant
from pertoken.planner.memory import Roll
from pertoken.planner.pool_state import PoolState
from pertoken.planner.proposal import Proposal, Status, VariantProposal
from pertoken.planner.service_state import ServiceState, VariantState


@dataclass(frozen=True, slots=True)
class CapDecision:
    """Which cap the engines should have.

    Attributes:
        desired: cap that the planner wants; None where the engine takes none from pertoken.
        change: whether a change shall be started now.
        chunk: tokens per step that the planner wants; None where the engine takes none from pertoken.
    """

    desired: int | None = None
    reason: Reason = Reason.BATCH_CAP_KEPT
    message: str = ""
    change: bool = False
    chunk: int | None = None


@dataclass(frozen=True, slots=True)
class RollStep:
    """What a cycle does about the cap of one variant.

    Attributes:
        roll: for the memory; None when no roll is under way.
        floor: replicas below which the workload must not fall, None without a roll.
        action: at most one.
        blocked, blocked_chunk: cap and chunk that failed, None if none did.
        on_new: serving pods that run with the cap that is to be.
    """

    roll: Roll | None = None
    reason: Reason = Reason.BATCH_CAP_KEPT
    message: str = ""
    floor: int | None = None
    action: Action | None = None
    blocked: int | None = None
    blocked_chunk: int | None = None
    on_new: int = 0


@dataclass(frozen=True, slots=True)
class SettledVariant:
    """One variant on its way to a decision.

    Attributes:
        proposal: what it asked of the pools.
        replicas: what it got, and from `decide` on what it shall have.
        cap, roll: by `batch_cap`.
    """

    proposal: VariantProposal
    replicas: int
    reason: Reason
    status: Status
    cap: CapDecision = CapDecision()
    roll: RollStep = RollStep()

    @property
    def state(self) -> VariantState:
        """The variant in this cycle."""
        return self.proposal.state

    @property
    def name(self) -> str:
        """Of the variant."""
        return self.proposal.name


@dataclass(frozen=True, slots=True)
class Actions:
    """What is to be carried out, in this order over all services."""

    downs: tuple[Action, ...] = ()
    ups: tuple[Action, ...] = ()
    batch: tuple[Action, ...] = ()


NO_ACTIONS: Final = Actions()


@dataclass(frozen=True, slots=True)
class Settlement:
    """One service on its way through the second half of the pipeline. Every stage returns it changed.

    Attributes:
        proposal: as it went to the pools.
        grant: what they gave; nothing for services that do not act.
        pools: scratch of this cycle: an extra replica of a cap change takes room in them.
        variants: cheapest first.
        actions: by `decide`; none for services that do not act.
        cost: by `conditions`.
        conditions: conditions by type, by `conditions`.
        trace: the proposal's steps and those of the second half.
    """

    proposal: Proposal
    grant: Grant
    pools: Mapping[str, PoolState]
    variants: tuple[SettledVariant, ...]
    actions: Actions = NO_ACTIONS
    cost: CostFigures = NO_FIGURES
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    trace: tuple[Step, ...] = ()

    @property
    def state(self) -> ServiceState:
        """The service in this cycle."""
        return self.proposal.state

    @property
    def acts(self) -> bool:
        """Decisions are carried out."""
        return self.proposal.stance.acts

    def with_variants(self, variants: Iterable[SettledVariant], *steps: Step) -> Settlement:
        """The same service with other variants, and the steps that say why."""
        return replace(self, variants=tuple(variants), trace=(*self.trace, *steps))

    def noting(self, *steps: Step) -> Settlement:
        """The same with more steps in its trace."""
        return replace(self, trace=(*self.trace, *steps))
