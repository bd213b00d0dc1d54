"""GPU pools: what exists, what it costs, who may use it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

from pertoken.frozen import dataclass


class Purchase(StrEnum):
    """How the capacity was bought."""

    ON_DEMAND = "OnDemand"
    SPOT = "Spot"
    RESERVED = "Reserved"


class Billing(StrEnum):
    """Whether the provider charges single GPUs or whole nodes."""

    PER_GPU = "PerGPU"
    PER_NODE = "PerNode"


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Which namespaces may use the pool, and how much of it. Selector of labels; empty selects all."""

    namespace_labels: tuple[tuple[str, str], ...] = ()
    max_gpus: int | None = None
    guaranteed_gpus: int = 0
    max_priority: int | None = None

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether the rule is for a namespace with these labels."""
        return all(labels.get(key) == value for key, value in self.namespace_labels)


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """One accepted AcceleratorPool.

    Attributes:
        accelerator: catalog id such as ``a100-sxm-80gb``.
        resource_name: extended resource that pods request.
        gpu_fraction: share of a physical GPU that one unit of the resource is (MIG, time-slicing), 1 for whole.
        price_per_gpu_hour: USD per GPU-hour; None when unknown (never guessed).
        capacity_gpus: fixed number of GPUs; None when it is counted from nodes.
        node_selector: labels of the pool's nodes.
        max_gpus: ceiling that pertoken may occupy, None for all.
    """

    name: str
    accelerator: str
    resource_name: str = "nvidia.com/gpu"
    gpu_fraction: Decimal = Decimal(1)
    purchase: Purchase = Purchase.ON_DEMAND
    price_per_gpu_hour: Decimal | None = None
    billing: Billing = Billing.PER_GPU
    committed_gpus: int = 0
    capacity_gpus: int | None = None
    node_selector: tuple[tuple[str, str], ...] = ()
    max_gpus: int | None = None
    provisioning_seconds: int = 300
    access: tuple[AccessRule, ...] = ()

    def rule_of(self, namespace_labels: Mapping[str, str]) -> int | None:
        """Index of the access rule for a namespace, -1 if the pool is open to all, None if it has no access."""
        if not self.access:
            return -1
        return next((index for index, rule in enumerate(self.access) if rule.selects(namespace_labels)), None)

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these labels belongs to the pool; a pool without selector owns no nodes."""
        return bool(self.node_selector) and all(labels.get(key) == value for key, value in self.node_selector)
