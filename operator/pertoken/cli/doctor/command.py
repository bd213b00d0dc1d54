"""`pertoken doctor [METRICS-URL|FILE]`: what is missing for pertoken to work here."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import requests
import typer

from pertoken.adapters.clock import SystemClock
from pertoken.adapters.kube.client import KubeClient
from pertoken.adapters.kube.reader import KubeReader
from pertoken.catalog.lookup import SHIPPED
from pertoken.cli.adopt.cluster import read_view
from pertoken.cli.connection import ConnectionOptions, Context, Kubeconfig, Namespace, client
from pertoken.cli.doctor.cluster import (
    Account,
    api_findings,
    clock_findings,
    engine_findings,
    node_findings,
    operator_findings,
    permission_findings,
)
from pertoken.cli.doctor.findings import Finding, any_bad, doubt, unseen
from pertoken.cli.doctor.page import page_findings, read_page
from pertoken.cli.doctor.prometheus import prometheus_findings
from pertoken.cli.options import AllNamespaces
from pertoken.cli.prometheus_option import PrometheusOption, profile_at
from pertoken.cli.rendering import NO, Output, print_data, refuse
from pertoken.ports import AdapterError

TIMEOUT: Final = 10.0
MOST_BYTES: Final = 64 * 1024 * 1024


def doctor_command(  # noqa: PLR0913, PLR0917 - options of a command line
    page: Annotated[
        str | None, typer.Argument(metavar="[METRICS-URL|FILE]", help="An engine's metrics page, or - for stdin.")
    ] = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
    everywhere: AllNamespaces = False,
    prometheus_url: PrometheusOption = None,
    operator_namespace: Annotated[str, typer.Option(help="Namespace of the operator.")] = "pertoken-system",
    account: Annotated[
        str | None,
        typer.Option(help="Service account whose permissions are looked at, NAMESPACE:NAME; by default your own."),
    ] = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="Output format.")] = Output.TABLE,
) -> None:
    """Say what pertoken lacks to work here, each line with what to do about it.

    With a metrics page: which signals this engine has and lacks. Exit 0 when nothing is missing, 1 when something is,
    2 for trouble (no credentials, no page).
    """
    if page is not None:
        _answer(list(page_findings(read_page(_text(page)))), output)
        return
    access = ConnectionOptions(kubeconfig, context, namespace)
    connection = client(access)
    findings: list[Finding] = []
    now = SystemClock().now()
    try:
        findings += api_findings(connection)
        findings += _permissions(connection, account)
        findings += operator_findings(connection, operator_namespace)
        findings += clock_findings(connection, now)
        view = read_view(KubeReader(connection, () if everywhere else (access.own_namespace,)))
    except AdapterError as error:
        refuse(*(str(finding) for finding in findings), str(error))
    findings += [unseen("cluster", line, "grant the right to read it") for line in view.unseen]
    findings += [*node_findings(view, SHIPPED), *engine_findings(view)]
    if prometheus_url is None:
        todo = "--prometheus-url as seen from here: kubectl port-forward -n monitoring svc/prometheus-operated 9090"
        findings.append(doubt("Prometheus", "none was named", todo))
    else:
        findings += prometheus_findings(profile_at(prometheus_url), now)
    _answer(findings, output)


def _permissions(connection: KubeClient, account: str | None) -> Iterable[Finding]:
    user = f"system:serviceaccount:{account}" if account else ""
    try:
        yield from permission_findings(connection, Account(user))
    except AdapterError as error:
        yield unseen("permissions", str(error), "ask for the right to create SubjectAccessReviews")


def _text(page: str) -> str:
    """The page; what cannot be read ends the command."""
    try:
        if page.startswith(("http://", "https://")):
            answer = requests.get(page, timeout=TIMEOUT)
            if answer.status_code != requests.codes.ok:
                refuse(f"{page}: HTTP {answer.status_code}; expected an engine's metrics page")
            return answer.content[:MOST_BYTES].decode("utf-8", errors="replace")
        return sys.stdin.read() if page == "-" else Path(page).read_text(encoding="utf-8", errors="replace")
    except requests.RequestException as error:
        refuse(f"{page}: {type(error).__name__}; expected an engine's metrics page")
    except OSError as error:
        refuse(f"{page}: cannot be read: {error.strerror}")


def _answer(findings: list[Finding], output: Output) -> None:
    if output is Output.TABLE:
        for finding in findings:
            typer.echo(str(finding))
    else:
        print_data([{**asdict(finding), "verdict": finding.verdict.value} for finding in findings], output.value)
    if any_bad(findings):
        raise typer.Exit(NO)
