"""JSON of the API server, whatever its depth: the server nests up to 10,000 deep, Python's parser far less."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from pertoken.raw.values import deeper_than

MOST_DEPTH: Final = 200  # twice what may become part of an object, and far below Python's limit
CUT: Final = "nested too deep"

_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{\]}]', re.DOTALL)
_REPLACEMENT: Final = json.dumps(CUT).encode()


def loads(text: bytes | str) -> Any:
    """Parse JSON; what is nested too deep is replaced by a text, so that all the rest can be read.

    The parser itself goes deeper than what copies or walks through an object afterwards can follow.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        pass
    else:
        if not deeper_than(value, MOST_DEPTH):
            return value
    return json.loads(cut(text.encode() if isinstance(text, str) else text))


def cut(text: bytes, most: int = MOST_DEPTH) -> bytes:
    """The same JSON with everything that is nested more than `most` deep replaced by one text each."""
    parts, start, depth = [], 0, 0
    for token in _TOKEN.finditer(text):
        match token[0][:1]:
            case b"{" | b"[":
                depth += 1
                if depth == most + 1:
                    parts += [text[start : token.start()], _REPLACEMENT]
            case b"}" | b"]":
                if depth == most + 1:
                    start = token.end()
                depth -= 1
    if depth <= most:
        parts.append(text[start:])
    return b"".join(parts)


def may_be_deep(text: bytes) -> bool:
    """A quick look: less brackets than levels cannot be too deep."""
    return text.count(b"{") + text.count(b"[") > MOST_DEPTH
