"""Answers as table, JSON, YAML or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import floor, log10
from typing import Any, NoReturn

import typer
import yaml
from rich.console import Console

BAD_INPUT = 2
NO = 1


class Output(StrEnum):
    """How to print an answer that is no table."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class RowsOutput(StrEnum):
    """How to print rows."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


def refuse(*mistakes: str) -> NoReturn:
    """One line per mistake on stderr, exit code 2."""
    for mistake in mistakes:
        typer.echo(mistake, err=True)
    raise typer.Exit(BAD_INPUT)


def print_data(value: Mapping[str, Any] | Sequence[Mapping[str, Any]], output: str) -> None:
    """JSON or YAML with the keys in their order."""
    if output == "json":
        print(json.dumps(value, indent=2))
    else:
        print(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), end="")


def print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    """With a header; nothing where there is no figure."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: " ".join(value) if isinstance(value, list) else value for key, value in row.items()})
    print(text.getvalue(), end="")


def print_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The same for rows with long words at their end: nothing is cut, a narrow terminal wraps the words."""
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line[:-1], widths, strict=False)]
        print("  ".join([*cells, line[-1]]).rstrip())


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    marked: Sequence[int] = (),
    *,
    optional: Sequence[str] = (),
    width: int | None = None,
) -> None:
    """Columns of figures, right-aligned but for the last; marked rows are bold on a terminal.

    Nothing is cut. Where a terminal has no room, optional columns are left out, then the rest goes into further blocks
    below, which begin with the first column.

    Args:
        columns: heads.
        rows: cells, as many in each row.
        marked: numbers of rows.
        optional: heads of columns that a narrow terminal does without, the least missed first.
        width: letters in a line; None for the terminal's, and for no limit where there is none.
    """
    bold = Console().is_terminal
    limit = width or (Console().width if bold else None)
    widths = [max(len(line[number]) for line in (columns, *rows)) for number in range(len(columns))]
    kept = _kept(columns, widths, optional, limit)
    for number, block in enumerate(_blocks([widths[c] for c in kept], limit)):
        if number:
            print()
        for line, cells in enumerate((columns, *rows)):
            text = "  ".join(
                _aligned(cells[c], widths[c], last=c == len(columns) - 1) for c in (kept[b] for b in block)
            ).rstrip()
            print(f"\x1b[1m{text}\x1b[0m" if bold and (line == 0 or line - 1 in marked) else text)


def _kept(columns: Sequence[str], widths: Sequence[int], optional: Sequence[str], limit: int | None) -> list[int]:
    """Columns that are shown: without as many of the optional ones as the limit asks for."""
    kept = list(range(len(columns)))
    for name in optional:
        if limit is None or sum(widths[number] for number in kept) + 2 * (len(kept) - 1) <= limit:
            break
        kept.remove(columns.index(name))
    return kept


def _aligned(cell: str, width: int, *, last: bool) -> str:
    return cell if last else cell.rjust(width)


def _blocks(widths: Sequence[int], limit: int | None) -> list[list[int]]:
    """Columns by block, each within the limit where single columns are."""
    blocks: list[list[int]] = [[]]
    used = 0
    for number, width in enumerate(widths):
        if limit is not None and blocks[-1] and used + 2 + width > limit:
            blocks.append([0])
            used = widths[0]
        used += width + (2 if blocks[-1] else 0)
        blocks[-1].append(number)
    return blocks


def plain_figure(value: float, digits: int = 5) -> str:
    """A figure with so many digits, thousands apart, and never with an exponent."""
    if value == 0:
        return "0"
    places = max(0, digits - 1 - floor(log10(abs(value))))
    text = f"{value:,.{min(places, 12)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
