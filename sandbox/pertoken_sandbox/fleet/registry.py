"""The pods of the fleet as router, service discovery and state page see them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pertoken_sandbox.fleet.driver import EngineServer

PodKey = tuple[str, str]
"""Namespace and name."""


@dataclass
class FleetPod:
    """One pod that runs, or is about to."""

    namespace: str
    name: str
    node: str
    container: str
    labels: Mapping[str, str]
    ip: str
    phase: str = "Pending"
    gpus: list[int] = field(default_factory=list)
    server: EngineServer | None = None
    serving: bool = False
    draining: bool = False
    detail: str = ""

    @property
    def key(self) -> PodKey:
        """Namespace and name."""
        return self.namespace, self.name


class Registry:
    """All pods by key; tells listeners when one begins to serve."""

    def __init__(self) -> None:
        self.pods: dict[PodKey, FleetPod] = {}
        self._listeners: list[Callable[[FleetPod], None]] = []

    def on_serving(self, listener: Callable[[FleetPod], None]) -> None:
        """Call ``listener`` whenever a pod becomes ready to serve."""
        self._listeners.append(listener)

    def set_serving(self, pod: FleetPod, *, serving: bool) -> None:
        """Put a pod into, or take it out of, what the router may use."""
        pod.serving = serving
        if serving:
            for listener in self._listeners:
                listener(pod)

    def serving(self, namespace: str, selector: Mapping[str, str]) -> list[tuple[FleetPod, EngineServer]]:
        """Pods of a namespace that serve and carry all labels of ``selector``."""
        wanted = selector.items()
        return [
            (pod, pod.server)
            for pod in self.pods.values()
            if pod.serving and pod.server is not None and pod.namespace == namespace and wanted <= pod.labels.items()
        ]
