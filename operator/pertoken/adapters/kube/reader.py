"""Reads of the cluster: chunked lists of the watched kinds, single objects, scale subresources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pertoken.adapters.kube.client import ApiRequest, Caller
from pertoken.adapters.kube.errors import Expired
from pertoken.adapters.kube.resources import WATCHED, Discovery, KubeKind, Resource, listed_kind
from pertoken.domain.identity import WorkloadRef
from pertoken.ports import Json, Listing, Unavailable

__all__ = ["WATCHED", "KubeReader"]

CHUNK = 500
RESTARTS = 3


class KubeReader:
    """Implements `pertoken.ports.ClusterReader` and `pertoken.ports.EventSource`."""

    def __init__(self, client: Caller, namespaces: Sequence[str] = (), discovery: Discovery | None = None) -> None:
        """Read the whole cluster, or only some namespaces (cluster-scoped kinds are always read whole)."""
        self._client = client
        self._namespaces = tuple(namespaces)
        self._discovery = discovery or Discovery(client)

    def list(self, plural: str) -> Listing:
        """All objects of one kind that `listed_kind` knows, with apiVersion and kind filled in.

        Raises:
            KeyError: for another kind (a programming error).
            AdapterError: nothing is returned unless the list is whole.
        """
        kind = listed_kind(plural)
        if not self._namespaces:
            return self._list_path(kind, kind.resource.path())
        if plural == "namespaces":
            return self._own_namespaces(kind)
        if not kind.namespaced:
            return self._list_path(kind, kind.resource.path())
        parts = [self._list_path(kind, kind.resource.path(namespace)) for namespace in self._namespaces]
        # Each namespace was listed at its own version: there is no common one.
        return Listing([item for part in parts for item in part.items])

    def get(self, target: WorkloadRef) -> Json:
        """The whole object behind a reference. Raises NotFound for an unknown kind as for a missing object."""
        return self._client.call(ApiRequest("GET", self._path(target)))

    def scale(self, target: WorkloadRef) -> Json:
        """The scale subresource (autoscaling/v1 Scale); its resourceVersion is the parent object's."""
        return self._client.call(ApiRequest("GET", self._path(target, "scale")))

    def events(self, namespace: str, reason: str) -> Sequence[Json]:
        """Events of one reason in a namespace, as the core API has them: the newest `CHUNK` at most."""
        path = Resource("", "v1", "events", "Event").path(namespace)
        query: dict[str, str | int | bool] = {"fieldSelector": f"reason={reason}", "limit": CHUNK}
        return list(self._client.call(ApiRequest("GET", path, query=query)).get("items") or ())

    def _path(self, target: WorkloadRef, subresource: str = "") -> str:
        resource = self._discovery.resource(target.api_version, target.kind)
        return resource.path(target.namespace, target.name, subresource)

    def _own_namespaces(self, kind: KubeKind) -> Listing:
        """Namespaces one by one: a Role inside a namespace can allow `get` of it, never `list` of all."""
        return Listing(
            [self._client.call(ApiRequest("GET", kind.resource.path(name=name))) for name in self._namespaces]
        )

    def _list_path(self, kind: KubeKind, path: str) -> Listing:
        for _ in range(RESTARTS):
            try:
                chunks = list(self._chunks(kind, path))
            except Expired:
                continue  # compaction overtook the list: only a list from the start is consistent
            items = [_typed(item, kind.resource) for chunk in chunks for item in chunk.get("items") or ()]
            return Listing(items, chunks[0]["metadata"].get("resourceVersion", ""))
        raise Unavailable(f"GET {path}: the list expired {RESTARTS} times before its end")

    def _chunks(self, kind: KubeKind, path: str) -> Iterator[Json]:
        query: dict[str, str | int | bool] = {"limit": CHUNK}
        if kind.label_selector:
            query["labelSelector"] = kind.label_selector
        while True:
            chunk = self._client.call(ApiRequest("GET", path, query=query))
            yield chunk
            token = (chunk.get("metadata") or {}).get("continue")
            if not token:
                return
            query["continue"] = token


def _typed(item: Json, resource: Resource) -> Json:
    """Items of a list lack the type that watch events carry."""
    item.setdefault("apiVersion", resource.api_version)
    item.setdefault("kind", resource.kind)
    return item
