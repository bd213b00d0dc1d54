"""Answers as table, JSON, YAML or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NoReturn

import typer
import yaml
from rich.console import Console
from rich.table import Table

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


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], marked: Sequence[int] = ()) -> None:
    """Columns of figures, right-aligned but for the last; marked rows are bold on a terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == len(columns) - 1 else "right", no_wrap=True)
    for number, row in enumerate(rows):
        table.add_row(*row, style="bold" if number in marked else None)
    wide = None if Console().is_terminal else 200  # pipes and files have no width to break lines at
    Console(width=wide, highlight=False).print(table)
