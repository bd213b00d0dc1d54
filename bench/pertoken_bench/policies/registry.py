"""The peers' policies by name: documented settings, variants with mended faults, and grids to search.

``name`` runs the documented defaults, ``name:fixed`` mends what its publication or an issue names as a fault. Grids
are frozen tables of a policy's own knobs, all of one size, so that every policy gets the same number of trials; the
defaults are tried besides.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any, Final

from pertoken_bench.policies.aibrix import AibrixKpaSettings, ApaSettings, aibrix_kpa_policy, apa_policy
from pertoken_bench.policies.chiron import Chiron, ChironSettings
from pertoken_bench.policies.dynamo import DynamoSettings, dynamo_policy
from pertoken_bench.policies.kpa import KpaSettings, kpa_policy
from pertoken_bench.policies.llmd import (
    QueueSettings,
    SloSettings,
    TokenTriggers,
    queue_policy,
    slo_policy,
    token_policy,
)
from pertoken_bench.policies.prior import UNCALIBRATED, Profile
from pertoken_bench.policies.rayserve import RayServeSettings, ray_serve_policy
from pertoken_bench.policies.sageserve import SageServe, SageServeSettings
from pertoken_bench.policies.scaled import (
    HpaKnobs,
    KedaKnobs,
    hpa_gpu_policy,
    hpa_queue_policy,
    hpa_running_policy,
    keda_waiting_policy,
)
from pertoken_bench.policies.wva import AnalyzerVersion, Wva, WvaSettings
from pertoken_bench.policies.wva_slo import WvaSlo, WvaSloSettings
from pertoken_bench.policy import Policy, PolicyEntry, Settings

GRID_SIZE: Final = 8
FIXED: Final = "fixed"  # faults mended
GUARD: Final = "guard"  # the queue-guard manifest

Knobs = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """One policy.

    Attributes:
        make: from whole settings and the common profile.
        default: documented settings; a dataclass whose numbers are the knobs, nested ones by their own names.
        knobs: names that the grid sets.
        values: their values, one tuple per trial, without the defaults.
        source: what the rules follow.
        others: settings of further variants by suffix.
    """

    make: Callable[[Any, Profile], Policy]
    default: Any
    knobs: tuple[str, ...]
    values: tuple[Knobs, ...]
    source: str
    others: Mapping[str, Any] = field(default_factory=dict)

    @property
    def grid(self) -> tuple[Settings, ...]:
        """The trials of a search, by the knobs' names."""
        return tuple(dict(zip(self.knobs, chosen, strict=True)) for chosen in self.values)


def _cross(default: Knobs, *values: Knobs) -> tuple[Knobs, ...]:
    """Every combination but the default one."""
    return tuple(chosen for chosen in product(*values) if chosen != default)


def _pairs(default: Knobs, pairs: Sequence[Knobs], values: Knobs) -> tuple[Knobs, ...]:
    """Knobs that belong together, crossed with a further one."""
    return tuple(settings for pair, value in product(pairs, values) if (settings := (*pair, value)) != default)


_HOLD: Final = (60.0, 300.0, 600.0)  # below, at and above Kubernetes' five minutes
_KUBERNETES: Final = "Kubernetes v1.36 HPA v2"
_WVA: Final = "llm-d/llm-d-workload-variant-autoscaler 2976e4e"

ROWS: Final[Mapping[str, PolicyRow]] = {
    # Targets that users publish for GPU utilization, per cent.
    "hpa-gpu": PolicyRow(
        hpa_gpu_policy,
        HpaKnobs(80.0),
        ("target", "down_window"),
        _cross((80.0, 300.0), (60.0, 80.0, 90.0), _HOLD),
        f"{_KUBERNETES}; target as users publish it",
    ),
    # Waiting requests per pod: production-stack's HPA 1, its chart 5, KAITO 10.
    "hpa-queue": PolicyRow(
        hpa_queue_policy,
        HpaKnobs(5.0),
        ("target", "down_window"),
        _cross((5.0, 300.0), (1.0, 5.0, 10.0), _HOLD),
        f"{_KUBERNETES}; target of vLLM production-stack a6c01db",
    ),
    # Running requests per pod: doublings from llm-d's 16 towards the batch at which inter-token latency binds.
    "hpa-running": PolicyRow(
        hpa_running_policy,
        HpaKnobs(16.0),
        ("target", "down_window"),
        _cross((16.0, 300.0), (16.0, 32.0, 64.0), _HOLD),
        f"{_KUBERNETES}; target of llm-d keda-epp",
    ),
    "keda-waiting": PolicyRow(
        keda_waiting_policy,
        KedaKnobs(),
        ("threshold", "down_window"),
        _cross((5.0, 300.0), (1.0, 5.0, 10.0), _HOLD),
        "KEDA 2.21 (8b4f083); ScaledObject of vLLM production-stack a6c01db",
    ),
    # Concurrency that a GPU serves is below the default made for web services; the window sets how fast.
    "kpa": PolicyRow(
        lambda settings, _: kpa_policy(settings),
        KpaSettings(),
        ("target", "stable"),
        _cross((100.0, 60.0), (20.0, 50.0, 100.0), (30.0, 60.0, 120.0)),
        "knative/serving 98e5ef9",
    ),
    # KV use: AIBrix samples 0.5, and less, since latency can bind far below what memory allows (so for all KV targets
    # below); the cooldown is what the inverted windows distort.
    "aibrix-apa": PolicyRow(
        lambda settings, _: apa_policy(settings),
        ApaSettings(),
        ("target", "down_cooldown"),
        _cross((0.5, 300.0), (0.15, 0.3, 0.5), (0.0, 60.0, 300.0)),
        "vllm-project/aibrix e3e10f9",
        {FIXED: ApaSettings(fixed=True)},
    ),
    "aibrix-kpa": PolicyRow(
        lambda settings, _: aibrix_kpa_policy(settings),
        AibrixKpaSettings(),
        ("target", "stable"),
        _cross((0.5, 180.0), (0.15, 0.3, 0.5), (60.0, 180.0, 360.0)),
        "vllm-project/aibrix e3e10f9",
        {FIXED: AibrixKpaSettings(fixed=True)},
    ),
    # Spare triggers: the product's 0.1, the paper's 0.3, and more; queue around the default.
    "wva-v1": PolicyRow(
        lambda settings, _: Wva(settings),
        WvaSettings(AnalyzerVersion.V1),
        ("kv_spare", "queue_spare"),
        _cross((0.1, 3.0), (0.1, 0.3, 0.5), (1.0, 3.0, 4.5)),
        _WVA,
        {FIXED: WvaSettings(AnalyzerVersion.V1, tolerance=0.0)},
    ),
    # Thresholds that belong together, and the queue from which capacity is learnt.
    "wva-v2": PolicyRow(
        lambda settings, _: Wva(settings),
        WvaSettings(AnalyzerVersion.V2),
        ("up", "down", "queue_threshold"),
        _pairs((0.85, 0.70, 5.0), ((0.45, 0.30), (0.65, 0.50), (0.85, 0.70)), (2.0, 5.0, 10.0)),
        _WVA,
        {FIXED: WvaSettings(AnalyzerVersion.V2, tolerance=0.0)},
    ),
    # Means are what it keeps: the grid lets it keep a share of the objective instead.
    "wva-slo": PolicyRow(
        WvaSlo,
        WvaSloSettings(),
        ("share",),
        _cross((1.0,), (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2)),
        "llm-d/llm-d-workload-variant-autoscaler b08b1c7, llm-inferno (latency path, mended)",
    ),
    "llmd-queue": PolicyRow(
        lambda settings, _: queue_policy(settings),
        QueueSettings(),
        ("queue", "running", "up_window"),
        _pairs((1.0, 16.0, 300.0), ((1.0, 16.0), (1.0, 32.0), (5.0, 64.0)), (0.0, 60.0, 300.0)),
        "llm-d/llm-d keda-epp manifests, 2026-09",
        {GUARD: QueueSettings(guard=True)},
    ),
    "llmd-token": PolicyRow(
        token_policy,
        TokenTriggers(),
        ("seconds", "kv"),
        _cross((1.5, 0.8), (0.75, 1.5, 3.0), (0.2, 0.4, 0.8)),
        "llm-d/llm-d token-aware guide, 2026-09",
    ),
    "llmd-slo": PolicyRow(
        lambda settings, _: slo_policy(settings),
        SloSettings(),
        ("up", "down", "down_window"),
        _pairs((0.55, 0.40, 180.0), ((0.40, 0.25), (0.55, 0.40), (0.75, 0.60)), (60.0, 180.0, 360.0)),
        "llm-d/llm-d SLO-aware guide, 2026-09",
    ),
    # Its objectives are means: a user would set them below what percentiles owe.
    "dynamo-sla": PolicyRow(
        dynamo_policy,
        DynamoSettings(),
        ("share", "interval"),
        _cross((1.0, 180.0), (0.6, 0.8, 1.0), (60.0, 180.0, 300.0)),
        "ai-dynamo/dynamo 0c6da1e, 0c9050c",
    ),
    # Ongoing requests: Ray's default 2 suits models without batching.
    "ray-serve": PolicyRow(
        lambda settings, _: ray_serve_policy(settings),
        RayServeSettings(),
        ("target", "down_delay"),
        _cross((2.0, 600.0), (2.0, 16.0, 32.0), (120.0, 300.0, 600.0)),
        "Ray 2.60.0",
    ),
    # KV use that spends the budget (down at half of it), and the surprise that needs none.
    "sageserve": PolicyRow(
        SageServe,
        SageServeSettings(),
        ("up", "down", "ratio"),
        _pairs((0.5, 0.25, 2.0), ((0.15, 0.075), (0.3, 0.15), (0.5, 0.25)), (1.2, 2.0, 5.0)),
        "arXiv 2502.14617; shashwatj07/SageServe 0b95ca2",
    ),
    "chiron": PolicyRow(
        Chiron,
        ChironSettings(),
        ("theta", "growth"),
        _cross((0.6, 4.0), (0.4, 0.6, 0.8), (2.0, 4.0, 8.0)),
        "arXiv 2501.08090; port in shashwatj07/SageServe 0b95ca2",
    ),
}

PERTOKEN_GRID: Final[tuple[Settings, ...]] = tuple(
    {"attainment_margin": margin, "tolerance": tolerance}
    for margin, tolerance in _cross((0.3, 0.05), (0.0, 0.3, 0.5), (0.0, 0.05, 0.1))
)
"""pertoken's own knobs (fields of `PlannerSettings`), searched by the same rule with the same number of trials."""


def with_knobs(default: Any, settings: Settings) -> Any:
    """Settings with some numbers replaced, by field name, in nested settings too.

    Raises:
        ValueError: no such knob; names those that exist.
    """
    known = knobs_of(default)
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise ValueError(f"knob {unknown[0]!r} of {type(default).__name__}: expected one of {', '.join(known)}")
    changes: dict[str, Any] = {}
    for item in fields(default):
        value = getattr(default, item.name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if item.name in settings:
                changes[item.name] = type(value)(settings[item.name])
        elif _nested(value):
            changes[item.name] = with_knobs(value, {k: v for k, v in settings.items() if k in knobs_of(value)})
    return replace(default, **changes)


def knobs_of(settings: Any) -> dict[str, float]:
    """Every number of the settings by name; a name in several nested ones stands for all of them."""
    knobs: dict[str, float] = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            knobs[item.name] = value
        elif _nested(value):
            knobs.update(knobs_of(value))
    return knobs


def _nested(value: Any) -> bool:
    return type(value).__name__.endswith("Settings")


def entries(profile: Profile = UNCALIBRATED) -> dict[str, PolicyEntry]:
    """All policies by name, further variants as ``name:suffix``; those with a performance model get this profile."""
    by_name: dict[str, PolicyEntry] = {}
    for name, row in ROWS.items():
        by_name[name] = PolicyEntry(name, _maker(row, row.default, profile), row.grid, row.source)
        for suffix, other in row.others.items():
            full = f"{name}:{suffix}"
            by_name[full] = PolicyEntry(full, _maker(row, other, profile), row.grid, row.source)
    return by_name


def _maker(row: PolicyRow, default: Any, profile: Profile) -> Callable[[Settings], Policy]:
    return lambda settings: row.make(with_knobs(default, settings), profile)


def digest() -> str:
    """Twelve hex digits that change with any grid: results name the grids that they were made with."""
    everything = {name: row.grid for name, row in sorted(ROWS.items())} | {"pertoken": PERTOKEN_GRID}
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:12]


ENTRIES: Final[Mapping[str, PolicyEntry]] = entries()
