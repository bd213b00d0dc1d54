"""`pertoken bench --service FILE --history …`: what one's own past would have cost under other policies."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertoken.api.check import Severity, check
from pertoken.catalog.lookup import SHIPPED
from pertoken.cli.rendering import refuse
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import ServiceSpec

if TYPE_CHECKING:  # they load the compiler or the client library
    from pertoken_bench.history import BinnedHistory
    from pertoken_bench.scenarios.scenario import Scenario

PROMETHEUS = "prometheus"


@dataclass(frozen=True, slots=True)
class HistoryOptions:
    """Where the past comes from, and what it does not tell.

    Attributes:
        history: `prometheus`, or the path of a CSV.
        lengths: request trace to draw pairs of lengths from.
        save: write what was read to this CSV.
    """

    service: Path
    history: str
    url: str | None = None
    days: float = 7.0
    lengths: Path | None = None
    cold_start: float = 120.0
    save: Path | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """A record and the scenario that replays it."""

    history: BinnedHistory
    scenario: Scenario


def manifests(file: Path) -> tuple[ServiceSpec, tuple[PoolSpec, ...]]:
    """The one InferenceService of a file and its pools; mistakes end the command."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        refuse(f"--service {file}: cannot be read: {getattr(error, 'strerror', None) or 'no UTF-8 text'}")
    checked = check({str(file): text}, SHIPPED)
    mistakes = [str(finding) for finding in checked.findings if finding.severity is Severity.ERROR]
    if mistakes:
        refuse(*mistakes)
    if len(checked.services) != 1:
        refuse(f"--service {file}: {len(checked.services)} InferenceServices: expected exactly one, with its pools")
    service = checked.services[0].spec
    pools = tuple(accepted.spec for accepted in checked.pools)
    known = {pool.name: pool for pool in pools}
    for variant in service.variants:
        if variant.pool not in known:
            refuse(
                f"--service {file}: variant {variant.name}: pool {variant.pool!r}: expected its AcceleratorPool here"
            )
        if known[variant.pool].price_per_gpu_hour is None:
            refuse(f"--service {file}: pool {variant.pool}: pricePerGPUHour: missing; expected USD per GPU-hour")
    return service, pools


def past(asked: HistoryOptions, folder: Path) -> Past:
    """Read the record; files that the replay needs go to `folder`. Mistakes end the command."""
    from pertoken_bench.history import (  # noqa: PLC0415
        Replay,
        read_history,
        scenario_of,
        write_history,
        write_series,
    )
    from pertoken_bench.traces.files import TraceError  # noqa: PLC0415

    service, pools = manifests(asked.service)
    try:
        history = from_prometheus(asked, service) if asked.history == PROMETHEUS else None
        history = read_history(Path(asked.history), service) if history is None else history
    except TraceError as error:
        refuse(f"--history {error}")
    if asked.lengths is not None and not asked.lengths.is_file():
        refuse(f"--lengths {asked.lengths}: there is no such file; expected a request trace")
    if asked.save is not None:
        write_history(asked.save, service, history)
    series = folder / "series.csv"
    write_series(series, history)
    replay = Replay(lengths=asked.lengths, cold_start=asked.cold_start)
    scenario = scenario_of(service, pools, history, series, replay)
    say_what_stands_in(scenario, f"--service {asked.service}")
    return Past(history, scenario)


def from_prometheus(asked: HistoryOptions, service: ServiceSpec) -> BinnedHistory:
    """The record of the last days."""
    import numpy as np  # noqa: PLC0415

    from pertoken.adapters.prometheus import history as ranges  # noqa: PLC0415
    from pertoken.adapters.prometheus.profile import MetricsProfile, ProfileError  # noqa: PLC0415
    from pertoken_bench.history import history_of  # noqa: PLC0415

    if asked.url is None:
        refuse("--history prometheus: --prometheus-url: missing; expected http(s)://host[:port]")
    wanted = ranges.HistoryQuery(
        service.key.namespace,
        service.key.name,
        service.model.served_name,
        service.variants[0].engine.value,
        {variant.name: variant.workload for variant in service.variants},
        asked.days,
    )
    try:
        record = ranges.read_history(MetricsProfile(asked.url), wanted)
    except ProfileError as error:
        refuse(f"--prometheus-url {asked.url}: {error}")
    except ranges.HistoryUnavailable as error:
        refuse(f"--history prometheus: {error}")
    say(f"{len(record.starts)} steps from {asked.url}; replicas from {record.source}")
    if record.unknown:
        say(f"{record.unknown} of them have no traffic on record though replicas existed: taken for none")
    if record.held:
        say(f"{record.held} of them have no replica count on record: taken to be as before")
    return history_of(
        np.array(record.starts),
        [np.array(column) for column in record.counts],
        {name: np.array(values) for name, values in record.replicas.items()},
    )


def say_what_stands_in(scenario: Scenario, source: str) -> None:
    """Name the variants whose hardware is simulated without measured step times."""
    from pertoken_bench.hardware.step_times import TableMissingError  # noqa: PLC0415
    from pertoken_bench.history import without_tables  # noqa: PLC0415

    try:
        modelled = without_tables(scenario)
    except TableMissingError as error:
        refuse(f"{source}: {error}")
    if modelled:
        say(
            f"no measured step times for {', '.join(modelled)}: the catalog's model, bent by fixed errors, stands in "
            "for the hardware"
        )


def say(text: str) -> None:
    """A remark beside the answer."""
    print(text, file=sys.stderr)


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """One line per policy against what was paid."""
    actual = next(row for row in rows if row["policy"] == "actual")
    paid = actual["usd"]["mean"]
    lines = [f"paid: {paid:.2f} USD, {actual['replica_hours']['mean']:.1f} replica-hours (recorded, not simulated)"]
    for row in rows:
        if row is actual or row["usd"]["mean"] is None or paid <= 0:
            continue
        change = row["usd"]["mean"] / paid - 1.0
        share = row["slo_attainment"]["mean"]
        served = "" if share is None else f", {share:.2%} within the objectives (with the recorded replicas "
        served += "" if share is None else f"{actual['slo_attainment']['mean']:.2%}, simulated)"
        lines.append(f"{row['policy']}: {row['usd']['mean']:.2f} USD, {change:+.1%}{served}")
    return "\n".join(lines)


def workspace() -> tempfile.TemporaryDirectory[str]:
    """A folder that lasts as long as the runs."""
    return tempfile.TemporaryDirectory(prefix="pertoken-bench-")
