"""Tables of the live runs and of what the simulator makes of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from statistics import fmean

from pertoken_sandbox.peers.follow import Followed
from pertoken_sandbox.peers.live import LiveRun

EVERY_SECONDS = 15.0
_NAMES = {
    "hpa-queue": "HPA controller 1.37.2, pods metric waiting 5",
    "keda-waiting": "KEDA 2.21.0, Prometheus trigger waiting 5",
    "pertoken": "pertoken",
    "keda-lent": "pertoken recommends, KEDA 2.21.0 and the HPA write, tolerance 0",
    "keda-lent-dull": "the same with the HPA's tolerance of 10 %",
}


def side_by_side(runs: Mapping[str, LiveRun]) -> str:
    """Cost, attainment and replicas of each live run."""
    columns = (
        "autoscaler", "replica-hours", "USD", "USD / 1M tokens", "within objectives", "TTFT p95", "per token p95",
        "replicas, mean", "least to most",
    )  # fmt: skip
    lines = ["| " + " | ".join(columns) + " |", "| --- |" + " ---: |" * 8]
    for peer, run in runs.items():
        cells = (
            _NAMES[peer],
            f"{run.replica_hours:.3f}",
            f"{run.usd:.3f}",
            f"{run.usd_per_million:.4f}",
            f"{run.attained:.1%}",
            _milliseconds(run.ttft_p95_ms),
            _milliseconds(run.itl_p95_ms),
            f"{fmean(run.bound):.1f}",
            f"{min(run.bound)} to {max(run.bound)}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def following(runs: Mapping[str, LiveRun], followed: Mapping[str, Sequence[Followed]]) -> str:
    """The simulator beside the live controllers, one simulated run per seed."""
    lines = [
        "| policy | live replica-hours | simulated (seeds) | simulated / live | live attainment | simulated |",
        "| --- |" + " ---: |" * 5,
    ]
    for policy, seeds in followed.items():
        run = runs[policy]
        mean = fmean(run.replica_hours for run in seeds)
        least, most = min(run.replica_hours for run in seeds), max(run.replica_hours for run in seeds)
        cells = (
            f"`{policy}`",
            f"{run.replica_hours:.3f}",
            f"{mean:.3f} ({least:.3f} to {most:.3f}, {len(seeds)})",
            f"{mean / run.replica_hours:.3f}",
            f"{run.attained:.1%}",
            f"{fmean(run.attained for run in seeds):.1%}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def trajectories(runs: Mapping[str, LiveRun], followed: Mapping[str, Sequence[Followed]]) -> str:
    """Ready replicas every quarter of a minute: live, and simulated with the first seed."""
    names = [(peer, f"{peer}, live") for peer in runs] + [(policy, f"{policy}, simulated") for policy in followed]
    lines = ["| s | " + " | ".join(title for _, title in names) + " |", "| ---: |" + " ---: |" * len(names)]
    length = max(run.seconds[-1] for run in runs.values())
    moment = 0.0
    while moment <= length:
        cells = [str(_at(run.seconds, run.ready, moment)) for run in runs.values()]
        cells += [str(_at(seeds[0].seconds, seeds[0].ready, moment)) for seeds in followed.values()]
        lines.append(f"| {moment:.0f} | " + " | ".join(cells) + " |")
        moment += EVERY_SECONDS
    return "\n".join(lines) + "\n"


def _at(seconds: Sequence[float], values: Sequence[int], moment: float) -> int:
    return values[max(bisect_right(seconds, moment) - 1, 0)]


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
