"""The objects of the large cluster, parsed as the inventory holds them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from pertoken.catalog.lookup import SHIPPED
from pertoken.control.facts import ReplicaSetFact
from pertoken.control.workloads import ScalableFact, scalable_fact
from pertoken.domain.cluster import PodFact
from pertoken.domain.identity import PodKey, WorkloadRef
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import Batching, Parallelism, ServiceSpec, VariantSpec
from pertoken.performance.steady import Engine
from pertoken.performance.step_time import NO_GAINS, engine_model

START: Final = 1_800_000_000.0
RESOURCE: Final = "nvidia.com/gpu"
GPUS: Final = (  # with USD per hour
    ("l40s", "1.10"),
    ("a100-sxm-80gb", "2.00"),
    ("h100-sxm", "3.20"),
    ("h200-sxm", "4.00"),
    ("b200-sxm", "5.50"),
    ("a100-pcie-40gb", "1.40"),
)


def pool(index: int) -> PoolSpec:
    """One of the pools; its name is that of its variants, too."""
    gpu, price = GPUS[index % len(GPUS)]
    name = gpu if index < len(GPUS) else f"{gpu}-{index}"
    return PoolSpec(
        name, gpu, price_per_gpu_hour=Decimal(price), node_selector=(("pool", name),), provisioning_seconds=300
    )


def variant(service: str, namespace: str, pool: PoolSpec) -> VariantSpec:
    """The variant of a service on a pool, an adopted Deployment."""
    ref = WorkloadRef("apps/v1", "Deployment", namespace, f"{service}-{pool.name}")
    return VariantSpec(
        pool.name, pool.name, ref, owned=False, min_replicas=0, max_replicas=6, batching=Batching(max_sequences=256)
    )


def engine(model: str, pool: PoolSpec) -> Engine:
    """What one replica is."""
    row, gpu = SHIPPED.known_model(model), SHIPPED.known_gpu(pool.accelerator)
    if row is None or gpu is None:
        raise LookupError(f"the catalog lacks {model} or {pool.accelerator}")
    return Engine(engine_model(row, gpu, Parallelism()), NO_GAINS, 256)


def pod(spec: ServiceSpec, variant: VariantSpec, number: int, node: str) -> PodFact:
    """A pod that has served for a day."""
    name = f"{variant.workload.name}-7d9f-{number:05d}"
    began = START - 86_400.0
    return PodFact(
        PodKey(spec.key.namespace, name),
        f"uid-{name}",
        {RESOURCE: 1},
        {"pod-template-hash": "7d9f", "app": spec.key.name},
        WorkloadRef("apps/v1", "ReplicaSet", spec.key.namespace, f"{variant.workload.name}-7d9f"),
        node=node,
        created_at=began,
        bound_at=began + 1.0,
        engine_started_at=began + 20.0,
        ready_at=began + 100.0,
    )


def deployment(variant: VariantSpec, replicas: int) -> ScalableFact:
    """The Deployment of a variant."""
    ref = variant.workload
    container: dict[str, Any] = {
        "name": "engine",
        "image": "vllm/vllm-openai:v0.32.0",
        "command": ["vllm", "serve", "model"],
        "args": ["--max-num-seqs=256", "--max-num-batched-tokens=2048"],
        "resources": {"limits": {RESOURCE: "1"}},
    }
    pod = {"containers": [container], "nodeSelector": {"pool": variant.pool}}
    return scalable_fact(
        {
            "apiVersion": ref.api_version,
            "kind": ref.kind,
            "metadata": {
                "name": ref.name,
                "namespace": ref.namespace,
                "uid": f"uid-{ref.name}",
                "resourceVersion": "1",
                "generation": 1,
                "managedFields": [{"manager": "pertoken-scaler", "fieldsV1": {"f:spec": {"f:replicas": {}}}}],
            },
            "spec": {"replicas": replicas, "template": {"spec": pod}},
            "status": {
                "observedGeneration": 1,
                "replicas": replicas,
                "readyReplicas": replicas,
                "updatedReplicas": replicas,
            },
        }
    )


def replicaset(variant: VariantSpec, replicas: int) -> ReplicaSetFact:
    """Its ReplicaSet."""
    ref = variant.workload
    return ReplicaSetFact(ref.namespace, f"{ref.name}-7d9f", f"uid-{ref.name}-7d9f", ref, replicas, 1)
