"""What one cycle adds to a service's account: its bill by what the GPUs did, and the work of its finished tokens."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal

from pertoken.accounting.attribution import EQUAL, Weights, weights_at
from pertoken.accounting.bill import Bill, bill, pod_phases
from pertoken.accounting.cost import Tokens
from pertoken.accounting.energy import Energy
from pertoken.accounting.pool_bill import holdings, pool_bill
from pertoken.accounting.statement import GpuTime, Statement, statement
from pertoken.domain.cluster import PodFact
from pertoken.domain.metrics import PodMetrics
from pertoken.domain.pool import Billing, PoolSpec
from pertoken.domain.signal import Signal
from pertoken.domain.world import PoolView, World
from pertoken.planner.facts import ServiceFacts, VariantFacts
from pertoken.planner.ledger import Account, Charged, Entry, Lines

_OTHERS = ""  # pods of no service


def charge(facts: ServiceFacts, world: World, tokens: Tokens, start: float) -> Entry:
    """The entry for [start, now).

    Args:
        facts: the service in this cycle.
        world: for what its pools charge and nobody holds.
        tokens: that finished in that time.
        start: when the last entry ended.
    """
    total, judged, busy, energy = Bill(), 0.0, 0.0, Energy()
    idle = warming = unallocated = 0
    for variant in facts.variants:
        if variant.pool is None:
            continue
        total += bill(variant.view.pods, variant.pool, start, facts.now)
        still, starting = _without_work(variant, variant.pool, start, facts.now)
        idle += _whole(still)
        warming += _whole(starting)
        share_judged, share_busy = _use(variant, facts.now - start)
        judged += share_judged
        busy += share_busy
        energy += _energy(variant, facts.now - start)
    for name in sorted({variant.spec.pool for variant in facts.variants}):
        rest = _unallocated(facts, name, world, start)
        amount = _whole(rest)
        unallocated += amount
        total += Bill(rest.gpu_microseconds, Decimal(amount), rest.priced)
    lines = Lines(idle, warming, unallocated)
    return Entry(total, tokens, judged, busy, lines, _charged(facts, tokens), energy)


def account_statement(account: Account) -> Statement | None:
    """The account as a statement that adds up to its bill; None without prices.

    The lines are kept in money alone, so their GPU time is all in the line of the work.
    """
    if not account.bill.priced:
        return None
    whole, charged, tokens = account.bill, account.charged, account.tokens
    left, lines = whole.usd_microhours, []
    for value in (account.lines.unallocated, account.lines.warming, account.lines.idle):
        # Lines are rounded: together they may exceed a bill without work by a few units.
        amount = min(Decimal(value), left)
        left -= amount
        lines.append(Bill(0, amount))
    time = GpuTime(Bill(whole.gpu_microseconds, left), idle=lines[2], warming=lines[1], unallocated=lines[0])
    new = max(0.0, tokens.input - tokens.cached)
    per_token = Weights(
        charged.input / new if new > 0 else 0.0,
        charged.cached_input / tokens.cached if tokens.cached > 0 else 0.0,
        charged.output / tokens.output if tokens.output > 0 else 0.0,
    )
    return statement(time, tokens, per_token)


def _whole(part: Bill) -> int:
    return int(part.usd_microhours.to_integral_value(ROUND_HALF_EVEN))


def _without_work(variant: VariantFacts, pool: PoolSpec, start: float, now: float) -> tuple[Bill, Bill]:
    """What one variant's pods cost while they stood still and while they started.

    Use that is not known counts as work.
    """
    idle, warming = Bill(), Bill()
    measured = {metrics.pod: metrics for metrics in variant.measured}
    for pod in variant.view.pods:
        starting, serving = pod_phases(pod, pool, start, now)
        share = busy_share(measured.get(pod.key)) if pod.ready else 0.0
        used = Decimal(1 if share is None else share)
        warming += starting
        idle += serving.split([1 - used, used])[0] if used else serving
    return idle, warming


def _unallocated(facts: ServiceFacts, pool_name: str, world: World, start: float) -> Bill:
    """The service's part of what the pool charges and nobody holds, shared out by GPU time."""
    view = next((view for view in world.pools if view.spec.name == pool_name), None)
    if view is None or (view.spec.billing is Billing.PER_GPU and not view.spec.committed_gpus):
        return Bill()
    held = holdings(_holders(world, view), view.spec, start, facts.now)
    nodes = {node.name: node.allocatable.get(view.spec.resource_name, 0) for node in view.nodes}
    return pool_bill(view.spec, held, nodes, start, facts.now).share_of_unallocated(str(facts.spec.key))


def _holders(world: World, pool: PoolView) -> Iterable[tuple[str, PodFact]]:
    """Every pod that may hold GPUs of the pool, with the service that pays; gone ones as far as services remember."""
    seen: set[str] = set()
    for service in world.services:
        for variant in service.variants:
            if variant.spec.pool != pool.spec.name:
                continue
            for pod in variant.pods:
                if pod.uid not in seen:
                    seen.add(pod.uid)
                    yield str(service.spec.key), pod
    nodes = {node.name for node in pool.nodes}
    for pod in world.pods:
        if pod.uid not in seen and pod.node in nodes:
            yield _OTHERS, pod


def _use(variant: VariantFacts, seconds: float) -> tuple[float, float]:
    """GPU-seconds that can be judged, and those of them that did work."""
    gpus = max(variant.workload.gpus_per_replica, 0)
    judged = busy = 0.0
    measured = {metrics.pod: metrics for metrics in variant.measured}
    for pod in variant.view.pods:
        if not pod.holds_gpus:
            continue
        if not pod.ready:  # starting or stopping: paid for, and no work
            judged += gpus * seconds
            continue
        share = busy_share(measured.get(pod.key))
        if share is not None:
            judged += gpus * seconds
            busy += gpus * seconds * share
    return judged, busy


def busy_share(metrics: PodMetrics | None) -> float | None:
    """Part of the time in which the engine computed: steps per second times their duration, else GPU utilization."""
    if metrics is None:
        return None
    steps = metrics.values.get(Signal.STEPS_PER_SECOND)
    duration = metrics.values.get(Signal.STEP_SECONDS)
    if steps == 0:
        return 0.0
    if steps is not None and duration is not None:
        return min(1.0, steps * duration)
    return metrics.values.get(Signal.GPU_UTILIZATION)


def _energy(variant: VariantFacts, seconds: float) -> Energy:
    """Measured power times time; the seconds are GPU-seconds whose power is known."""
    watts = [m.values[Signal.POWER_WATTS] for m in variant.measured if Signal.POWER_WATTS in m.values]
    gpus = max(variant.workload.gpus_per_replica, 0)
    return Energy(sum(watts) * seconds, len(watts) * gpus * seconds)


def _charged(facts: ServiceFacts, tokens: Tokens) -> Charged:
    """GPU-seconds of the finished tokens at the present operating points, by the variants' parts of the output."""
    new, cached = max(0.0, tokens.input - tokens.cached), min(tokens.cached, tokens.input)
    shapley, low, high = _weights(facts)
    return Charged(
        shapley.input * new,
        shapley.cached_input * cached,
        shapley.output * tokens.output,
        low * tokens.output,
        high * tokens.output,
    )


def _weights(facts: ServiceFacts) -> tuple[Weights, float, float]:
    """Shapley weights, and output's at both ends; the price list, or all alike, where no model knows the engine."""
    load = facts.load
    shares = [(variant, variant.total(Signal.GENERATION_TOKENS_PER_SECOND)) for variant in facts.variants]
    known = [
        (v, share, v.batch)
        for v, share in shares
        if v.engine is not None and v.batch is not None and share is not None and share > 0
    ]
    total = sum(share for _, share, _ in known)
    if load is None or total <= 0:
        cost = facts.spec.cost
        listed = EQUAL
        if cost is not None:
            listed = Weights(*(float(p) for p in (cost.prices.input, cost.prices.cached_input, cost.prices.output)))
        return listed, listed.output, listed.output
    parts = [0.0] * 5
    for variant, share, batch in known:
        assert variant.engine is not None  # noqa: S101 - filtered above
        assert batch is not None  # noqa: S101 - filtered above
        middle = weights_at(variant.engine, load, batch)
        low = weights_at(variant.engine, load, batch, "prefill-first").output
        high = weights_at(variant.engine, load, batch, "decode-first").output
        for place, value in enumerate((middle.input, middle.cached_input, middle.output, low, high)):
            parts[place] += value * share / total
    return Weights(*parts[:3]), parts[3], parts[4]
