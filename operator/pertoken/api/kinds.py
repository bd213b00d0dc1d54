"""The kinds as the API server knows them: names, printer columns, models of spec and status."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from pertoken.api.v1alpha1 import ACCELERATOR_POOL_KIND, CAPACITY_PLAN_KIND, INFERENCE_SERVICE_KIND, MODEL_ROUTE_KIND
from pertoken.api.v1alpha1.accelerator_pool import AcceleratorPoolSpec
from pertoken.api.v1alpha1.capacity_plan import CapacityPlanSpec
from pertoken.api.v1alpha1.capacity_plan_status import CapacityPlanStatus
from pertoken.api.v1alpha1.inference_service import InferenceServiceSpec
from pertoken.api.v1alpha1.model_route import ModelRouteSpec
from pertoken.api.v1alpha1.model_route_status import ModelRouteStatus
from pertoken.api.v1alpha1.status import AcceleratorPoolStatus, InferenceServiceStatus


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``; priority 1 shows with ``-o wide`` only."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """One custom resource definition."""

    kind: str
    plural: str
    singular: str
    short: str
    namespaced: bool
    description: str
    spec: type[BaseModel]
    status: type[BaseModel]
    columns: tuple[Column, ...]


INFERENCE_SERVICE = Kind(
    kind=INFERENCE_SERVICE_KIND,
    plural="inferenceservices",
    singular="inferenceservice",
    short="ptis",
    namespaced=True,
    description=(
        "InferenceService says which model to serve, on which GPU pools, within which latency and at what cost of "
        "tokens. pertoken moves replicas and batch sizes so that these hold at the least money."
    ),
    spec=InferenceServiceSpec,
    status=InferenceServiceStatus,
    columns=(
        Column("Model", ".spec.model.id", description="Model that is served"),
        Column("Replicas", ".status.replicas", "integer", description="Replicas asked of the workloads"),
        Column("Desired", ".status.desiredReplicas", "integer", description="Replicas that the last decision wants"),
        Column("Batch", ".status.batchSummary", description="Operating batch / cap"),
        Column("USD/1M", ".status.costPerMillionTokens", description="Blended cost of a million tokens"),
        Column("Index", ".status.costIndex", description="Bill / tokens at the price list; target: at most 1"),
        Column("GPU%", ".status.gpuUtilization", description="Mean GPU utilization"),
        Column("Ready", '.status.conditions[?(@.type=="Ready")].status', description="Summary of all conditions"),
        Column(
            "Paused",
            '.status.conditions[?(@.type=="Paused")].status',
            priority=1,
            description="pertoken keeps its hands off",
        ),
        Column("Reason", ".status.reason", priority=1, description="Headline of the last decision"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
)

ACCELERATOR_POOL = Kind(
    kind=ACCELERATOR_POOL_KIND,
    plural="acceleratorpools",
    singular="acceleratorpool",
    short="ptpool",
    namespaced=False,
    description=(
        "AcceleratorPool is one kind of GPU, bought one way: how many there are, what an hour of one costs, and which "
        "namespaces may use them."
    ),
    spec=AcceleratorPoolSpec,
    status=AcceleratorPoolStatus,
    columns=(
        Column("Accelerator", ".spec.accelerator", description="GPU"),
        Column("Purchase", ".spec.purchase", description="How the capacity was bought"),
        Column("USD/GPU/h", ".spec.pricePerGPUHour", description="Price of a GPU-hour"),
        Column("Total", ".status.total", "integer", description="GPUs that exist"),
        Column("Used", ".status.used", "integer", description="GPUs that pods occupy"),
        Column("Free", ".status.free", "integer", description="GPUs that nobody occupies"),
        Column("Pending", ".status.pending", "integer", description="GPUs that pods wait for"),
        Column("USD/h", ".status.spendPerHour", description="Cost of the occupied GPUs"),
        Column("Placeable", ".status.placeable", "integer", 1, "GPUs the largest replica in use could get"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
)

CAPACITY_PLAN = Kind(
    kind=CAPACITY_PLAN_KIND,
    plural="capacityplans",
    singular="capacityplan",
    short="ptplan",
    namespaced=False,
    description=(
        "CapacityPlan asks which GPUs are needed, how many, when, and how to buy them: for which services, how far "
        "ahead, within which budget, from which offers. `pertoken plan` makes the plan; it buys and applies nothing."
    ),
    spec=CapacityPlanSpec,
    status=CapacityPlanStatus,
    columns=(
        Column("Days", ".spec.horizonDays", "integer", description="How far ahead is planned"),
        Column("Services", ".status.services", "integer", description="Services that were planned for"),
        Column("GPUs", ".status.peakGPUs", "integer", description="Sum of the pools' peaks at the plan's confidence"),
        Column("Short", ".status.shortfalls", "integer", description="Pools that need more GPUs than exist"),
        Column("Order-By", ".status.orderBy", description="Earliest date by which something must be ordered"),
        Column("USD/Month", ".status.costPerMonth", description="Cost of an average month, commitments included"),
        Column(
            "In-Budget",
            '.status.conditions[?(@.type=="WithinBudget")].status',
            description="Whether the dearest month stays within the budget",
        ),
        Column("Saving", ".status.savingPerMonth", priority=1, description="USD a month below all on demand"),
        Column("Planned", ".status.plannedTime", "date", description="When the plan was made"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
)

MODEL_ROUTE = Kind(
    kind=MODEL_ROUTE_KIND,
    plural="modelroutes",
    singular="modelroute",
    short="ptroute",
    namespaced=True,
    description=(
        "ModelRoute splits traffic between models of different quality and price: pertoken sets the weights of an "
        "HTTPRoute so that answers cost the least with their mean quality above a floor, within what the pools carry."
    ),
    spec=ModelRouteSpec,
    status=ModelRouteStatus,
    columns=(
        Column("Split", ".status.split", description="Weights of the tiers now"),
        Column("Quality", ".status.quality", description="Expected quality of an answer"),
        Column("Floor", ".spec.qualityFloor", description="Least expected quality"),
        Column("USD/1k", ".status.costPerThousandAnswers", description="Cost of 1,000 answers"),
        Column("Req/s", ".status.requestsPerSecond", description="Demand of the route"),
        Column(
            "Programmed",
            '.status.conditions[?(@.type=="Programmed")].status',
            description="Whether the HTTPRoute has the weights",
        ),
        Column(
            "Degraded",
            '.status.conditions[?(@.type=="Degraded")].status',
            description="Whether a tier cannot take what it should",
        ),
        Column("Reason", ".status.reason", priority=1, description="Why the weights are what they are"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
)

KINDS = (INFERENCE_SERVICE, ACCELERATOR_POOL, CAPACITY_PLAN, MODEL_ROUTE)
