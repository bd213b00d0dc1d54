"""Options that several commands have, each defined once. Loads nothing but the parser: `validate` waits for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

HELP: Final = {"help_option_names": ["-h", "--help"]}  # context settings of every console script


def _told(asked: bool) -> None:
    if asked:
        # Imported here: no other command needs it, and it is slow to load.
        from importlib.metadata import version  # noqa: PLC0415

        typer.echo(f"pertoken {version('pertoken')}, Python {sys.version.split()[0]}")
        raise typer.Exit


VersionOption = Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_told)]
ModelOption = Annotated[str, typer.Option("--model", "-m", help="Hugging Face id or alias.")]
GpuOption = Annotated[str, typer.Option("--gpu", "-g", help="GPU id, node label or alias.")]
QuantizationOption = Annotated[str, typer.Option("--quantization", "-q", help="Of the weights; empty: as published.")]
CatalogOption = Annotated[list[Path] | None, typer.Option("--catalog", help="Further catalog rows: file or folder.")]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Look into all namespaces.")]
ApiCachedOption = Annotated[
    str | None, typer.Option("--api-cached", help="API price: USD per 1M cached input tokens; as input if not given.")
]
PeakOption = Annotated[
    float, typer.Option("--peak-to-mean", help="Peak / mean of the demand; replicas are held for the peak.")
]
