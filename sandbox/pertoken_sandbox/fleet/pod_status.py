"""The status that a kubelet writes for a pod."""

from dataclasses import dataclass, field
from typing import Any

from pertoken_sandbox.fleet import clock

Json = dict[str, Any]


def waiting(reason: str, message: str = "") -> Json:
    """A container state: not running."""
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def running(since: float) -> Json:
    """A container state: running since an epoch second."""
    return {"running": {"startedAt": clock.rfc3339(since)}}


def terminated(code: int, message: str, started: float) -> Json:
    """A container state: ended now."""
    return {
        "terminated": {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "message": message,
            "startedAt": clock.rfc3339(started),
            "finishedAt": clock.rfc3339(clock.now()),
        },
    }


@dataclass
class PodStatus:
    """A pod's status in the making; remembers when each condition last changed."""

    pod: Json
    host_ip: str
    pod_ip: str
    started: float
    restarts: int = 0
    last_state: Json = field(default_factory=dict)
    _conditions: dict[str, tuple[str, str]] = field(default_factory=dict)

    def build(self, state: Json, *, ready: bool, phase: str, reason: str = "") -> Json:
        """The ``status`` to patch, with all containers in ``state``."""
        spec = self.pod["spec"]
        is_running = "running" in state
        conditions = [
            self._condition("PodReadyToStartContainers", ok=True),
            self._condition("Initialized", ok=True),
            self._condition("ContainersReady", ok=ready, reason="" if ready else reason or "ContainersNotReady"),
            self._condition("Ready", ok=ready, reason="" if ready else reason or "ContainersNotReady"),
        ]
        status: Json = {
            "phase": phase,
            "startTime": clock.rfc3339(self.started),
            "hostIP": self.host_ip,
            "podIP": self.pod_ip,
            "podIPs": [{"ip": self.pod_ip}],
            "conditions": conditions,
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": container["image"] if is_running else "",
                    "containerID": f"emulated://{self.pod['metadata']['uid']}-{self.restarts}" if is_running else "",
                    "restartCount": self.restarts,
                    "ready": ready,
                    "started": ready,
                    "state": state,
                    "lastState": self.last_state,
                }
                for container in spec["containers"]
            ],
        }
        if spec.get("initContainers"):
            status["initContainerStatuses"] = [self._init_status(c) for c in spec["initContainers"]]
        return status

    def _init_status(self, container: Json) -> Json:
        return {
            "name": container["name"],
            "image": container["image"],
            "imageID": container["image"],
            "restartCount": 0,
            "ready": True,
            "started": False,
            "state": terminated(0, "", self.started),
        }

    def _condition(self, kind: str, *, ok: bool, reason: str = "") -> Json:
        value = "True" if ok else "False"
        before = self._conditions.get(kind)
        since = before[1] if before and before[0] == value else clock.rfc3339(clock.now())
        self._conditions[kind] = (value, since)
        return {
            "type": kind,
            "status": value,
            "lastProbeTime": None,
            "lastTransitionTime": since,
            "reason": reason or None,
            "message": None,
        }
