"""JSON documents of a file: one, or several in a row as `--append-result` and JSONL write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pertoken.cli.estimate_rows import BadFile

SUFFIXES = {".json", ".jsonl", ".ndjson"}


def documents_of(path: Path) -> list[Any]:
    """All documents of a file, in order.

    Raises:
        BadFile: it cannot be read, or is no JSON; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'no UTF-8 text'}") from error
    decoder, documents, position = json.JSONDecoder(), [], 0
    try:
        while (position := _next(text, position)) < len(text):
            document, position = decoder.raw_decode(text, position)
            documents.append(document)
    except json.JSONDecodeError as error:
        raise BadFile(f"{path}: line {error.lineno}: {error.msg}; expected a load generator's JSON, or CSV") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path}: a value is too long or nested too deep; expected a load generator's JSON") from error
    if not documents:
        raise BadFile(f"{path}: empty; expected a load generator's JSON, or CSV")
    return documents


def _next(text: str, position: int) -> int:
    """Where the next document begins: white space and commas between documents are skipped."""
    while position < len(text) and text[position] in " \t\r\n,":
        position += 1
    return position
