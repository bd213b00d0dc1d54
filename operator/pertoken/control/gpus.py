"""The GPU behind one unit of a pool's resource."""

from __future__ import annotations

from pertoken.catalog.gpus import Gpu
from pertoken.catalog.lookup import Catalog
from pertoken.domain.pool import PoolSpec


def whole_gpu(pool: PoolSpec, catalog: Catalog) -> Gpu | None:
    """The GPU, if pods get whole ones; None for a slice, which has another memory, and for a GPU that nobody knows."""
    whole = pool.gpu_fraction == 1 and "mig" not in pool.resource_name
    return catalog.known_gpu(pool.accelerator) if whole else None
