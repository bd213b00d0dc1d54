"""The coefficients of one replica as its manifest describes it: model, GPU, parallelism, quantization, chunk."""

from __future__ import annotations

from pertoken.catalog.architecture import Fact, from_config
from pertoken.catalog.lookup import Catalog, Unknown, weights_of
from pertoken.catalog.models import Model
from pertoken.domain.service import EngineKind, ModelSpec, Parallelism, VariantSpec
from pertoken.frozen import dataclass
from pertoken.performance.results import Results
from pertoken.performance.step_time import EngineModel, engine_model


@dataclass(frozen=True, slots=True)
class Models:
    """What is known of GPUs and models, and what was worked out of it."""

    catalog: Catalog
    results: Results


@dataclass(frozen=True, slots=True)
class _Replica:
    """What the coefficients of a replica depend on; many services have the same.

    Attributes:
        architecture: of a model that is described inline.
        batched_tokens: tokens of one step as the user states them.
    """

    model: str
    architecture: tuple[tuple[str, Fact], ...] | None
    accelerator: str
    parallelism: Parallelism
    quantization: str
    batched_tokens: int | None


def described(model: ModelSpec, catalog: Catalog) -> Model | Unknown:
    """The model's own architecture where the service tells it, else the catalog's row."""
    if model.architecture:
        return from_config(model.id or model.served_name, model.architecture)
    return catalog.model(model.id)


def replica_model(model: ModelSpec, variant: VariantSpec, accelerator: str, models: Models) -> EngineModel | None:
    """Coefficients of a variant's replica; None for an engine that no model describes, and for what is not known."""
    if variant.engine is EngineKind.GENERIC or not model.id:
        return None
    tokens = variant.batching.max_batched_tokens
    replica = _Replica(model.id, model.architecture, accelerator, variant.parallelism, variant.quantization, tokens)
    return models.results.of(_base_model, replica, models.catalog)


def _base_model(replica: _Replica, catalog: Catalog) -> EngineModel | None:
    gpu = catalog.known_gpu(replica.accelerator)
    if gpu is None:
        return None
    facts = replica.architecture
    row = from_config(replica.model, facts) if facts else catalog.known_model(replica.model)
    if row is None or isinstance(row, Unknown):
        return None
    base = engine_model(row, gpu, replica.parallelism, weights_of(replica.model, replica.quantization))
    return base.with_batched_tokens(replica.batched_tokens)
