"""`make conformance`: the same requests to the real vLLM, the emulated engine and the simulator, side by side."""

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

from pertoken_sandbox.conformance import emulated, environment, simulated, vllm_live
from pertoken_sandbox.conformance.cases import CASES
from pertoken_sandbox.conformance.outcome import CaseOutcome, ClientLatency, EngineCounts
from pertoken_sandbox.conformance.server import serving
from pertoken_sandbox.conformance.tables import comparison, family_differences, write_section
from pertoken_sandbox.processes import ProcessFailed
from pertoken_sandbox.progress import Progress, say

RESULTS = Path(__file__).with_name("results.json")
VIRTUAL_TIME = "pertoken_sandbox.conformance.vllm_virtual_time"
BROKEN = 2

Kept = dict[str, tuple[CaseOutcome, CaseOutcome]]
"""Of each case: vLLM's scheduler in virtual time, and vLLM served in real time."""

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@app.command()
def main(
    case: Annotated[list[str] | None, typer.Option(help=f"Only these: {', '.join(CASES)}.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Only the other engines, on vLLM's kept results.")] = False,
) -> None:
    """Run the cases and write the tables of docs/conformance.md."""
    chosen = case or list(CASES)
    unknown = [name for name in chosen if name not in CASES]
    if unknown:
        say(f"--case: {unknown[0]!r}: expected one of {', '.join(CASES)}")
        sys.exit(BROKEN)
    kept = _kept()
    if not again:
        state = Path(tempfile.mkdtemp(prefix="pertoken-conformance-"))
        try:
            programs = environment.ensure()
            for name in chosen:
                served = _play(name, programs, state)
                kept[name] = (_step(name, served, programs, state), served)
                _keep(kept)
        except (environment.EnvironmentUnavailable, ProcessFailed, vllm_live.RequestFailed) as error:
            say(f"conformance: {error}\nlogs: {state}")
            sys.exit(BROKEN)
        shutil.rmtree(state, ignore_errors=True)
    _report(kept)


def _play(name: str, programs: Path, state: Path) -> CaseOutcome:
    case = CASES[name]()
    with serving(case, programs, state) as server, Progress(f"{name}: {len(case.requests)} requests to vLLM"):
        return vllm_live.play(case, server)


def _step(name: str, served: CaseOutcome, programs: Path, state: Path) -> CaseOutcome:
    """The same requests at the same instants through vLLM's scheduler alone, in virtual time."""
    sent = state / f"sent-{name}.json"
    sent.write_text(json.dumps(served.sent_at), encoding="utf-8")
    return _outcome(json.loads(environment.python(programs, VIRTUAL_TIME, [name, str(sent)])))


def _report(kept: Kept) -> None:
    if not kept:
        say("conformance: no kept results of vLLM: run without --again first")
        sys.exit(BROKEN)
    outcomes: dict[str, list[CaseOutcome]] = {}
    for name in (each for each in CASES if each in kept):
        case, both = CASES[name](), kept[name]
        sent = both[0].sent_at
        outcomes[name] = [*both, emulated.run(case, sent), simulated.run(case, sent)]
    _, real, emulator, _ = next(iter(outcomes.values()))
    write_section("engines", comparison(outcomes))
    write_section("families", family_differences(real.families, emulator.families))
    print(comparison(outcomes))
    print(family_differences(real.families, emulator.families))


def _kept() -> Kept:
    if not RESULTS.is_file():
        return {}
    raw = json.loads(RESULTS.read_text(encoding="utf-8"))
    return {name: (_outcome(stepped), _outcome(served)) for name, (stepped, served) in raw["cases"].items()}


def _outcome(raw: dict[str, object]) -> CaseOutcome:
    fields = dict(raw)
    latency, counts = fields.pop("latency"), fields.pop("counts")
    late = fields.pop("late_ms")
    return CaseOutcome(
        latency=ClientLatency(**latency),  # type: ignore[arg-type]
        counts=EngineCounts(**counts),  # type: ignore[arg-type]
        late_ms=None if late is None else tuple(late),  # type: ignore[arg-type]
        **fields,  # type: ignore[arg-type]
    )


def _keep(kept: Kept) -> None:
    record = {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),  # noqa: TID251 - the report is dated
        "vllm": environment.VERSION,
        "cases": {name: [asdict(outcome) for outcome in both] for name, both in kept.items()},
    }
    RESULTS.write_text(json.dumps(_rounded(record), indent=None, separators=(",", ":")) + "\n", encoding="utf-8")


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


if __name__ == "__main__":
    app()
