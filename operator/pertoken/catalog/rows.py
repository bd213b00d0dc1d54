"""Catalog rows that users write: plain data to `Gpu` and `Model`, every mistake named.

A file holds `gpus` and `models`. A GPU says `like: h100-sxm` to take over the efficiencies of a row that is known; a
model gives either its `config` (the facts of its `config.json`) or the fields of `Model` themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, fields, replace
from datetime import date
from typing import Any, Final, TypeVar

from pertoken.catalog.architecture import Incomplete, from_mapping
from pertoken.catalog.bounds import OF_MODEL
from pertoken.catalog.gpus import Basis, Efficiency, Gpu
from pertoken.catalog.lookup import SHIPPED, Catalog, Unknown
from pertoken.catalog.models import Model
from pertoken.catalog.precisions import find_precision
from pertoken.raw.values import MAX_SHOWN, shown

_Row = TypeVar("_Row")
MOST_FIGURE: Final = 1e9  # of a GPU: GiB, GB/s, TFLOP/s, factors, seconds
MOST_LETTERS: Final = 256
GIGA: Final = 1e9
TERA: Final = 1e12
_GPU_KEYS: Final = frozenset(
    {
        "id",
        "memoryGib",
        "bandwidthGBps",
        "tflops",
        "linkGBps",
        "linked",
        "like",
        "efficiency",
        "products",
        "aliases",
        "source",
        "asOf",
    }
)
_PEAKS: Final = ("bf16", "fp8", "int8", "fp4")
_EFFICIENCIES: Final = {
    "bandwidth": "bandwidth",
    "kvBandwidth": "kv_bandwidth",
    "compute": "compute",
    "attention": "attention",
    "layerSeconds": "layer_seconds",
    "allreduceSeconds": "allreduce_seconds",
    "link": "link",
    "expertBandwidth": "expert_bandwidth",
    "expertCompute": "expert_compute",
}
_READ_ONLY: Final = frozenset({"layout", "part_precisions", "doubts", "published"})  # told by a config alone
_NUMBER_FIELDS: Final = frozenset({"int", "int | None"})


@dataclass(frozen=True, slots=True)
class Rows:
    """What a file adds, and what is wrong with it (field, value, expectation)."""

    gpus: tuple[Gpu, ...] = ()
    models: tuple[Model, ...] = ()
    mistakes: tuple[str, ...] = ()

    @property
    def catalog(self) -> Catalog:
        """The shipped catalog with these rows before its own."""
        return SHIPPED.extended(self.gpus, self.models)

    def __add__(self, other: Rows) -> Rows:
        """Both together."""
        return Rows((*self.gpus, *other.gpus), (*self.models, *other.models), (*self.mistakes, *other.mistakes))


class _Mistake(ValueError):
    """One field is wrong."""


def parse_rows(content: Any) -> Rows:
    """The rows of one file; rows with a mistake are left out."""
    if content is None:
        return Rows()
    if not isinstance(content, Mapping):
        return Rows(mistakes=(f"content: {type(content).__name__}: expected an object with gpus and models",))
    unknown = [shown(key) if not isinstance(key, str) else key for key in content if key not in {"gpus", "models"}]
    mistakes = [f"{key}: unknown; expected gpus or models" for key in unknown]
    gpus, wrong_gpus = _each(content, "gpus", _gpu)
    models, wrong_models = _each(content, "models", _model)
    return Rows(gpus, models, (*mistakes, *wrong_gpus, *wrong_models))


def _each(
    content: Mapping[Any, Any], name: str, parse: Callable[[Mapping[str, Any]], _Row]
) -> tuple[tuple[_Row, ...], list[str]]:
    """The good rows of a list, and what is wrong with the others."""
    listed = content.get(name) or []
    if not isinstance(listed, list):
        return (), [f"{name}: {type(listed).__name__}: expected a list"]
    good: list[_Row] = []
    mistakes = []
    for index, item in enumerate(listed):
        if not isinstance(item, Mapping):
            mistakes.append(f"{name}[{index}]: {shown(item)}: expected an object")
            continue
        try:
            good.append(parse(item))
        except _Mistake as mistake:
            mistakes.append(f"{name}[{index}]{mistake}")
    return tuple(good), mistakes


def _gpu(item: Mapping[str, Any]) -> Gpu:
    _known_keys(item, _GPU_KEYS)
    peaks = item.get("tflops")
    if not isinstance(peaks, Mapping):
        raise _Mistake(
            f".tflops: {shown(peaks)}: expected an object with bf16 and, where the GPU has them, fp8, int8, fp4"
        )
    flops = {kind: _positive(peaks, kind, ".tflops.") * TERA if kind in peaks else None for kind in _PEAKS}
    if flops["bf16"] is None:
        raise _Mistake(".tflops.bf16: missing; expected a number above 0")
    linked = item.get("linked", False)
    if not isinstance(linked, bool):
        raise _Mistake(f".linked: {shown(linked)}: expected true or false")
    return Gpu(
        id=_text(item, "id"),
        memory_gib=_positive(item, "memoryGib"),
        bandwidth=_positive(item, "bandwidthGBps") * GIGA,
        flops_bf16=flops["bf16"],
        flops_fp8=flops["fp8"],
        flops_int8=flops["int8"],
        flops_fp4=flops["fp4"],
        link_bandwidth=_positive(item, "linkGBps") * GIGA if "linkGBps" in item else 32 * GIGA,
        linked=linked,
        efficiency=_efficiency(item),
        products=_texts(item, "products"),
        aliases=_texts(item, "aliases"),
        source=_text(item, "source"),
        as_of=_text(item, "asOf"),
    )


def _efficiency(item: Mapping[str, Any]) -> Efficiency:
    start = Efficiency()
    if "like" in item:
        like = SHIPPED.gpu(_text(item, "like"))
        if isinstance(like, Unknown):
            raise _Mistake(f".like: {like}")
        start = replace(like.efficiency, basis=Basis.NONE)
    given = item.get("efficiency") or {}
    if not isinstance(given, Mapping):
        raise _Mistake(f".efficiency: {shown(given)}: expected an object")
    _known_keys(given, frozenset(_EFFICIENCIES), ".efficiency")
    changes: dict[str, Any] = {_EFFICIENCIES[key]: _positive(given, key, ".efficiency.") for key in given}
    return replace(start, **changes)


def _model(item: Mapping[str, Any]) -> Model:
    if "config" in item:
        return _configured(item)
    named = {field.name: field for field in fields(Model) if field.init and field.name not in _READ_ONLY}
    words = {_camel(name): name for name in named}
    _known_keys(item, frozenset(words))
    changes: dict[str, Any] = {}
    for word, name in words.items():
        if word in item:
            changes[name] = _model_value(item, word, named[name])
    missing = [
        _camel(name)
        for name in ("id", "layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab", "source", "as_of")
        if name not in changes
    ]
    if missing:
        raise _Mistake(f": missing {', '.join(missing)}")
    return Model(**changes)


def _configured(item: Mapping[str, Any]) -> Model:
    _known_keys(item, frozenset({"id", "config", "aliases", "source", "asOf", "nativeQuantization"}))
    config = item["config"]
    if not isinstance(config, Mapping):
        raise _Mistake(f".config: {type(config).__name__}: expected the content of config.json")
    model = from_mapping(_text(item, "id"), config, _text(item, "source"))
    if isinstance(model, Incomplete):
        raise _Mistake(f".config: {model.why}")
    native = model.native_quantization
    if "nativeQuantization" in item:
        native = _precision(item, "nativeQuantization")
    parts = model.part_precisions if native == model.native_quantization else ()
    return replace(
        model,
        aliases=_texts(item, "aliases"),
        as_of=_text(item, "asOf"),
        native_quantization=native,
        part_precisions=parts,
    )


def _model_value(item: Mapping[str, Any], word: str, field: Field[Any]) -> Any:
    value, kind = item[word], str(field.type)
    if kind == "bool":
        if not isinstance(value, bool):
            raise _Mistake(f".{word}: {shown(value)}: expected true or false")
        return value
    if kind in _NUMBER_FIELDS:
        most = OF_MODEL[field.name]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise _Mistake(f".{word}: {shown(value)}: expected a whole number from 0 to {most}")
        return value
    if kind.startswith("tuple"):
        return _texts(item, word)
    return _precision(item, word) if word in {"nativeQuantization", "kvQuantization"} else _text(item, word)


def _precision(item: Mapping[str, Any], word: str) -> str:
    text = _text(item, word)
    if find_precision(text) is None:
        raise _Mistake(f".{word}: {shown(text)}: expected a precision such as fp8, int4 or mxfp4")
    return text


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _known_keys(item: Mapping[str, Any], known: frozenset[str], where: str = "") -> None:
    for key in item:
        if key not in known:
            name = key if isinstance(key, str) and len(key) <= MAX_SHOWN else shown(key)
            raise _Mistake(f"{where}.{name}: unknown; expected one of {', '.join(sorted(known))}")


def _positive(item: Mapping[str, Any], key: str, where: str = ".") -> float:
    value = item.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_FIGURE:
        raise _Mistake(f"{where}{key}: {shown(value)}: expected a number above 0, at most {MOST_FIGURE:,.0f}")
    return float(value)


def _text(item: Mapping[str, Any], key: str) -> str:
    value = item.get(key)
    plain = isinstance(value, str | date | float) or (isinstance(value, int) and abs(value) <= MOST_FIGURE)
    text = str(value).strip() if plain else ""  # YAML reads a date as a date
    if not text or len(text) > MOST_LETTERS:
        raise _Mistake(f".{key}: {shown(value)}: expected a text of at most {MOST_LETTERS} characters")
    return text


def _texts(item: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = item.get(key) or []
    if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
        raise _Mistake(f".{key}: {shown(value)}: expected a list of texts")
    return tuple(value)
