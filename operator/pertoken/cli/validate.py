"""`pertoken validate FILE…`: check manifests without a cluster, all mistakes at once."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import yaml

from pertoken.adapters.catalog_files import read_catalog
from pertoken.api.check import Checked, Finding, Severity, check
from pertoken.cli.manifests import read_sources
from pertoken.cli.options import CatalogOption

BAD_INPUT = 2


class ValidateOutput(StrEnum):
    """How to print the answer."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def validate_command(
    files: Annotated[list[Path], typer.Argument(help="Manifests, folders of them (*.yaml, *.yml), or - for stdin.")],
    catalog: CatalogOption = None,
    output: Annotated[ValidateOutput, typer.Option("--output", "-o", help="Output format.")] = ValidateOutput.TABLE,
) -> None:
    """Check manifests without a cluster: one line per mistake, all at once. Exit 0 when there is none, else 2."""
    sources, unreadable = read_sources(files)
    added = read_catalog(*catalog or ())
    unreadable += [Finding(Severity.ERROR, "--catalog", 0, "", "", None, mistake) for mistake in added.mistakes]
    checked = check(sources, added.catalog)
    findings = [*unreadable, *checked.findings]
    if output is ValidateOutput.TABLE:
        _print_lines(findings, checked)
    else:
        rows = [{**asdict(finding), "severity": finding.severity.value} for finding in findings]
        text = json.dumps(rows, indent=2, default=str) if output is ValidateOutput.JSON else yaml.safe_dump(rows)
        print(text.rstrip())
    if any(finding.severity is Severity.ERROR for finding in findings):
        raise typer.Exit(BAD_INPUT)


def _print_lines(findings: list[Finding], checked: Checked) -> None:
    for finding in findings:
        print(finding)
    if all(finding.severity is not Severity.ERROR for finding in findings):
        services, pools = len(checked.services), len(checked.pools)
        plans = f", {len(checked.plans)} CapacityPlan{_s(len(checked.plans))}" if checked.plans else ""
        routes = f", {len(checked.routes)} ModelRoute{_s(len(checked.routes))}" if checked.routes else ""
        print(f"valid: {services} InferenceService{_s(services)}, {pools} AcceleratorPool{_s(pools)}{plans}{routes}")


def _s(count: int) -> str:
    return "" if count == 1 else "s"
