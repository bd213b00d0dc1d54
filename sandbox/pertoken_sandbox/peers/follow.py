"""The simulator's `hpa-queue` and `keda-waiting` in the very setting of the live runs."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from pertoken_bench.policies.hpa import Hpa, HpaSettings
from pertoken_bench.policies.scaled import (
    HpaScaler,
    KedaScaler,
    PodsMetric,
    ScaledObject,
    Trigger,
    waiting,
)
from pertoken_bench.policies.view import PerVariant
from pertoken_bench.policy import PodGauge, Policy
from pertoken_bench.scenarios.prepare import prepare
from pertoken_bench.scenarios.scenario import Scenario, parse
from pertoken_bench.score.outcome import measure
from pertoken_bench.simulation import Run
from pertoken_sandbox.demo.setting import GPUS_PER_NODE, NODES, SERVICE, TRACE
from pertoken_sandbox.fleet.trace import load_arrivals
from pertoken_sandbox.peers.setting import (
    COOLDOWN_SECONDS,
    DOWN_WINDOW_SECONDS,
    LEAST,
    MOST,
    POLLING_SECONDS,
    SPEED,
    SYNC_SECONDS,
    TRACE_SECONDS,
    WAITING_TARGET,
    demo_setting,
    example,
)

DRAIN_SECONDS: Final = 30.0  # Kubernetes' default grace period
CLUSTER_SECONDS: Final = 0.5  # from an order to a container that starts: controllers, scheduler, the fleet's watch
SCRAPE_SECONDS: Final = 1.0
SCRAPE_DELAY_SECONDS: Final = 0.2
VARIANT: Final = "a100"

_POLICIES: Final[Mapping[str, Callable[[], Policy]]] = {
    "hpa-queue": lambda: PerVariant(
        SYNC_SECONDS,
        lambda: HpaScaler(
            (PodsMetric(PodGauge.WAITING, float(WAITING_TARGET)),), Hpa(HpaSettings(down_window=DOWN_WINDOW_SECONDS))
        ),
    ),
    "keda-waiting": lambda: PerVariant(
        SYNC_SECONDS,
        lambda: KedaScaler(
            ScaledObject(
                (Trigger(waiting, float(WAITING_TARGET)),),
                float(POLLING_SECONDS),
                float(COOLDOWN_SECONDS),
                HpaSettings(down_window=DOWN_WINDOW_SECONDS),
            ),
            Hpa(HpaSettings(down_window=DOWN_WINDOW_SECONDS)),
        ),
    ),
}
FOLLOWED: Final = tuple(_POLICIES)


@dataclass(frozen=True, slots=True)
class Followed:
    """What the simulator makes of one policy: replica-hours, attainment, and Ready replicas once a second."""

    replica_hours: float
    attained: float
    seconds: tuple[float, ...]
    ready: tuple[int, ...]


def scenario(folder: Path) -> Scenario:
    """The comparing scenario; `folder` gets the trace on the live runs' clock."""
    setting = demo_setting()
    path = folder / "live.csv"
    with path.open("w", encoding="utf-8", newline="") as sink:
        rows = csv.writer(sink)
        rows.writerow(("arrival_s", "input_tokens", "output_tokens"))
        rows.writerows(
            (arrival.at / SPEED, arrival.input_tokens, arrival.output_tokens) for arrival in load_arrivals(TRACE)
        )
    return parse(
        {
            "name": "live-peers",
            "services": [_service()],
            "pools": [_pool()],
            "traces": {SERVICE: {"file": path.name, "durationSeconds": TRACE_SECONDS / SPEED}},
            "coldStartSeconds": setting.load_seconds + CLUSTER_SECONDS,  # a node pulls an image once
            "coldStartSpread": 0.15,
            "drainSeconds": DRAIN_SECONDS,
            "scrapeSeconds": SCRAPE_SECONDS,
            "scrapeDelaySeconds": SCRAPE_DELAY_SECONDS,
            "gpusPerNode": {"a100": GPUS_PER_NODE},
            "initialReplicas": {f"{SERVICE}/{VARIANT}": LEAST},
            "truth": {"decode": setting.decode, "prefill": setting.prefill},
        },
        folder / "live.yaml",
    )


def follow(policy: str, seed: int = 0) -> Followed:
    """Simulate one policy in the live setting.

    Raises:
        KeyError: the policy is none of `FOLLOWED`.
    """
    with TemporaryDirectory(prefix="pertoken-peers-") as folder:
        prepared = prepare(scenario(Path(folder)), seed)
    run = Run(prepared, _POLICIES[policy](), {f"{SERVICE}/{VARIANT}": LEAST})
    run.go()
    figures = measure(policy, run.fleet, run.cluster, {})
    timeline = run.timeline()
    return Followed(
        figures["replica_hours"],
        figures["slo_attainment"],
        timeline.times,
        timeline.ready[f"{SERVICE}/{VARIANT}"],
    )


def _service() -> dict[str, Any]:
    service = example("InferenceService")
    (variant,) = service["spec"]["variants"]
    bounded = {**variant, "minReplicas": LEAST, "maxReplicas": MOST}
    return {**service, "spec": {**service["spec"], "variants": [bounded]}}


def _pool() -> dict[str, Any]:
    pool = example("AcceleratorPool")
    return {**pool, "spec": {**pool["spec"], "capacity": {"gpus": NODES * GPUS_PER_NODE}}}
