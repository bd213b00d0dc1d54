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
    r"([-_.](instruct|it|pt|chat|hf|base|thinking|quantized|dynamic|block|channel|static|awq|gptq|int4|int8|fp8|fp4"
    r"|nvfp4|mxfp4|bf16|kv|w4a16|w8a8|w8a16|marlin|gguf|\d{4}|v0\.[123]|99(\.9)?))+$"
)
_COUNT: Final = re.compile(r"^\d+x-?(?=[a-z])")


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


def _name(name: str) -> str:
    """A model id without organisation."""
    return _plain(name).rsplit("/", 1)[-1]


def model_key(name: str) -> str:
    """A model id without organisation, ``Meta-`` and suffixes that do not change the architecture."""
    return _SUFFIXES.sub("", _name(name).removeprefix("meta-"))


def quantization_of(name: str) -> str:
    """Precision that a model id announces (``fp8``, ``int8``, ``int4``, ``mxfp4``, ``nvfp4``); empty if none."""
    text = name.lower()
    return next((kind for kind, pattern in _QUANTIZATIONS if pattern.search(text)), "")


def _compact(key: str) -> str:
    """Only letters and digits: ``llama3_1-8b`` and ``llama-3.1-8b`` are the same name."""
    return re.sub(r"[^a-z0-9]", "", key)


def _gpu_key(name: str) -> str:
    """A GPU's name without vendor, number of GPUs and the device plugin's sharing suffix."""
    text = _plain(name).removesuffix("-shared").removeprefix("nvidia-")
    return _COUNT.sub("", text)


class Catalog:
    """Rows by all their names; later rows win over earlier ones of the same name."""

    def __init__(self, gpus: Iterable[Gpu] = GPUS, models: Iterable[Model] = MODELS) -> None:
        """Index the rows."""
        self._gpus: dict[str, Gpu] = {}
        self._models: dict[str, Model] = {}
        self._exact: dict[str, Model] = {}
        self._compact: dict[str, Model] = {}
        for gpu in gpus:
            for name in (gpu.id, *gpu.products, *gpu.aliases):
                self._gpus[_plain(name)] = self._gpus[_gpu_key(name)] = gpu
        for model in models:
            for name in (model.id, *model.aliases):
                self._exact[_name(name)] = model
                if name == model.id or model_key(name) not in self._models:
                    self._models[model_key(name)] = model
                    self._compact[_compact(model_key(name))] = model

    def gpu(self, name: str) -> Gpu | Unknown:
        """The GPU of this id, node label product or alias."""
        found = self._gpus.get(_plain(name)) or self._gpus.get(_gpu_key(name))
        if found is not None:
            return found
        close = get_close_matches(_plain(name), self._gpus, n=5, cutoff=0.5)
        return Unknown("GPU", name, tuple(dict.fromkeys(self._gpus[match].id for match in close)))

    def model(self, name: str) -> Model | Unknown:
        """The model of this id, with or without organisation, ``Meta-``, ``-Instruct`` and quantization suffixes."""
        key = model_key(name)
        found = self._exact.get(_name(name)) or self._models.get(key) or self._compact.get(_compact(key))
        if found is not None:
            return found
        close = get_close_matches(key, self._models, n=5, cutoff=0.5)
        return Unknown("model", name, tuple(dict.fromkeys(self._models[match].id for match in close)))


class _Current:
    """The catalog in use: the shipped rows, and those that an administrator added."""

    catalog = Catalog()


def use(gpus: Iterable[Gpu] = (), models: Iterable[Model] = ()) -> None:
    """Look up these rows too, before the shipped ones. The program calls it at its start, and when they changed."""
    _Current.catalog = Catalog((*GPUS, *gpus), (*MODELS, *models))


def current() -> Catalog:
    """The catalog in use: another object when rows have changed."""
    return _Current.catalog


def find_gpu(name: str) -> Gpu | Unknown:
    """The GPU of this id, node label product or alias."""
    return _Current.catalog.gpu(name)


def find_model(name: str) -> Model | Unknown:
    """The model of this id, with or without organisation, ``Meta-``, ``-Instruct`` and quantization suffixes."""
    return _Current.catalog.model(name)
