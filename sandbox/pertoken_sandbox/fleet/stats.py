"""Counters and histograms of one engine, as vLLM 0.32 counts them."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from pertoken_bench.reference_engine.request import Request, StepResult
from pertoken_bench.reference_engine.scheduler import ReferenceEngine

# fmt: off
_REQUEST_LATENCY = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)
_FIRST_TOKEN = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0,
    640.0, 2560.0,
)
_BETWEEN_TOKENS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)
# fmt: on
_FAMILY_EDGES: dict[str, Sequence[float]] = {
    "request_latency": _REQUEST_LATENCY,
    "time_to_first_token": _FIRST_TOKEN,
    "inter_token_latency": _BETWEEN_TOKENS,
    "iteration_tokens": (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384),
    "request_params_n": (1, 2, 5, 10, 20),
}
_PREEMPTION_EDGES = (1, 2, 3, 4, 5, 10, 20)

BUCKET_FAMILIES = frozenset({*_FAMILY_EDGES, "request_tokens", "kv_cache_residency"})
"""Keys that vLLM accepts in ``--custom-histogram-buckets``."""


class PageHistogram:
    """A Prometheus histogram whose buckets are kept apart (made cumulative when rendered)."""

    __slots__ = ("counts", "edges", "total")

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = tuple(float(e) for e in edges)
        self.counts = [0] * (len(self.edges) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count ``value`` ``times`` over."""
        self.counts[bisect_left(self.edges, value)] += times
        self.total += value * times


def length_edges(max_model_len: int) -> tuple[int, ...]:
    """Token-count buckets as vLLM makes them: 1, 2, 5, 10, 20, 50 … up to ``max_model_len``."""
    edges = []
    scale = 1
    while scale <= max_model_len:
        edges += [m * scale for m in (1, 2, 5) if m * scale <= max_model_len]
        scale *= 10
    return tuple(edges)


class EngineStats:
    """All counters of one engine process, from 0 at its start (``created``, epoch s)."""

    def __init__(self, max_model_len: int, custom: Mapping[str, Sequence[float]], created: float) -> None:
        edges = {**_FAMILY_EDGES, "request_tokens": length_edges(max_model_len), **custom}
        self.created = created
        self.running = self.waiting = 0
        self.kv_usage = 0.0
        self.preemptions = self.generation_tokens = self.prompt_tokens = self.cached_tokens = 0
        self.prefix_queries = self.prefix_hits = self.finished = 0
        latency, tokens, itl = edges["request_latency"], edges["request_tokens"], edges["inter_token_latency"]
        self.prompt_length = PageHistogram(tokens)
        self.generation_length = PageHistogram(tokens)
        self.max_generation_length = PageHistogram(tokens)
        self.params_max_tokens = PageHistogram(tokens)
        self.kv_computed = PageHistogram(tokens)
        self.params_n = PageHistogram(edges["request_params_n"])
        self.iteration_tokens = PageHistogram(edges["iteration_tokens"])
        self.ttft = PageHistogram(edges["time_to_first_token"])
        self.itl = PageHistogram(itl)
        self.tpot = PageHistogram(itl)
        self.e2e = PageHistogram(latency)
        self.queue = PageHistogram(latency)
        self.inference = PageHistogram(latency)
        self.prefill = PageHistogram(latency)
        self.decode = PageHistogram(latency)
        self.request_preemptions = PageHistogram(_PREEMPTION_EDGES)

    def observe(self, step: StepResult, engine: ReferenceEngine) -> None:
        """Count a step when its tokens have come out, and sample the gauges as vLLM does after each step."""
        outputs = step.decodes + len(step.first_tokens) + len(step.resumed)
        computed = 0
        for request in step.first_tokens:
            self.ttft.observe(request.first_token_at - request.admitted_at)
            self.prompt_tokens += request.input_tokens
            self.cached_tokens += request.cached_tokens
            computed += request.input_tokens - request.cached_tokens
        if step.decodes:
            self.itl.observe(step.duration, step.decodes)
        for _, gap in step.resumed:
            self.itl.observe(gap)
        if outputs:  # vLLM makes no iteration record for a step that yields no token
            self.iteration_tokens.observe(outputs + computed)
            self.generation_tokens += outputs
        for request in step.admitted:
            self.prefix_queries += request.input_tokens
            self.prefix_hits += request.cached_tokens
        for request in step.finished:
            self._finish(request)
        self.preemptions += step.preempted
        self.sample(engine)
        self.waiting = step.waiting  # what came during the step is not in the scheduler's queue yet

    def sample(self, engine: ReferenceEngine) -> None:
        """Take the gauges from the engine."""
        self.running, self.waiting, self.kv_usage = engine.running, len(engine.waiting), engine.kv_usage

    def _finish(self, request: Request) -> None:
        self.finished += 1
        tokens = request.output_tokens
        decode = request.finished_at - request.first_token_at
        self.prompt_length.observe(request.input_tokens)
        self.generation_length.observe(tokens)
        self.max_generation_length.observe(tokens)
        self.params_max_tokens.observe(tokens)
        self.params_n.observe(1)
        self.kv_computed.observe(request.input_tokens - request.cached_tokens)
        self.tpot.observe(decode / (tokens - 1) if tokens > 1 else 0.0)
        self.e2e.observe(request.finished_at - request.admitted_at)
        self.queue.observe(request.first_scheduled_at - request.admitted_at)
        self.inference.observe(request.finished_at - request.first_scheduled_at)
        self.prefill.observe(request.first_token_at - request.first_scheduled_at)
        self.decode.observe(decode)
        self.request_preemptions.observe(request.preemptions)
