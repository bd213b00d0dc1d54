"""The life of one pod on an emulated node: pull, load, serve, crash, drain, gone."""

import asyncio
import logging
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from pertoken_bench.reference_engine.request import Request
from pertoken_sandbox.fleet import clock, pod_status
from pertoken_sandbox.fleet.config import FleetConfig
from pertoken_sandbox.fleet.container import (
    ContainerConfigError,
    command_line,
    engine_container,
    gpus_of,
)
from pertoken_sandbox.fleet.driver import EngineServer
from pertoken_sandbox.fleet.engine_args import EngineArgsError
from pertoken_sandbox.fleet.kube import STRATEGIC, ApiError, FleetKubeClient
from pertoken_sandbox.fleet.launch import Host, Launched, launch
from pertoken_sandbox.fleet.nodes import EmulatedNode
from pertoken_sandbox.fleet.registry import FleetPod, Registry

logger = logging.getLogger(__name__)

Json = dict[str, Any]

_PREFIX = "sandbox.pertoken.dev/"
_BACKOFF_LIMIT = 300.0
_OPERATOR = re.compile(r"(^|/)pertoken(-plan)?([:@]|$)")
_NO_IMAGES = "the sandbox emulates engines and runs no images: start the operator with `sandbox up --operator`"
_PLAIN_START_SECONDS = 0.5
_ARGUMENT_ERROR_SECONDS = 1.0
_DRAIN_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Kubelet:
    """What every pod runner shares."""

    client: FleetKubeClient
    config: FleetConfig
    registry: Registry
    on_finish: Callable[[FleetPod, Request], None]
    on_lost: Callable[[list[Request]], None]
    pulled: set[tuple[str, str]]
    """(node, image) pairs already on a node's disk."""


class PodRunner:
    """Drives one pod until its object is gone."""

    def __init__(self, kubelet: Kubelet, node: EmulatedNode, pod: Json, pod_ip: str) -> None:
        self._kubelet = kubelet
        self._node = node
        self._pod = pod
        self._container = engine_container(pod)
        metadata = pod["metadata"]
        first = self._container or pod["spec"]["containers"][0]
        self.entry = FleetPod(
            metadata["namespace"], metadata["name"], node.name, first["name"], metadata.get("labels") or {}, pod_ip
        )
        old = (pod.get("status") or {}).get("containerStatuses") or []
        restarts = max((c["restartCount"] + ("running" in c["state"]) for c in old), default=0)
        self._status = pod_status.PodStatus(pod, node.address, pod_ip, clock.now(), restarts)
        self.entry.gpus = node.take(self._holder, sum(gpus_of(c) for c in pod["spec"]["containers"]))
        self._random = random.Random(metadata["uid"])
        self._task: asyncio.Task[None] | None = None
        self._serving: asyncio.Task[None] | None = None
        self._deadline: float | None = None
        self._state: Json = {}

    @property
    def _holder(self) -> str:
        return f"{self.entry.namespace}/{self.entry.name}"

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self.entry.namespace}/pods/{self.entry.name}"

    def start(self) -> None:
        """Begin the pod's life."""
        self._kubelet.registry.pods[self.entry.key] = self.entry
        self._task = asyncio.create_task(self._guard(self._live()), name=f"pod {self._holder}")

    def update(self, pod: Json) -> None:
        """Take a newer version of the object: labels, and whether it is being deleted."""
        self.entry.labels = pod["metadata"].get("labels") or {}
        if not pod["metadata"].get("deletionTimestamp"):
            return
        grace = float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
        first_time = self._deadline is None
        self._deadline = min(self._deadline or float("inf"), clock.now() + grace)
        if first_time:
            if self._task is not None:
                self._task.cancel()
            self._task = asyncio.create_task(self._guard(self._terminate()), name=f"pod {self._holder} ending")

    def gone(self) -> None:
        """The object no longer exists: free everything at once."""
        if self._task is not None:
            self._task.cancel()
        self._stop_engine()
        self._node.release(self._holder)
        if self._kubelet.registry.pods.get(self.entry.key) is self.entry:
            del self._kubelet.registry.pods[self.entry.key]

    async def _guard(self, life: Any) -> None:
        try:
            await life
        except asyncio.CancelledError:
            raise
        except Exception:  # a bug in one pod's life must be seen, and must not end the fleet
            logger.exception("pod %s", self._holder)

    async def _live(self) -> None:
        image = (self._container or self._pod["spec"]["containers"][0])["image"]
        startup = self._kubelet.config.startup_of("", self._node.group.product)
        await self._patch(pod_status.waiting("ContainerCreating"))
        if self._container is None and _OPERATOR.search(image):
            self.entry.detail = _NO_IMAGES
            await self._patch(pod_status.waiting("ErrImageNeverPull", _NO_IMAGES))
            await asyncio.Event().wait()
        pull = self._seconds("image-pull-seconds", startup.image_pull_seconds)
        if (self._node.name, image) not in self._kubelet.pulled:
            await asyncio.sleep(pull)
            self._kubelet.pulled.add((self._node.name, image))
        failures = 0
        while True:
            words = await self._words()
            started = clock.now()
            self.entry.phase = "Running"
            await self._patch(pod_status.running(started), phase="Running")
            code, message = await self._run_container(words, started)
            failures += 1
            self._status.last_state = pod_status.terminated(code, message, started)
            self._status.restarts += 1
            delay = min(self._kubelet.config.crash_backoff_seconds * 2 ** (failures - 1), _BACKOFF_LIMIT)
            self.entry.detail = message
            text = f"back-off {delay:.0f}s restarting failed container={self.entry.container} pod={self.entry.name}"
            await self._patch(pod_status.waiting("CrashLoopBackOff", text), phase="Running")
            await asyncio.sleep(delay)

    async def _words(self) -> list[str]:
        """The container's command line; waits in ``CreateContainerConfigError`` while a ConfigMap is missing."""
        container = self._container or self._pod["spec"]["containers"][0]
        while True:
            try:
                return await command_line(container, self._pod, self._read_config_map)
            except ContainerConfigError as error:
                if self.entry.detail != str(error):
                    self.entry.detail = str(error)
                    await self._patch(pod_status.waiting("CreateContainerConfigError", str(error)))
            except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
                logger.info("pod %s: %s", self._holder, error)
            await asyncio.sleep(self._kubelet.config.config_retry_seconds)

    async def _read_config_map(self, name: str) -> Json | None:
        path = f"/api/v1/namespaces/{self.entry.namespace}/configmaps/{name}"
        try:
            return await self._kubelet.client.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def _run_container(self, words: list[str], started: float) -> tuple[int, str]:
        """Run until the container ends; its exit code and last words. Only cancelling ends a healthy one."""
        if self._container is None:
            await asyncio.sleep(_PLAIN_START_SECONDS)
            await self._become_ready(started)
            await asyncio.Event().wait()
        group = self._node.group
        host = Host(
            group.product,
            group.memory_gib,
            gpus_of(self._container or {}),
            self._kubelet.config.truth.values(),
            self._number("slow-factor", 1.0),
        )
        try:
            launched = launch(words, host, self.entry.name)
        except EngineArgsError as error:
            await asyncio.sleep(_ARGUMENT_ERROR_SECONDS)
            return 1, str(error)
        startup = self._kubelet.config.startup_of(launched.args.model, group.product)
        await asyncio.sleep(self._seconds("load-seconds", startup.load_seconds, startup.jitter))
        return await self._serve(launched, started)

    async def _serve(self, launched: Launched, started: float) -> tuple[int, str]:
        engine, stats, page = launched.serve(clock.now())
        entry = self.entry
        entry.server = EngineServer(
            engine, stats, page, launched.times, lambda request: self._kubelet.on_finish(entry, request)
        )
        entry.detail = ""
        self._serving = asyncio.create_task(self._guard(entry.server.run()), name=f"engine {self._holder}")
        await self._become_ready(started)
        self._kubelet.registry.set_serving(entry, serving=True)
        crash = self._number("crash-after-seconds", 0.0)
        await (asyncio.sleep(crash) if crash > 0 else asyncio.Event().wait())
        self._stop_engine()
        return 137, "CUDA error: an illegal memory access was encountered"

    async def _become_ready(self, started: float) -> None:
        await self._patch(pod_status.running(started), ready=True, phase="Running")

    def _stop_engine(self) -> None:
        self._kubelet.registry.set_serving(self.entry, serving=False)
        server, self.entry.server = self.entry.server, None
        if self._serving is not None:
            self._serving.cancel()
        if server is not None:
            self._kubelet.on_lost(server.stop())

    async def _terminate(self) -> None:
        """Leave the router at once, finish what was taken within the grace period, then remove the object."""
        self._kubelet.registry.set_serving(self.entry, serving=False)
        self.entry.draining = True
        if self.entry.phase == "Running":
            await self._patch(self._state, phase="Running", reason="PodTerminating")
        server = self.entry.server
        while server is not None and server.busy and clock.now() < (self._deadline or 0.0):  # noqa: ASYNC110  # the deadline may move
            await asyncio.sleep(_DRAIN_POLL_SECONDS)
        self._stop_engine()
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self._pod["metadata"]["uid"]}}
        await self._insist("DELETE", self._path, body, "application/json")

    async def _patch(self, state: Json, *, ready: bool = False, phase: str = "Pending", reason: str = "") -> None:
        self.entry.phase = phase
        self._state = state
        status = self._status.build(state, ready=ready, phase=phase, reason=reason)
        body = {"metadata": {"uid": self._pod["metadata"]["uid"]}, "status": status}
        await self._insist("PATCH", f"{self._path}/status", body, STRATEGIC)

    async def _insist(self, method: str, path: str, body: Json, content_type: str) -> None:
        """Repeat a write until the API server takes it, or the pod is gone (404, or 409: another pod of that name)."""
        delay = 0.2
        while True:
            try:
                await self._kubelet.client.request(method, path, body, content_type=content_type)
            except ApiError as error:
                if error.status in {404, 409, 422}:
                    logger.info("pod %s: %s", self._holder, error)
                    return
                logger.warning("pod %s: %s", self._holder, error)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                logger.info("pod %s: %s", self._holder, error)
            else:
                return
            await asyncio.sleep(delay)
            delay = min(2 * delay, 5.0)

    def _seconds(self, annotation: str, configured: float, jitter: float | None = None) -> float:
        spread = self._kubelet.config.startup.jitter if jitter is None else jitter
        return self._number(annotation, configured * (1 + self._random.uniform(-spread, spread)))

    def _number(self, annotation: str, default: float) -> float:
        """A pod annotation as a number >= 0; anything else is ignored with a warning."""
        text = (self._pod["metadata"].get("annotations") or {}).get(_PREFIX + annotation)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if value < 0:
            logger.warning("pod %s: annotation %s%s: %r is not a number >= 0", self._holder, _PREFIX, annotation, text)
            return default
        return value
