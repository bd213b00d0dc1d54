"""What a roll of the batch cap works with: what it may do in a cycle, where it stands, and what comes of it."""

from __future__ import annotations

from pertoken.domain.cluster import BatchCap, PodFact
from pertoken.domain.plan import Action
from pertoken.domain.reasons import Reason
from pertoken.frozen import dataclass, replace
from pertoken.planner.memory import Roll
from pertoken.planner.service_state import ServiceState, VariantState
from pertoken.planner.settlement import RollStep


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a roll may do in this cycle.

    Attributes:
        room: one extra replica is within bounds and has a place.
        start: a change may begin.
        judge: metrics are good enough to judge a canary, so that pods may be evicted.
        wanted: replicas to have; fewer than the roll began with are reached by not replacing old pods.
        needed: replicas without which the present demand would not be served; one more than that is the spare one
            that a restart takes.
        calm: demand is not on the rise: a restart now does not take capacity that is about to be needed.
    """

    room: bool = False
    start: bool = True
    judge: bool = True
    wanted: int | None = None
    needed: int | None = None
    calm: bool = True

    def spare(self, ready: int) -> bool:
        """One of the `ready` replicas may go for the time of a restart."""
        return self.needed is not None and ready > max(self.needed, 1)


@dataclass(frozen=True, slots=True)
class Rolling:
    """A roll under way, in this cycle."""

    service: ServiceState
    variant: VariantState
    cap: BatchCap
    roll: Roll
    allowed: Allowed = Allowed()

    @property
    def floor(self) -> int:
        """Replicas below which the workload must not fall."""
        return self.roll.base + (1 if self.roll.surge else 0)

    def is_new(self, pod: PodFact) -> bool:
        """Runs with the value that is to be rolled out, or will when it starts."""
        started = pod.engine_started_at
        if started is None or started > self.cap.changed_at:
            return True
        bad = self.roll.bad_since
        return bad is not None and started <= bad

    @property
    def patient(self) -> bool:
        """A new chunk alone: for some hours no pod restarts for it; those that start anyway take it along."""
        cap, patience = self.cap, self.service.tuning.cap.patience_seconds
        chunk_alone = cap.value == cap.previous and cap.previous_chunk not in (None, cap.chunk)
        return chunk_alone and not cap.rolled_back and self.service.now - cap.changed_at < patience

    def let_be(self, message: str, *, action: Action | None = None) -> RollStep:
        """The same where replicas may come and go as they would without the roll."""
        here = replace(self.roll, base=self.variant.current, surge=False)
        return replace(self.wait(message, roll=here), floor=None, action=action)

    def wait(self, message: str, *, roll: Roll | None = None) -> RollStep:
        """Nothing is done in this cycle, for the reason in words; `roll` is what to remember."""
        roll = roll or self.roll
        floor = roll.base + (1 if roll.surge else 0)
        new = sum(1 for pod in self.variant.living if self.is_new(pod) and pod.ready)
        return RollStep(roll, Reason.BATCH_CHANGE_ROLLING, message, floor=floor, on_new=new)


def restarts(service: ServiceState, variant: VariantState, roll: Roll | None) -> bool:
    """Whether a roll is under way for which pods are restarted."""
    cap = variant.workload.cap
    return roll is not None and (cap is None or not Rolling(service, variant, cap, roll).patient)
