"""A thin kubelet: gives pods on the lab's nodes a status, as a test wants it, and honours their deletion."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from clusterlab.scripted import Engine, Page, Script
from pertoken_sandbox.fleet import clock, pod_status
from pertoken_sandbox.fleet.kube import STRATEGIC, ApiError, FleetKubeClient

Json = dict[str, Any]
Key = tuple[str, str]

_TRIES = 5


@dataclass(frozen=True)
class Behaviour:
    """How pods fare once bound to a node.

    Args:
        kind: ``run`` (ready after `start_seconds`), ``wait`` (a container that waits for `reason`), ``crash``
            (CrashLoopBackOff) or ``fail`` (the pod ends in phase Failed with `reason`, such as Evicted).
        reason: Kubernetes' word.
        message: Kubernetes' sentence.
        start_seconds: from bound to ready.
    """

    kind: str = "run"
    reason: str = ""
    message: str = ""
    start_seconds: float = field(default=0.7, compare=False)


class Pods:
    """All pods of the lab's nodes, with their engines' scripts and pages. Lives in the fleet's event loop."""

    def __init__(self, client: FleetKubeClient) -> None:
        self.client = client
        self.nodes: dict[str, str] = {}  # name -> address
        self.scripts: dict[Key, Script] = {}  # by namespace and workload
        self.pages: dict[Key, Page] = {}  # by namespace and workload or pod
        self.behaviours: dict[Key, Behaviour] = {}  # by namespace and workload or pod
        self._lives: dict[str, _Life] = {}

    async def run(self) -> None:
        """Follow the pods for ever."""
        async for kind, pod in self.client.list_watch("/api/v1/pods", "spec.nodeName!="):
            if kind == "SYNCED":
                for uid in self._lives.keys() - pod["uids"]:
                    self._lives.pop(uid).end()
                continue
            uid = pod["metadata"]["uid"]
            if kind == "DELETED":
                if uid in self._lives:
                    self._lives.pop(uid).end()
            elif uid in self._lives:
                self._lives[uid].update(pod)
            elif pod["spec"].get("nodeName") in self.nodes and not _ended(pod):
                self._lives[uid] = _Life(self, pod, f"10.200.{len(self._lives) // 250}.{len(self._lives) % 250 + 1}")

    def engines(self) -> list[Engine]:
        """All serving engines."""
        return [engine for script in self.scripts.values() for engine in script.engines.values()]

    def page(self, engine: Engine) -> Page:
        """What a test wants of a pod's page: its own word, else its workload's."""
        for name in (engine.pod, engine.workload):
            if (engine.namespace, name) in self.pages:
                return self.pages[engine.namespace, name]
        return Page()

    def behaviour(self, namespace: str, pod: str, workload: str) -> Behaviour:
        """What a test wants of a pod: its own word, else its workload's."""
        return self.behaviours.get((namespace, pod)) or self.behaviours.get((namespace, workload)) or Behaviour()

    def behave(self, key: Key, behaviour: Behaviour) -> None:
        """Change how pods fare, at once."""
        self.behaviours[key] = behaviour
        for life in self._lives.values():
            life.changed.set()

    def forget(self, namespace: str) -> None:
        """Drop what was said about a namespace."""
        for said in (self.scripts, self.pages, self.behaviours):
            for key in [key for key in said if key[0] == namespace]:
                del said[key]  # type: ignore[attr-defined]


def workload_of(pod: Json) -> str:
    """The Deployment or StatefulSet that a pod belongs to."""
    owner = next(iter(pod["metadata"].get("ownerReferences") or []), None)
    if owner is None:
        return str(pod["metadata"]["name"])
    name = str(owner["name"])
    return name.rsplit("-", 1)[0] if owner["kind"] == "ReplicaSet" else name


def _ended(pod: Json) -> bool:
    return (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}


def _model(pod: Json) -> str:
    """The name that the engine serves the model under, as its arguments say."""
    words = [word for container in pod["spec"]["containers"] for word in container.get("args") or []]
    flags = dict(word.split("=", 1) for word in words if "=" in word)
    return flags.get("--served-model-name") or flags.get("--model") or "model"


class _Life:
    """One pod from bound to gone."""

    def __init__(self, pods: Pods, pod: Json, address: str) -> None:
        meta = pod["metadata"]
        self.namespace, self.name, self.uid = meta["namespace"], meta["name"], meta["uid"]
        self.workload = workload_of(pod)
        self.changed = asyncio.Event()
        self._pods = pods
        self._model = _model(pod)
        self._status = pod_status.PodStatus(pod, pods.nodes[pod["spec"]["nodeName"]], address, clock.now())
        self._leaving = False
        self._task = asyncio.create_task(self._live())
        self.update(pod)

    def update(self, pod: Json) -> None:
        if pod["metadata"].get("deletionTimestamp") and not self._leaving:
            self._leaving = True
            self._task.cancel()
            self._stop()
            self._task = asyncio.create_task(self._leave())

    def end(self) -> None:
        self._task.cancel()
        self._stop()

    async def _live(self) -> None:
        shown: Behaviour | None = None
        while True:
            self.changed.clear()
            wanted = self._pods.behaviour(self.namespace, self.name, self.workload)
            if wanted != shown:
                self._stop()
                await self._show(wanted)
                shown = wanted
            if wanted.kind == "fail":
                return
            await self.changed.wait()

    async def _show(self, wanted: Behaviour) -> None:
        if wanted.kind == "run":
            await self._patch(pod_status.waiting("ContainerCreating"))
            await asyncio.sleep(wanted.start_seconds)
            started = clock.now()
            self._serve()
            await self._patch(pod_status.running(started), ready=True, phase="Running")
        elif wanted.kind == "crash":
            self._status.restarts += 3
            self._status.last_state = pod_status.terminated(1, wanted.message, clock.now())
            words = wanted.message or f"back-off 40s restarting failed container=engine pod={self.name}"
            await self._patch(pod_status.waiting(wanted.reason or "CrashLoopBackOff", words), phase="Running")
        elif wanted.kind == "wait":
            await self._patch(pod_status.waiting(wanted.reason or "ContainerCreating", wanted.message))
        else:
            ended = pod_status.terminated(137, wanted.message, self._status.started)
            status = self._status.build(ended, ready=False, phase="Failed")
            await self._write({**status, "reason": wanted.reason or "Evicted", "message": wanted.message})

    def _serve(self) -> None:
        script = self._pods.scripts.setdefault((self.namespace, self.workload), Script())
        script.advance()
        script.engines[self.name] = Engine(self.namespace, self.name, self.workload, self._model)

    def _stop(self) -> None:
        script = self._pods.scripts.get((self.namespace, self.workload))
        if script is not None:
            script.advance()
            script.engines.pop(self.name, None)

    async def _leave(self) -> None:
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
        await self._insist("DELETE", self._path, body, "application/json")

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"

    async def _patch(self, state: Json, *, ready: bool = False, phase: str = "Pending") -> None:
        await self._write(self._status.build(state, ready=ready, phase=phase))

    async def _write(self, status: Json) -> None:
        body = {"metadata": {"uid": self.uid}, "status": status}
        await self._insist("PATCH", f"{self._path}/status", body, STRATEGIC)

    async def _insist(self, method: str, path: str, body: Json, content_type: str) -> None:
        for attempt in range(_TRIES):
            try:
                await self._pods.client.request(method, path, body, content_type=content_type)
            except ApiError as error:
                if error.status in {404, 409, 422}:  # gone, or another pod of that name
                    return
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            else:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.sleep(0.2 * 2**attempt)
