"""`make peers`: the real HPA controller, the real KEDA and pertoken, each on the same fleet and trace in real time."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pertoken_sandbox.binaries import BinaryUnavailable
from pertoken_sandbox.conformance.tables import write_section
from pertoken_sandbox.demo.stage import StageError
from pertoken_sandbox.gobuild import BuildFailed
from pertoken_sandbox.kubectl import KubectlFailed
from pertoken_sandbox.peers import follow, live
from pertoken_sandbox.peers.live import LiveRun
from pertoken_sandbox.peers.live_tables import following, side_by_side, trajectories
from pertoken_sandbox.peers.setting import PEERS
from pertoken_sandbox.processes import ProcessFailed
from pertoken_sandbox.progress import say

RESULTS = Path(__file__).with_name("results.json")
SEEDS = 5
BROKEN = 2

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@app.command()
def main(
    peer: Annotated[list[str] | None, typer.Option(help=f"Only these: {', '.join(PEERS)}.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Only the simulator, on the kept live runs.")] = False,
) -> None:
    """Run the autoscalers live, one after the other (about six minutes each), and write docs/conformance.md."""
    chosen = peer or list(PEERS)
    unknown = [name for name in chosen if name not in PEERS]
    if unknown:
        say(f"--peer: {unknown[0]!r}: expected one of {', '.join(PEERS)}")
        sys.exit(BROKEN)
    kept = _kept()
    for name in () if again else chosen:
        kept[name] = _live(name)
        _keep(kept)
    if not kept:
        say("peers: no kept live runs: run without --again first")
        sys.exit(BROKEN)
    _report({name: kept[name] for name in PEERS if name in kept})


def _live(name: str) -> LiveRun:
    state = Path(tempfile.mkdtemp(prefix="pertoken-peers-"))
    try:
        run = live.run(name, state)
    except (StageError, ProcessFailed, KubectlFailed, BuildFailed, BinaryUnavailable) as error:
        say(f"peers: {name}: {error}\nlogs: {state}")
        sys.exit(BROKEN)
    shutil.rmtree(state, ignore_errors=True)
    return run


def _report(runs: dict[str, LiveRun]) -> None:
    followed = {
        policy: [follow.follow(policy, seed) for seed in range(SEEDS)] for policy in follow.FOLLOWED if policy in runs
    }
    parts = (side_by_side(runs), following(runs, followed), trajectories(runs, followed))
    print("\n".join(parts))
    for name, text in zip(("peers", "following", "trajectories"), parts, strict=True):
        write_section(name, text)


def _kept() -> dict[str, LiveRun]:
    if not RESULTS.is_file():
        return {}
    return {name: LiveRun(**run) for name, run in json.loads(RESULTS.read_text(encoding="utf-8"))["runs"].items()}


def _keep(kept: dict[str, LiveRun]) -> None:
    record = {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),  # noqa: TID251 - the report is dated
        "runs": {name: asdict(run) for name, run in kept.items()},
    }
    RESULTS.write_text(json.dumps(record, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()
