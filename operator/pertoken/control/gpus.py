"""The GPU behind one unit of a pool's resource, and the GPU of a node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pertoken.catalog.gpus import Gpu
from pertoken.catalog.lookup import Catalog
from pertoken.domain.pool import PoolSpec

# Labels that name a node's GPU, the device plugins' own first.
PRODUCT_LABELS: Final = (
    *("nvidia.com/gpu.product", "amd.com/gpu.product-name", "beta.amd.com/gpu.product-name"),
    *("cloud.google.com/gke-accelerator", "karpenter.k8s.aws/instance-gpu-name"),
)


def product_of(labels: Mapping[str, str]) -> str:
    """What a node's labels call its GPU; empty where none does."""
    return next((labels[label] for label in PRODUCT_LABELS if labels.get(label)), "")


def whole_gpu(pool: PoolSpec, catalog: Catalog) -> Gpu | None:
    """The GPU, if pods get whole ones; None for a slice, which has another memory, and for a GPU that nobody knows."""
    whole = pool.gpu_fraction == 1 and "mig" not in pool.resource_name
    return catalog.known_gpu(pool.accelerator) if whole else None
