"""The catalog: GPUs and models, found by any of their usual names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

from pertoken.catalog.gpu_names import bare_key, gpu_key, mig_slice, plain, sliced
from pertoken.catalog.gpu_rows import GPUS
from pertoken.catalog.gpus import Gpu
from pertoken.catalog.models import Model
from pertoken.catalog.shipped_models import MODELS
from pertoken.catalog.unknown import Unknown

__all__ = ["HIDDEN_QUANTIZATION", "SHIPPED", "Catalog", "Unknown", "hides_quantization", "model_key", "quantization_of"]

_WEIGHTS_ALONE: Final = (
    r"[-_](gptq|gptqmodel|awq|auto-?round|bnb|bitsandbytes|hqq|quanto|eetq|marlin|woq|wo|weight-only)\b"
)
_QUANTIZATIONS: Final = (
    ("nvfp4", re.compile(r"[-_]nvfp4(a16)?\b|[-_]fp4\b")),
    ("mxfp4", re.compile(r"[-_]mxfp4\b")),
    ("int4", re.compile(r"[-_]w4a8\b")),
    ("fp8", re.compile(r"[-_](mx)?fp8\b|[-_]w8a8[-_]fp8\b")),
    # Weights alone: these methods leave the products in 16 bits.
    (
        "w8a16",
        re.compile(rf"{_WEIGHTS_ALONE}.*[-_](int|w)?8([-_]?bit)?\b|[-_](int|w)?8([-_]?bit)?\b.*{_WEIGHTS_ALONE}"),
    ),
    ("int8", re.compile(r"[-_]int8\b|[-_]w8a8\b|[-_.]quantized\.w8a8\b|[-_]smoothquant\b")),
    ("w8a16", re.compile(r"[-_][5-8][-_]?bit\b|[-_]w8a16\b|[-_.:](iq|q)[5-8]([-_](k|0|1))?([-_](s|m|l|xl))?\b")),
    (
        "int4",
        re.compile(
            r"[-_]int[234]\b|[-_][234][-_]?bit\b|[-_](auto)?awq\b|[-_]gptq\b|[-_]w4a16\b|[-_.]quantized\.w4a16\b"
        ),
    ),
    ("int4", re.compile(r"[-_.:](iq|q)[1-4]([-_](k|0|1|xs|xxs|nl))?([-_](s|m|l|xl))?\b|[-_]nf4\b|[-_]bnb\b|[-_]hqq\b")),
    # Of models that are published in fewer bits there are copies in 16.
    ("fp16", re.compile(r"[-_:](bf16|fp16|f16)\b")),
)
_SUFFIXES: Final = re.compile(
    r"([-_.:](instruct|it|pt|chat|hf|base|thinking|quantized|dynamic|block|channel|static|(auto)?awq|gptq|int[2348]|(mx)?fp8|fp4"
    r"|nvfp4(a16)?|mxfp4|bf16|fp16|f16|kv|w4a16|w8a8|w8a16|w4a8|marlin|gguf|mlx|bnb|nf4|hqq|auto-?round|unsloth|dwq|smoothquant"
    r"|[2-8]-?bit|g\d+|(ud-)?i?q[1-8](-(k|0|1|xs|xxs|nl))?(-(s|m|l|xl))?|sym|\d{4}|v0\.[123]|99(\.9)?))+$"
)
MOST_LETTERS: Final = 256  # of a GPU's name
_SNAPSHOT: Final = re.compile(r"models--([^/]+)")
_GGUF: Final = re.compile(r"[-_./:]gguf\b")


def _written(name: str) -> str:
    """A model's name as its publisher writes it, from a path into the hub's cache too, without a revision."""
    text = name.strip().rstrip("/")
    cached = _SNAPSHOT.findall(text)
    return str(cached[-1]).replace("--", "/") if cached else text.split("@", 1)[0]


def _name(name: str) -> str:
    """A model id without organisation."""
    return plain(_written(name).rsplit("/", 1)[-1])


def model_key(name: str) -> str:
    """A model id without organisation, ``Meta-`` and suffixes that do not change the architecture."""
    return _SUFFIXES.sub("", _name(name).removeprefix("mlx-").removeprefix("meta-"))


def quantization_of(name: str) -> str:
    """Precision that a model id announces (``fp8``, ``int8``, ``int4``, ``mxfp4``, ``nvfp4``); empty if none."""
    text = _written(name).lower()
    return next((kind for kind, pattern in _QUANTIZATIONS if pattern.search(text)), "")


def weights_of(name: str, quantization: str) -> str:
    """Format of a variant's weights: as it says; where it says nothing, as the model's name announces."""
    return (quantization_of(name) or quantization) if quantization in {"", "bf16"} else quantization


HIDDEN_QUANTIZATION: Final = (
    "the name hides the type of its GGUF files; counted as bf16, the widest; say it in the variant's quantization"
)


def hides_quantization(name: str) -> bool:
    """Whether a model id stands for quantized files without saying of what type (``…-GGUF``)."""
    text = _written(name).lower()
    return _GGUF.search(text) is not None and not quantization_of(name)


def _compact(key: str) -> str:
    """Only letters and digits: ``llama3_1-8b`` and ``llama-3.1-8b`` are the same name."""
    return re.sub(r"[^a-z0-9]", "", key)


@dataclass(frozen=True, slots=True)
class Catalog:
    """GPUs and models by all their names. A value: catalogs with the same rows are equal.

    Attributes:
        gpus, models: the rows; of two with the same name the later one wins.
    """

    gpus: tuple[Gpu, ...]
    models: tuple[Model, ...]
    _gpus: Mapping[str, Gpu] = field(init=False, repr=False, compare=False)
    _models: _ModelNames = field(init=False, repr=False, compare=False)
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the rows."""
        object.__setattr__(self, "_gpus", _by_gpu_name(self.gpus))
        object.__setattr__(self, "_models", _by_model_name(self.models))
        object.__setattr__(self, "_hash", hash((self.gpus, self.models)))

    def __hash__(self) -> int:
        """Worked out once: a catalog is part of the key of what is worked out of it."""
        return self._hash

    def __reduce__(self) -> tuple[type[Catalog], tuple[tuple[Gpu, ...], tuple[Model, ...]]]:
        """Copies and other processes get the rows and index them anew."""
        return Catalog, (self.gpus, self.models)

    def extended(self, gpus: Iterable[Gpu] = (), models: Iterable[Model] = ()) -> Catalog:
        """These rows too, looked up before the ones that are here."""
        return Catalog((*self.gpus, *gpus), (*self.models, *models))

    def known_gpu(self, name: str) -> Gpu | None:
        """The GPU of this id, node label product or alias; None if there is none."""
        if len(name) > MOST_LETTERS:
            return None
        known = self._gpus.get(plain(name)) or self._gpus.get(gpu_key(name)) or self._gpus.get(bare_key(name))
        cut = None if known else mig_slice(name)
        if cut is None or not cut.base:
            return known
        whole = self.known_gpu(cut.base)
        return None if whole is None else sliced(whole, cut)

    def known_model(self, name: str) -> Model | None:
        """The model of this id, with or without organisation, ``Meta-``, ``-Instruct`` and quantization suffixes."""
        key, names = model_key(name), self._models
        return names.exact.get(_name(name)) or names.plain.get(key) or names.compact.get(_compact(key))

    def gpu(self, name: str) -> Gpu | Unknown:
        """As `known_gpu`, with the names that look alike where there is none."""
        known = self.known_gpu(name)
        if known is not None:
            return known
        close = get_close_matches(plain(name[:MOST_LETTERS]), self._gpus, n=5, cutoff=0.5)
        return Unknown("GPU", name, tuple(dict.fromkeys(self._gpus[match].id for match in close)))

    def model(self, name: str) -> Model | Unknown:
        """As `known_model`, with the names that look alike where there is none."""
        known = self.known_model(name)
        if known is not None:
            return known
        plain = self._models.plain
        close = get_close_matches(model_key(name), plain, n=5, cutoff=0.5)
        return Unknown("model", name, tuple(dict.fromkeys(plain[match].id for match in close)))


@dataclass(frozen=True, slots=True)
class _ModelNames:
    """Models by their names as written, by `model_key`, and by its letters and digits alone."""

    exact: Mapping[str, Model]
    plain: Mapping[str, Model]
    compact: Mapping[str, Model]


def _by_gpu_name(gpus: Sequence[Gpu]) -> Mapping[str, Gpu]:
    by_name: dict[str, Gpu] = {}
    for gpu in gpus:
        for name in (gpu.id, *gpu.products, *gpu.aliases):
            by_name[plain(name)] = by_name[gpu_key(name)] = gpu
    for gpu in gpus:
        for name in (gpu.id, *gpu.products, *gpu.aliases):
            by_name.setdefault(bare_key(name), gpu)
    return MappingProxyType(by_name)


def _by_model_name(models: Iterable[Model]) -> _ModelNames:
    exact: dict[str, Model] = {}
    plain: dict[str, Model] = {}
    compact: dict[str, Model] = {}
    for model in models:
        for name in (model.id, *model.aliases):
            exact[_name(name)] = model
            if name == model.id or model_key(name) not in plain:
                plain[model_key(name)] = model
                compact[_compact(model_key(name))] = model
    return _ModelNames(MappingProxyType(exact), MappingProxyType(plain), MappingProxyType(compact))


SHIPPED: Final = Catalog(GPUS, MODELS)
