"""`docs/reference/values.md`: the chart's values with their defaults, from the comments in its `values.yaml`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import yaml

from pertoken.cli.reference.markdown import table

_HEAD: Final = """\
# Values of the chart

Everything that `helm install --set` and `-f` take; `values.schema.json` refuses any other name. Lists and maps are
shown by their first level. Ready-made combinations are in `charts/pertoken/ci/`.

"""
_KEY: Final = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][\w.-]*):")
_COMMENT: Final = re.compile(r"^ *# ?(?P<first>-- )?(?P<text>.*)$")
_STEP: Final = 2
_LONGEST: Final = 80  # letters of a default


def values_page(text: str) -> str:
    """The page for a `values.yaml`."""
    values = yaml.safe_load(text)
    rows = [(f"`{'.'.join(path)}`", _default(_at(values, path)), words) for path, words in documented(text)]
    return _HEAD + table(("value", "default", "meaning"), rows)


def documented(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Path and words of every value that has a comment, in the file's order."""
    path: list[str] = []
    words: list[str] = []
    for line in text.splitlines():
        comment, key = _COMMENT.match(line), _KEY.match(line)
        if comment is not None:
            if comment["first"]:
                words = [comment["text"]]
            elif words:
                words.append(comment["text"])
            continue
        if key is not None:
            del path[len(key["indent"]) // _STEP :]
            path.append(key["key"])
            if words:
                yield tuple(path), " ".join(words)
        words = []


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        values = values[key]
    return values


def _default(value: Any) -> str:
    text = json.dumps(value)
    return f"`{text}`" if len(text) <= _LONGEST else "see `values.yaml`"
