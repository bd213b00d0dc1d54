"""The part of the model that a tensor belongs to, by parts of its name, and which parts a configuration leaves plain.

Regular expressions of a configuration are never run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

PARTS: Final = ("attention", "recurrent", "dense", "shared", "experts")
MOST_NAMES: Final = 20_000
_LEFT_OUT: Final = (
    "modules_to_not_convert",
    "ignore",
    "exclude_modules",
    "exclude",
    "ignored_layers",
    "skip_modules",
    "llm_int8_skip_modules",
)


def parts_named(names: Any, *, everywhere: bool = True) -> frozenset[str]:
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


def is_small(name: str) -> bool:
    """Whether a tensor's name is of what weighs little, is counted as bf16 anyway, or is not of the text model."""
    text = name.lower()[:512]
    return any(word in text for word in (*_TENSORS[0][0], *_TENSORS[1][0], "lm_head", "embed"))


def _part(text: str) -> set[str]:
    if text.endswith(".gate"):
        return set()
    part = next((part for words, part in _TENSORS if any(word in text for word in words)), "")
    return {part} if part else set()


def parts_left_out(config: Mapping[str, Any], counts: Mapping[str, int]) -> Iterable[str]:
    """Parts that stay plain: those of which most is named."""
    for key in _LEFT_OUT:
        names = config.get(key)
        if isinstance(names, list | tuple):
            yield from parts_mostly_named(names, counts)


def parts_mostly_named(names: Sequence[Any], counts: Mapping[str, int]) -> Iterable[str]:
    """Parts of which half of the layers are named, or all by a pattern."""
    layers: dict[str, set[str]] = {}
    for name in names[:MOST_NAMES]:
        text = str(name).lower()[:512].replace("\\", "")
        for part in _part(text):
            number = next((piece for piece in text.replace("*", ".").split(".") if piece.isdecimal()), "all")
            layers.setdefault(part, set()).add(number)
    for part, numbers in layers.items():
        if "all" in numbers or 2 * len(numbers) >= counts.get(part, 0) > 0:
            yield part
