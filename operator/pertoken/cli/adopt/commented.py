"""YAML with comments, which PyYAML does not write. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import yaml

WIDTH: Final = 110
Path = tuple[str | int, ...]
Comments = Mapping[Path, Sequence[str]]


def dump(document: Mapping[str, Any], comments: Comments) -> str:
    """One document; each comment stands above the field of its path, those of the empty path at the top.

    Args:
        document: of mappings, lists and scalars; empty lists and mappings are written in one line.
        comments: sentences by path of keys and indices.
    """
    lines = [*_remarks(comments.get((), ()), ""), *_mapping(document, comments, (), "")]
    return "\n".join(lines) + "\n"


def _mapping(value: Mapping[str, Any], comments: Comments, path: Path, indent: str) -> Iterator[str]:
    for key, child in value.items():
        here = (*path, key)
        yield from _remarks(comments.get(here, ()), indent)
        name = _scalar(key)
        if isinstance(child, Mapping) and child:
            yield f"{indent}{name}:"
            yield from _mapping(child, comments, here, indent + "  ")
        elif isinstance(child, list) and child:
            yield f"{indent}{name}:"
            yield from _list(child, comments, here, indent + "  ")
        else:
            yield f"{indent}{name}: {_scalar(child)}"


def _list(value: Sequence[Any], comments: Comments, path: Path, indent: str) -> Iterator[str]:
    for index, child in enumerate(value):
        here = (*path, index)
        yield from _remarks(comments.get(here, ()), indent)
        if isinstance(child, Mapping) and child:
            first, *rest = _mapping(child, comments, here, indent + "  ")
            while first.lstrip().startswith("#"):  # the dash stands before the first field, not before its comment
                yield first[2:]
                first, *rest = rest
            yield f"{indent}- {first.lstrip()}"
            yield from rest
        else:
            yield f"{indent}- {_scalar(child)}"


def _remarks(sentences: Sequence[str], indent: str) -> Iterator[str]:
    for sentence in sentences:
        plain = " ".join(sentence.split())
        for line in textwrap.wrap(plain, WIDTH - len(indent), break_long_words=False, break_on_hyphens=False):
            yield f"{indent}# {line}"


def _scalar(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
