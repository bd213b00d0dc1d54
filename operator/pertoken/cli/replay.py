"""`pertoken replay FILE…`: recorded cycles through this version's planner, and what would be decided otherwise."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import IO, Annotated, Any, Final, cast

import typer
from pydantic import TypeAdapter, ValidationError

from pertoken.adapters.recording_files import SUFFIX
from pertoken.catalog.lookup import SHIPPED
from pertoken.cli.rendering import NO, Output, print_data, print_table, refuse
from pertoken.control.recording.differences import Difference, differences, in_a_row
from pertoken.control.recording.form import BadRecording, Decoder, Recorded
from pertoken.control.recording.replay import Changes, replay
from pertoken.domain.world import PlannerSettings
from pertoken.planner.tuning import TUNING, Tuning

GZIP_MARK: Final = b"\x1f\x8b"
WIDEST: Final = 48  # characters of a value in the table


class Numbers(StrEnum):
    """Which tuning numbers and catalog rows are used: the recorded ones or this version's."""

    RECORDED = "recorded"
    OWN = "own"


@dataclass(slots=True)
class _Tally:
    """Counts of what was replayed, for the summary."""

    cycles: int = 0
    decisions: int = 0
    first: float = 0.0
    last: float = 0.0
    versions: tuple[str, ...] = ()

    def add(self, cycle: Recorded) -> None:
        """One more cycle."""
        self.first = self.first if self.cycles else cycle.now
        self.last = cycle.now
        self.cycles += 1
        self.decisions += len(cycle.world.services)
        self.versions = tuple(dict.fromkeys((*self.versions, cycle.header.version)))


def replay_command(
    files: Annotated[list[Path], typer.Argument(help="Recordings, or folders of them (*.jsonl.gz).")],
    changed: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting (attainment_margin=0.1) or tuning number (sizing.safe_share=0.9) to decide with.",
        ),
    ] = None,
    numbers: Annotated[
        Numbers, typer.Option(help="Tuning numbers and catalog rows: the recorded ones, or this version's own.")
    ] = Numbers.RECORDED,
    service: Annotated[str | None, typer.Option(help="Show this service alone, as NAMESPACE/NAME.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show figures, words and trace steps, too.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="Output format.")] = Output.TABLE,
) -> None:
    """Decide recorded cycles anew and show what differs. Exit 0: nothing, bit for bit; 1: something; 2: bad input."""
    changes = _changes(changed or [], numbers)
    tally, listed = _Tally(), list[Difference]()
    try:
        for replayed in replay(_tallied(files, tally), changes):
            listed += (each for each in differences(replayed) if service in (None, each.service))
    except BadRecording as mistake:
        refuse(str(mistake))
    if not tally.cycles:
        refuse(f"{', '.join(map(str, files))}: no cycle; expected a recording of the flight recorder")
    rows = in_a_row(listed)
    shown = [row for row in rows if row.decides or everything]
    if output is Output.TABLE:
        _print(tally, rows, shown)
    else:
        print_data(_document(tally, rows, shown), output.value)
    if rows:
        raise typer.Exit(NO)


def _tallied(files: list[Path], tally: _Tally) -> Iterator[Recorded]:
    for path in files:
        decoder = Decoder()
        paths = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
        for each in paths:
            for cycle in _cycles(each, decoder):
                tally.add(cycle)
                yield cycle


def _cycles(path: Path, decoder: Decoder) -> Iterator[Recorded]:
    """The cycles of a file.

    Raises:
        BadRecording: it cannot be read to its end; the message names file and line.
    """
    number = 0
    try:
        with _opened(path) as lines:
            for line in lines:
                number += 1
                cycle = decoder.line(line)
                if cycle is not None:
                    yield cycle
    except BadRecording as mistake:
        raise BadRecording(f"{path}: line {number}: {mistake}") from mistake
    except EOFError as error:
        raise BadRecording(f"{path}: line {number + 1}: the file ends here; expected whole lines") from error
    except (OSError, zlib.error) as error:
        why = getattr(error, "strerror", None) or "damaged gzip data"
        raise BadRecording(f"{path}: line {number + 1}: cannot be read: {why}; expected a recording") from error


def _opened(path: Path) -> IO[bytes]:
    """A recording, packed or not."""
    with path.open("rb") as file:
        packed = file.read(len(GZIP_MARK)) == GZIP_MARK
    return cast("IO[bytes]", gzip.open(path)) if packed else path.open("rb")


def _changes(changed: list[str], numbers: Numbers) -> Changes:
    """What options ask for; a mistake ends the command with a line that names it."""
    settings, tuning = [], []
    for text in changed:
        name, _, value = text.partition("=")
        plain = name.strip().lower().removeprefix("pertoken_")
        group, _, number = plain.partition(".")
        if number:
            tuning.append(((group, number), _value(text, getattr(TUNING, group, None), number, value)))
        else:
            settings.append((plain, _value(text, PlannerSettings(), plain, value)))
    own = numbers is Numbers.OWN
    return Changes(tuple(settings), tuple(tuning), TUNING if own else None, SHIPPED if own else None)


def _value(text: str, group: Any, name: str, value: str) -> Any:
    """The value of a field of settings or of a group of numbers."""
    names = [item.name for item in fields(Tuning if group is None else group)]
    if group is None or name not in names:
        refuse(f"--set: {text!r}: no such name; expected NAME=VALUE with one of {', '.join(names)}")
    try:
        return TypeAdapter(type(getattr(group, name))).validate_python(value.strip())
    except ValidationError as error:
        refuse(f"--set: {text!r}: {error.errors(include_url=False)[0]['msg']}")


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _print(tally: _Tally, rows: list[Difference], shown: list[Difference]) -> None:
    print(
        f"{tally.cycles} cycles, {tally.decisions} decisions, {_time(tally.first)} to {_time(tally.last)}, "
        f"recorded by pertoken {', '.join(tally.versions)}, replayed by {version('pertoken')}"
    )
    if not rows:
        print("the same, bit for bit")
    if shown:
        columns = ("cycle", "time", "cycles", "service", "field", "before", "after", "reason")
        print_table(columns, [_row(row) for row in shown])
    hidden = len(rows) - len(shown)
    if hidden:
        print(f"{hidden} differences in figures, words and trace steps; --all shows them")


def _row(row: Difference) -> tuple[str, ...]:
    reason = f"{row.stage}: {row.reason}" if row.stage and row.reason else row.reason or row.stage
    values = (_cut(row.before), _cut(row.after))
    return (str(row.cycle), _time(row.now)[11:], str(row.cycles), row.service, row.field, *values, reason)


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _document(tally: _Tally, rows: list[Difference], shown: list[Difference]) -> dict[str, Any]:
    return {
        "cycles": tally.cycles,
        "decisions": tally.decisions,
        "from": _time(tally.first),
        "to": _time(tally.last),
        "recordedBy": list(tally.versions),
        "replayedBy": version("pertoken"),
        "same": not rows,
        "differences": [_entry(row) for row in shown],
        "notShown": len(rows) - len(shown),
    }


def _entry(row: Difference) -> dict[str, Any]:
    values = asdict(row)
    return {"cycle": values.pop("cycle"), "time": _time(values.pop("now")), **values}
