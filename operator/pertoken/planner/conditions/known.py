"""Models and GPUs that the catalog does not know: `size` then scales by saturation, and conditions say so."""

from __future__ import annotations

from pertoken.catalog.architecture import Incomplete, read_facts
from pertoken.catalog.lookup import HIDDEN_QUANTIZATION, Catalog, Unknown, hides_quantization
from pertoken.domain.plan import Condition, Verdict
from pertoken.domain.pool import PoolSpec
from pertoken.domain.reasons import Reason
from pertoken.domain.service import EngineKind, ModelSpec
from pertoken.planner.service_state import ServiceState

_UNTIL_THEN = "until then replicas follow the engines' saturation"
MODEL_HELP = f"give its config.json in spec.model.architecture, or a row in the catalog's ConfigMap; {_UNTIL_THEN}"
GPU_HELP = f"correct the pool's accelerator, or give a row in the catalog's ConfigMap; {_UNTIL_THEN}"


def accepted_condition(state: ServiceState) -> Condition | None:
    """`Accepted` of a service with something to say: what is not known, and what cannot be right; None without."""
    known, doubts = known_condition(state), state.view.doubts
    if not doubts:
        return known
    words = "; ".join(doubt.message for doubt in doubts)
    if known is None:
        return Condition(Verdict.TRUE, doubts[0].reason, words)
    reason = doubts[0].reason if known.reason is Reason.ACCEPTED else known.reason
    return Condition(Verdict.TRUE, reason, f"{known.message}; {words}")


def known_condition(state: ServiceState) -> Condition | None:
    """`Accepted` of a service whose model or GPU is not in the catalog; None when all is known, or need not be.

    The spec stays accepted: the service is sized by saturation instead of a model. Engines of the kind `generic` need
    no model.
    """
    modelled = [variant for variant in state.variants if variant.spec.engine is not EngineKind.GENERIC]
    if not modelled:
        return None
    pools = tuple(dict.fromkeys(variant.pool for variant in modelled if variant.pool is not None))
    silent = any(variant.spec.quantization in {"", "bf16"} for variant in modelled)
    model = state.spec.model
    if model.id:
        model = ModelSpec(model.id, "", architecture=model.architecture)  # many services have the same
    return state.results.of(_known, model, pools, state.catalog, silent)


def _known(model: ModelSpec, pools: tuple[PoolSpec, ...], catalog: Catalog, silent: bool) -> Condition | None:
    """The same of a model on pools; `silent` where nothing but the model's name says what its weights are."""
    unknown = _unknown_model(model, catalog)
    if unknown is not None:
        return Condition(Verdict.TRUE, Reason.UNKNOWN_MODEL, f"{unknown}; {MODEL_HELP}")
    for pool in pools:
        condition = pool_condition(pool, catalog)
        if condition is not None:
            return condition
    return _doubted(model, catalog, silent)


def _doubted(model: ModelSpec, catalog: Catalog, silent: bool) -> Condition | None:
    """`Accepted` of a model whose configuration says something that is not understood, or cannot be read."""
    if model.architecture:
        row = read_facts(model.id or model.served_name, model.architecture)
    else:
        known = catalog.known_model(model.id)
        if known is None:
            return None
        row = known
    if isinstance(row, Incomplete):
        return Condition(Verdict.TRUE, Reason.UNKNOWN_MODEL, f"spec.model.architecture: {row.why}; {_UNTIL_THEN}")
    # A GGUF file without its type, in a variant without one.
    hidden = silent and hides_quantization(model.id)
    if not row.doubts and not hidden:
        return None
    told = f"the model's config: {'; '.join(row.doubts)}" if row.doubts else f"{model.id}: {HIDDEN_QUANTIZATION}"
    return Condition(Verdict.TRUE, Reason.ACCEPTED, f"the spec is valid; {told}")


def pool_condition(pool: PoolSpec, catalog: Catalog) -> Condition | None:
    """`Accepted` of a pool whose accelerator is not in the catalog; None when it is."""
    gpu = catalog.gpu(pool.accelerator)
    if not isinstance(gpu, Unknown):
        return None
    return Condition(Verdict.TRUE, Reason.UNKNOWN_ACCELERATOR, f"pool {pool.name}: {gpu}; {GPU_HELP}")


def nodes_condition(pool: PoolSpec, nodes: int) -> Condition | None:
    """`Accepted` of a pool that counts its GPUs from nodes of which there is none; None where there is one.

    `maxGPUs` above 0 says that nodes may come: such a pool is Ready, with the reason that it has none yet.
    """
    if nodes or pool.capacity_gpus is not None or not pool.node_selector:
        return None
    labels = ", ".join(f"{key}={value}" for key, value in pool.node_selector)
    if pool.max_gpus:
        words = (
            f"no node has {labels} yet; up to {pool.max_gpus} GPUs may come (spec.maxGPUs): replicas are given"
            " to nodes that are there, so the autoscaler's least size or a pod that waits has to bring the first"
        )
        return Condition(Verdict.TRUE, Reason.NO_NODES_YET, words)
    words = f"no node has {labels}: there is no GPU to use until one comes (spec.capacity.fromNodes.matchLabels)"
    return Condition(Verdict.TRUE, Reason.NO_NODES, words)


def _unknown_model(model: ModelSpec, catalog: Catalog) -> Unknown | None:
    if model.architecture or not model.id:
        return None
    row = catalog.model(model.id)
    return row if isinstance(row, Unknown) else None
