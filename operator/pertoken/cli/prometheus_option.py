"""Where Prometheus is, for commands that read it: one option, and the operator's own settings for everything else."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from pertoken.adapters.prometheus.profile import MetricsProfile, ProfileError
from pertoken.cli.rendering import refuse
from pertoken.settings import Settings

PrometheusOption = Annotated[
    str | None,
    typer.Option(
        "--prometheus-url",
        envvar=["PERTOKEN_PROMETHEUS_URL", "PROMETHEUS_URL"],
        help="Prometheus as seen from here. Token, CA and tenant as for the operator: PERTOKEN_PROMETHEUS_….",
    ),
]


def profile_at(url: str) -> MetricsProfile:
    """The metrics profile of the operator's settings at this address; mistakes end the command."""
    try:
        return replace(Settings().all_metrics_profiles()["default"], url=url)
    except (ProfileError, ValueError) as error:
        refuse(f"--prometheus-url: {error}")
