"""Clients: play traces against services, route to the least loaded pod, and record the latency of each request."""

import asyncio
import bisect
import json
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from pertoken_bench.reference_engine.request import Request
from pertoken_bench.traces.trace import Cut
from pertoken_sandbox.fleet import clock
from pertoken_sandbox.fleet.config import Traffic
from pertoken_sandbox.fleet.metrics_page import labels_text
from pertoken_sandbox.fleet.registry import FleetPod, Registry
from pertoken_sandbox.fleet.trace import load_arrivals

logger = logging.getLogger(__name__)

_JITTER_SECONDS = 1.0
"""Trace time by which copies of an arrival are moved at most."""
_KEEP = 200_000
"""Finished requests remembered per service for ``/clients``."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What the client saw of one request. ``itl_ms`` is None for a single token."""

    finished_at: float
    arrival: float
    namespace: str
    service: str
    pod: str
    model: str
    ttft_ms: float
    itl_ms: float | None
    input_tokens: int
    output_tokens: int
    retries: int


def percentile(values: Sequence[float], q: float) -> float | None:
    """The ``q``-th percentile (0-100) by linear interpolation; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    position = (len(ordered) - 1) * q / 100
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


class RequestLog:
    """Appends finished requests as JSON lines; without a path it drops them."""

    def __init__(self, path: Path | None) -> None:
        self._file: IO[str] | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")

    def write(self, record: Finished) -> None:
        """Add one line (buffered)."""
        if self._file is not None:
            self._file.write(json.dumps(asdict(record)) + "\n")

    def flush(self) -> None:
        """Hand the lines to the operating system."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        if self._file is not None:
            self._file.close()
            self._file = None


class ServiceClients:
    """All clients of one service and the gateway queue before it."""

    def __init__(self, traffic: Traffic, registry: Registry, log: RequestLog) -> None:
        self.traffic = traffic
        self._registry = registry
        self._log = log
        cut = Cut(
            start_seconds=traffic.start_seconds,
            duration_seconds=traffic.duration_seconds,
            rate_scale=traffic.rate_scale,
            model=traffic.model,
            jitter_seconds=_JITTER_SECONDS,
        )
        self._arrivals = load_arrivals(traffic.trace, cut, speed=traffic.speed, seed=traffic.seed)
        self.queue: deque[Request] = deque()
        self._in_flight: dict[Request, int] = {}  # retries so far
        self._finished: deque[Finished] = deque(maxlen=_KEEP)
        self.arrived = self.completed = self.retried = self.rejected = 0
        self.input_tokens = self.output_tokens = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def playing(self) -> bool:
        """Whether a trace is being played."""
        return self._task is not None and not self._task.done()

    @property
    def backlog(self) -> int:
        """Requests that arrived and are not finished."""
        return len(self._in_flight)

    def start(self) -> None:
        """Play the trace from its start; nothing happens if it is already playing."""
        if not self.playing:
            self._task = asyncio.create_task(self._play(), name=f"traffic {self.traffic.service}")

    def stop(self) -> None:
        """No more arrivals; what arrived is still served."""
        if self._task is not None:
            self._task.cancel()

    async def _play(self) -> None:
        start = clock.now()
        while self._arrivals:
            for arrival in self._arrivals:
                due = start + arrival.at
                wait = due - clock.now()
                if wait > 0:
                    await asyncio.sleep(wait)
                self.arrive(Request(arrival.input_tokens, arrival.output_tokens, due, arrival.prefix_ids))
            if not self.traffic.loop:
                return
            start += self._arrivals[-1].at
            await asyncio.sleep(0)

    def arrive(self, request: Request) -> None:
        """A client sends a request."""
        self.arrived += 1
        self._in_flight[request] = 0
        self._dispatch(request)

    def _dispatch(self, request: Request) -> None:
        pods = self._registry.serving(self.traffic.namespace, self.traffic.selector)
        if not pods:
            self.queue.append(request)
            return
        _, server = min(pods, key=lambda pair: pair[1].engine.load)
        reason = server.engine.rejects(request)
        if reason is not None:
            logger.info("%s: refused: %s", self.traffic.service, reason)
            self.rejected += 1
            del self._in_flight[request]
            return
        server.submit(request)

    def drain_queue(self) -> None:
        """Send what waits in the gateway to the pods that serve now."""
        waiting, self.queue = self.queue, deque()
        for request in waiting:
            self._dispatch(request)

    def finish(self, pod: FleetPod, request: Request) -> bool:
        """Take a finished request if it is one of ours."""
        retries = self._in_flight.pop(request, None)
        if retries is None:
            return False
        self.completed += 1
        self.input_tokens += request.input_tokens
        self.output_tokens += request.output_tokens
        more = request.output_tokens - 1
        record = Finished(
            finished_at=round(request.finished_at, 4),
            arrival=round(request.arrival, 4),
            namespace=self.traffic.namespace,
            service=self.traffic.service,
            pod=pod.name,
            model=self.traffic.model,
            ttft_ms=round((request.first_token_at - request.arrival) * 1e3, 3),
            itl_ms=round((request.finished_at - request.first_token_at) * 1e3 / more, 3) if more else None,
            input_tokens=request.input_tokens,
            output_tokens=request.output_tokens,
            retries=retries,
        )
        self._finished.append(record)
        self._log.write(record)
        return True

    def lost(self, request: Request) -> bool:
        """The pod died: send one of our requests again, from the start, elsewhere."""
        if request not in self._in_flight:
            return False
        self._in_flight[request] += 1
        self.retried += 1
        request.reset()
        self._dispatch(request)
        return True

    def summary(self, seconds: float) -> dict[str, Any]:
        """Ground truth over requests finished in the last ``seconds``; latencies in ms."""
        since = clock.now() - seconds
        recent = list(self._finished)
        recent = recent[bisect.bisect_left(recent, since, key=lambda r: r.finished_at) :]
        ttft = [r.ttft_ms for r in recent]
        itl = [r.itl_ms for r in recent if r.itl_ms is not None]
        return {
            "namespace": self.traffic.namespace,
            "service": self.traffic.service,
            "playing": self.playing,
            "window_seconds": seconds,
            "requests": len(recent),
            "input_tokens": sum(r.input_tokens for r in recent),
            "output_tokens": sum(r.output_tokens for r in recent),
            "ttft_ms": {"p50": percentile(ttft, 50), "p95": percentile(ttft, 95)},
            "itl_ms": {"p50": percentile(itl, 50), "p95": percentile(itl, 95)},
            "backlog": self.backlog,
            "gateway_queue": len(self.queue),
            "total": {
                "arrived": self.arrived,
                "completed": self.completed,
                "retried": self.retried,
                "rejected": self.rejected,
                "input_tokens": self.input_tokens,
                "output_tokens": self.output_tokens,
            },
        }


class FleetClients:
    """The clients of all services."""

    def __init__(self, traffic: Sequence[Traffic], registry: Registry, log_path: Path | None) -> None:
        self.log = RequestLog(log_path)
        self.services = [ServiceClients(entry, registry, self.log) for entry in traffic]
        registry.on_serving(self._pod_serves)

    def find(self, namespace: str, service: str) -> list[ServiceClients]:
        """The clients of one service (several if the configuration plays several traces against it)."""
        return [s for s in self.services if (s.traffic.namespace, s.traffic.service) == (namespace, service)]

    def auto_start(self) -> None:
        """Begin all traffic that is configured to begin by itself."""
        for service in self.services:
            if service.traffic.auto_start:
                service.start()

    def finish(self, pod: FleetPod, request: Request) -> None:
        """A pod finished a request."""
        for service in self.services:
            if service.finish(pod, request):
                return

    def lost(self, requests: list[Request]) -> None:
        """A pod died with these requests in it."""
        for request in requests:
            for service in self.services:
                if service.lost(request):
                    break

    def _pod_serves(self, pod: FleetPod) -> None:
        for service in self.services:
            if service.queue and service.traffic.namespace == pod.namespace:
                service.drain_queue()

    def metrics(self) -> str:
        """The gateway's metrics page: flow-control queue as the Gateway API inference extension names it."""
        families = (
            (
                "inference_extension_flow_control_queue_size",
                "gauge",
                "Requests held in the gateway's flow control layer.",
                lambda s: len(s.queue),
            ),
            ("inference_objective_request_total", "counter", "Requests that arrived.", lambda s: s.arrived),
            ("pertoken_sandbox_requests_completed_total", "counter", "Requests served.", lambda s: s.completed),
            ("pertoken_sandbox_requests_retried_total", "counter", "Requests sent again.", lambda s: s.retried),
            (
                "pertoken_sandbox_requests_rejected_total",
                "counter",
                "Requests an engine refused.",
                lambda s: s.rejected,
            ),
        )
        lines = []
        for name, kind, text, value in families:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            totals: dict[str, int] = {}
            for service in self.services:
                traffic = service.traffic
                labels = labels_text(
                    {
                        "namespace": traffic.namespace,
                        "service": traffic.service,
                        "target_model_name": traffic.model or traffic.service,
                    },
                )
                totals[labels] = totals.get(labels, 0) + value(service)
            lines += [f"{name}{labels} {total}" for labels, total in totals.items()]
        return "\n".join(lines) + "\n"
