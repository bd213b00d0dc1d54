"""The precision that a quantization method, its bits or the word for a format stand for.

Methods are those of vLLM's and SGLang's present lists. `config_quantization` asks by whichever of the three a
configuration states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pertoken.raw.values import shown

PLAIN: Final = "bf16"
BY_METHOD: Final[Mapping[str, str]] = {
    "fp8": "fp8",
    "fbgemm_fp8": "fp8",
    "ptpc_fp8": "fp8",
    "w8a8_fp8": "fp8",
    "deepspeedfp": "fp8",
    "mxfp8": "fp8",
    "modelopt_mxfp8": "fp8",
    "modelopt_fp8": "fp8",
    "finegrained_fp8": "fp8",
    "fp8_per_tensor": "fp8",
    "fp8_per_block": "fp8",
    "fp8_per_channel": "fp8",
    "deepseek_v4_fp8": "fp8",
    "w8a8_int8": "int8",
    "blockwise_int8": "int8",
    "tpu_int8": "int8",
    "experts_int8": "int8",
    "int8_per_channel_weight_only": "w8a16",
    "mxfp4": "mxfp4",
    "gpt_oss_mxfp4": "mxfp4",
    "modelopt_fp4": "nvfp4",
    "nvfp4_online": "nvfp4",
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
    "auto_awq": 4,
    "auto_gptq": None,
    "gptq": None,
    "gptq_marlin": None,
    "gptq_marlin_24": None,
    "gptq_bitblas": None,
    "gptqmodel": None,
    "bitblas": None,
    "marlin": 4,
    "moe_wna16": None,
    "ipex": None,
    "rtn": 8,
    "hqq": None,
    "hqq_marlin": None,
    "sinq": None,
    "vptq": None,
    "quanto": None,
    "eetq": 8,
    "higgs": 4,
}
PLAIN_UNLESS_GROUPED: Final = frozenset({"compressed_tensors", "llmcompressor"})
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
_MOST_CODES: Final = 4096
_MOST_NAMED: Final = 4
NARROW: Final = 4
BYTE: Final = 8
_HALF: Final = 16


@dataclass(slots=True)
class SchemeReading:
    """What could not be understood while one scheme was read.

    Attributes:
        errors: methods and figures that are not understood.
        doubts: what was taken for the wider of two readings.
    """

    errors: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def by_bits(self, bits: Any, where: str) -> str:
        """The precision that holds so many bits per weight; the next wider one for odd widths."""
        if isinstance(bits, bool) or not isinstance(bits, int | float) or not 1 <= bits <= _HALF:
            self.errors.append(f"{where}: {shown(bits)}: expected the bits of a weight")
            return ""
        if bits not in {NARROW, BYTE, _HALF}:
            self.doubts.append(f"{where}: {shown(bits)}: counted as the next of 4, 8 and 16 bits")
        if bits <= NARROW:
            return "int4"
        return "w8a16" if bits <= BYTE else PLAIN


def method_of(config: Mapping[str, Any]) -> str:
    """The method that a scheme states or that its shape shows, in lower case; empty where neither does."""
    named = config.get("quant_method") or config.get("quantization_method") or config.get("quant_type")
    text = named.lower().strip().replace("-", "_") if isinstance(named, str) else ""
    if not text and isinstance(config.get("producer"), Mapping):
        text = str(config["producer"].get("name", "")).lower()
    return text or next((method for key, method in _SHOWN_BY if key in config), "")


_SHOWN_BY: Final = (
    ("load_in_4bit", "bitsandbytes"),
    ("load_in_8bit", "bitsandbytes"),
    ("qformat_weight", "mistral"),
    ("group_size", "mlx"),
)


def by_method(config: Mapping[str, Any], method: str, reading: SchemeReading) -> str:
    """The precision of most weights under a method; empty, with an error, where it is not understood."""
    if method in _READERS:
        return _READERS[method](config, reading)
    if method in BY_METHOD:
        return BY_METHOD[method]
    if method in _BY_BITS:
        return reading.by_bits(_bits(config, _BY_BITS[method]), "quantization_config.bits")
    reading.errors.append(f"quantization_config.quant_method: {shown(method)}: not understood")
    return ""


def _bitsandbytes(config: Mapping[str, Any], reading: SchemeReading) -> str:
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
            for key in ("bits", "nbits", "w_bit", "weight_bits", "num_bits", "wbits"):
                if place.get(key) is not None:
                    return place[key]
    word = config.get("weights")
    if isinstance(word, str):
        return {"int4": 4, "int8": 8, "float8": 8, "int2": 2}.get(word.lower(), word)
    return usual


def _codebooks(config: Mapping[str, Any], reading: SchemeReading) -> str:
    """AQLM: one code of each book stands for a whole group of weights."""
    figures = [
        config.get(key, usual)
        for key, usual in (
            ("num_codebooks", 1),
            ("nbits_per_codebook", 16),
            ("in_group_size", 8),
            ("out_group_size", 1),
        )
    ]
    if not all(isinstance(figure, int) and 0 < figure <= _MOST_CODES for figure in figures):
        reading.errors.append("quantization_config.num_codebooks: expected whole numbers that say the bits of a weight")
        return ""
    books, bits, width, height = figures
    return reading.by_bits(max(1.0, books * bits / (width * height)), "quantization_config.nbits_per_codebook")


def _auto_round(config: Mapping[str, Any], reading: SchemeReading) -> str:
    """AutoRound (Intel Neural Compressor): integers unless `data_type` says another format."""
    bits, word = _bits(config, None), str(config.get("data_type") or "int")
    if word.startswith("int") or bits is None:
        return reading.by_bits(bits, "quantization_config.bits")
    narrow = isinstance(bits, int | float) and bits <= NARROW
    if word.startswith("mx"):
        return "mxfp4" if narrow else "fp8"
    if word.startswith("nv") or narrow:
        return "nvfp4"
    quantized = isinstance(config.get("act_bits"), int) and config["act_bits"] <= BYTE
    return "fp8" if quantized else reading.by_bits(bits, "quantization_config.bits")


def _mlx(config: Mapping[str, Any], reading: SchemeReading) -> str:
    mode = str(config.get("mode") or "affine")
    if mode != "affine":
        return by_word(mode, "quantization_config.mode", reading)
    return reading.by_bits(config.get("bits"), "quantization_config.bits")


def _fp_quant(config: Mapping[str, Any], reading: SchemeReading) -> str:
    return by_word(str(config.get("forward_dtype") or "mxfp4"), "quantization_config.forward_dtype", reading)


def _mistral(config: Mapping[str, Any], reading: SchemeReading) -> str:
    return by_word(str(config["qformat_weight"]), "quantization.qformat_weight", reading)


def _torchao(config: Mapping[str, Any], reading: SchemeReading) -> str:
    kind = config.get("quant_type")
    kind = kind.get("default", kind) if isinstance(kind, Mapping) else kind
    where = "quantization_config.quant_type"
    if not isinstance(kind, Mapping):
        return by_word(str(kind or ""), where, reading)
    held = kind.get("_data")
    data: Mapping[str, Any] = held if isinstance(held, Mapping) else {}
    by_name = data.get("module_fqn_to_config") or data.get("fqn_to_config")
    if isinstance(by_name, Mapping):
        others = sorted(str(name) for name in by_name if name != "_default")
        reading.doubts += [f"{where}: {shown(name)}: counted like the rest" for name in others[:_MOST_NAMED]]
        return _torchao({"quant_type": by_name.get("_default")}, reading) if by_name.get("_default") else PLAIN
    width = data.get("weight_dtype")
    width = width.get("_data") if isinstance(width, Mapping) else width
    stated = isinstance(width, str) and "int" in width
    return by_word(str(width if stated else kind.get("_type") or ""), where, reading)


def _quark(config: Mapping[str, Any], reading: SchemeReading) -> str:
    weights = config.get("global_quant_config")
    if weights is None and isinstance(config.get("layer_type_quant_config"), Mapping):
        weights = config["layer_type_quant_config"].get("Linear")
    weights = weights.get("weight") if isinstance(weights, Mapping) else None
    weights = weights[0] if isinstance(weights, list) and weights else weights
    dtype = str(weights.get("dtype", "")) if isinstance(weights, Mapping) else ""
    if dtype == "fp4":
        return "mxfp4"
    return by_word(dtype, "quantization_config.global_quant_config.weight.dtype", reading)


def by_word(word: str, where: str, reading: SchemeReading) -> str:
    """A precision by the format's name."""
    text = word.lower().replace("_", "").replace("-", "")
    for part, precision in _WORDS:
        if part in text:
            return precision
    reading.errors.append(f"{where}: {shown(word)}: not understood")
    return ""


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any], SchemeReading], str]]] = {
    "bitsandbytes": _bitsandbytes,
    "bnb": _bitsandbytes,
    "torchao": _torchao,
    "quark": _quark,
    "aqlm": _codebooks,
    "auto_round": _auto_round,
    "intel/auto_round": _auto_round,
    "inc": _auto_round,
    "mlx": _mlx,
    "fp_quant": _fp_quant,
    "mistral": _mistral,
}
