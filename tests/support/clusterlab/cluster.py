"""Objects of the API server by kind and name, read and written as the administrator."""

from __future__ import annotations

from dataclasses import dataclass

from clusterlab.fleet import Fleet
from clusterlab.kubelet import Json
from pertoken_sandbox.fleet.kube import MERGE, ApiError

_CORE, _APPS, _OWN = "/api/v1", "/apis/apps/v1", "/apis/serving.pertoken.dev/v1alpha1"

PLURALS = {
    "ConfigMap": (_CORE, "configmaps"),
    "Event": ("/apis/events.k8s.io/v1", "events"),
    "Namespace": (_CORE, "namespaces"),
    "Node": (_CORE, "nodes"),
    "Pod": (_CORE, "pods"),
    "ResourceQuota": (_CORE, "resourcequotas"),
    "Service": (_CORE, "services"),
    "ServiceAccount": (_CORE, "serviceaccounts"),
    "Deployment": (_APPS, "deployments"),
    "ReplicaSet": (_APPS, "replicasets"),
    "StatefulSet": (_APPS, "statefulsets"),
    "HorizontalPodAutoscaler": ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "LeaderWorkerSet": ("/apis/leaderworkerset.x-k8s.io/v1", "leaderworkersets"),
    "LLMInferenceService": ("/apis/serving.kserve.io/v1alpha1", "llminferenceservices"),
    "InferenceService": (_OWN, "inferenceservices"),
    "AcceleratorPool": (_OWN, "acceleratorpools"),
}
UNSCOPED = frozenset({"Namespace", "Node", "AcceleratorPool"})


@dataclass(frozen=True)
class Cluster:
    """Reads and writes over the fleet's client; much cheaper than a kubectl each."""

    fleet: Fleet

    def get(self, kind: str, namespace: str, name: str) -> Json | None:
        """One object; None when there is none."""
        try:
            return self.fleet.request("GET", path(kind, namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, kind: str, namespace: str = "", selector: str = "") -> list[Json]:
        """All objects of a kind."""
        params = {"labelSelector": selector} if selector else None
        return list(self.fleet.request("GET", path(kind, namespace), params=params)["items"])

    def create(self, obj: Json, namespace: str) -> Json:
        """Create an object.

        Raises:
            ApiError: the API server refused it.
        """
        return self.fleet.request("POST", path(obj["kind"], namespace), obj)

    def patch(self, kind: str, namespace: str, name: str, body: Json, subresource: str = "") -> Json:
        """Merge-patch an object or, for instance, its ``status``."""
        where = path(kind, namespace, name) + (f"/{subresource}" if subresource else "")
        return self.fleet.request("PATCH", where, body, content_type=MERGE)

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object; none is fine."""
        try:
            self.fleet.request("DELETE", path(kind, namespace, name), {"propagationPolicy": "Background"})
        except ApiError as error:
            if error.status != 404:
                raise


def path(kind: str, namespace: str = "", name: str = "") -> str:
    """Where the API server keeps a kind."""
    root, plural = PLURALS[kind]
    where = f"/namespaces/{namespace}" if namespace and kind not in UNSCOPED else ""
    return f"{root}{where}/{plural}" + (f"/{name}" if name else "")
