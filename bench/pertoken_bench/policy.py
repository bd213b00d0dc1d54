"""What an autoscaling policy sees and what it may order. Peers' policies and pertoken itself implement `Policy`.

A policy never sees the simulator's insides. It sees what a real controller would: the API server's objects (replica
counts and pods, at once) and a Prometheus (`ScrapedMetrics`: samples on the scrape grid, bucket edges, counter resets,
series that end with their pod), and, for controllers that sit in the data path, the proxy's own counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import ServiceSpec, VariantSpec
from pertoken.domain.signal import Histogram, LatencyKind


class PodGauge(StrEnum):
    """Instantaneous figures of one pod, as of the last engine step before the scrape."""

    RUNNING = "running"  # sequences, prefilling ones included
    WAITING = "waiting"  # requests in the engine's queue
    KV_USAGE = "kv_usage"  # share of the KV blocks in use, [0, 1]
    GPU_UTILIZATION = "gpu_utilization"  # share of the last DCGM interval with a kernel on the GPU, [0, 1]
    QUEUED_PROMPT_TOKENS = "queued_prompt_tokens"  # prompt tokens sent to the pod and not computed yet (router's count)


class Total(StrEnum):
    """Counters of one pod, from 0 when its engine starts."""

    REQUESTS = "requests"  # finished
    PROMPT_TOKENS = "prompt_tokens"  # of prompts taken up, cached ones included
    CACHED_PROMPT_TOKENS = "cached_prompt_tokens"
    GENERATION_TOKENS = "generation_tokens"
    FINISHED_INPUT_TOKENS = "finished_input_tokens"
    FINISHED_OUTPUT_TOKENS = "finished_output_tokens"
    FIRST_TOKENS = "first_tokens"  # time_to_first_token_seconds_count
    TTFT_SECONDS = "ttft_seconds"  # time_to_first_token_seconds_sum
    INTER_TOKENS = "inter_tokens"  # inter_token_latency_seconds_count
    INTER_TOKEN_SECONDS = "inter_token_seconds"  # noqa: S105 - inter_token_latency_seconds_sum
    STEPS = "steps"  # iteration_tokens_total_count
    PREEMPTIONS = "preemptions"
    ARRIVALS = "arrivals"  # requests that the router sent to the pod


class PodPhase(StrEnum):
    """Where a pod stands. Each pod is one replica."""

    PENDING = "pending"  # no node yet
    STARTING = "starting"  # has its GPUs, not Ready
    READY = "ready"
    TERMINATING = "terminating"  # drains


@dataclass(frozen=True, slots=True)
class PodSeen:
    """One living pod as the API server shows it; times in seconds since the simulation's epoch, None before."""

    name: str
    variant: str
    phase: PodPhase
    created_at: float
    bound_at: float | None = None
    ready_at: float | None = None
    cap: int = 256


@dataclass(frozen=True, slots=True)
class VariantSeen:
    """One variant's workload.

    Attributes:
        replicas: spec.replicas, what was ordered last.
        ready: pods that serve.
        pending: pods without a node; `starting`: pods with one that are not Ready. Terminating pods count in neither.
        pods: living ones, terminating ones included, oldest first.
        gpus_per_replica: GPUs of one pod.
        usd_per_hour: price of one replica.
        kv_capacity_tokens: from the engine's info metric, as every vLLM tells it.
        cap: `max_num_seqs` with which a pod that starts now would run.
        max_batched_tokens: the engine's token budget per step.
        accelerator: GPU id of the variant's pool.
    """

    spec: VariantSpec
    replicas: int
    ready: int
    pending: int
    starting: int
    pods: tuple[PodSeen, ...]
    gpus_per_replica: int
    usd_per_hour: float
    kv_capacity_tokens: int
    cap: int
    max_batched_tokens: int
    accelerator: str


@dataclass(frozen=True, slots=True)
class ServiceSeen:
    """One service: what its owner asked for, and its variants by name."""

    spec: ServiceSpec
    variants: Mapping[str, VariantSeen]

    @property
    def name(self) -> str:
        """Key of the service in orders and metrics."""
        return self.spec.key.name


class ScrapedMetrics(Protocol):
    """A Prometheus that has scraped the service's pods. `seconds` is a window that ends now; pods are keys.

    Figures of instantaneous kinds come from the newest sample of pods that still answer; windows also hold pods that
    ended within them, as `rate()` does. No sample: no key, never a zero.
    """

    def latest(self, service: str, gauge: PodGauge) -> Mapping[str, float]:
        """Newest sample of each pod that still answers."""

    def mean(self, service: str, gauge: PodGauge, seconds: float) -> Mapping[str, float]:
        """``avg_over_time(gauge[seconds])`` of each pod that still answers."""

    def total(self, service: str, total: Total) -> Mapping[str, float]:
        """Newest value of a counter of each pod that still answers."""

    def rate(self, service: str, total: Total, seconds: float) -> Mapping[str, float]:
        """``rate(counter[seconds])`` per second; needs two samples in the window."""

    def histogram(self, service: str, kind: LatencyKind, seconds: float) -> Mapping[str, Histogram]:
        """Rates of the buckets over the window (events per second, cumulative over edges)."""

    def age(self, service: str) -> Mapping[str, float]:
        """Seconds since the newest sample of each pod that still answers."""

    def gateway_queue(self, service: str) -> float:
        """Requests that the gateway holds because no replica is Ready, at the last scrape."""

    def in_flight(self, service: str, seconds: float) -> float:
        """Mean requests in the system (held, waiting, running) over the window, as a proxy in the data path counts."""

    def request_rate(self, service: str, seconds: float) -> float:
        """Requests per second that reached the gateway over the window, as the gateway itself counts them."""


@dataclass(frozen=True, slots=True)
class PolicyObservation:
    """Everything that a policy may look at in one tick.

    Attributes:
        now: seconds since the simulation's epoch; the trace begins at `start`.
        services: by name.
        pools: by name; `free_gpus`: GPUs of each pool without a pod.
        scrape_seconds: the scrape interval.
        cold_start_seconds: documented start time, which a user would write into a policy's settings.
    """

    now: float
    start: float
    services: Mapping[str, ServiceSeen]
    pools: Mapping[str, PoolSpec]
    free_gpus: Mapping[str, int]
    metrics: ScrapedMetrics
    scrape_seconds: float
    cold_start_seconds: float


@dataclass(frozen=True, slots=True)
class Order:
    """What a policy wants of one variant.

    Attributes:
        replicas: new spec.replicas; None leaves it. Bounds of the variant are enforced for every policy alike.
        cap: `max_num_seqs` of pods that start from now on (the ConfigMap's value); None leaves it.
        live_cap: cap that ready pods take at once, without a restart, at most what they started with. No released
            engine offers it; for policies whose publication supposes it.
        evict: pods to delete; their workload replaces them. For rolling a new `cap` out.
    """

    replicas: int | None = None
    cap: int | None = None
    live_cap: int | None = None
    evict: Sequence[str] = ()


Orders = Mapping[tuple[str, str], Order]
"""By (service name, variant name); what is not named stays as it is."""


class Policy(Protocol):
    """One autoscaling policy with its state. A new instance is made for every run."""

    @property
    def period_seconds(self) -> float:
        """Distance of ticks (2, 5, 10, 15, 30, 180 s …); the first is at the trace's start."""

    def decide(self, seen: PolicyObservation) -> Orders:
        """One tick."""


Settings = Mapping[str, float]
"""A policy's knobs by name; empty for the documented defaults."""


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    """One policy of the benchmark.

    Attributes:
        name: on the command line, without ``:tuned``.
        make: a fresh instance with these settings over its documented defaults.
        grid: settings that ``name:tuned`` chooses from on the training window; the defaults are tried as well.
        source: publication, repository and commit that the rules follow.
    """

    name: str
    make: Callable[[Settings], Policy]
    grid: Sequence[Settings] = ()
    source: str = ""
