"""Small worlds for accounting: pods that tell what a test wants."""

import math
from dataclasses import replace
from decimal import Decimal

from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.cluster import PodFact, WorkloadFact, WorkloadMissing
from pertoken.domain.identity import PodKey, ServiceKey, WorkloadRef
from pertoken.domain.metrics import MetricsHealth, MetricsSnapshot, PodMetrics
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import CostObjective, LatencyObjective, ModelSpec, PriceList, ServiceSpec, VariantSpec
from pertoken.domain.signal import Counter, Histogram, LatencyKind, Signal
from pertoken.domain.world import PoolView, ServiceView, VariantView, World

GPU = "nvidia.com/gpu"
WINDOW = 3600
RATE_WINDOW = 60.0
LIST = PriceList(Decimal("0.10"), Decimal("0.02"), Decimal("0.40"))
CHAT = ServiceKey("llm", "chat")


def target(name="chat"):
    return WorkloadRef("apps/v1", "Deployment", "llm", name)


def service(name="chat", **changes):
    spec = ServiceSpec(
        key=ServiceKey("llm", name),
        uid=f"uid-{name}",
        generation=1,
        model=ModelSpec("meta-llama/Llama-3.1-8B-Instruct", name),
        variants=(VariantSpec("a100", "pool", target(name), True, 0, 10),),
        cost=CostObjective(LIST, window_seconds=WINDOW),
        latency=LatencyObjective(ttft_seconds=1.0, inter_token_seconds=0.05, percentile=95),
    )
    return replace(spec, **changes)


def pool(price="2.00", **changes):
    return replace(
        PoolSpec("pool", "a100-sxm-80gb", price_per_gpu_hour=None if price is None else Decimal(price)), **changes
    )


def pod(name="chat-0", *, bound=0.0, ready=0.0, gpus=1, **changes):
    fact = PodFact(
        PodKey("llm", name), f"uid-{name}", {GPU: gpus}, node="node", created_at=0.0, bound_at=bound, ready_at=ready
    )
    return replace(fact, **changes)


def latencies(within, rate=1.0, edge=0.05):
    """A histogram with a share `within` at or below an edge."""
    return Histogram((edge, math.inf), (rate * within, rate))


def tells(name="chat-0", finished=None, histograms=None, **values):
    """What a pod tells: `finished` is (requests, input tokens, output tokens) so far, None for no counters."""
    key = PodKey("llm", name)
    kinds = (Counter.FINISHED_REQUESTS, Counter.FINISHED_INPUT_TOKENS, Counter.FINISHED_OUTPUT_TOKENS)
    counters = {} if finished is None else dict(zip(kinds, map(float, finished), strict=True))
    signals = {Signal[signal.upper()]: value for signal, value in values.items()} or {Signal.RUNNING: 1.0}
    return PodMetrics(key, 5.0, signals, counters, histograms or {})


def both(ttft, inter_token):
    """Histograms with these shares within the objectives of `service`."""
    return {
        LatencyKind.TTFT: latencies(ttft, edge=1.0),
        LatencyKind.TIME_PER_OUTPUT_TOKEN: latencies(inter_token),
    }


def snapshot(*pods, ok=True):
    return MetricsSnapshot(MetricsHealth(ok=ok), RATE_WINDOW, 30.0, {metrics.pod: metrics for metrics in pods})


def view(spec, pods=(), workload=None):
    variant = spec.variants[0]
    fact = workload or WorkloadFact(variant.workload, f"uid-{spec.key.name}", len(pods), 1)
    return ServiceView(spec, (VariantView(variant, fact, tuple(pods)),))


def world(*views, metrics=None, of=None):
    pods = tuple(fact for each in views for variant in each.variants for fact in variant.pods)
    seen = snapshot() if metrics is None else metrics
    return World(views, (PoolView(of or pool()),), pods, {"default": seen}, SHIPPED)


def gone():
    return WorkloadMissing(target(), "no such Deployment")
