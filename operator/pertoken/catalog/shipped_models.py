"""The models that ship: `model_rows` by their figures, `data/models.json` by the figures of their `config.json`.

`data/published.json` has the parameter counts that publishers give, which a test compares with those of the rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.resources import files
from typing import Any, Final

from pertoken.catalog.architecture import Incomplete, from_mapping
from pertoken.catalog.model_rows import ROWS
from pertoken.catalog.models import Model, Published

AS_OF: Final = "2026-11-28"


def _data(name: str) -> Any:
    return json.loads((files("pertoken.catalog") / "data" / name).read_text(encoding="utf-8"))


def _configured() -> Iterator[Model]:
    """Rows by configuration.

    Raises:
        ValueError: a shipped configuration cannot be read.
    """
    for row in _data("models.json"):
        model = from_mapping(row["id"], row["config"], row["source"])
        if isinstance(model, Incomplete):
            raise ValueError(str(model))  # noqa: TRY004 - the data is wrong, not its type
        yield replace(model, aliases=tuple(row.get("aliases", ())), as_of=AS_OF)


def _published(counts: Mapping[str, Mapping[str, Any]], model: Model) -> Published | None:
    stated = counts.get(model.id)
    return None if stated is None else Published(stated["parameters"], stated.get("apart", 0), stated["source"])


def _shipped() -> Iterator[Model]:
    counts = _data("published.json")
    for model in (*ROWS, *_configured()):
        yield replace(model, published=_published(counts, model))


MODELS: Final[tuple[Model, ...]] = tuple(_shipped())
