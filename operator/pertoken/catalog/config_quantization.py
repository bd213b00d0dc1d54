"""How a checkpoint says that its weights and its KV cache are quantized (`quantization_config`).

Every part of the model gets a precision: by the method or the format's name (`config_quantization_methods`), or tensor
by tensor, by their names (`config_quantization_tensors`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pertoken.catalog.config import Config
from pertoken.catalog.config_quantization_methods import (
    BY_METHOD,
    BYTE,
    NARROW,
    PLAIN,
    PLAIN_UNLESS_GROUPED,
    SchemeReading,
    by_method,
    by_word,
    method_of,
)
from pertoken.catalog.config_quantization_tensors import (
    MOST_NAMES,
    PARTS,
    is_small,
    parts_left_out,
    parts_mostly_named,
    parts_named,
)
from pertoken.raw.values import shown

SCHEMES: Final = ("quantization_config", "compression_config", "quantization")
_OVERRIDES: Final = ("dynamic", "extra_config", "layer_quant_config")
# A microscaling block has 32 numbers, one of nvfp4 16.
_MX_GROUP: Final = 32


@dataclass(frozen=True, slots=True)
class Quantization:
    """Precision of the weights as published.

    Attributes:
        native: of most weights, empty for bf16.
        parts: of parts of the model that have another one than most.
        cache: of the KV cache, empty where the checkpoint asks for none.
        errors: methods and figures that are not understood.
        doubts: what was taken for the wider of two readings.
    """

    native: str = ""
    parts: tuple[tuple[str, str], ...] = ()
    cache: str = ""
    errors: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def read_quantization(config: Config, layers: Mapping[str, int]) -> Quantization:
    """The precision of a model's weights and cache.

    Args:
        config: whose scheme is read.
        layers: how many layers have each of `PARTS`.
    """
    has_experts = layers.get("experts", 0) > 0
    stated = next((config.raw[key] for key in SCHEMES if config.raw.get(key)), None)
    if stated is None:
        return _by_dtype(config)
    if not isinstance(stated, Mapping):
        return Quantization(errors=(f"quantization_config: {shown(stated)}: expected an object",))
    reading = SchemeReading()
    inner = stated.get("quantization")
    whole = {**inner, **stated} if isinstance(inner, Mapping) else stated
    parts = _parts(whole, reading, has_experts=has_experts)
    cache = _cache(whole, reading)
    for part, precision in _overridden(whole, layers, reading):
        parts[part] = _wider(parts[part], precision)
    for part in parts_left_out(whole, layers):
        parts[part] = PLAIN
    narrow = config.raw.get("expert_dtype")
    if isinstance(narrow, str) and "fp4" in narrow.lower():
        parts["experts"] = "mxfp4"
    native = parts["experts" if has_experts else "dense"]
    if native == PLAIN:
        others = [name for name in parts.values() if name != PLAIN]
        native = others[0] if others else ""
    named = tuple((part, parts[part]) for part in PARTS) if native else ()
    return Quantization(native, named, cache, tuple(reading.errors), tuple(reading.doubts))


def _by_dtype(config: Config) -> Quantization:
    """Weights without a scheme are as wide as their type; float32 is served as bf16."""
    stated = str(config.raw.get("torch_dtype") or config.raw.get("dtype") or "")
    return Quantization(native="fp8") if "float8" in stated else Quantization()


def _parts(config: Mapping[str, Any], reading: SchemeReading, *, has_experts: bool) -> dict[str, str]:
    """The precision of every part, before what is left out."""
    method = method_of(config)
    groups = config.get("config_groups")
    if isinstance(groups, Mapping) and groups:
        return _by_groups(config, groups, reading)
    if "quant_algo" in config:
        return _by_algorithm(config, reading)
    if method in PLAIN_UNLESS_GROUPED:
        return _ungrouped(config, reading)
    precision = by_method(config, method, reading)
    if method in {"mxfp4", "gpt_oss_mxfp4", "experts_int8"} and has_experts:  # these formats are of experts alone
        return {**dict.fromkeys(PARTS, PLAIN), "experts": precision}
    if method == "w4afp8":
        return {**dict.fromkeys(PARTS, "fp8"), "experts": "int4"}
    return dict.fromkeys(PARTS, precision)


def _by_algorithm(config: Mapping[str, Any], reading: SchemeReading) -> dict[str, str]:
    """ModelOpt's word for all weights; none where only the cache has a scheme."""
    algorithm = config["quant_algo"]
    if algorithm is None:
        return dict.fromkeys(PARTS, PLAIN)
    if str(algorithm).upper() == "MIXED_PRECISION":
        return _mixed(config, reading)
    return dict.fromkeys(PARTS, by_word(str(algorithm), "quant_algo", reading))


def _ungrouped(config: Mapping[str, Any], reading: SchemeReading) -> dict[str, str]:
    """compressed-tensors without groups: a scheme of the cache alone, or weights thinned out."""
    if config.get("sparsity_config"):
        reading.doubts.append("quantization_config.sparsity_config: counted as if nothing were left out")
    return dict.fromkeys(PARTS, PLAIN)


def _overridden(
    config: Mapping[str, Any], layers: Mapping[str, int], reading: SchemeReading
) -> Iterator[tuple[str, str]]:
    """Parts that get a precision of their own by the names of tensors (GPTQModel, AutoRound, MLX, Quark)."""
    for key in _OVERRIDES:
        entries = config.get(key)
        if isinstance(entries, Mapping):
            yield from _named_parts(entries, f"quantization_config.{key}", layers, reading)
    if method_of(config) == "mlx":
        entries = {name: entry for name, entry in config.items() if isinstance(entry, Mapping) or entry is False}
        yield from _named_parts(entries, "quantization_config", layers, reading)


def _named_parts(
    entries: Mapping[str, Any], where: str, layers: Mapping[str, int], reading: SchemeReading
) -> Iterator[tuple[str, str]]:
    by_precision: dict[str, list[str]] = {}
    for name, entry in list(entries.items())[:MOST_NAMES]:
        text = str(name)
        if is_small(text):
            continue
        bits = entry.get("bits", entry.get("weight_bits")) if isinstance(entry, Mapping) else None
        if entry is not None and not parts_named([text], everywhere=False):
            reading.doubts.append(f"{where}.{shown(text)}: not understood; counted like the rest")
            continue
        if text.startswith("-:") or entry is False:
            by_precision.setdefault(PLAIN, []).append(text)
        elif bits is not None:
            by_precision.setdefault(reading.by_bits(bits, f"{where}.{shown(text)}"), []).append(text)
        elif entry:
            reading.doubts.append(f"{where}.{shown(text)}: not understood; counted like the rest")
    for precision, names in by_precision.items():
        yield from ((part, precision) for part in parts_mostly_named(names, layers))


def _by_groups(config: Mapping[str, Any], groups: Mapping[str, Any], reading: SchemeReading) -> dict[str, str]:
    """Groups of tensors with a scheme of their own (compressed-tensors, modelopt)."""
    algorithms = config.get("quantized_layers")
    if isinstance(algorithms, Mapping):
        return _mixed(config, reading)
    parts = dict.fromkeys(PARTS, PLAIN)
    for name, group in groups.items():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if not isinstance(weights, Mapping):
            reading.errors.append(f"quantization_config.config_groups.{shown(name)}: expected an object with weights")
            continue
        stated = group.get("format") or config.get("format")
        precision = _scheme(weights, group.get("input_activations"), str(stated or ""), reading)
        for part in parts_named(group.get("targets") or ["Linear"]):
            parts[part] = precision if parts[part] == PLAIN else _wider(parts[part], precision)
    return parts


def _scheme(weights: Mapping[str, Any], activations: Any, stated: str, reading: SchemeReading) -> str:
    bits = weights.get("num_bits")
    if weights.get("type") != "float":
        plain = reading.by_bits(bits, "quantization_config.config_groups.weights.num_bits")
        return "int8" if plain == "w8a16" and isinstance(activations, Mapping) else plain
    if bits == BYTE:
        return "fp8"
    if bits != NARROW:
        return reading.by_bits(bits, "quantization_config.config_groups.weights.num_bits")
    return "mxfp4" if "mxfp4" in stated or weights.get("group_size") == _MX_GROUP else "nvfp4"


def _mixed(config: Mapping[str, Any], reading: SchemeReading) -> dict[str, str]:
    """A precision for every tensor by name; what is not named is as the method says, or plain."""
    rest = BY_METHOD.get(method_of(config), PLAIN)
    parts: dict[str, str] = {}
    layers = config.get("quantized_layers")
    entries = list(layers.items())[:MOST_NAMES] if isinstance(layers, Mapping) else []
    for name, entry in entries:
        algorithm = entry.get("quant_algo") if isinstance(entry, Mapping) else None
        precision = by_word(str(algorithm), f"quantized_layers.{shown(name)}", reading)
        for part in parts_named([name], everywhere=False):
            parts[part] = _wider(parts[part], precision) if part in parts else precision
    if not parts:
        reading.errors.append("quant_algo: MIXED_PRECISION: expected quantized_layers that say which")
    return {**dict.fromkeys(PARTS, rest), **parts}


_WIDTHS: Final = {"": 0, "int4": 1, "mxfp4": 1, "nvfp4": 2, "fp8": 3, "int8": 3, "w8a16": 3, PLAIN: 4}


def _wider(first: str, second: str) -> str:
    return first if _WIDTHS[first] >= _WIDTHS[second] else second


def _cache(config: Mapping[str, Any], reading: SchemeReading) -> str:
    """What the checkpoint asks for its KV cache."""
    scheme = config.get("kv_cache_scheme") or config.get("kv_cache_quant_algo") or config.get("kv_cache_quant_method")
    if not scheme:
        return ""
    if isinstance(scheme, Mapping):
        if scheme.get("num_bits") == BYTE:
            return "fp8"
        bits = scheme.get("num_bits")
    else:
        bits = scheme
        if isinstance(scheme, str) and any(word in scheme.lower() for word in ("fp8", "int8", "float8")):
            return "fp8"
    reading.doubts.append(f"kv_cache_scheme: {shown(bits)}: counted as bf16")
    return ""
