"""`pertoken-demo`: the main job, for real, in about five minutes."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pertoken.cli.options import HELP, VersionOption
from pertoken_sandbox.binaries import BinaryUnavailable
from pertoken_sandbox.cluster import Cluster, ExistingCluster
from pertoken_sandbox.commands import commands
from pertoken_sandbox.controlplane import ControlPlane
from pertoken_sandbox.demo.attainment import of_log
from pertoken_sandbox.demo.baseline import find_baseline
from pertoken_sandbox.demo.picture import ReferenceLines, draw
from pertoken_sandbox.demo.record import LiveSample, Record
from pertoken_sandbox.demo.setting import EXAMPLES, MODEL, NAMESPACE, SERVICE, Setting
from pertoken_sandbox.demo.stage import Stage, StageError, get_json, prepare, set_up
from pertoken_sandbox.demo.summary import (
    Baseline,
    DemoOutcome,
    PriceTarget,
    PromisedLatency,
    checks,
    show_checks,
    show_cost,
    show_decisions,
    show_differences,
)
from pertoken_sandbox.demo.watch import Account, Watcher
from pertoken_sandbox.kubectl import KubectlFailed
from pertoken_sandbox.processes import ProcessFailed, stop_recorded

DRAIN_SECONDS = 60.0  # most that the last requests are waited for after the trace
START_TIMEOUT_SECONDS = 120.0
ROWS = 16
BROKEN, INTERRUPTED = 2, 130  # exit codes
PLAIN_EVERY = 10  # samples between two lines where the output is no terminal


@dataclass(frozen=True, slots=True)
class Terms:
    """The setting and the target by which the run is judged. `target` in USD per million tokens."""

    setting: Setting
    baseline: Baseline
    objectives: PromisedLatency
    target: float


app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False, context_settings=HELP)


def main() -> None:
    """Console script."""
    app()


@app.command()
def demo(
    target_factor: Annotated[float, typer.Option(help="Cost target as a share of the static peak fleet's.")] = 0.88,
    speed: Annotated[float, typer.Option(help="How much faster than recorded the trace is played.")] = 12.0,
    out: Annotated[Path, typer.Option(help="Folder for picture and logs.")] = Path("demo-out"),
    kubeconfig: Annotated[Path | None, typer.Option(help="Use this cluster instead of booting one.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end.")] = False,
    stop: Annotated[Path | None, typer.Option(help="Stop what --keep left running with its state there.")] = None,
    _: VersionOption = False,
) -> None:
    """Play a real hour of traffic against an emulated GPU fleet and let pertoken hold the cost of tokens."""
    console = Console()
    if stop is not None:
        sys.exit(_stop(stop, console))
    setting = replace(Setting(), target_factor=target_factor, speed=speed, keep=keep)
    signal.signal(signal.SIGTERM, _interrupt)
    state_dir = Path(tempfile.mkdtemp(prefix="pertoken-demo-"))
    try:
        code = _play(setting, _Folders(out, state_dir), kubeconfig, console)
    except KeyboardInterrupt:
        console.print("interrupted: everything was taken down")
        code = INTERRUPTED
    except (BinaryUnavailable, StageError, ProcessFailed, KubectlFailed) as error:
        console.print(f"[red]demo:[/red] {error}\nlogs: {state_dir}", highlight=False)
        code = BROKEN
    if code != BROKEN and not (keep and code != INTERRUPTED):
        shutil.rmtree(state_dir, ignore_errors=True)
    sys.exit(code)


def _stop(state_dir: Path, console: Console) -> int:
    """Take down a kept demo; 2 where there is none."""
    if not (state_dir / "requests.jsonl").is_file():
        console.print(f"--stop: {state_dir}: expected the folder that --keep named", highlight=False)
        return BROKEN
    stopped = stop_recorded(state_dir)
    shutil.rmtree(state_dir)
    console.print(
        f"stopped: {', '.join(stopped) or 'nothing ran'}; removed {state_dir}", highlight=False, soft_wrap=True
    )
    return 0


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


@dataclass(frozen=True, slots=True)
class _Folders:
    """Where the picture goes, and where the run keeps its state."""

    out: Path
    state: Path


def _play(setting: Setting, folders: _Folders, kubeconfig: Path | None, console: Console) -> int:
    out, state_dir = folders.out, folders.state
    out.mkdir(parents=True, exist_ok=True)
    objectives = _objectives()
    price = _price()
    console.print(f"[bold]pertoken demo[/bold]: {MODEL}, Azure 2023 conversation trace at {setting.speed:g}x")
    prepare(existing=kubeconfig is not None)
    console.print("  looking for the static fleets to compare with (about half a minute)")
    baseline = find_baseline(setting, objectives, price)
    target = round(Decimal(setting.target_factor * baseline.peak.usd_per_million), 4)
    console.print(
        f"A static fleet that keeps the objectives at the peak needs {baseline.peak.replicas} replicas and costs "
        f"{baseline.peak.usd_per_million:.4f} USD per million tokens; the target is {setting.target_factor:g} x that: "
        f"{target}"
    )
    with ExitStack() as stack:
        cluster = _cluster(state_dir, kubeconfig, detached=setting.keep)
        console.print(
            "to look at it from another terminal:\n"
            f"  export KUBECONFIG={cluster.kubeconfig}\n"
            f"  export PATH={commands(state_dir, cluster.kubectl.binary)}:$PATH  # kubectl, pertoken\n"
            f"  pertoken status -n {NAMESPACE} --watch",
            soft_wrap=True,
            highlight=False,
        )
        stage = set_up(setting, cluster, stack, lambda text: console.print(f"  starting {text}"))
        stage.apply_examples(target)
        stage.start_operator()
        console.print("  waiting for the first replicas")
        _await_replicas(stage)
        watcher = Watcher(stage, Account(price))
        _run(stage, watcher, console)
        measured = _measure(stage, watcher, float(target), objectives)
        terms = Terms(setting, baseline, objectives, float(target))
        code = _conclude(watcher, measured, terms, out, console)
        if setting.keep:
            stage.keep_traffic()
            stack.pop_all()
            console.print(
                f"left running, and its clients go on; state in {state_dir}\n"
                f"  export KUBECONFIG={cluster.kubeconfig}\n"
                f"  export PATH={state_dir / 'bin'}:$PATH\n"
                f'  make demo ARGS="--stop {state_dir}"   # when done',
                soft_wrap=True,
                highlight=False,
            )
        return code


def _cluster(state_dir: Path, kubeconfig: Path | None, *, detached: bool) -> Cluster:
    if kubeconfig is not None:
        return ExistingCluster(state_dir, kubeconfig)
    return ControlPlane(state_dir, detached=detached)


def _documents() -> list[dict[str, object]]:
    return [
        document
        for path in sorted(EXAMPLES.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
        if document
    ]


def _objectives() -> PromisedLatency:
    for document in _documents():
        if document["kind"] == "InferenceService":
            latency = document["spec"]["objective"]["latency"]  # type: ignore[index]
            return PromisedLatency(latency["ttftMilliseconds"] / 1000, latency["interTokenMilliseconds"] / 1000)
    raise StageError(f"{EXAMPLES} holds no InferenceService")


def _price() -> float:
    for document in _documents():
        if document["kind"] == "AcceleratorPool":
            return float(document["spec"]["pricePerGPUHour"])  # type: ignore[index]
    raise StageError(f"{EXAMPLES} holds no AcceleratorPool")


def _await_replicas(stage: Stage) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        pods = get_json(f"{stage.fleet_url}/state")["pods"]
        if any(pod["serving"] for pod in pods if pod["namespace"] == NAMESPACE):
            return
        time.sleep(0.5)
    status = stage.cluster.kubectl("describe", "inferenceservices.serving.pertoken.dev", "-n", NAMESPACE, SERVICE)
    raise StageError(f"no replica became ready within {START_TIMEOUT_SECONDS:.0f} s\n{status}")


def _run(stage: Stage, watcher: Watcher, console: Console) -> None:
    stage.start_traffic()
    began = last = time.monotonic()
    length = stage.setting.length_seconds
    with Live(console=console, refresh_per_second=2, transient=False) as live:
        while (seconds := time.monotonic() - began) < length or (watcher.backlog and seconds < length + DRAIN_SECONDS):
            sample = watcher.look(seconds, time.monotonic() - last)
            last = began + seconds
            if console.is_terminal:
                live.update(_table(watcher.record, length, stage.setting))
            elif len(watcher.record.samples) % PLAIN_EVERY == 1:
                console.print(_line(sample), highlight=False, soft_wrap=True)
            time.sleep(max(0.0, 1.0 - (time.monotonic() - last)))


def _measure(stage: Stage, watcher: Watcher, target: float, objectives: PromisedLatency) -> DemoOutcome:
    whole = stage.setting.length_seconds + 2 * DRAIN_SECONDS
    clients = get_json(f"{stage.fleet_url}/clients?seconds={whole:g}")[0]
    own = watcher.account.usd_per_million()
    last = watcher.record.samples[-1]
    return DemoOutcome(
        index=None if own is None else own / target,
        operator_index=last.index,
        ttft_p95=None if clients["ttft_ms"]["p95"] is None else clients["ttft_ms"]["p95"] / 1000,
        inter_token_p95=None if clients["itl_ms"]["p95"] is None else clients["itl_ms"]["p95"] / 1000,
        reachable=watcher.reachable,
        attained=of_log(stage.request_log, clients["backlog"] + clients["total"]["rejected"], objectives),
        cap=watcher.cap_message,
    )


def _conclude(watcher: Watcher, measured: DemoOutcome, terms: Terms, out: Path, console: Console) -> int:
    baseline, objectives, target = terms.baseline, terms.objectives, terms.target
    picture = out / "demo.png"
    lines = ReferenceLines(
        baseline.peak.replicas, baseline.peak.usd_per_million, target, objectives.ttft, objectives.inter_token
    )
    draw(watcher.record, lines, f"pertoken: {MODEL} on emulated A100s, Azure 2023 conversation trace", picture)
    done = checks(watcher.record, measured)
    show_decisions(console, watcher.record)
    show_cost(console, watcher.account, baseline, measured.attained, PriceTarget(target, terms.setting.target_factor))
    show_differences(console, terms.setting)
    show_checks(console, done, measured, objectives)
    console.print(f"picture: {picture}")
    if not _affordable(measured) and measured.reachable is not None and measured.reachable > target:
        console.print(
            f"[red]The target of {target:.4f} USD per million tokens is out of reach:[/red] the least that the model "
            f"finds within the latency objectives is {measured.reachable:.4f} USD per million tokens "
            f"({measured.reachable / baseline.peak.usd_per_million:.2f} x static peak)."
        )
    return 0 if all(check.ok for check in done) else 1


def _affordable(measured: DemoOutcome) -> bool:
    return measured.index is not None and measured.index <= 1


def _table(record: Record, length: float, setting: Setting) -> Table:
    table = Table(title=f"{record.samples[-1].seconds:.0f} of {length:.0f} s", title_justify="left")
    for name in (
        "s",
        "tok/s in",
        "tok/s out",
        "ready",
        "desired",
        "batch/cap",
        "USD/1M",
        "index",
        "TTFT p95",
        "TPOT p95",
    ):
        table.add_column(name, justify="right")
    table.add_column("last decision")
    step = max(1, int(5 * setting.speed / 12))
    for sample in record.samples[::-1][::step][:ROWS][::-1]:
        table.add_row(*_row(sample))
    return table


def _row(sample: LiveSample) -> tuple[str, ...]:
    return (
        f"{sample.seconds:.0f}",
        _text(sample.input_tokens_per_second, "{:.0f}"),
        _text(sample.output_tokens_per_second, "{:.0f}"),
        str(sample.ready),
        str(sample.desired),
        f"{_text(sample.batch, '{:.0f}')}/{sample.cap or '-'}",
        _text(sample.usd_per_million, "{:.4f}"),
        _text(sample.index, "{:.2f}"),
        _text(sample.ttft_p95, "{:.2f} s"),
        _text(None if sample.inter_token_p95 is None else sample.inter_token_p95 * 1000, "{:.0f} ms"),
        sample.reason,
    )


def _line(sample: LiveSample) -> str:
    """The same for a log, which cannot redraw a table."""
    seconds, inputs, outputs, ready, desired, batch, usd, index, ttft, tpot, reason = _row(sample)
    return (
        f"{seconds:>4} s  {inputs} tok/s in, {outputs} out  {ready} of {desired} replicas  batch {batch}  "
        f"{usd} USD/1M, index {index}  p95 TTFT {ttft}, per token {tpot}  {reason}"
    )


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
