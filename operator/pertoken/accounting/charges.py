"""What a service's GPUs cost since the last cycle, by what they did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from decimal import ROUND_HALF_EVEN, Decimal

from pertoken.accounting.bill import Bill, bill, pod_phases
from pertoken.accounting.billed import BilledService, BilledVariant
from pertoken.accounting.energy import Energy
from pertoken.accounting.ledger import Lines
from pertoken.accounting.pool_bill import holdings, pool_bill
from pertoken.domain.cluster import PodFact
from pertoken.domain.metrics import PodMetrics
from pertoken.domain.pool import Billing, PoolSpec
from pertoken.domain.signal import Signal
from pertoken.domain.world import PoolView, World
from pertoken.frozen import dataclass

_OTHERS = ""  # pods of no service


@dataclass(frozen=True, slots=True)
class GpuTimeCharged:
    """The bill of an interval by what the GPUs did.

    Attributes:
        bill: all of it.
        lines: the money in it that bought no work.
        judged_gpu_seconds, busy_gpu_seconds: GPU time whose use was measured, and the used part of it.
        energy: measured power times time.
    """

    bill: Bill
    lines: Lines
    judged_gpu_seconds: float
    busy_gpu_seconds: float
    energy: Energy

    @property
    def worked_gpu_seconds(self) -> float:
        """GPU time in which engines computed; all of it where its use is not measured."""
        return self.busy_gpu_seconds if self.judged_gpu_seconds > 0 else self.bill.gpu_seconds


@dataclass(slots=True)
class Unallocated:
    """What the world's pools charge and nobody holds; each pool and interval is worked out once.

    Attributes:
        now: end of every interval, seconds since the epoch.
    """

    world: World
    now: float
    _shares: dict[tuple[str, float], Mapping[str, Bill]] = field(default_factory=dict)

    def share(self, service: BilledService, pool_name: str, start: float) -> Bill:
        """The service's part of it in [start, now), shared out by GPU time."""
        if (pool_name, start) not in self._shares:
            self._shares[pool_name, start] = self._of_pool(pool_name, start)
        return self._shares[pool_name, start].get(str(service.spec.key), Bill())

    def _of_pool(self, name: str, start: float) -> Mapping[str, Bill]:
        view = next((view for view in self.world.pools if view.spec.name == name), None)
        if view is None or (view.spec.billing is Billing.PER_GPU and not view.spec.committed_gpus):
            return {}
        held = holdings(_holders(self.world, view), view.spec, start, self.now)
        nodes = {node.name: node.allocatable.get(view.spec.resource_name, 0) for node in view.nodes}
        return pool_bill(view.spec, held, nodes, start, self.now).shares_of_unallocated()


def charge(service: BilledService, unheld: Unallocated, start: float) -> GpuTimeCharged:
    """What the service's GPUs cost in [start, now).

    Args:
        service: in this cycle.
        unheld: what pools charge and nobody holds.
        start: when the last entry ended, seconds since the epoch.
    """
    total, judged, busy, energy = Bill(), 0.0, 0.0, Energy()
    idle = warming = unallocated = 0
    seconds = service.now - start
    for variant in service.variants:
        if variant.pool is None:
            continue
        total += bill(variant.pods, variant.pool, start, service.now)
        still, starting = _without_work(variant, variant.pool, start, service.now)
        idle += _whole(still)
        warming += _whole(starting)
        judged_part, busy_part = _use(variant, seconds)
        judged += judged_part
        busy += busy_part
        energy += _energy(variant, seconds)
    for name in sorted({variant.spec.pool for variant in service.variants}):
        rest = unheld.share(service, name, start)
        amount = _whole(rest)
        unallocated += amount
        total += Bill(rest.gpu_microseconds, Decimal(amount), rest.priced)
    return GpuTimeCharged(total, Lines(idle, warming, unallocated), judged, busy, energy)


def spend_per_hour(service: BilledService) -> float | None:
    """USD per hour of the GPUs that pods hold now; None where a variant's pool has no price."""
    spend = 0.0
    for variant in service.variants:
        pool = variant.pool
        if pool is None or pool.price_per_gpu_hour is None:
            return None
        units = sum(pod.requests.get(pool.resource_name, 0) for pod in variant.pods if pod.holds_gpus)
        spend += float(pool.price_per_gpu_hour * pool.gpu_fraction) * units
    return spend if service.variants else None


def _whole(part: Bill) -> int:
    return int(part.usd_microhours.to_integral_value(ROUND_HALF_EVEN))


def _without_work(variant: BilledVariant, pool: PoolSpec, start: float, now: float) -> tuple[Bill, Bill]:
    """What one variant's pods cost while they stood still and while they started.

    Use that is not known counts as work.
    """
    idle, warming = Bill(), Bill()
    for pod in variant.pods:
        starting, serving = pod_phases(pod, pool, start, now)
        share = busy_share(variant.measured.get(pod.key)) if pod.ready else 0.0
        used = Decimal(1 if share is None else share)
        warming += starting
        idle += serving.split([1 - used, used])[0] if used else serving
    return idle, warming


def _holders(world: World, pool: PoolView) -> Iterable[tuple[str, PodFact]]:
    """Every pod that may hold GPUs of the pool, with the service that pays; gone ones as far as services remember."""
    seen: set[str] = set()
    for service in world.services:
        for variant in service.all_variants:
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


def _use(variant: BilledVariant, seconds: float) -> tuple[float, float]:
    """GPU-seconds that can be judged, and those of them that did work."""
    gpus = variant.gpus_per_replica
    judged = busy = 0.0
    for pod in variant.pods:
        if not pod.holds_gpus:
            continue
        if not pod.ready:  # starting or stopping: paid for, and no work
            judged += gpus * seconds
            continue
        share = busy_share(variant.measured.get(pod.key))
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


def _energy(variant: BilledVariant, seconds: float) -> Energy:
    """Measured power times time; the seconds are GPU-seconds whose power is known."""
    watts = [m.values[Signal.POWER_WATTS] for m in variant.measured.values() if Signal.POWER_WATTS in m.values]
    gpus = variant.gpus_per_replica
    return Energy(sum(watts) * seconds, len(watts) * gpus * seconds)
