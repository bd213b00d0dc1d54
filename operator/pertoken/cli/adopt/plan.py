"""All of `pertoken adopt` but reading options and printing: found engines, pools, measurements, proposals."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pertoken.catalog.lookup import Catalog
from pertoken.cli.adopt.cluster import ClusterView
from pertoken.cli.adopt.engines import NO_SIGHT, FoundEngine, find_engines
from pertoken.cli.adopt.manifests import Comments, Json, pool_manifest, service_manifest
from pertoken.cli.adopt.measured import Measured, Meter, Question, measure
from pertoken.cli.adopt.pools import PoolProposal, pool_of
from pertoken.cli.adopt.proposal import Group, ServiceProposal, group, propose
from pertoken.domain.metrics import MetricsHealth, MetricsSnapshot


@dataclass(frozen=True, slots=True)
class Adoption:
    """What is proposed.

    Attributes:
        manifests: pools first, each with its comments by field.
        left_out: workloads that are not adopted, with the reason.
    """

    services: tuple[ServiceProposal, ...]
    pools: tuple[PoolProposal, ...]
    manifests: tuple[tuple[Json, Comments], ...]
    left_out: tuple[str, ...]

    @property
    def questions(self) -> int:
        """How many there are in the comments."""
        texts = (text for _, comments in self.manifests for lines in comments.values() for text in lines)
        return sum(text.startswith("QUESTION: ") for text in texts)


def adoption(view: ClusterView, meter: Meter | None, why_no_meter: str, catalog: Catalog) -> Adoption:
    """Proposals for everything that serves.

    Args:
        view: of the cluster.
        meter: of its Prometheus; None without one.
        why_no_meter: what stands for the measurements then.
        catalog: in which GPUs and models are looked up.
    """
    sight, now = (NO_SIGHT, _silent(why_no_meter)) if meter is None else meter.sight()
    discovery = find_engines(view, sight)
    prices = {} if meter is None or not discovery.engines else meter.node_prices()
    pools = _distinct([pool_of(engine, view, prices, catalog) for engine in discovery.engines], view.pool_names)
    lately = now if meter is None or not discovery.engines else meter.over_hours()
    services = []
    for each in group(discovery.engines, pools, view.services):
        measured = Measured(missing=(why_no_meter,)) if meter is None else measure(meter, _asked(each), now, lately)
        services.append(propose(each, measured, view, catalog))
    proposed = tuple({pool.name: pool for pool in pools if not pool.exists}.values())
    manifests = (*(pool_manifest(pool) for pool in proposed), *(service_manifest(service) for service in services))
    return Adoption(tuple(services), proposed, manifests, discovery.left_out)


def _silent(why: str) -> MetricsSnapshot:
    return MetricsSnapshot(MetricsHealth(ok=False, why=why), 60.0, 60.0)


def _asked(each: Group) -> Question:
    first = each.engines[0]
    return Question(
        namespace=first.target.ref.namespace,
        service=each.name,
        served_name=first.serving.name,
        engine=first.serving.engine,
        pods=tuple(pod.key for engine in each.engines for pod in engine.pods),
        workloads=each.workloads,
    )


def _distinct(pools: list[PoolProposal], taken: frozenset[str]) -> list[PoolProposal]:
    """Workloads on the same GPUs get one pool; different GPUs of one name get a name each."""
    named: dict[tuple[str, tuple[str, str] | None, str], str] = {}
    used = set(taken)
    chosen = []
    for pool in pools:
        key = (pool.resource, pool.selector, pool.accelerator)
        if not pool.exists and key not in named:
            name, number = pool.name, 1
            while name in used:
                number += 1
                name = f"{pool.name[:60]}-{number}"
            used.add(name)
            named[key] = name
        chosen.append(pool if pool.exists else replace(pool, name=named[key]))
    return chosen


__all__ = ["Adoption", "FoundEngine", "adoption"]
