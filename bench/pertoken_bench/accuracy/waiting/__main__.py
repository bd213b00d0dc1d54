"""How well `pertoken_bench.accuracy.waiting.queue` predicts waiting: against an exact replay of real traces.

The replay is a first-come-first-served queue of c replicas over every single request; a request's service time is its
work (GPU time per prompt token and per generated token, Llama 3.1 8B on an H100 at batch 16), scaled so that the
replicas have the stated utilization. The model sees what Prometheus would show: per scrape interval a count and sums,
and over the hour the two histograms of lengths with vLLM's buckets. Optionally the engines' mean queue time at another
load (`--seen`), from which the burstiness below a scrape is fitted.

    python -m pertoken_bench.accuracy.waiting              # the tables in docs/cost.md
    python -m pertoken_bench.accuracy.waiting --scrape 15 --json rows.json
"""

from __future__ import annotations

import argparse
import csv
import gzip
import heapq
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pertoken.accounting.attribution import weights_at
from pertoken.catalog.lookup import SHIPPED, Unknown
from pertoken.domain.service import Parallelism
from pertoken.performance.steady import Engine, Load
from pertoken.performance.step_time import engine_model
from pertoken_bench.accuracy.waiting.bursts import ArrivalRecord, Lengths, prior_burstiness, request_sizes
from pertoken_bench.accuracy.waiting.queue import Seen, Servers, fit_burstiness, waiting

TRACES = Path(__file__).parents[4] / "examples" / "traces"
CODE_STARTS = 77.2994  # seconds after the conversation trace
BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, np.inf)  # vLLM's, for lengths
SERVERS = (1, 2, 4)
UTILIZATIONS = (0.1, 0.25, 0.4, 0.5, 0.6, 0.7, 0.75)
NEGLIGIBLE = 0.05  # of a mean service time: smaller waits count as this much
LIMIT = 0.25
LOW = 0.25  # utilization below which waiting is made by clumps that no scrape shows
WORST = 6


@dataclass(frozen=True, slots=True)
class TableCell:
    """One cell of the table; waits in seconds."""

    trace: str
    scrape: float
    servers: int
    utilization: float
    service: float
    replay_mean: float
    model_mean: float
    replay_p95: float
    model_p95: float

    @property
    def errors(self) -> tuple[float, float]:
        """Relative errors of mean and p95."""
        floor = NEGLIGIBLE * self.service
        mean = (self.model_mean - self.replay_mean) / max(self.replay_mean, floor)
        return mean, (self.model_p95 - self.replay_p95) / max(self.replay_p95, floor)


@dataclass(frozen=True, slots=True)
class TokenSeconds:
    """Seconds of a replica's work per prompt token and per generated token."""

    prompt: float
    generated: float


@dataclass(frozen=True, slots=True)
class MeasuredAt:
    """Servers, and their utilization, at which queue time was measured."""

    servers: int
    utilization: float


def read(path: Path) -> np.ndarray:
    """Arrival, input and output of every request."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [
            [float(r["arrival_s"]), float(r["input_tokens"]), float(r["output_tokens"])] for r in csv.DictReader(file)
        ]
    return np.array(rows)


def traces() -> dict[str, np.ndarray]:
    """Conversation, code, and both as one service."""
    conv, code = (read(TRACES / f"azure_2023_{name}.csv.gz") for name in ("conv", "code"))
    shifted = code + np.array([CODE_STARTS, 0.0, 0.0])
    both = np.concatenate([conv, shifted])
    return {"conv": conv, "code": code, "both": both[np.argsort(both[:, 0], kind="stable")]}


def token_seconds() -> TokenSeconds:
    """Of Llama 3.1 8B on one H100, by the model."""
    model, gpu = SHIPPED.model("llama-3.1-8b"), SHIPPED.gpu("h100-sxm")
    if isinstance(model, Unknown) or isinstance(gpu, Unknown):
        raise SystemExit(f"catalog: {model}, {gpu}")
    weights = weights_at(Engine(engine_model(model, gpu, Parallelism())), Load(1155, 211), 16.0)
    return TokenSeconds(weights.input, weights.output)


def replay(at: np.ndarray, service: np.ndarray, servers: int) -> np.ndarray:
    """Exact waits of all requests."""
    free = [0.0] * servers
    waits = np.empty(len(at))
    for number, (arrival, length) in enumerate(zip(at, service, strict=True)):
        start = max(arrival, free[0])
        heapq.heapreplace(free, start + length)
        waits[number] = start - arrival
    return waits


def scraped(requests: np.ndarray, work: np.ndarray, interval: float, per_token: TokenSeconds) -> ArrivalRecord:
    """What scrapes show of the requests."""
    at = requests[:, 0] - requests[0, 0]
    slot = (at // interval).astype(int)
    lengths = []
    for column in (1, 2):
        counts = np.bincount(np.searchsorted(BUCKETS, requests[:, column]), minlength=len(BUCKETS))
        lengths.append(Lengths(BUCKETS, tuple(counts.astype(float)), float(requests[:, column].mean())))
    return ArrivalRecord(
        interval,
        tuple(np.bincount(slot).astype(float)),
        tuple(np.bincount(slot, weights=work)),
        request_sizes(lengths[0], lengths[1], per_token.prompt, per_token.generated),
    )


def measure(named: dict[str, np.ndarray], scrape: float, seen: MeasuredAt | None) -> list[TableCell]:
    """The table for one scrape interval; without `seen`, queue time was not measured."""
    per_token = token_seconds()
    rows = []
    for name, requests in named.items():
        at = requests[:, 0] - requests[0, 0]
        work = requests[:, 1] * per_token.prompt + requests[:, 2] * per_token.generated
        record = scraped(requests, work, scrape, per_token)
        offered = float(work.sum()) / record.seconds
        burstiness = prior_burstiness(record)
        if seen is not None:
            there = Servers(seen.servers, offered / (seen.servers * seen.utilization))
            measured = float(replay(at, work / there.speed, seen.servers).mean())
            burstiness = fit_burstiness(record, Seen(there, measured))
        for servers in SERVERS:
            for utilization in UTILIZATIONS:
                speed = offered / (servers * utilization)
                exact = replay(at, work / speed, servers)
                waits = waiting(record, Servers(servers, speed), burstiness)
                rows.append(
                    TableCell(
                        name,
                        scrape,
                        servers,
                        utilization,
                        float(work.mean()) / speed,
                        float(exact.mean()),
                        waits.mean,
                        float(np.percentile(exact, 95)),
                        waits.percentile(95),
                    )
                )
    return rows


def table(rows: list[TableCell], title: str) -> str:
    """The table, its worst rows, and how much of it is within the limit."""
    heads = ("mean replay", "model", "err", "p95 replay", "model", "err")
    widths = (13, 9, 7, 12, 9, 7)
    lines = ["", title, "", f"{'trace':6}{'c':>3}{'util':>6}{'service':>9}"]
    lines[-1] += "".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True))
    for row in rows:
        mean, p95 = row.errors
        lines.append(
            f"{row.trace:6}{row.servers:3}{row.utilization:6.2f}{row.service:9.3f}{row.replay_mean:13.3f}"
            f"{row.model_mean:9.3f}{mean:+7.0%}{row.replay_p95:12.3f}{row.model_p95:9.3f}{p95:+7.0%}"
        )
    cells = [(abs(error), row, kind) for row in rows for error, kind in zip(row.errors, ("mean", "p95"), strict=True)]
    busy = [cell for cell in cells if cell[1].utilization >= LOW]
    errors = sorted(error for error, _, _ in cells)
    lines += [
        "",
        (
            f"within {LIMIT:.0%}: {_within(cells)} of {len(cells)}; "
            f"from utilization {LOW} up: {_within(busy)} of {len(busy)}"
        ),
        f"median {errors[len(errors) // 2]:.0%}, 90th percentile {errors[int(0.9 * len(errors))]:.0%}",
    ]
    for error, row, kind in sorted(cells, key=lambda cell: -cell[0])[:WORST]:
        at = f"{row.trace}, {row.servers} servers, utilization {row.utilization}"
        lines.append(f"  worst: {at}: {kind} off by {error:.0%}")
    return "\n".join(lines) + "\n"


def _within(cells: list[tuple[float, TableCell, str]]) -> int:
    return sum(error <= LIMIT for error, _, _ in cells)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scrape", type=float, action="append", help="seconds; 15 and 30 if not given")
    parser.add_argument(
        "--seen", default="2@0.35", help="SERVERS@UTILIZATION at which queue time was measured, or none"
    )
    parser.add_argument(
        "--trace", type=Path, action="append", help="other traces: arrival_s,input_tokens,output_tokens"
    )
    parser.add_argument("--json", type=Path, help="also write the rows there")
    given = parser.parse_args()
    seen = None
    if given.seen != "none":
        servers, utilization = given.seen.split("@")
        seen = MeasuredAt(int(servers), float(utilization))
    named = {path.name.split(".")[0]: read(path) for path in given.trace} if given.trace else traces()
    everything = []
    for scrape in given.scrape or (15.0, 30.0):
        rows = measure(named, scrape, seen)
        sys.stdout.write(table(rows, f"scrape every {scrape:g} s, queue time seen at {given.seen}"))
        everything += rows
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in everything], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
