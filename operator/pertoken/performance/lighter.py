"""Smaller models that could answer instead: of the same publisher, with lighter weights on the same GPUs."""

from __future__ import annotations

from collections.abc import Iterable

from pertoken.catalog.gpus import Gpu
from pertoken.catalog.models import Model
from pertoken.domain.service import Parallelism
from pertoken.frozen import dataclass
from pertoken.performance.coefficients import engine_model
from pertoken.performance.step_time import EngineModel


@dataclass(frozen=True, slots=True)
class Placed:
    """How a model is spread over its GPUs."""

    gpu: Gpu
    parallelism: Parallelism
    quantization: str

    def engine_model(self, model: Model) -> EngineModel:
        """Coefficients of a model that is served so."""
        return engine_model(model, self.gpu, self.parallelism, self.quantization)


def lighter_models(model: Model, placed: Placed, models: Iterable[Model]) -> tuple[Model, ...]:
    """The publisher's models with lighter weights, heaviest first. Nobody here knows how good their answers are."""
    publisher = model.id.partition("/")[0]
    mine = placed.engine_model(model).weights_gib
    weights = {
        other.id: (placed.engine_model(other).weights_gib, other)
        for other in models
        if other.id.partition("/")[0] == publisher and other.id != model.id
    }
    lighter = sorted((entry for entry in weights.values() if entry[0] < mine), key=lambda entry: -entry[0])
    return tuple(other for _, other in lighter)
