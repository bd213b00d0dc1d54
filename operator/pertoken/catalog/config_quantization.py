"""How a checkpoint says that its weights and its KV cache are quantized (`quantization_config`).

Methods are those of vLLM's and SGLang's present lists. Which tensors are left out is told by parts of the name; regular
expressions of a configuration are never run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pertoken.catalog.config import Config
from pertoken.raw.values import shown

PARTS: Final = ("attention", "recurrent", "dense", "shared", "experts")
PLAIN: Final = "bf16"
MOST_NAMES: Final = 20_000
_BY_METHOD: Final[Mapping[str, str]] = {
    "fp8": "fp8",
    "fbgemm_fp8": "fp8",
    "ptpc_fp8": "fp8",
    "w8a8_fp8": "fp8",
    "deepspeedfp": "fp8",
    "mxfp8": "fp8",
    "modelopt_mxfp8": "fp8",
    "modelopt_fp8": "fp8",
    "finegrained_fp8": "fp8",
    "w8a8_int8": "int8",
    "blockwise_int8": "int8",
    "tpu_int8": "int8",
    "experts_int8": "int8",
    "mxfp4": "mxfp4",
    "fp_quant": "mxfp4",
    "modelopt_fp4": "nvfp4",
    "petit_nvfp4": "nvfp4",
    "qoq": "int4",
    "qqq": "int4",
    "w4afp8": "int4",
    "spqr": "int4",
}
# Methods whose bits are a figure of the configuration, and how many they have where it is left out (None: an error).
_BY_BITS: Final[Mapping[str, int | None]] = {
    "awq": 4,
    "awq_marlin": 4,
    "cpu_awq": 4,
    "gptq": None,
    "gptq_marlin": None,
    "gptq_marlin_24": None,
    "gptq_bitblas": None,
    "gptqmodel": None,
    "bitblas": None,
    "marlin": 4,
    "moe_wna16": None,
    "auto_round": None,
    "inc": None,
    "intel/auto_round": None,
    "ipex": None,
    "rtn": 8,
    "hqq": None,
    "hqq_marlin": None,
    "aqlm": None,
    "vptq": None,
    "quanto": None,
    "eetq": 8,
    "higgs": 4,
    "mlx": None,
}
_WORDS: Final = (
    ("nvfp4", "nvfp4"),
    ("mxfp4", "mxfp4"),
    ("mxfp8", "fp8"),
    ("fp8", "fp8"),
    ("float8", "fp8"),
    ("w4a8", "int4"),
    ("w4a16", "int4"),
    ("int4", "int4"),
    ("uint4", "int4"),
    ("w8a16", "w8a16"),
    ("int8weightonly", "w8a16"),
    ("w8a8", "int8"),
    ("int8", "int8"),
    ("fp4", "nvfp4"),
)
_LEFT_OUT: Final = ("modules_to_not_convert", "ignore", "exclude_modules", "exclude", "ignored_layers", "skip_modules")
_NARROW: Final = 4
_BYTE: Final = 8
_HALF: Final = 16
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


@dataclass(slots=True)
class _Reading:
    """What has been read so far."""

    errors: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def by_bits(self, bits: Any, where: str) -> str:
        """The precision that holds so many bits per weight; the next wider one for odd widths."""
        if isinstance(bits, bool) or not isinstance(bits, int | float) or not 1 <= bits <= _HALF:
            self.errors.append(f"{where}: {shown(bits)}: expected the bits of a weight")
            return ""
        if bits not in {_NARROW, _BYTE, _HALF}:
            self.doubts.append(f"{where}: {shown(bits)}: counted as the next of 4, 8 and 16 bits")
        if bits <= _NARROW:
            return "int4"
        return "w8a16" if bits <= _BYTE else PLAIN


def read_quantization(config: Config, layers: Mapping[str, int]) -> Quantization:
    """The precision of a model's weights and cache.

    Args:
        config: whose scheme is read.
        layers: how many layers have each of `PARTS`.
    """
    has_experts = layers.get("experts", 0) > 0
    stated = config.raw.get("quantization_config") or config.raw.get("compression_config")
    if stated is None:
        return _by_dtype(config)
    if not isinstance(stated, Mapping):
        return Quantization(errors=(f"quantization_config: {shown(stated)}: expected an object",))
    reading = _Reading()
    inner = stated.get("quantization")
    whole = {**inner, **stated} if isinstance(inner, Mapping) else stated
    parts = _parts(whole, reading, has_experts=has_experts)
    cache = _cache(whole, reading)
    for part in _left_out(whole, layers):
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


def _parts(config: Mapping[str, Any], reading: _Reading, *, has_experts: bool) -> dict[str, str]:
    """The precision of every part, before what is left out."""
    method = _method(config)
    groups = config.get("config_groups")
    if isinstance(groups, Mapping) and groups:
        return _by_groups(config, groups, reading)
    if "quant_algo" in config:
        return _by_algorithm(config, reading)
    precision = _by_method(config, method, reading)
    if method in {"mxfp4", "experts_int8"} and has_experts:  # these formats are of experts alone
        return {**dict.fromkeys(PARTS, PLAIN), "experts": precision}
    if method == "w4afp8":
        return {**dict.fromkeys(PARTS, "fp8"), "experts": "int4"}
    return dict.fromkeys(PARTS, precision)


def _by_algorithm(config: Mapping[str, Any], reading: _Reading) -> dict[str, str]:
    """ModelOpt's word for all weights; none where only the cache has a scheme."""
    algorithm = config["quant_algo"]
    if algorithm is None:
        return dict.fromkeys(PARTS, PLAIN)
    if str(algorithm).upper() == "MIXED_PRECISION":
        return _mixed(config, reading)
    return dict.fromkeys(PARTS, _by_word(str(algorithm), "quant_algo", reading))


def _method(config: Mapping[str, Any]) -> str:
    named = config.get("quant_method") or config.get("quantization_method") or config.get("quant_type")
    text = named.lower().strip().replace("-", "_") if isinstance(named, str) else ""
    if not text and isinstance(config.get("producer"), Mapping):
        text = str(config["producer"].get("name", "")).lower()
    if not text and "bits" in config and "group_size" in config:
        return "mlx"
    return text


def _by_method(config: Mapping[str, Any], method: str, reading: _Reading) -> str:
    if method in {"bitsandbytes", "bnb"}:
        return _bitsandbytes(config, reading)
    if method in {"torchao", "quark"}:
        return _torchao(config, reading) if method == "torchao" else _quark(config, reading)
    if method in _BY_METHOD:
        return _BY_METHOD[method]
    if method in _BY_BITS:
        return reading.by_bits(_bits(config, _BY_BITS[method]), "quantization_config.bits")
    reading.errors.append(f"quantization_config.quant_method: {shown(method)}: not understood")
    return ""


def _bitsandbytes(config: Mapping[str, Any], reading: _Reading) -> str:
    if config.get("load_in_4bit") or config.get("_load_in_4bit"):
        return "int4"
    if config.get("load_in_8bit") or config.get("_load_in_8bit"):
        return "w8a16"
    return reading.by_bits(config.get("bits"), "quantization_config.load_in_4bit")


def _bits(config: Mapping[str, Any], usual: int | None) -> Any:
    """Bits of a weight, at the depths where methods keep them."""
    inner = config.get("quant_config")
    weights = inner.get("weight_quant_params") if isinstance(inner, Mapping) else None
    for place in (config, inner, weights, config.get("weight_quant_params")):
        if isinstance(place, Mapping):
            for key in ("bits", "nbits", "w_bit", "weight_bits", "num_bits", "wbits", "nbits_per_codebook"):
                if place.get(key) is not None:
                    return place[key]
    word = config.get("weights")
    if isinstance(word, str):
        return {"int4": 4, "int8": 8, "float8": 8, "int2": 2}.get(word.lower(), word)
    return usual


def _torchao(config: Mapping[str, Any], reading: _Reading) -> str:
    kind = config.get("quant_type")
    kind = kind.get("default", kind) if isinstance(kind, Mapping) else kind
    word = kind.get("_type", "") if isinstance(kind, Mapping) else kind
    return _by_word(str(word or ""), "quantization_config.quant_type", reading)


def _quark(config: Mapping[str, Any], reading: _Reading) -> str:
    weights = config.get("global_quant_config")
    weights = weights.get("weight") if isinstance(weights, Mapping) else None
    weights = weights[0] if isinstance(weights, list) and weights else weights
    dtype = str(weights.get("dtype", "")) if isinstance(weights, Mapping) else ""
    if dtype == "fp4":
        return "mxfp4"
    return _by_word(dtype, "quantization_config.global_quant_config.weight.dtype", reading)


def _by_word(word: str, where: str, reading: _Reading) -> str:
    """A precision by the format's name."""
    text = word.lower().replace("_", "").replace("-", "")
    for part, precision in _WORDS:
        if part in text:
            return precision
    reading.errors.append(f"{where}: {shown(word)}: not understood")
    return ""


def _by_groups(config: Mapping[str, Any], groups: Mapping[str, Any], reading: _Reading) -> dict[str, str]:
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
        for part in _named(group.get("targets") or ["Linear"]):
            parts[part] = precision if parts[part] == PLAIN else _wider(parts[part], precision)
    return parts


def _scheme(weights: Mapping[str, Any], activations: Any, stated: str, reading: _Reading) -> str:
    bits = weights.get("num_bits")
    if weights.get("type") != "float":
        plain = reading.by_bits(bits, "quantization_config.config_groups.weights.num_bits")
        return "int8" if plain == "w8a16" and isinstance(activations, Mapping) else plain
    if bits == _BYTE:
        return "fp8"
    if bits != _NARROW:
        return reading.by_bits(bits, "quantization_config.config_groups.weights.num_bits")
    return "mxfp4" if "mxfp4" in stated or weights.get("group_size") == _MX_GROUP else "nvfp4"


def _mixed(config: Mapping[str, Any], reading: _Reading) -> dict[str, str]:
    """A precision for every tensor by name; what is not named is as the method says, or plain."""
    rest = _BY_METHOD.get(_method(config), PLAIN)
    parts: dict[str, str] = {}
    layers = config.get("quantized_layers")
    entries = list(layers.items())[:MOST_NAMES] if isinstance(layers, Mapping) else []
    for name, entry in entries:
        algorithm = entry.get("quant_algo") if isinstance(entry, Mapping) else None
        precision = _by_word(str(algorithm), f"quantized_layers.{shown(name)}", reading)
        for part in _named([name], everywhere=False):
            parts[part] = _wider(parts[part], precision) if part in parts else precision
    if not parts:
        reading.errors.append("quant_algo: MIXED_PRECISION: expected quantized_layers that say which")
    return {**dict.fromkeys(PARTS, rest), **parts}


_WIDTHS: Final = {"": 0, "int4": 1, "mxfp4": 1, "nvfp4": 2, "fp8": 3, "int8": 3, "w8a16": 3, PLAIN: 4}


def _wider(one: str, other: str) -> str:
    return one if _WIDTHS[one] >= _WIDTHS[other] else other


def _named(names: Any, *, everywhere: bool = True) -> frozenset[str]:
    """The parts that names of tensors or of classes speak of."""
    spoken: set[str] = set()
    for name in names if isinstance(names, list | tuple) else ():
        text = str(name).lower()[:512]
        part = _part(text)
        if part:
            spoken |= part
        elif everywhere and ("linear" in text or text in {"re:.*", "*"}):
            spoken |= set(PARTS)
    return frozenset(spoken)


# The part of a tensor by the first of these that its name holds; nothing for what is small or not of the text model.
_TENSORS: Final = (
    (("norm", "router", "e_score", "indexer", "gate.", "shared_expert_gate", "gate_weight", "mtp", "conv1d"), ""),
    (("vision", "visual", "mm_projector"), ""),
    (("shared_expert", "shared_mlp"), "shared"),
    (("expert",), "experts"),
    (("mixer.q_proj", "mixer.k_proj", "mixer.v_proj", "mixer.o_proj"), "attention"),
    (("mixer.up_proj", "mixer.down_proj"), "dense"),
    (("linear_attn", "mamba", "mixer", "ssm"), "recurrent"),
    (("attn", "attention"), "attention"),
    (("mlp", "ffn", "feed_forward", "up_proj", "down_proj", "gate_proj"), "dense"),
)


def _part(text: str) -> set[str]:
    if text.endswith(".gate"):
        return set()
    part = next((part for words, part in _TENSORS if any(word in text for word in words)), "")
    return {part} if part else set()


def _left_out(config: Mapping[str, Any], counts: Mapping[str, int]) -> Iterable[str]:
    """Parts that stay plain: those of which half of the layers are named, or all by a pattern."""
    for key in _LEFT_OUT:
        names = config.get(key)
        if not isinstance(names, list | tuple):
            continue
        layers: dict[str, set[str]] = {}
        for name in names[:MOST_NAMES]:
            text = str(name).lower()[:512]
            for part in _part(text):
                number = next((piece for piece in text.replace("*", ".").split(".") if piece.isdecimal()), "all")
                layers.setdefault(part, set()).add(number)
        for part, numbers in layers.items():
            if "all" in numbers or 2 * len(numbers) >= counts.get(part, 0) > 0:
                yield part


def _cache(config: Mapping[str, Any], reading: _Reading) -> str:
    """What the checkpoint asks for its KV cache."""
    scheme = config.get("kv_cache_scheme") or config.get("kv_cache_quant_algo") or config.get("kv_cache_quant_method")
    if not scheme:
        return ""
    if isinstance(scheme, Mapping):
        if scheme.get("num_bits") == _BYTE:
            return "fp8"
        bits = scheme.get("num_bits")
    else:
        bits = scheme
        if isinstance(scheme, str) and any(word in scheme.lower() for word in ("fp8", "int8", "float8")):
            return "fp8"
    reading.doubts.append(f"kv_cache_scheme: {shown(bits)}: counted as bf16")
    return ""
