"""A settlement as the decision that reports read: figures, headline and sentence, all from its values and trace."""

from __future__ import annotations

from pertoken.accounting.attribution import token_work
from pertoken.domain.cost import TokenWork
from pertoken.domain.plan import CalibrationFigures, Decision, VariantDecision
from pertoken.domain.reasons import Reason
from pertoken.domain.signal import Signal
from pertoken.domain.trace import Step
from pertoken.performance.steady import Load
from pertoken.planner.conditions.latency import latency_figures
from pertoken.planner.conditions.scaling import limits_of
from pertoken.planner.explain import headline, sentence
from pertoken.planner.room import most_replicas
from pertoken.planner.service_state import VariantState
from pertoken.planner.settlement import SettledVariant, Settlement


def decision_of(settlement: Settlement) -> Decision:
    """The decision on one service."""
    state, proposal = settlement.state, settlement.proposal
    overdue = [step for step in settlement.trace if step.stage == "running"]
    variants = _variants(settlement, overdue)
    limits = limits_of(settlement.trace)
    told = [words for _, words in limits] + [_words(step) for step in overdue]
    message = sentence(variants, proposal.sizing.demand, told)
    if proposal.stance.conflict_words:
        message = f"{proposal.stance.conflict_words}; {message}"
    if state.frozen is not None:
        message = f"{state.frozen}; {message}"
    reasons = [variant.reason for variant in settlement.variants]
    others = [reason for reason, _ in limits] + [step.reason for step in overdue]
    return Decision(
        service=state.spec.key,
        reason=headline(reasons, [*others, *(gone.reason for _, gone in state.missing)]),
        message=message,
        variants=variants,
        conditions=settlement.conditions,
        cost=settlement.cost,
        latency=latency_figures(state),
        demand=proposal.sizing.demand,
        limited_by=limits[0][0] if limits else None,
        acts=settlement.acts,
        trace=settlement.trace,
        served_name=state.spec.model.served_name,
    )


def _words(overdue: Step) -> str:
    return (
        f"{overdue.after} of {overdue.before} replicas of {overdue.variant} run: {overdue.figures().get('words', '')}"
    )


def _variants(settlement: Settlement, overdue: list[Step]) -> tuple[VariantDecision, ...]:
    """In the order of the spec, those without a usable target among them."""
    late = {step.variant: step.reason for step in reversed(overdue)}
    decided = [_variant(settlement, variant, late.get(variant.name)) for variant in settlement.variants]
    decided += [
        VariantDecision(name, gone.replicas, gone.replicas, 0, gone.reason, cap_message=gone.why, unknown=gone.why)
        for name, gone in settlement.state.missing
    ]
    order = {variant.spec.name: index for index, variant in enumerate(settlement.state.view.variants)}
    return tuple(sorted(decided, key=lambda variant: order[variant.variant]))


def _variant(settlement: Settlement, settled: SettledVariant, overdue: Reason | None) -> VariantDecision:
    variant, load, capacity = settled.state, settlement.state.load, settled.proposal.capacity
    learnt = variant.memory.calibration
    gains = learnt.gains
    # An unchanged count is not reported as AtDesired while some of its replicas do not run.
    held = settled.replicas == variant.current
    return VariantDecision(
        variant=variant.name,
        current=variant.current,
        desired=settled.replicas,
        ready=variant.ready,
        reason=overdue if overdue is not None and held else settled.reason,
        cap=variant.max_sequences,
        desired_cap=settled.cap.desired,
        chunk=variant.workload.engine.batched_tokens,
        desired_chunk=settled.cap.chunk,
        cap_reason=settled.roll.reason,
        cap_message=settled.roll.message,
        pods_on_new_cap=settled.roll.on_new,
        operating_batch=variant.batch,
        gpus_per_replica=max(variant.workload.gpus_per_replica, 0),
        capacity_per_replica=None if capacity is None or load is None else capacity.rate * load.output_tokens,
        gpu_utilization=variant.mean(Signal.GPU_UTILIZATION),
        kv_usage=variant.mean(Signal.KV_USAGE),
        calibration=CalibrationFigures(gains.decode, gains.prefill, gains.ttft_offset, learnt.samples),
        token_work=_token_work(variant, load),
        unknown=_unknown(settlement, variant),
        requests_per_replica=None if capacity is None else capacity.rate,
        usd_per_hour=variant.usd_per_hour,
        most_replicas=_most(settlement, settled),
    )


def _most(settlement: Settlement, settled: SettledVariant) -> int | None:
    """Replicas that it can have, for the routes; a service that does not act keeps those that it has."""
    if settlement.state.view.routed is None:
        return None
    if not settlement.acts:
        return settled.state.current
    pool = settlement.pools.get(settled.state.spec.pool)
    return most_replicas(settlement.state, settled.state, settled.replicas, pool)


def _unknown(settlement: Settlement, variant: VariantState) -> str:
    """Why nothing is known of what the variant needs; empty where it is."""
    if settlement.proposal.assessment.holds:
        return settlement.proposal.assessment.condition.message
    if variant.workload.gpus_per_replica <= 0:
        return f"{variant.workload.ref} requests no GPUs of its pool's resource"
    return ""


def _token_work(variant: VariantState, load: Load | None) -> TokenWork | None:
    """In what proportions the next account charges work to tokens."""
    if variant.engine is None or variant.batch is None or load is None:
        return None
    return token_work(variant.engine, load, variant.batch)
