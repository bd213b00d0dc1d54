"""Conditions in the making: each a verdict, a reason, and a sentence with the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pertoken.accounting.cost_index import Reachable, marginal, reachable, reachable_index
from pertoken.domain.cost import CostFigures
from pertoken.domain.plan import Judgement, LatencyFigures, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.service import CostObjective
from pertoken.domain.signal import LatencyKind
from pertoken.performance.histogram import quantile, share_within
from pertoken.performance.steady import Sustainable, sustainable_rate
from pertoken.planner.facts import ServiceFacts
from pertoken.planner.sizing import MIN_EVENTS, Wish

FAR = 1.5  # an estimate this far from the objective decides, even inside one bucket


def cost_figures(facts: ServiceFacts, wishes: Sequence[Wish]) -> CostFigures:
    """The account's figures with those that need the models: the least that tokens can cost, and what one more costs.

    Args:
        facts: of the service.
        wishes: cheapest variant first.
    """
    least, least_index = _least(facts)
    return replace(
        facts.cost.figures,
        marginal=_marginal(facts, wishes),
        reachable=None if least is None else least.blended,
        reachable_index=least_index,
    )


def _least(facts: ServiceFacts) -> tuple[Reachable | None, float | None]:
    """Cheapest variant at full use within the objectives, the cap free to move."""
    load = facts.load
    if load is None:
        return None, None
    found = []
    for variant in facts.variants:
        if variant.engine is None or variant.usd_per_hour is None:
            continue
        batching = variant.spec.batching
        free = variant.workload.cap is not None or variant.workload.max_sequences is None
        cap = batching.max_sequences if free else variant.workload.max_sequences
        engine = replace(variant.engine, cap=cap)
        point = sustainable_rate(engine, load, facts.targets)
        if isinstance(point, Sustainable):
            carried = variant.ranks * facts.memory.knee.rounded
            least = reachable(point, load, variant.usd_per_hour / carried)
            if least is not None:
                found.append(least)
    if not found:
        return None, None
    best = min(found, key=lambda least: least.usd_per_request)
    prices = None if facts.spec.cost is None else facts.spec.cost.prices
    return best, None if prices is None else reachable_index(best, load, prices)


def _marginal(facts: ServiceFacts, wishes: Sequence[Wish]) -> float | None:
    """Of the variant that would take the next request: the cheapest that serves."""
    load = facts.load
    if load is None:
        return None
    variants = {variant.name: variant for variant in facts.variants}
    for wish in wishes:
        variant = variants[wish.variant]
        if variant.engine is not None and variant.usd_per_hour is not None and variant.batch is not None:
            return marginal(variant.engine, load, variant.batch, variant.usd_per_hour / variant.ranks)
    return None


def judge_cost(objective: CostObjective | None, figures: CostFigures, priced: bool, enough: int) -> Judgement:
    """Whether the cost index is at most 1 over the window."""
    if objective is None:
        return Judgement(Verdict.UNKNOWN, Reason.NO_COST_TARGET, "no cost objective is set")
    if not priced:
        return Judgement(Verdict.UNKNOWN, Reason.NO_PRICE, "a pool in use has no price per GPU-hour")
    index = figures.index
    if index is None or figures.finished_requests < enough:
        words = f"{figures.finished_requests:.0f} finished requests in {figures.window_seconds:.0f} s, {enough} needed"
        return Judgement(Verdict.UNKNOWN, Reason.INSUFFICIENT_TRAFFIC, words)
    blended = "" if figures.blended is None else f", {figures.blended:.3f} USD per 1M tokens"
    words = f"cost index {index:.2f}{blended} over {figures.window_seconds:.0f} s"
    if index <= 1.0:
        return Judgement(Verdict.TRUE, Reason.WITHIN_COST_TARGET, words)
    return _above(figures, words)


def _above(figures: CostFigures, words: str) -> Judgement:
    least = figures.reachable_index
    if least is None:
        return Judgement(Verdict.FALSE, Reason.COST_ABOVE_TARGET, words)
    reach = f"{figures.reachable:.3f} USD per 1M tokens (index {least:.2f})"
    if least > 1.0:
        words = f"{words}; within the latency objectives these GPUs reach {reach} at best, at full use"
        return Judgement(Verdict.FALSE, Reason.COST_TARGET_UNREACHABLE, words)
    words = f"{words}; {reach} is reachable at full use"
    return Judgement(Verdict.FALSE, Reason.COST_ABOVE_TARGET, words)


def latency_figures(facts: ServiceFacts) -> LatencyFigures:
    """Measured percentiles with their bounds."""
    percentile = facts.targets.percentile
    ttft = _bounds(facts, LatencyKind.TTFT)
    per_token = _bounds(facts, LatencyKind.TIME_PER_OUTPUT_TOKEN)
    return LatencyFigures(
        percentile,
        ttft=ttft[1],
        ttft_low=ttft[0],
        ttft_high=ttft[2],
        inter_token=per_token[1],
        inter_token_low=per_token[0],
        inter_token_high=per_token[2],
    )


def _bounds(facts: ServiceFacts, kind: LatencyKind) -> tuple[float | None, float | None, float | None]:
    histogram = facts.histogram(kind)
    found = None if histogram is None else quantile(histogram, facts.targets.percentile / 100.0)
    return (None, None, None) if found is None else (found.low, found.estimate, found.high)


@dataclass(frozen=True, slots=True)
class _Measure:
    name: str
    kind: LatencyKind
    objective: float


def judge_latency(facts: ServiceFacts, wishes: Sequence[Wish]) -> Judgement:
    """Whether the measured percentiles keep their objectives; requests that wait too long count as misses."""
    targets = facts.targets
    measures = [
        _Measure(name, kind, objective)
        for name, kind, objective in (
            ("time to first token", LatencyKind.TTFT, targets.ttft),
            ("inter-token latency", LatencyKind.TIME_PER_OUTPUT_TOKEN, targets.inter_token),
        )
        if objective is not None
    ]
    if not measures:
        return Judgement(Verdict.UNKNOWN, Reason.NO_LATENCY_TARGET, "no latency objective is set")
    found = [_judge_measure(facts, measure) for measure in measures]
    worst = min(found, key=lambda judgement: (Verdict.FALSE, Verdict.UNKNOWN, Verdict.TRUE).index(judgement.verdict))
    unreachable = _unreachable(wishes)
    if worst.verdict is not Verdict.TRUE and unreachable:
        return Judgement(Verdict.FALSE, Reason.LATENCY_TARGET_UNREACHABLE, unreachable)
    if worst.verdict is Verdict.TRUE:
        return Judgement(
            Verdict.TRUE, Reason.WITHIN_LATENCY_TARGET, "; ".join(judgement.message for judgement in found)
        )
    return worst


def _unreachable(wishes: Sequence[Wish]) -> str:
    """Words where no variant keeps an objective even for a single request; empty otherwise."""
    missed = [wish.capacity.unreachable for wish in wishes if wish.capacity is not None]
    best = None
    for one in missed:
        if one is None:
            return ""
        best = one if best is None or one.seconds < best.seconds else best
    if best is None:
        return ""
    return (
        f"a single request on an idle replica takes {best.seconds * 1000:.0f} ms ({best.what}), "
        f"the objective is {best.objective * 1000:.0f} ms: no number of replicas reaches it"
    )


def _judge_measure(facts: ServiceFacts, measure: _Measure) -> Judgement:
    objective = measure.objective
    percentile = facts.targets.percentile
    histogram = facts.histogram(measure.kind)
    if histogram is None or histogram.cumulative[-1] <= 0:
        return Judgement(Verdict.UNKNOWN, Reason.NO_TRAFFIC, f"no {measure.name} was measured")
    bounds = quantile(histogram, percentile / 100.0)
    if bounds is None:
        return Judgement(Verdict.UNKNOWN, Reason.NO_TRAFFIC, f"no {measure.name} was measured")
    low, high = share_within(histogram, objective)
    goal = percentile / 100.0
    words = f"p{percentile} {measure.name} {_ms(bounds.estimate)}, objective {_ms(objective)}"
    if low >= goal:
        return Judgement(Verdict.TRUE, Reason.WITHIN_LATENCY_TARGET, words)
    if high < goal:
        return Judgement(Verdict.FALSE, Reason.LATENCY_ABOVE_TARGET, words)
    if histogram.cumulative[-1] * facts.window >= MIN_EVENTS and bounds.estimate > objective * FAR:
        return Judgement(Verdict.FALSE, Reason.LATENCY_ABOVE_TARGET, words)
    words = f"{words}; its buckets only say {_ms(bounds.low)} to {_ms(bounds.high)}"
    return Judgement(Verdict.UNKNOWN, Reason.LATENCY_UNDECIDED, words)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1e6 else "more than the largest bucket"


def judge_target(facts: ServiceFacts) -> Judgement:
    """Whether every scale target exists and its GPUs are known."""
    if facts.missing:
        name, gone = facts.missing[0]
        return Judgement(Verdict.FALSE, gone.reason, f"variant {name}: {gone.why}")
    unknown = [variant for variant in facts.variants if variant.workload.gpus_per_replica <= 0]
    if unknown:
        words = f"{unknown[0].workload.ref} requests no GPUs of its pool's resource"
        return Judgement(Verdict.FALSE, Reason.GPU_COUNT_UNKNOWN, words)
    names = ", ".join(str(variant.workload.ref) for variant in facts.variants)
    if facts.view.left_behind:
        words = f"{names}; of no variant any more, to be deleted: {', '.join(facts.view.left_behind)}"
        return Judgement(Verdict.TRUE, Reason.WORKLOAD_LEFT_BEHIND, words)
    return Judgement(Verdict.TRUE, Reason.TARGET_FOUND, names)
