"""On which GPUs a workload runs: the AcceleratorPool that has them, or the proposal of one. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from pertoken.catalog.gpus import Gpu
from pertoken.catalog.lookup import Catalog
from pertoken.catalog.prices import list_price
from pertoken.cli.adopt.cluster import ClusterView
from pertoken.cli.adopt.engines import FoundEngine
from pertoken.control.gpus import PRODUCT_LABELS
from pertoken.domain.cluster import NodeFact
from pertoken.domain.pool import PoolSpec, Purchase
from pertoken.planner.placement import obstacle

SELECTING: Final = (*PRODUCT_LABELS, "node.kubernetes.io/instance-type")  # that a pool may select nodes by
GPU_RESOURCE: Final = re.compile(r"(^|[./-])(gpu|mig-|gpu\.shared|rocm|gaudi|i915|xe)([./-]|\d|$)|^nvidia\.com/")
DEFAULT_RESOURCE: Final = "nvidia.com/gpu"
SPOT_LABELS: Final = {
    "karpenter.sh/capacity-type": "spot",
    "eks.amazonaws.com/capacityType": "SPOT",
    "cloud.google.com/gke-spot": "true",
    "cloud.google.com/gke-preemptible": "true",
    "kubernetes.azure.com/scalesetpriority": "spot",
}
UNKNOWN: Final = "unknown"
_NAME: Final = re.compile(r"[^a-z0-9-]+")
MOST_NAME: Final = 63


@dataclass(frozen=True, slots=True)
class PoolProposal:
    """A pool for the GPUs that a workload runs on.

    Attributes:
        exists: it is in the cluster already and is left as it is.
        accelerator: catalog id, else the label's value.
        selector: label of its nodes; None where no label tells its GPU.
        count: GPUs of its nodes.
        price: USD per unit of the resource and hour; None where nobody knows.
        price_source: whose price it is.
        questions: what could not be told.
    """

    name: str
    accelerator: str
    resource: str
    selector: tuple[str, str] | None
    count: int
    exists: bool = False
    gpu: Gpu | None = None
    price: Decimal | None = None
    price_source: str = ""
    purchase: Purchase = Purchase.ON_DEMAND
    questions: tuple[str, ...] = ()


def resource_of(engine: FoundEngine) -> str:
    """The extended resource by which a workload asks for GPUs."""
    asked = dict(engine.target.requests)
    for pod in engine.pods:
        asked |= pod.requests
    return next((name for name in sorted(asked) if GPU_RESOURCE.search(name)), DEFAULT_RESOURCE)


def pool_of(engine: FoundEngine, view: ClusterView, prices: Mapping[str, Decimal], catalog: Catalog) -> PoolProposal:
    """The pool of a workload's GPUs.

    Args:
        engine: the workload.
        view: of the cluster.
        prices: USD per GPU and hour by node, of OpenCost; empty where there is none.
        catalog: in which GPUs are looked up.
    """
    resource = resource_of(engine)
    nodes = _nodes_of(engine, view, resource)
    existing = _existing(view.pools, resource, nodes)
    if existing is not None:
        gpu = catalog.known_gpu(existing.accelerator)
        return PoolProposal(
            existing.name, existing.accelerator, resource, None, 0, True, gpu, existing.price_per_gpu_hour
        )
    label, value = _product(nodes)
    same = [node for node in view.nodes if label and node.labels.get(label) == value and _units(node, resource)]
    questions = list(_questions(engine, nodes, label, value))
    gpu = catalog.known_gpu(value) or catalog.known_gpu(resource) if value else None
    if value and gpu is None:
        questions.append(
            f"the catalog has no GPU {value}: which one is it? (spec.accelerator; docs/reference/catalog.md)"
        )
    price, source = _price(gpu, same, prices)
    purchase, spot_question = _purchase(same)
    if price is None:
        questions.append("what does an hour of one of these GPUs cost? Without a price no cost is known")
    return PoolProposal(
        name=_free_name(gpu.id if gpu else value or "gpus", view.pool_names),
        accelerator=gpu.id if gpu else value or UNKNOWN,
        resource=resource,
        selector=(label, value) if value else None,
        count=sum(_units(node, resource) for node in same),
        gpu=gpu,
        price=price,
        price_source=source,
        purchase=purchase,
        questions=(*questions, *spot_question),
    )


def _nodes_of(engine: FoundEngine, view: ClusterView, resource: str) -> list[NodeFact]:
    """Nodes of its pods; without any, those that its template may run on."""
    by_name = {node.name: node for node in view.nodes}
    running = [by_name[pod.node] for pod in engine.pods if pod.node in by_name]
    if running:
        return running
    return [node for node in view.nodes if _units(node, resource) and not obstacle(node, engine.target.placement)]


def _existing(pools: Sequence[PoolSpec], resource: str, nodes: Sequence[NodeFact]) -> PoolSpec | None:
    """The pool that has most of these nodes."""
    hits = Counter(
        pool.name for pool in pools for node in nodes if pool.resource_name == resource and pool.selects(node.labels)
    )
    name = hits.most_common(1)[0][0] if hits else ""
    return next((pool for pool in pools if pool.name == name), None)


def _product(nodes: Sequence[NodeFact]) -> tuple[str, str]:
    """The label that tells the GPU, and its value on most of the nodes; empty where no node has one."""
    for label in SELECTING:
        values = Counter(node.labels[label] for node in nodes if node.labels.get(label))
        if values:
            return label, values.most_common(1)[0][0]
    return "", ""


def _questions(engine: FoundEngine, nodes: Sequence[NodeFact], label: str, value: str) -> list[str]:
    if not nodes:
        return ["no node that this workload may run on is to be seen: which GPUs does it use?"]
    if not value:
        label_of_discovery = f"{PRODUCT_LABELS[0]} of GPU feature discovery"
        return [f"none of its nodes has a label that names the GPU ({label_of_discovery}): which one is it?"]
    others = sorted({node.labels.get(label, "none") for node in nodes} - {value})
    if not others:
        return []
    words = "its pods run" if any(pod.node for pod in engine.pods) else "it may run"
    return [f"{words} on {', '.join(others)} too: give each kind of GPU a workload of its own, or leave them out here"]


def _units(node: NodeFact, resource: str) -> int:
    return node.allocatable.get(resource, 0)


def _price(gpu: Gpu | None, nodes: Sequence[NodeFact], prices: Mapping[str, Decimal]) -> tuple[Decimal | None, str]:
    """OpenCost's for these nodes, else the dated list price."""
    told = [prices[node.name] for node in nodes if prices.get(node.name)]
    if told:
        mean = round(sum(told, Decimal(0)) / len(told), 4)
        return mean, f"OpenCost's node_gpu_hourly_cost, mean of {len(told)} nodes"
    listed = None if gpu is None else list_price(gpu.id)
    return (None, "") if listed is None else (listed.usd_per_hour, f"a public list price, not yours: {listed}")


def _purchase(nodes: Sequence[NodeFact]) -> tuple[Purchase, tuple[str, ...]]:
    spot = [node for node in nodes if any(node.labels.get(name) == value for name, value in SPOT_LABELS.items())]
    if not spot:
        return Purchase.ON_DEMAND, ()
    if len(spot) == len(nodes):
        return Purchase.SPOT, ("these are spot nodes: is the price the spot price?",)
    words = f"{len(spot)} of {len(nodes)} nodes are spot: a pool has one price; select one kind of them by a label?"
    return Purchase.ON_DEMAND, (words,)


def _free_name(wish: str, taken: frozenset[str]) -> str:
    """A name that no pool has yet."""
    plain = _NAME.sub("-", wish.lower()).strip("-")[:MOST_NAME].strip("-") or "gpus"
    names = (plain, *(f"{plain[: MOST_NAME - 3]}-{number}" for number in range(2, 100)))
    return next(name for name in names if name not in taken)
