"""A scenario's services and pools as the operator holds them once its own check has accepted them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pertoken.control.objects import PoolObject, ServiceObject
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import Mode, ServiceSpec, VariantSpec
from pertoken_bench.cluster.clock import EPOCH
from pertoken_bench.cluster.documents import POOL_LABEL

PROFILE: Final = "default"


def service_object(spec: ServiceSpec) -> ServiceObject:
    """The service in mode Auto; what it runs on is there already, so every variant is an adopted one."""
    uid = f"service-{spec.key.namespace}-{spec.key.name}"
    variants = tuple(_adopted(variant) for variant in spec.variants)
    acting = replace(spec, uid=uid, variants=variants, mode=Mode.AUTO, metrics_profile=PROFILE)
    return ServiceObject(spec.key, uid, spec.generation, deleting=False, spec=acting, created_at=EPOCH)


def pool_object(spec: PoolSpec, *, elastic: bool) -> PoolObject:
    """The pool over its nodes; nodes of an elastic one come when pods wait for them, its capacity is its ceiling."""
    selector = () if elastic else ((POOL_LABEL, spec.name),)
    uid = f"pool-{spec.name}"
    return PoolObject(spec.name, uid, 1, EPOCH, replace(spec, node_selector=selector))


def _adopted(variant: VariantSpec) -> VariantSpec:
    return replace(variant, owned=False)
