"""Conditions on targets and scaling: what is there, what moves, what limits it, who else scales it."""

from __future__ import annotations

from collections.abc import Sequence

from pertoken.domain.plan import Condition, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.trace import Limit, Step
from pertoken.planner.proposal import Stance
from pertoken.planner.service_state import ServiceState
from pertoken.planner.settlement import SettledVariant, Settlement

POOL_STAGES = ("reclaim", "allocate")  # what the pools keep back binds the most, so it is told first


def target_condition(state: ServiceState, trace: Sequence[Step] = ()) -> Condition:
    """Whether every scale target exists and its GPUs are known; what of its template is not as it says."""
    if state.missing:
        name, gone = state.missing[0]
        return Condition(Verdict.FALSE, gone.reason, f"variant {name}: {gone.why}")
    unknown = [variant for variant in state.variants if variant.workload.gpus_per_replica <= 0]
    if unknown:
        words = f"{unknown[0].workload.ref} requests no GPUs of its pool's resource"
        return Condition(Verdict.FALSE, Reason.GPU_COUNT_UNKNOWN, words)
    names = ", ".join(str(variant.workload.ref) for variant in state.variants)
    if state.view.left_behind:
        words = f"{names}; of no variant any more, to be deleted: {', '.join(state.view.left_behind)}"
        return Condition(Verdict.TRUE, Reason.WORKLOAD_LEFT_BEHIND, words)
    if state.retired:
        going = [step for step in trace if step.stage == "retire"]
        words = "; ".join(str(step.figures().get("words", "")) for step in going)
        return Condition(Verdict.TRUE, Reason.VARIANT_REMOVED, f"{names}; {words}")
    ignored = [step for step in trace if step.stage == "batch_cap" and step.reason is Reason.CAP_IGNORED]
    if ignored:
        words = "; ".join(f"variant {step.variant}: {step.figures().get('words', '')}" for step in ignored)
        return Condition(Verdict.TRUE, Reason.CAP_IGNORED, words)
    return Condition(Verdict.TRUE, Reason.TARGET_FOUND, names)


def able_condition(settlement: Settlement, running: Condition | None) -> Condition:
    """`AbleToScale`; `running` is what is to be said of replicas that do not run, None where nothing is wrong."""
    state, variants = settlement.state, settlement.variants
    if not variants:
        reason = state.missing[0][1].reason if state.missing else Reason.TARGET_NOT_FOUND
        return Condition(Verdict.FALSE, reason, "no variant has a usable scale target")
    if running is not None and running.verdict is not Verdict.TRUE:
        return running
    return _moves(variants) or running or _rests(settlement)


def _moves(variants: Sequence[SettledVariant]) -> Condition | None:
    """What cannot move, else what does; None where everything is to stay."""
    for variant in variants:
        if variant.status.stuck:
            words = f"variant {variant.name} stays at {variant.state.current} replicas"
            return Condition(Verdict.FALSE, variant.reason, words)
    for variant in variants:
        if variant.replicas != variant.state.current:
            words = f"variant {variant.name}: {variant.state.current} -> {variant.replicas} replicas"
            return Condition(Verdict.TRUE, Reason.READY_FOR_SCALE, words)
    return None


def _rests(settlement: Settlement) -> Condition:
    variants = settlement.variants
    held = [variant for variant in variants if variant.reason is Reason.STABILIZED]
    if held:
        window = settlement.proposal.behavior.scale_down.window
        words = f"{held[0].name} held within the stabilization window of {window} s"
        return Condition(Verdict.TRUE, Reason.STABILIZED, words)
    words = f"{sum(variant.replicas for variant in variants)} replicas as desired"
    return Condition(Verdict.TRUE, Reason.AT_DESIRED, words)


def limits_of(trace: Sequence[Step]) -> list[tuple[Reason, str]]:
    """Everything that bound the service, as its trace has it; what binds the most comes first."""
    limits = [(step.stage, step.reason, step.detail.words) for step in trace if isinstance(step.detail, Limit)]
    limits.sort(key=lambda limit: limit[0] not in POOL_STAGES)
    return [(reason, words) for _, reason, words in limits]


def limits_condition(limits: Sequence[tuple[Reason, str]], remarks: Sequence[str]) -> Condition:
    """`ScalingLimited`, with what else is to be known of the service's place in the pools."""
    if not limits:
        words = ["the desired replicas are within all limits", *remarks]
        return Condition(Verdict.FALSE, Reason.UNLIMITED, "; ".join(words))
    return Condition(Verdict.TRUE, limits[0][0], "; ".join([*(words for _, words in limits), *remarks]))


def paused_condition(state: ServiceState) -> Condition:
    """`Paused`."""
    if state.spec.paused:
        return Condition(Verdict.TRUE, Reason.PAUSED, "paused by annotation: decisions are shown, not carried out")
    if state.frozen is not None:
        return Condition(Verdict.TRUE, Reason.FROZEN, f"{state.frozen}; decisions are shown, not carried out")
    freeze = state.spec.freeze
    comes = f"; {freeze}" if freeze is not None and state.now < freeze.end else ""
    return Condition(Verdict.FALSE, Reason.NOT_PAUSED, f"not paused{comes}")


def conflict_condition(stance: Stance) -> Condition:
    """`Conflicted`."""
    if stance.conflict is None:
        words = f"{stance.conflict_words}; pertoken only recommends" if stance.conflict_words else ""
        return Condition(Verdict.FALSE, Reason.NOT_CONFLICTED, words or "nobody else sets the replicas")
    return Condition(Verdict.TRUE, stance.conflict, f"{stance.conflict_words}; pertoken keeps its hands off")
