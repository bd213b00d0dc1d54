"""The end of the demo: what happened and why, what it cost, and whether the promise held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from pertoken.settings import Settings
from pertoken_sandbox.demo.record import Record
from pertoken_sandbox.demo.setting import Setting
from pertoken_sandbox.demo.watch import Account

PROMISED_SHARE: Final = 0.95  # of all requests within both objectives, as the example's percentile says


@dataclass(frozen=True, slots=True)
class StaticCost:
    """What a static fleet costs on the trace.

    Attributes:
        attained: share of its requests within both objectives.
    """

    replicas: int
    usd_per_million: float
    usd: float
    attained: float


@dataclass(frozen=True, slots=True)
class Baseline:
    """Static fleets on the same trace, found with hindsight.

    Attributes:
        peak: the smallest that keeps the objectives in every window.
        best: the smallest that serves the promised share of all requests within them.
    """

    peak: StaticCost
    best: StaticCost


@dataclass(frozen=True, slots=True)
class PromisedLatency:
    """What the example manifest promises, seconds."""

    ttft: float
    inter_token: float


@dataclass(frozen=True, slots=True)
class DemoOutcome:
    """What the clients and the account say of the whole run, its start included.

    Attributes:
        index: bill over tokens at the target price, from the demo's own account.
        operator_index: the same as the operator reports it; None if it does not.
        attained: share of all requests within both objectives; refused and unfinished ones are misses.
        ttft_p95, inter_token_p95: of all finished requests, seconds.
        reachable: lowest USD per million tokens that the operator's model finds within the objectives.
        cap: what the operator says of the batch cap at the end.
    """

    index: float | None
    operator_index: float | None
    attained: float | None
    ttft_p95: float | None
    inter_token_p95: float | None
    reachable: float | None
    cap: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of success, and what was measured of it, in words."""

    text: str
    ok: bool
    measured: str


def checks(record: Record, measured: DemoOutcome) -> tuple[Check, ...]:
    """Every condition that the exit code stands for."""
    return (
        Check(
            f"at least {PROMISED_SHARE:.0%} of all requests of the run within both objectives, as the clients saw it",
            measured.attained is not None and measured.attained >= PROMISED_SHARE,
            _number(measured.attained, "{:.1f} %", 100),
        ),
        Check(
            "cost index of the whole run at or under 1", _within(measured.index, 1.0), _number(measured.index, "{:.2f}")
        ),
        Check(
            "the operator's own index (last 300 s) at or under 1",
            _within(measured.operator_index, 1.0),
            _number(measured.operator_index, "{:.2f}"),
        ),
        Check("at least one scale-up", record.count("scale-up") >= 1, str(record.count("scale-up"))),
        Check("at least one scale-down", record.count("scale-down") >= 1, str(record.count("scale-down"))),
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


@dataclass(frozen=True, slots=True)
class PriceTarget:
    """USD per million tokens, and their share of the static peak fleet's."""

    usd_per_million: float
    share_of_peak: float


def show_cost(
    console: Console, account: Account, baseline: Baseline, attained: float | None, target: PriceTarget
) -> None:
    """The bill on the demo's trace, beside those of static fleets and the target."""
    table = Table(title="Cost on the same trace, until its last token", title_justify="left")
    for column in ("fleet", "USD", "USD / 1M tokens", "of static peak", "of best static", "requests within objectives"):
        table.add_column(column, justify="left" if column == "fleet" else "right")
    peak, best = baseline.peak, baseline.best
    rows = (
        (f"static peak, {peak.replicas} replicas", peak.usd, peak.usd_per_million, peak.attained),
        (f"best static, {best.replicas} replicas", best.usd, best.usd_per_million, best.attained),
        ("pertoken", account.usd(), account.usd_per_million() or 0.0, attained),
    )
    for name, usd, price, good in rows:
        shares = (f"{price / fleet.usd_per_million:.0%}" for fleet in (peak, best))
        table.add_row(name, f"{usd:.2f}", f"{price:.4f}", *shares, _number(good, "{:.1f} %", 100))
    table.add_row(
        "target",
        "",
        f"{target.usd_per_million:.4f}",
        f"{target.share_of_peak:.0%}",
        f"{target.usd_per_million / best.usd_per_million:.0%}",
        "95 %",
    )
    console.print(table)
    console.print(
        "Both static fleets were found with the whole trace known: the peak fleet keeps the objectives in every "
        f"window, the best one is the smallest that keeps them for {PROMISED_SHARE:.0%} of all requests."
    )


def show_differences(console: Console, setting: Setting) -> None:
    """What is not as the chart ships it, and why."""
    console.print(f"The operator runs with the settings that ship, but for the trace's clock ({setting.speed:g}x):")
    for name, seconds in setting.pace().items():
        shipped = Settings.model_fields[name].default
        console.print(f"  {name.replace('_seconds', '').replace('_', ' ')}: {seconds:g} s instead of {shipped:g} s")
    console.print(
        f"  of the service: window before scaling down: {setting.scale_down_seconds()} s instead of 300 s (until "
        "forecasts are proven); cost window: 300 s, the API's shortest, instead of a day"
    )


def show_checks(console: Console, done: tuple[Check, ...], measured: DemoOutcome, objectives: PromisedLatency) -> None:
    """Pass or fail, one line each, and what is told beside it."""
    console.print("Judged, over the whole run with its start:")
    for check in done:
        mark = "[green]yes[/green]" if check.ok else "[red]no [/red]"
        console.print(f"  {mark} {check.text}: {check.measured}")
    ttft = _number(measured.ttft_p95, "{:.0f} ms", 1000)
    token = _number(measured.inter_token_p95, "{:.1f} ms", 1000)
    console.print(
        f"Not judged: p95 TTFT {ttft} (objective {objectives.ttft * 1000:.0f} ms), p95 time per output token {token} "
        f"(objective {objectives.inter_token * 1000:.0f} ms); batch cap: {measured.cap or 'nothing said'}"
    )


def _within(value: float | None, limit: float) -> bool:
    return value is not None and value <= limit


def _number(value: float | None, form: str, factor: float = 1.0) -> str:
    return "not measured" if value is None else form.format(value * factor)
