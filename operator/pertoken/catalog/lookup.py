"""Find GPUs and models by any of their usual names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from pertoken.catalog.gpu_rows import GPUS
from pertoken.catalog.gpus import Gpu
from pertoken.catalog.model_rows import MODELS
from pertoken.catalog.models import Model

_QUANTIZATIONS: Final = (
    ("nvfp4", re.compile(r"[-_]nvfp4\b|[-_]fp4\b")),
    ("mxfp4", re.compile(r"[-_]mxfp4\b")),
    ("fp8", re.compile(r"[-_]fp8\b|[-_]w8a8[-_]fp8\b")),
    ("int8", re.compile(r"[-_]int8\b|[-_]w8a8\b|[-_.]quantized\.w8a8\b")),
    ("int4", re.compile(r"[-_]int4\b|[-_]awq\b|[-_]gptq\b|[-_]w4a16\b|[-_.]quantized\.w4a16\b")),
)
_SUFFIXES: Final = re.compile(
    r"([-_.](instruct|it|chat|hf|base|quantized|dynamic|block|channel|awq|gptq|int4|int8|fp8|fp4|nvfp4|mxfp4|bf16"
    r"|w4a16|w8a8|w8a16|marlin|\d{4}|v0\.[123]))+$"
)


@dataclass(frozen=True, slots=True)
class Unknown:
    """The catalog has no such row.

    Attributes:
        what: ``GPU`` or ``model``.
        close: known names that look alike, best first.
    """

    what: str
    name: str
    close: tuple[str, ...]

    def __str__(self) -> str:
        hint = f"; close: {', '.join(self.close)}" if self.close else ""
        return f"unknown {self.what} {self.name!r}{hint}"


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", "-", name.strip().lower())


def model_key(name: str) -> str:
    """A model id without organisation, ``Meta-`` and suffixes that do not change the architecture."""
    text = _plain(name).rsplit("/", 1)[-1].removeprefix("meta-")
    return _SUFFIXES.sub("", text)


def quantization_of(name: str) -> str:
    """Precision that a model id announces (``fp8``, ``int8``, ``int4``, ``mxfp4``, ``nvfp4``); empty if none."""
    text = name.lower()
    return next((kind for kind, pattern in _QUANTIZATIONS if pattern.search(text)), "")


def _gpu_index(gpus: Iterable[Gpu]) -> dict[str, Gpu]:
    return {_plain(name): gpu for gpu in gpus for name in (gpu.id, *gpu.products, *gpu.aliases)}


def _model_index(models: Iterable[Model]) -> dict[str, Model]:
    return {model_key(name): model for model in models for name in (model.id, *model.aliases)}


_GPU_INDEX: Final = _gpu_index(GPUS)
_MODEL_INDEX: Final = _model_index(MODELS)


def find_gpu(name: str) -> Gpu | Unknown:
    """The GPU of this id, node label product or alias."""
    key = _plain(name)
    found = _GPU_INDEX.get(key) or _GPU_INDEX.get(key.removeprefix("nvidia-"))
    if found is not None:
        return found
    close = get_close_matches(key, _GPU_INDEX, n=5, cutoff=0.5)
    return Unknown("GPU", name, tuple(dict.fromkeys(_GPU_INDEX[match].id for match in close)))


def find_model(name: str) -> Model | Unknown:
    """The model of this id, with or without organisation, ``Meta-``, ``-Instruct`` and quantization suffixes."""
    key = model_key(name)
    found = _MODEL_INDEX.get(key)
    if found is not None:
        return found
    close = get_close_matches(key, _MODEL_INDEX, n=5, cutoff=0.5)
    return Unknown("model", name, tuple(dict.fromkeys(_MODEL_INDEX[match].id for match in close)))
