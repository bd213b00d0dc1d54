"""Mistakes in manifests as values: which field, what it holds, what was expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pertoken.api.rules import Rule, located
from pertoken.api.structural import structural
from pertoken.api.v1alpha1.base import AMOUNT_PATTERN, API_VERSION_PATTERN, DNS_LABEL, DNS_SUBDOMAIN, KIND_PATTERN
from pertoken.raw.values import deeper_than, shown

SUGGESTION_CUTOFF: Final = 0.6
MOST_DEPTH: Final = 64  # a pod template has about 12
MAX_NAME: Final = 100  # comparing takes time that grows with the square of the length
AMOUNT_EXPECTED: Final = 'a decimal number in quotes, such as "0.80"'


@dataclass(frozen=True, slots=True)
class FieldError:
    """One mistake.

    Attributes:
        path: of the field from the object's root, ``spec.variants[0].maxReplicas``.
        value: what it holds; None when it is missing.
        expectation: what would be right.
    """

    path: str
    value: Any
    expectation: str

    def __str__(self) -> str:
        return f"{self.path}: {shown(self.value)}: {self.expectation}"


@dataclass(frozen=True, slots=True)
class Rejected:
    """An object that cannot be used, with every mistake found."""

    errors: tuple[FieldError, ...]

    @property
    def message(self) -> str:
        """All mistakes in one line."""
        return "; ".join(str(error) for error in self.errors)


def depth_error(obj: Mapping[str, Any]) -> FieldError | None:
    """What is nested deeper than a pod template can be; the API server keeps templates of any depth."""
    spec = obj.get("spec")
    if not deeper_than(spec, MOST_DEPTH):
        return None
    expected = f"at most {MOST_DEPTH} levels of mappings and lists"
    variants = spec.get("variants") if isinstance(spec, Mapping) else None
    for index, variant in enumerate(variants if isinstance(variants, list) else ()):
        if isinstance(variant, Mapping) and deeper_than(variant, MOST_DEPTH - 2):
            field = max(variant, key=lambda name: (deeper_than(variant[name], MOST_DEPTH - 3), str(name)))
            return FieldError(f"spec.variants[{index}].{field}", variant[field], expected)
    return FieldError("spec", spec, expected)


def rule_errors(obj: Mapping[str, Any], rules: Iterable[Rule]) -> list[FieldError]:
    """What the cross-field rules find in a raw object."""
    errors = []
    for rule in rules:
        if rule.check is None:
            continue
        for path, part in located(obj, rule.at):
            for field, value in rule.check(part):
                where = f"{path}.{field}" if path and field else path or field
                errors.append(FieldError(where, value, rule.message))
    return errors


def model_errors(error: ValidationError, model: type[BaseModel], prefix: str) -> list[FieldError]:
    """What pydantic found, in the words of the API: one value per mistake."""
    schema = structural(model)
    return [_one(details, schema, prefix) for details in error.errors(include_url=False)]


def _one(details: ErrorDetails, schema: Mapping[str, Any], prefix: str) -> FieldError:
    loc = details["loc"]
    missing = details["type"] == "missing"
    return FieldError(_path(prefix, loc), None if missing else details["input"], _expectation(details, schema))


def _path(prefix: str, loc: tuple[int | str, ...]) -> str:
    path = prefix
    for step in loc:
        if step == "[key]":
            continue
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path


_WORDS: Final[Mapping[str, str]] = {
    "missing": "required",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "must not be empty",
    "too_long": "at most {max_length} entries",
    "too_short": "at least {min_length} entry",
    "value_error": "{error}",
    "string_type": "a text (in quotes if it is a number)",
}


def _expectation(details: ErrorDetails, schema: Mapping[str, Any]) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_field(str(details["loc"][-1]), _node(schema, details["loc"][:-1]))
    if kind == "string_pattern_mismatch":
        return _pattern(context["pattern"])
    if kind == "literal_error":
        words = f"one of {context['expected']}".replace(" or ", ", ").replace("'", "")
        return f'{words} (YAML reads a bare Off as false: write "Off")' if details["input"] is False else words
    if kind == "string_type" and _node(schema, details["loc"]).get("pattern") == AMOUNT_PATTERN:
        return AMOUNT_EXPECTED
    template = _WORDS.get(kind)
    return template.format(**context) if template else details["msg"]


_PATTERNS: Final[Mapping[str, str]] = {
    DNS_SUBDOMAIN: 'lower-case letters, digits, "-" and ".", beginning and ending with a letter or digit',
    KIND_PATTERN: "a kind in CamelCase, such as Deployment",
    API_VERSION_PATTERN: "group/version, such as apps/v1",
}


def _pattern(pattern: str) -> str:
    if pattern == AMOUNT_PATTERN:
        return AMOUNT_EXPECTED
    if pattern == DNS_LABEL:
        return 'lower-case letters, digits and "-", beginning and ending with a letter or digit'
    return _PATTERNS.get(pattern, f"text that matches {pattern}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelt one most likely means."""
    if len(name) > MAX_NAME:
        return None
    by_lower = {spelling.lower(): spelling for spelling in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=SUGGESTION_CUTOFF)
    return by_lower[near[0]] if near else None


def _unknown_field(name: str, parent: Mapping[str, Any]) -> str:
    known = list(parent.get("properties", {}))
    near = nearest(name, known)
    return f"no such field, did you mean {near}?" if near else f"no such field; there are {', '.join(known)}"


def _node(schema: Mapping[str, Any], loc: tuple[int | str, ...]) -> Mapping[str, Any]:
    node: Mapping[str, Any] = schema
    for step in loc:
        if isinstance(step, int):
            node = node.get("items", {})
        else:
            node = node.get("properties", {}).get(step) or node.get("additionalProperties") or {}
    return node
