"""A `config.json`, read by meaning: where its language model is, its figures, and the keys that nobody understands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from math import isfinite
from typing import Any, Final

from pertoken.catalog.bounds import CONTEXT, FFN, LAYERS, OF_CONFIG
from pertoken.catalog.config_ignored import APART, irrelevant
from pertoken.catalog.config_keys import (
    BY_LAYER,
    FOUR_TIMES_WIDE,
    NEGATIVE_IS_NONE,
    NESTED,
    OPTIONAL_WORDS,
    PATTERN_KEYS,
    SPELLINGS,
    TAKEN,
)
from pertoken.frozen import dataclass
from pertoken.raw.values import shown

TEXT_PARTS: Final = ("text_config", "llm_config", "language_config", "language_model", "thinker_config", "llm")
DEEPEST: Final = 4
MOST_KEYS: Final = 1_000
_OF_THE_WHOLE: Final = (
    "quantization_config",
    "compression_config",
    "quantization",
    "tie_word_embeddings",
    "vocab_size",
)
_OF_EXPERTS: Final = re.compile(r"(^|_)(moe|experts?)(_|$)")
_MOST_LISTED: Final = max(FFN, CONTEXT)


class Unclear(ValueError):
    """A key says something that cannot be read; `key` names it."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"{key}: {why}")
        self.key = key


@dataclass(frozen=True, slots=True)
class Config:
    """The language model's part of a configuration.

    Attributes:
        raw: its keys, with what only the whole says (quantization, tied embeddings) among them.
        apart: names of parts beside it (vision, audio), whose weights are not counted.
        around: keys outside of it that nobody here understands.
    """

    raw: Mapping[str, Any]
    apart: tuple[str, ...] = ()
    around: tuple[str, ...] = ()
    _numbers: dict[str, int | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Config:
        """The language model's part, at whatever depth it stands."""
        path = _path_to_text(config, DEEPEST)
        if not path:
            return cls(_completed(config), tuple(_apart(config)))
        apart: list[str] = []
        around: list[str] = []
        whole: dict[str, Any] = {}
        inner: Mapping[str, Any] = config
        for name in path:
            whole |= {key: inner[key] for key in _OF_THE_WHOLE if key in inner}
            if isinstance(inner.get("model_type"), str):
                whole["model_type"] = inner["model_type"]
            apart += _apart(inner)
            around += _unknown(inner, name)
            inner = inner[name]
        apart += _apart(inner)
        return cls(_completed({**whole, **inner}), tuple(dict.fromkeys(apart)), tuple(dict.fromkeys(around)))

    def doubts(self) -> tuple[str, ...]:
        """Keys that are not understood, each with what that means."""
        unknown = dict.fromkeys((*_unknown(self.raw, ""), *self.around))
        return (
            *(f"{key}: not understood; figures may be wrong by it" for key in unknown),
            *(f"{key}: its weights are not counted" for key in self.apart),
        )

    def hidden_experts(self) -> str:
        """A key that nobody understands and that speaks of experts; empty where there is none.

        Counted as dense, such a model would be far too small.
        """
        several = (key for key in _unknown(self.raw, "") if self.raw.get(key) not in (1, True))
        return next((key for key in several if _OF_EXPERTS.search(key)), "")

    def unreadable(self) -> tuple[str, ...]:
        """Keys of known meaning whose value is no figure that a model can have."""
        return tuple(
            name
            for meaning, names in SPELLINGS.items()
            for name in names
            if name in self.raw and not _readable(meaning, self.raw[name])
        )

    def layers(self) -> int:
        """How many layers; those that a pattern lists where no figure says it, 0 where nothing does."""
        stated = self.number("layers")
        if stated:
            return stated
        patterns = (self.raw.get(key) for key in PATTERN_KEYS)
        lengths = [len(value) for value in patterns if isinstance(value, str | list | tuple) and value]
        return lengths[0] if lengths and lengths[0] <= LAYERS and not self.unreadable() else 0

    def number(self, meaning: str) -> int | None:
        """The figure of this meaning; None when absent, zero or different from layer to layer."""
        if meaning not in self._numbers:
            self._numbers[meaning] = self._number(meaning)
        return self._numbers[meaning]

    def _number(self, meaning: str) -> int | None:
        for name in SPELLINGS[meaning]:
            value = self.raw.get(name)
            if isinstance(value, list | tuple) and value and all(item == value[0] for item in value):
                value = value[0]
            figure = _figure(value, OF_CONFIG[meaning])
            if figure:
                return figure
        return None

    def each(self, meaning: str, layers: int) -> tuple[int | None, ...]:
        """The figure layer by layer.

        Raises:
            Unclear: a list has another length than the model.
        """
        for name in SPELLINGS[meaning]:
            value = self.raw.get(name)
            if isinstance(value, list | tuple):
                if len(value) != layers:
                    raise Unclear(name, f"{len(value)} figures; expected one for each of {layers} layers")
                return tuple(_figure(item, OF_CONFIG[meaning]) or None for item in value)
            figure = _figure(value, OF_CONFIG[meaning])
            if figure:
                return (figure,) * layers
        return (None,) * layers

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A yes or no."""
        value = self.raw.get(name)
        return value if isinstance(value, bool) else default

    def family(self, *prefixes: str) -> bool:
        """Whether `model_type` begins with one of these."""
        return str(self.raw.get("model_type", "")).startswith(prefixes)

    def listed(self, name: str) -> list[Any]:
        """A list; empty when it is none.

        Raises:
            Unclear: it is longer than a model has layers.
        """
        value = self.raw.get(name)
        if not isinstance(value, list | tuple):
            return []
        if len(value) > LAYERS:
            raise Unclear(name, f"{len(value)} items; expected at most {LAYERS}")
        return list(value)

    def every(self, name: str) -> int:
        """A whole number above 0 of a key without other spellings; 0 when absent."""
        return _figure(self.raw.get(name), _MOST_LISTED) or 0


def _completed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """With figures that stand in objects of their own, and what a family has where its configuration says nothing."""
    raw = dict(config)
    for name, renamed in NESTED.items():
        part = raw.get(name)
        if isinstance(part, Mapping):
            del raw[name]
            inner = {renamed.get(str(key), str(key)): value for key, value in part.items()}
            raw = {**inner, **raw}
    width = next((_figure(raw.get(name), OF_CONFIG["hidden"]) for name in SPELLINGS["hidden"] if raw.get(name)), None)
    if width and str(raw.get("model_type", "")) in FOUR_TIMES_WIDE and not any(raw.get(n) for n in SPELLINGS["ffn"]):
        raw["intermediate_size"] = 4 * width
    return raw


def _figure(value: Any, most: int) -> int | None:
    """A whole number from 0 to `most`; None otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        return None
    return int(value)


def _readable(meaning: str, value: Any) -> bool:
    if value is None or value in OPTIONAL_WORDS.get(meaning, ()):
        return True
    if isinstance(value, list | tuple):
        fits = meaning in BY_LAYER and 0 < len(value) <= LAYERS
        return fits and all(not isinstance(item, list | tuple) and _readable(meaning, item) for item in value)
    if isinstance(value, bool):
        return value is False
    if isinstance(value, int | float) and meaning in NEGATIVE_IS_NONE and -1 <= value < 0:
        return True
    return _figure(value, OF_CONFIG[meaning]) is not None


def _has_model(config: Mapping[str, Any]) -> bool:
    return any(name in config for name in SPELLINGS["layers"]) and any(name in config for name in SPELLINGS["hidden"])


def _path_to_text(config: Mapping[str, Any], depth: int) -> tuple[str, ...]:
    """Names that lead to the language model; empty where it is here."""
    if depth <= 0 or len(config) > MOST_KEYS:
        return ()
    for name in TEXT_PARTS:
        part = config.get(name)
        if isinstance(part, Mapping) and part:
            return (name, *_path_to_text(part, depth - 1))
    if _has_model(config):
        return ()
    for name, part in config.items():
        if isinstance(part, Mapping) and not APART.search(str(name)):
            below = _path_to_text(part, depth - 1)
            if below or _has_model(part):
                return (name, *below)
    return ()


def _apart(config: Mapping[str, Any]) -> Iterator[str]:
    for name, part in config.items():
        if isinstance(part, Mapping) and part and APART.search(str(name)) and not irrelevant(str(name)):
            yield str(name)


def _unknown(config: Mapping[str, Any], taken: str) -> Iterator[str]:
    """Keys that say something nobody here understands."""
    for key, value in config.items():
        name = key if isinstance(key, str) else shown(key)
        if (
            name in TAKEN
            or name == taken
            or irrelevant(name)
            or value is None
            or value is False
            or value in ("", [], {})
        ):
            continue
        if isinstance(value, Mapping) and APART.search(name):
            continue
        if isinstance(value, float) and not isfinite(value):
            continue
        yield name if len(name) <= MOST_LETTERS else shown(name)


MOST_LETTERS: Final = 64
