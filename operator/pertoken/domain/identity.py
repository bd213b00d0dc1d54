"""Names of things: services, variants, workloads, pods."""

from __future__ import annotations

from pertoken.frozen import dataclass


@dataclass(frozen=True, order=True, slots=True)
class ServiceKey:
    """Identity of one InferenceService."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, order=True, slots=True)
class PodKey:
    """Identity of one pod; metric series join pods by exactly this, never by a name prefix."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, order=True, slots=True)
class WorkloadRef:
    """A scalable workload: any kind with a scale subresource."""

    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"
