"""One's own past as a scenario: what was served and how many replicas served it, per bin of time.

The recorded bill is arithmetic, never simulated: replicas x GPUs x price x time. What other policies would have cost is
simulated on requests drawn from the record.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import ServiceSpec, VariantSpec
from pertoken_bench.benchmark import BenchmarkResult
from pertoken_bench.cluster.objects import Timing
from pertoken_bench.cluster.prometheus import ScrapeConfig
from pertoken_bench.hardware.catalog_times import times_of
from pertoken_bench.hardware.truth import Truth
from pertoken_bench.policies.fixed import ACTUAL
from pertoken_bench.scenarios.scenario import Scenario, TrafficSource
from pertoken_bench.traces.files import TraceError, read_text
from pertoken_bench.traces.trace import Cut

TIME_COLUMNS: Final = ("time_s", "timestamp", "time")
COUNTS: Final = ("requests", "input_tokens", "output_tokens")
REPLICAS: Final = "replicas"
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BinnedHistory:
    """What happened, bin by bin.

    Attributes:
        times: beginnings of the bins and the end of the last one, seconds.
        requests, input_tokens, output_tokens: sums over each bin.
        replicas: that were paid for in each bin, by variant.
    """

    times: Floats
    requests: Floats
    input_tokens: Floats
    output_tokens: Floats
    replicas: Mapping[str, Floats]

    @property
    def seconds(self) -> float:
        """Length of the record."""
        return float(self.times[-1] - self.times[0])

    def replica_hours(self, variant: str) -> float:
        """Replicas x time of one variant."""
        return float((self.replicas[variant] * np.diff(self.times)).sum()) / 3600.0


@dataclass(frozen=True, slots=True)
class Replay:
    """How to simulate what the record does not tell.

    Attributes:
        lengths: request trace whose pairs of lengths are drawn from, scaled to each bin's means; None: log-normal
            lengths around each bin's means.
        burstiness: coefficient of variation of one client's times between requests; `clients` their number.
        cold_start: seconds from having a GPU to Ready.
    """

    lengths: Path | None = None
    burstiness: float = 1.2
    clients: int = 40
    cold_start: float = 120.0


def read_history(path: Path, service: ServiceSpec) -> BinnedHistory:
    """Read a CSV: time, requests, input_tokens, output_tokens and replicas; a bin lasts until the next row.

    Raises:
        TraceError: the file cannot be used; the message names file, line, column, value and what was expected.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    places = {name.strip(): index for index, name in enumerate(next(reader, []))}
    columns = _columns(path, places, service)
    rows: list[list[float]] = []
    for row in reader:
        if not any(field.strip() for field in row):
            continue
        rows.append([_figure(path, reader.line_num, name, row, places) for name in columns])
        if len(rows) > 1 and rows[-1][0] <= rows[-2][0]:
            text = row[places[columns[0]]]
            raise TraceError(f"{path}:{reader.line_num}: {columns[0]}: {text!r}: expected a time after the last row's")
    if len(rows) < 2:
        raise TraceError(f"{path}: {len(rows)} rows: expected at least two, a bin lasts until the next row")
    table = np.array(rows)
    return history_of(table[:, 0], list(table[:, 1:4].T), dict(zip(_variants(service), table[:, 4:].T, strict=True)))


def history_of(starts: Floats, counts: Sequence[Floats], replicas: Mapping[str, Floats]) -> BinnedHistory:
    """From bins' beginnings; the last one is as long as most."""
    step = float(np.median(np.diff(starts)))
    return BinnedHistory(np.append(starts, starts[-1] + step), counts[0], counts[1], counts[2], replicas)


def _variants(service: ServiceSpec) -> list[str]:
    return [variant.name for variant in service.variants]


def replica_column(service: ServiceSpec, variant: str) -> str:
    """Name of a variant's column; with one variant `replicas` alone."""
    return REPLICAS if len(service.variants) == 1 else f"{REPLICAS}_{variant}"


def _columns(path: Path, places: Mapping[str, int], service: ServiceSpec) -> list[str]:
    have = ",".join(places) or "nothing"
    moment = next((name for name in TIME_COLUMNS if name in places), None)
    if moment is None:
        raise TraceError(f"{path}:1: column time_s: missing (have {have}); expected seconds or ISO 8601")
    needed = [*COUNTS, *(replica_column(service, name) for name in _variants(service))]
    for name in needed:
        if name not in places:
            raise TraceError(f"{path}:1: column {name}: missing (have {have})")
    return [moment, *needed]


def _figure(path: Path, line: int, name: str, row: Sequence[str], places: Mapping[str, int]) -> float:
    text = row[places[name]].strip() if places[name] < len(row) else ""
    value = _moment(text) if name in TIME_COLUMNS else _number(text)
    if math.isfinite(value) and (value >= 0 or name in TIME_COLUMNS):
        return value
    wanted = "seconds, or a date and time in ISO 8601" if name in TIME_COLUMNS else "a number >= 0"
    raise TraceError(f"{path}:{line}: {name}: {text!r}: expected {wanted}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _moment(text: str) -> float:
    value = _number(text)
    if math.isfinite(value):
        return value
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def write_series(path: Path, history: BinnedHistory) -> None:
    """The traffic alone, as a rate series that a scenario can name; times from 0."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("time_s", *COUNTS))
        rows = zip(history.times[:-1], history.requests, history.input_tokens, history.output_tokens, strict=True)
        for moment, *counts in rows:
            writer.writerow((repr(float(moment - history.times[0])), *(repr(float(count)) for count in counts)))


def write_history(path: Path, service: ServiceSpec, history: BinnedHistory) -> None:
    """The record in the columns that `read_history` reads."""
    names = _variants(service)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("time_s", *COUNTS, *(replica_column(service, name) for name in names)))
        columns = (history.requests, history.input_tokens, history.output_tokens, *(history.replicas[n] for n in names))
        for index, moment in enumerate(history.times[:-1]):
            writer.writerow((repr(float(moment)), *(repr(float(column[index])) for column in columns)))


def scenario_of(
    service: ServiceSpec, pools: Sequence[PoolSpec], history: BinnedHistory, series: Path, replay: Replay
) -> Scenario:
    """The record as a scenario; `series` was written by `write_series`. Everything is scored: what was paid counts."""
    cut = Cut(duration_seconds=history.seconds)
    traffic = TrafficSource(series, cut, replay.lengths, replay.burstiness, replay.clients, drawn_lengths=True)
    steps = {variant: _steps(history, variant) for variant in _variants(service)}
    name = service.key.name
    return Scenario(
        name=name,
        services=(service,),
        pools=tuple(_sized(pool, service, history) for pool in pools),
        traffic={name: traffic},
        truth=Truth(),
        timing=Timing(cold_start=replay.cold_start),
        scrape=ScrapeConfig(),
        initial={f"{name}/{variant}": changes[0][1] for variant, changes in steps.items()},
        recorded={(name, variant): changes for variant, changes in steps.items()},
        description=f"recorded traffic of {service.key}",
    )


def without_tables(scenario: Scenario) -> list[str]:
    """Variants for whose model and GPU no table of measured step times exists.

    Raises:
        TableMissingError: the catalog cannot stand in either.
    """
    pools = {pool.name: pool for pool in scenario.pools}
    places = []
    for service in scenario.services:
        for variant in service.variants:
            _, measured = times_of(service.model, variant, pools[variant.pool].accelerator)
            if not measured:
                places.append(f"{service.key.name}/{variant.name}")
    return places


def _steps(history: BinnedHistory, variant: str) -> list[tuple[float, int]]:
    """Whole replicas over time; the means of a bin are rounded."""
    counts = np.rint(history.replicas[variant]).astype(int).tolist()
    changes: list[tuple[float, int]] = [(0.0, counts[0])]
    for moment, count in zip(history.times[1:-1] - history.times[0], counts[1:], strict=True):
        if count != changes[-1][1]:
            changes.append((float(moment), count))
    return changes


def _sized(pool: PoolSpec, service: ServiceSpec, history: BinnedHistory) -> PoolSpec:
    """A pool whose GPUs are counted from nodes gets as many as the service may ever have had or have."""
    if pool.capacity_gpus is not None:
        return pool
    gpus = sum(
        max(variant.max_replicas, math.ceil(float(history.replicas[variant.name].max()))) * variant.parallelism.gpus
        for variant in service.variants
        if variant.pool == pool.name
    )
    return replace(pool, capacity_gpus=max(gpus, 1))


def usd_per_hour(variant: VariantSpec, pools: Iterable[PoolSpec]) -> float:
    """Price of one replica.

    Raises:
        TraceError: the variant's pool is not among them, or has no price of its own.
    """
    for pool in pools:
        if pool.name == variant.pool:
            if pool.price_per_gpu_hour is None:
                raise TraceError(f"pool {pool.name}: pricePerGPUHour: missing; expected USD per GPU-hour")
            return float(pool.price_per_gpu_hour * pool.gpu_fraction) * variant.parallelism.gpus
    raise TraceError(f"variant {variant.name}: pool {variant.pool!r}: expected its AcceleratorPool in the same file")


def with_record(result: BenchmarkResult, history: BinnedHistory) -> tuple[dict[str, Any], ...]:
    """The benchmark's rows, `actual` with the recorded bill and tokens in place of simulated ones."""
    return tuple(_recorded(row, result, history) if row["policy"] == ACTUAL else row for row in result.rows)


def _recorded(row: Mapping[str, Any], result: BenchmarkResult, history: BinnedHistory) -> dict[str, Any]:
    scenario = result.scenario
    variants = {variant.name: variant for variant in scenario.services[0].variants}
    hours = {name: history.replica_hours(name) for name in variants}
    usd = math.fsum(hours[name] * usd_per_hour(variant, scenario.pools) for name, variant in variants.items())
    tokens = float(history.input_tokens.sum() + history.output_tokens.sum())
    simulated = row["usd"]["mean"]
    bound = [score.bound_usd for score in result.outcomes[ACTUAL]]
    good = row["usd_per_million_good_tokens"]["mean"]
    figures = {
        "usd": usd,
        "requests": float(history.requests.sum()),
        "input_tokens": float(history.input_tokens.sum()),
        "output_tokens": float(history.output_tokens.sum()),
        "usd_per_million_tokens": usd / tokens * 1e6 if tokens > 0 else None,
        # Which tokens were good is simulated; the bill is not.
        "usd_per_million_good_tokens": good * usd / simulated if good is not None and simulated else None,
        "replica_hours": math.fsum(hours.values()),
        "gpu_hours": math.fsum(hours[name] * variant.parallelism.gpus for name, variant in variants.items()),
        "bound_ratio": usd * len(bound) / sum(bound) if sum(bound) > 0 else None,
    }
    return dict(row) | {name: {"mean": value, "interval": None} for name, value in figures.items()}
