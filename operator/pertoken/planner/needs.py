"""Which signals each decision needs, and which pods do not tell one of them.

A signal that a pod does not tell is missing, never zero: the decisions that rest on it are not made, all others are.
What a decision needs depends on the engine: a serving engine that a performance model describes is sized by its token
rates, any other one by the use of its resources. Latency histograms are needed only once they have been seen: an
engine that never had them is run without what rests on them, one that stops telling them does not shrink.

What an engine's version does not have switches off what rests on it, and nothing else: that is told, and holds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from pertoken.domain.cluster import PodFact, whole_replicas
from pertoken.domain.metrics import Offer, PodMetrics
from pertoken.domain.needs import Lack, Need, tells
from pertoken.domain.service import EngineKind
from pertoken.domain.signal import Counter, LatencyKind, Signal
from pertoken.frozen import dataclass
from pertoken.performance.steady import Targets
from pertoken.planner.memory import GATEWAY
from pertoken.planner.service_state import ServiceState, VariantState


class Purpose(StrEnum):
    """What signals are needed for, in the words of messages."""

    SCALE_DOWN = "scale-down"
    IDLE = "scale to zero"
    DEMAND = "demand history"
    COST = "cost index"
    TTFT = "objective on time to first token"
    TPOT = "objective on inter-token latency"
    STALL = "objective on stalls"
    CALIBRATION = "calibration"
    CACHED = "discount for cached prompts"
    PREEMPTIONS = "batch cap by preemptions"
    REFUSED = "demand that engines refuse"
    QUEUE = "scaling by queue"
    CACHE_USE = "scaling by KV cache"


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
TOKEN_GAPS: Final = Need("gaps between tokens", histograms=(LatencyKind.INTER_TOKEN,), once_seen=True, of_events=True)
KV_USE: Final = Need("KV cache use", (Signal.KV_USAGE, Signal.GPU_UTILIZATION))
GPU_USE: Final = Need("GPU utilization", (Signal.GPU_UTILIZATION,))
QUEUE: Final = Need("waiting requests", (Signal.WAITING,), once_seen=True)
BUSY: Final = Need("running requests", (Signal.RUNNING,), once_seen=True)

STEPS: Final = Need("step times", (Signal.STEP_SECONDS,))
DECODING: Final = Need("decoding sequences", (Signal.DECODING_SEQUENCES,))
CACHED: Final = Need("cached prompt tokens", (Signal.CACHED_PROMPT_TOKENS_PER_SECOND,))
PREEMPTED: Final = Need("preemptions", (Signal.PREEMPTIONS_PER_SECOND,))
REFUSED: Final = Need("refused requests", (Signal.REJECTIONS_PER_SECOND,))
CACHE_USED: Final = Need("KV cache use", (Signal.KV_USAGE,))
FINISHED_INPUT: Final = Need("input tokens of finished requests", counters=(Counter.FINISHED_INPUT_TOKENS,))
FINISHED_OUTPUT: Final = Need("output tokens of finished requests", counters=(Counter.FINISHED_OUTPUT_TOKENS,))

_TRAFFIC: Final = (RUNNING, WAITING, PROMPTS, GENERATED)
_ONCE_SEEN: Final = (FIRST_TOKEN, TOKEN_TIME, TOKEN_GAPS, QUEUE, BUSY)


def needs_of(variant: VariantState, targets: Targets) -> Mapping[Purpose, tuple[Need, ...]]:
    """What each decision about one variant needs of its pods."""
    if variant.spec.engine is EngineKind.GENERIC:
        return {Purpose.SCALE_DOWN: (GPU_USE, QUEUE), Purpose.IDLE: (GPU_USE, QUEUE, BUSY)}
    latency = (
        *((FIRST_TOKEN,) if targets.ttft is not None else ()),
        *((TOKEN_TIME,) if targets.inter_token is not None else ()),
        *((TOKEN_GAPS,) if targets.stall is not None else ()),
    )
    use = () if variant.engine is not None else (KV_USE,)
    return {
        Purpose.SCALE_DOWN: (*_TRAFFIC, *use, *latency),
        Purpose.IDLE: _TRAFFIC,
        Purpose.DEMAND: _TRAFFIC,
    }


def rests_on(variant: VariantState, state: ServiceState) -> Mapping[Purpose, tuple[Need, ...]]:
    """What else is made of a variant's signals where its engine has them: without them it is not made."""
    modelled = variant.engine is not None
    saturated = {Purpose.QUEUE: (WAITING,), Purpose.CACHE_USE: (CACHE_USED,)}
    return {
        **({Purpose.TTFT: (FIRST_TOKEN,)} if state.targets.ttft is not None else {}),
        **({Purpose.TPOT: (TOKEN_TIME,)} if state.targets.inter_token is not None else {}),
        **({Purpose.STALL: (TOKEN_GAPS,)} if state.targets.stall is not None else {}),
        **({Purpose.COST: (FINISHED_INPUT, FINISHED_OUTPUT)} if state.spec.cost is not None else {}),
        **({Purpose.CALIBRATION: (STEPS, DECODING)} if modelled and state.settings.calibrate else {}),
        **({Purpose.CACHED: (CACHED,), Purpose.PREEMPTIONS: (PREEMPTED,)} if modelled else saturated),
        Purpose.REFUSED: (REFUSED,),
    }


@dataclass(frozen=True, slots=True)
class EngineLack:
    """What one engine version does not have, and what is off for that.

    Attributes:
        engine: row of the engine table, with the versions that it can be.
    """

    engine: str
    needs: tuple[str, ...]
    purposes: tuple[Purpose, ...]

    def __str__(self) -> str:
        return (
            f"this engine version ({self.engine}) lacks {', '.join(self.needs)}; decisions that need it are off: "
            f"{', '.join(self.purposes)}"
        )


def engine_lacks(state: ServiceState) -> tuple[EngineLack, ...]:
    """What the engine versions of serving pods do not have, by engine; what a pod ceased to tell is no such lack."""
    by_engine: dict[str, dict[str, dict[Purpose, None]]] = {}
    for variant in state.variants:
        wanted = rests_on(variant, state) if any(metrics.lacks for metrics in variant.measured) else {}
        for metrics in variant.measured:
            lacking = by_engine.setdefault(f"{metrics.engine} {metrics.release}".strip(), {})
            for purpose, need in ((purpose, need) for purpose, needs in wanted.items() for need in needs):
                if need.lacked(metrics):
                    lacking.setdefault(need.name, {})[purpose] = None
    return tuple(
        EngineLack(
            engine,
            tuple(lacking),
            tuple(dict.fromkeys(purpose for purposes in lacking.values() for purpose in purposes)),
        )
        for engine, lacking in by_engine.items()
        if lacking
    )


def lacks_of(state: ServiceState) -> Lacks:
    """For each purpose, what serving pods do not tell. Empty tuples where all is told.

    Pods that became Ready within the rate window are not expected to have rates yet. Of a replica that spans several
    pods one has to tell. What the cost index lacks is told by the account.
    """
    untold: dict[Purpose, dict[str, list[str]]] = {purpose: {} for purpose in Purpose}
    for variant in state.variants:
        settled = _settled(variant, state)
        expected, told_by = _expected(variant, settled)
        replicas = whole_replicas(settled, variant.pods_per_replica)
        silent: dict[str, list[str]] = {}  # by need: several purposes have the same
        for purpose, needs in needs_of(variant, state.targets).items():
            for need in needs:
                if need.once_seen and need.name not in state.memory.told:
                    continue
                if need.name not in silent:
                    telling = {key for key, metrics in told_by.items() if tells(need, metrics, _offer(state, metrics))}
                    silent[need.name] = sorted(expected - telling) if len(telling) < replicas else []
                if silent[need.name]:
                    untold[purpose].setdefault(need.name, []).extend(silent[need.name])
    lacks = {
        purpose: tuple(Lack(name, tuple(dict.fromkeys(pods))) for name, pods in lacking.items())
        for purpose, lacking in untold.items()
    }
    return {**lacks, Purpose.COST: state.cost.lacks}


def told(state: ServiceState) -> tuple[str, ...]:
    """Names of the needs that some pod of this service, or its gateway, has met, in earlier cycles or now."""
    seen = {
        need.name
        for variant in state.variants
        for need in _ONCE_SEEN
        if any(need.met(metrics) for metrics in variant.measured)
    }
    gateway = () if state.gateway_queue is None else (GATEWAY,)
    return tuple(sorted({*state.memory.told, *seen, *gateway}))


def words(lacks: Lacks) -> str:
    """What is missing, of whom, and what is therefore not decided; empty when nothing is missing."""
    by_lack: dict[Lack, list[Purpose]] = {}
    for purpose, untold in lacks.items():
        for lack in untold:
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
