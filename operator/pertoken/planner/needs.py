"""Which signals each decision needs, and which pods do not tell one of them.

A signal that a pod does not tell is missing, never zero: the decisions that rest on it are not made, all others are.
What a decision needs depends on the engine: a serving engine that a performance model describes is sized by its token
rates, any other one by the use of its resources. Latency histograms are needed only once they have been seen: an
engine that never had them is run without what rests on them, one that stops telling them does not shrink.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from pertoken.domain.cluster import PodFact, whole_replicas
from pertoken.domain.metrics import Offer, PodMetrics
from pertoken.domain.needs import Lack, Need, tells
from pertoken.domain.service import EngineKind
from pertoken.domain.signal import LatencyKind, Signal
from pertoken.performance.steady import Targets
from pertoken.planner.service_state import ServiceState, VariantState


class Purpose(StrEnum):
    """What signals are needed for, in the words of messages."""

    SCALE_DOWN = "scale-down"
    IDLE = "scale to zero"
    DEMAND = "demand history"
    COST = "cost index"


Lacks = Mapping[Purpose, tuple[Lack, ...]]

RUNNING: Final = Need("running requests", (Signal.RUNNING,))
WAITING: Final = Need("waiting requests", (Signal.WAITING,))
PROMPTS: Final = Need("prompt tokens", (Signal.PROMPT_TOKENS_PER_SECOND,))
GENERATED: Final = Need("generated tokens", (Signal.GENERATION_TOKENS_PER_SECOND,))
FIRST_TOKEN: Final = Need("time to first token", histograms=(LatencyKind.TTFT,), once_seen=True, of_events=True)
TOKEN_TIME: Final = Need(
    "inter-token latency",
    histograms=(LatencyKind.TIME_PER_OUTPUT_TOKEN, LatencyKind.INTER_TOKEN),
    once_seen=True,
    of_events=True,
)
KV_USE: Final = Need("KV cache use", (Signal.KV_USAGE, Signal.GPU_UTILIZATION))
GPU_USE: Final = Need("GPU utilization", (Signal.GPU_UTILIZATION,))
QUEUE: Final = Need("waiting requests", (Signal.WAITING,), once_seen=True)
BUSY: Final = Need("running requests", (Signal.RUNNING,), once_seen=True)

_TRAFFIC: Final = (RUNNING, WAITING, PROMPTS, GENERATED)
_ONCE_SEEN: Final = (FIRST_TOKEN, TOKEN_TIME, QUEUE, BUSY)


def needs_of(variant: VariantState, targets: Targets) -> Mapping[Purpose, tuple[Need, ...]]:
    """What each decision about one variant needs of its pods."""
    if variant.spec.engine is EngineKind.GENERIC:
        return {Purpose.SCALE_DOWN: (GPU_USE, QUEUE), Purpose.IDLE: (GPU_USE, QUEUE, BUSY)}
    latency = (
        *((FIRST_TOKEN,) if targets.ttft is not None else ()),
        *((TOKEN_TIME,) if targets.inter_token is not None else ()),
    )
    use = () if variant.engine is not None else (KV_USE,)
    return {
        Purpose.SCALE_DOWN: (*_TRAFFIC, *use, *latency),
        Purpose.IDLE: _TRAFFIC,
        Purpose.DEMAND: _TRAFFIC,
    }


def lacks_of(state: ServiceState) -> Lacks:
    """For each purpose, what serving pods do not tell. Empty tuples where all is told.

    Pods that became Ready within the rate window are not expected to have rates yet. Of a replica that spans several
    pods one has to tell. What the cost index lacks is told by the account.
    """
    found: dict[Purpose, dict[str, list[str]]] = {purpose: {} for purpose in Purpose}
    for variant in state.variants:
        settled = _settled(variant, state)
        expected, told_by = _expected(variant, settled)
        replicas = whole_replicas(settled, variant.pods_per_replica)
        for purpose, needs in needs_of(variant, state.targets).items():
            for need in needs:
                if need.once_seen and need.name not in state.memory.told:
                    continue
                telling = {key for key, metrics in told_by.items() if tells(need, metrics, _offer(state, metrics))}
                if len(telling) < replicas:
                    found[purpose].setdefault(need.name, []).extend(sorted(expected - telling))
    lacks = {
        purpose: tuple(Lack(name, tuple(dict.fromkeys(pods))) for name, pods in lacking.items())
        for purpose, lacking in found.items()
    }
    return {**lacks, Purpose.COST: state.cost.lacks}


def told(state: ServiceState) -> tuple[str, ...]:
    """Names of the needs that have been met by some pod of this service, the ones of earlier cycles included."""
    seen = {
        need.name
        for variant in state.variants
        for need in _ONCE_SEEN
        if any(need.met(metrics) for metrics in variant.measured)
    }
    return tuple(sorted({*state.memory.told, *seen}))


def words(lacks: Lacks) -> str:
    """What is missing, of whom, and what is therefore not decided; empty when nothing is missing."""
    by_lack: dict[Lack, list[Purpose]] = {}
    for purpose, found in lacks.items():
        for lack in found:
            by_lack.setdefault(lack, []).append(purpose)
    if not by_lack:
        return ""
    missing = "; ".join(str(lack) for lack in by_lack)
    off = dict.fromkeys(purpose for purposes in by_lack.values() for purpose in purposes)
    return f"missing: {missing}. Off until they are told: {', '.join(off)}"


def _settled(variant: VariantState, state: ServiceState) -> list[PodFact]:
    """Pods that have served for a whole rate window."""
    return [
        pod
        for pod in variant.living
        if pod.ready and pod.ready_at is not None and state.now - pod.ready_at > state.window
    ]


def _expected(variant: VariantState, settled: Iterable[PodFact]) -> tuple[set[str], dict[str, PodMetrics]]:
    """Names of the pods that must tell, and the metrics of those that tell anything."""
    names = {pod.key: pod.key.name for pod in settled}
    return set(names.values()), {names[metrics.pod]: metrics for metrics in variant.measured if metrics.pod in names}


def _offer(state: ServiceState, metrics: PodMetrics) -> Offer | None:
    """What the pod's engine has; None where the engine was not recognized."""
    return None if state.snapshot is None else state.snapshot.offers.get(metrics.engine)
