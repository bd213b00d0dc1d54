"""`pertoken pause NAME` and `pertoken resume NAME`: stop and restart what pertoken does to a service."""

from __future__ import annotations

from typing import Annotated

import typer

from pertoken.cli.connection import ConnectionOptions, Context, Kubeconfig, Namespace, set_paused

Name = Annotated[str, typer.Argument(help="Name of the InferenceService.")]


def pause_command(
    name: Name, kubeconfig: Kubeconfig = None, context: Context = None, namespace: Namespace = None
) -> None:
    """Leave replicas and batch cap of a service as they are; decisions are still shown in its status."""
    access = ConnectionOptions(kubeconfig, context, namespace)
    set_paused(access, name, paused=True)
    typer.echo(f"{access.own_namespace}/{name} is paused")


def resume_command(
    name: Name, kubeconfig: Kubeconfig = None, context: Context = None, namespace: Namespace = None
) -> None:
    """Let pertoken act on a paused service again."""
    access = ConnectionOptions(kubeconfig, context, namespace)
    set_paused(access, name, paused=False)
    typer.echo(f"{access.own_namespace}/{name} is resumed")
