"""AcceleratorPool: which GPUs exist, what they cost, who may use them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pertoken.api.v1alpha1.base import ATOMIC, LIST_LENGTH, Amount, LabelKey, LabelValue, Name, Strict


class NodeSelector(Strict):
    """Labels of the pool's nodes."""

    match_labels: dict[LabelKey, LabelValue] = Field(
        min_length=1, max_length=LIST_LENGTH, description="A node belongs to the pool when it has all these labels."
    )


class NamespaceSelector(Strict):
    """Labels of namespaces; none selects all of them."""

    match_labels: dict[LabelKey, LabelValue] | None = Field(
        default=None, max_length=LIST_LENGTH, description="A namespace is selected when it has all these labels."
    )


class PoolCapacity(Strict):
    """How many GPUs the pool has: a fixed number, or those of the nodes that carry certain labels."""

    gpus: int | None = Field(default=None, ge=0, le=1_000_000, description="Fixed number of GPUs. Excludes fromNodes.")
    from_nodes: NodeSelector | None = Field(
        default=None, description="Count the allocatable GPUs of the selected nodes. Excludes gpus."
    )


class PriceSource(Strict):
    """Where the price comes from when it is not stated."""

    source: Literal["OpenCost"] = Field(description="OpenCost: node_gpu_hourly_cost in Prometheus.")
    profile: Name = Field(default="default", description="Metrics profile whose Prometheus is asked.")


class Access(Strict):
    """Who may use the pool, and how much of it. A namespace that no entry selects may not."""

    namespace_selector: NamespaceSelector | None = Field(
        default=None, description="Namespaces this entry is about. Unset: all."
    )
    max_gpus: int | None = Field(default=None, ge=0, le=1_000_000, description="Most GPUs of one such namespace.")
    guaranteed_gpus: int = Field(
        default=0, ge=0, le=1_000_000, description="GPUs that such a namespace gets before others, when it needs them."
    )
    max_priority: int | None = Field(
        default=None, ge=-1000, le=1000, description="Highest priority that counts for such a namespace's services."
    )


class AcceleratorPoolSpec(Strict):
    """One kind of GPU, bought one way."""

    accelerator: Name = Field(
        description="GPU by catalog id (a100-sxm-80gb, h100-sxm, l40s ...) or by its node label nvidia.com/gpu.product."
    )
    resource_name: Name = Field(default="nvidia.com/gpu", description="Extended resource that pods request.")
    gpu_fraction: Amount = Field(
        default="1",
        description="Share of a physical GPU that one unit of the resource is (MIG, time-slicing), above 0, at most 1.",
    )
    purchase: Literal["OnDemand", "Spot", "Reserved"] = Field(
        default="OnDemand", description="How the capacity was bought."
    )
    price_per_gpu_hour: Amount | None = Field(
        default=None, description='USD per GPU and hour, a decimal string such as "1.29". Never guessed when unset.'
    )
    price_from: PriceSource | None = Field(
        default=None, description="Where the price is read. Excludes pricePerGPUHour."
    )
    billing: Literal["PerGPU", "PerNode"] = Field(
        default="PerGPU", description="Whether single GPUs or whole nodes are charged."
    )
    committed_gpus: int = Field(
        default=0, ge=0, le=1_000_000, description="GPUs that are paid for whether they are used or not."
    )
    capacity: PoolCapacity = Field(description="How many GPUs the pool has.")
    max_gpus: int | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description=(
            "Most GPUs that pertoken may occupy in this pool. Unset: all. With a node autoscaler, the most that it "
            "may bring: a pool that states it is Ready without nodes."
        ),
    )
    provisioning_seconds: int = Field(
        default=300,
        ge=0,
        le=86_400,
        description="Time in which a new node comes up, in seconds; pods unschedulable twice as long are withdrawn.",
    )
    access: list[Access] | None = Field(
        default=None,
        max_length=LIST_LENGTH,
        json_schema_extra=ATOMIC,
        description="Who may use the pool, the first matching entry counts. Unset: every namespace.",
    )
