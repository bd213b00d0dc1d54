"""Watches pods and gives each one on an emulated node its runner."""

from typing import Any

from pertoken_sandbox.fleet.nodes import EmulatedNode
from pertoken_sandbox.fleet.pod_runner import Kubelet, PodRunner

Json = dict[str, Any]

_FINISHED = frozenset({"Succeeded", "Failed"})


class PodWatcher:
    """Keeps one runner per pod (by uid) that is bound to a node of the fleet."""

    def __init__(self, kubelet: Kubelet, nodes: dict[str, EmulatedNode]) -> None:
        self._kubelet = kubelet
        self._nodes = nodes
        self._runners: dict[str, PodRunner] = {}
        self._addresses = 0

    async def run(self) -> None:
        """Follow the pods for ever."""
        async for kind, pod in self._kubelet.client.list_watch("/api/v1/pods", "spec.nodeName!="):
            if kind == "SYNCED":
                for uid in self._runners.keys() - pod["uids"]:
                    self._runners.pop(uid).gone()
                continue
            uid = pod["metadata"]["uid"]
            runner = self._runners.get(uid)
            if kind == "DELETED":
                if runner is not None:
                    self._runners.pop(uid).gone()
            elif runner is not None:
                runner.update(pod)
            elif pod["spec"].get("nodeName") in self._nodes and (pod.get("status") or {}).get("phase") not in _FINISHED:
                self._start(pod)

    def stop(self) -> None:
        """End all runners without touching the objects."""
        for runner in self._runners.values():
            runner.gone()
        self._runners.clear()

    def _start(self, pod: Json) -> None:
        runner = PodRunner(self._kubelet, self._nodes[pod["spec"]["nodeName"]], pod, self._next_address())
        self._runners[pod["metadata"]["uid"]] = runner
        runner.start()
        runner.update(pod)

    def _next_address(self) -> str:
        self._addresses += 1
        high, low = divmod(self._addresses, 250)
        return f"10.{128 + high // 250}.{high % 250}.{low + 1}"
