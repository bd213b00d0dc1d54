"""The end of the demo: what happened and why, what it cost, and whether the promise held."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from pertoken_sandbox.demo.record import Record
from pertoken_sandbox.demo.setting import Setting
from pertoken_sandbox.demo.watch import Account


@dataclass(frozen=True, slots=True)
class Baseline:
    """The smallest static fleet that keeps the objectives in every window of the same trace.

    Attributes:
        attained: share of its requests within both objectives.
    """

    replicas: int
    usd_per_million: float
    usd: float
    attained: float


@dataclass(frozen=True, slots=True)
class Objectives:
    """What the example manifest promises, seconds."""

    ttft: float
    inter_token: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What the clients and the account say: latency over the judged last part, money over the whole run.

    Attributes:
        index: bill over tokens at the target price, from the demo's own account.
        operator_index: the same as the operator reports it; None if it does not.
        reachable: lowest USD per million tokens that the operator's model finds within the objectives.
        attained: share of all requests of the run within both objectives, unfinished ones counted as misses.
    """

    index: float | None
    operator_index: float | None
    ttft_p95: float | None
    inter_token_p95: float | None
    reachable: float | None
    attained: float | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of success."""

    text: str
    ok: bool
    found: str


def checks(record: Record, measured: Measured, objectives: Objectives) -> tuple[Check, ...]:
    """Every condition that the exit code stands for."""
    return (
        Check(
            "cost index of the whole run at or under 1", _within(measured.index, 1.0), _number(measured.index, "{:.2f}")
        ),
        Check(
            "the operator's own index (last 300 s) at or under 1",
            _within(measured.operator_index, 1.0),
            _number(measured.operator_index, "{:.2f}"),
        ),
        Check(
            f"p95 TTFT within {objectives.ttft * 1000:.0f} ms",
            _within(measured.ttft_p95, objectives.ttft),
            _number(measured.ttft_p95, "{:.0f} ms", 1000),
        ),
        Check(
            f"p95 time per output token within {objectives.inter_token * 1000:.0f} ms",
            _within(measured.inter_token_p95, objectives.inter_token),
            _number(measured.inter_token_p95, "{:.1f} ms", 1000),
        ),
        Check("at least one scale-up", record.count("scale-up") >= 1, str(record.count("scale-up"))),
        Check("at least one scale-down", record.count("scale-down") >= 1, str(record.count("scale-down"))),
        Check(
            "at least one completed batch cap change",
            record.count("cap-complete") >= 1,
            str(record.count("cap-complete")),
        ),
    )


def show_decisions(console: Console, record: Record) -> None:
    """Every action with the reason that the operator gave."""
    table = Table(title="What pertoken did, and why", title_justify="left", expand=True)
    table.add_column("s", justify="right")
    table.add_column("action")
    table.add_column("reason", ratio=1)
    for happening in record.happenings:
        table.add_row(f"{happening.seconds:.0f}", happening.kind, happening.text)
    console.print(table)


def show_cost(
    console: Console, account: Account, baseline: Baseline, attained: float | None, target: tuple[float, float]
) -> None:
    """The money, beside the static fleet; `target` is a price and its share of the static fleet's."""
    table = Table(title="Cost on the same trace", title_justify="left")
    for column in ("fleet", "USD", "USD / 1M tokens", "of static peak", "requests within objectives"):
        table.add_column(column, justify="left" if column == "fleet" else "right")
    own = account.usd_per_million() or 0.0
    rows = (
        (f"static peak, {baseline.replicas} replicas", baseline.usd, baseline.usd_per_million, baseline.attained),
        ("pertoken", account.usd(), own, attained),
    )
    for name, usd, per_million, good in rows:
        share = f"{per_million / baseline.usd_per_million:.0%}"
        table.add_row(name, f"{usd:.2f}", f"{per_million:.4f}", share, _number(good, "{:.1f} %", 100))
    table.add_row("target", "", f"{target[0]:.4f}", f"{target[1]:.0%}", "")
    console.print(table)


def show_checks(console: Console, done: tuple[Check, ...], setting: Setting) -> None:
    """Pass or fail, one line each."""
    console.print(f"Judged (latency: p95 over the last {setting.judged_seconds:.0f} s, as the clients saw it):")
    for check in done:
        mark = "[green]yes[/green]" if check.ok else "[red]no [/red]"
        console.print(f"  {mark} {check.text}: {check.found}")


def _within(value: float | None, limit: float) -> bool:
    return value is not None and value <= limit


def _number(value: float | None, form: str, factor: float = 1.0) -> str:
    return "not measured" if value is None else form.format(value * factor)
