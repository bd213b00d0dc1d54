"""The precision that a quantization method, its bits or the word for a format stand for.

Methods are those of vLLM's and SGLang's present lists. `config_quantization` asks by whichever of the three a
configuration states.
"""

from __future__ import annotations

from collections.abc import Mapping
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
NARROW: Final = 4
BYTE: Final = 8
_HALF: Final = 16


@dataclass(slots=True)
class Reading:
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
    if not text and "bits" in config and "group_size" in config:
        return "mlx"
    return text


def by_method(config: Mapping[str, Any], method: str, reading: Reading) -> str:
    """The precision of most weights under a method; empty, with an error, where it is not understood."""
    if method in {"bitsandbytes", "bnb"}:
        return _bitsandbytes(config, reading)
    if method in {"torchao", "quark"}:
        return _torchao(config, reading) if method == "torchao" else _quark(config, reading)
    if method in BY_METHOD:
        return BY_METHOD[method]
    if method in _BY_BITS:
        return reading.by_bits(_bits(config, _BY_BITS[method]), "quantization_config.bits")
    reading.errors.append(f"quantization_config.quant_method: {shown(method)}: not understood")
    return ""


def _bitsandbytes(config: Mapping[str, Any], reading: Reading) -> str:
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


def _torchao(config: Mapping[str, Any], reading: Reading) -> str:
    kind = config.get("quant_type")
    kind = kind.get("default", kind) if isinstance(kind, Mapping) else kind
    word = kind.get("_type", "") if isinstance(kind, Mapping) else kind
    return by_word(str(word or ""), "quantization_config.quant_type", reading)


def _quark(config: Mapping[str, Any], reading: Reading) -> str:
    weights = config.get("global_quant_config")
    weights = weights.get("weight") if isinstance(weights, Mapping) else None
    weights = weights[0] if isinstance(weights, list) and weights else weights
    dtype = str(weights.get("dtype", "")) if isinstance(weights, Mapping) else ""
    if dtype == "fp4":
        return "mxfp4"
    return by_word(dtype, "quantization_config.global_quant_config.weight.dtype", reading)


def by_word(word: str, where: str, reading: Reading) -> str:
    """A precision by the format's name."""
    text = word.lower().replace("_", "").replace("-", "")
    for part, precision in _WORDS:
        if part in text:
            return precision
    reading.errors.append(f"{where}: {shown(word)}: not understood")
    return ""
