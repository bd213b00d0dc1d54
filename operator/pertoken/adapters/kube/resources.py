"""Names and addresses of Kubernetes resources: the watched kinds, and discovery of any other."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from pertoken.adapters.kube.client import ApiRequest, Caller
from pertoken.ports import NotFound, Refused


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource type.

    Attributes:
        group: API group, empty for the core group.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As objects write it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """URL path of the collection or, with a name, of one object (or a subresource of it).

        Raises:
            Refused: a part cannot be a name.
        """
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return _path(parts)


@dataclass(frozen=True, slots=True)
class KubeKind:
    """A kind that the inventory holds; `label_selector` is applied by the API server."""

    group: str
    version: str
    plural: str
    kind: str
    label_selector: str = ""
    namespaced: bool = True

    @property
    def key(self) -> tuple[str, str, str]:
        """(group, version, plural)."""
        return (self.group, self.version, self.plural)

    @property
    def resource(self) -> Resource:
        """For addresses."""
        return Resource(self.group, self.version, self.plural, self.kind, self.namespaced)


GROUP = "serving.pertoken.dev"
MANAGED_SELECTOR = "app.kubernetes.io/managed-by=pertoken"

WATCHED: Mapping[str, KubeKind] = {
    kind.plural: kind
    for kind in (
        KubeKind(GROUP, "v1alpha1", "inferenceservices", "InferenceService"),
        KubeKind(GROUP, "v1alpha1", "acceleratorpools", "AcceleratorPool", namespaced=False),
        KubeKind("", "v1", "pods", "Pod"),
        KubeKind("", "v1", "nodes", "Node", namespaced=False),
        KubeKind("", "v1", "namespaces", "Namespace", namespaced=False),
        KubeKind("apps", "v1", "deployments", "Deployment"),
        KubeKind("apps", "v1", "replicasets", "ReplicaSet"),
        KubeKind("", "v1", "configmaps", "ConfigMap", MANAGED_SELECTOR),
        KubeKind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    )
}


# Made by the command line; the operator lists them for its metrics.
CAPACITY_PLANS = KubeKind(GROUP, "v1alpha1", "capacityplans", "CapacityPlan", namespaced=False)

# Listed in every cycle, never watched: a cluster may have the CRDs of an earlier version.
MODEL_ROUTES = KubeKind(GROUP, "v1alpha1", "modelroutes", "ModelRoute")

# Listed at times, never watched: not every cluster serves them.
DEVICES: Mapping[str, KubeKind] = {
    kind.plural: kind
    for kind in (
        KubeKind("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", namespaced=False),
        KubeKind("resource.k8s.io", "v1", "resourceslices", "ResourceSlice", namespaced=False),
        KubeKind("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim"),
        KubeKind("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate"),
    )
}

# Listed by commands alone, which look for workloads that may be adopted; not every cluster serves the second.
ADOPTABLE: Mapping[str, KubeKind] = {
    kind.plural: kind
    for kind in (
        KubeKind("apps", "v1", "statefulsets", "StatefulSet"),
        KubeKind("leaderworkerset.x-k8s.io", "v1", "leaderworkersets", "LeaderWorkerSet"),
    )
}
_LISTED: Mapping[str, KubeKind] = {
    **WATCHED,
    **DEVICES,
    **ADOPTABLE,
    CAPACITY_PLANS.plural: CAPACITY_PLANS,
    MODEL_ROUTES.plural: MODEL_ROUTES,
}


def listed_kind(plural: str) -> KubeKind:
    """A kind that can be listed, by its name in the API. Raises KeyError for another one (a programming error)."""
    return _LISTED[plural]


def _path(parts: Iterable[str]) -> str:
    """Parts as segments of a path. Dots alone would be taken for a step up or none, however they are quoted."""
    segments = []
    for part in parts:
        if not part.strip("."):
            raise Refused(f'"{part}" cannot be the name of an object')
        segments.append(quote(part, safe=""))
    return "/" + "/".join(segments)


class Discovery:
    """Resolves (apiVersion, kind) to a resource; asks the API server once per group version."""

    def __init__(self, client: Caller) -> None:
        """Know the watched kinds already."""
        self._client = client
        self._known = {(kind.resource.api_version, kind.kind): kind.resource for kind in WATCHED.values()}
        self._lock = threading.Lock()

    def resource(self, api_version: str, kind: str) -> Resource:
        """The resource behind a kind.

        Raises:
            NotFound: when the cluster does not serve it; asked anew next time, as CRDs may come later.
            AdapterError: when the API server does not answer.
        """
        known = self._known.get((api_version, kind))
        if known is not None:
            return known
        discovered, _ = self._discover(api_version)
        with self._lock:
            self._known.update(discovered)
        if (api_version, kind) not in discovered:
            raise NotFound(f"the cluster does not serve {kind} of {api_version}")
        return discovered[(api_version, kind)]

    def scales(self, api_version: str, kind: str) -> bool:
        """Whether objects of a kind have a scale subresource now.

        Raises:
            AdapterError: the API server does not serve the kind, or does not answer.
        """
        plural = self.resource(api_version, kind).plural
        return f"{plural}/scale" in self._discover(api_version)[1]

    def _discover(self, api_version: str) -> tuple[dict[tuple[str, str], Resource], frozenset[str]]:
        """The resources of a group version by kind, and the names of their subresources."""
        group, _, version = api_version.rpartition("/")
        path = _path(["apis", group, version] if group else ["api", version])
        try:
            listed = self._client.call(ApiRequest("GET", path))
        except NotFound as error:
            raise NotFound(f"the cluster does not serve the API {api_version}") from error
        entries = listed.get("resources") or ()
        resources = {
            (api_version, entry["kind"]): Resource(group, version, entry["name"], entry["kind"], entry["namespaced"])
            for entry in entries
            if "/" not in entry["name"]  # subresources are listed as plural/subresource
        }
        return resources, frozenset(entry["name"] for entry in entries if "/" in entry["name"])
