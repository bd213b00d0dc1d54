"""What the cluster has and allows: API, kinds, permissions, nodes, engines, clocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pertoken.adapters.kube.client import ApiRequest, KubeClient
from pertoken.adapters.kube.resources import GROUP
from pertoken.api.kinds import KINDS
from pertoken.catalog.lookup import Catalog
from pertoken.cli.adopt.cluster import ClusterView
from pertoken.cli.adopt.engines import find_engines
from pertoken.cli.adopt.pools import GPU_RESOURCE
from pertoken.cli.doctor.findings import Finding, bad, doubt, good, unseen
from pertoken.cli.doctor.prometheus import SKEW
from pertoken.control.gpus import PRODUCT_LABELS, product_of
from pertoken.ports import AdapterError, Json, NotFound

OLDEST: Final = (1, 30)
CREATED: Final = 1.5  # seconds: creation times are whole, and a request takes its time


@dataclass(frozen=True, slots=True)
class Right:
    """One permission; verbs as Kubernetes names them."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str


_READ: Final = ("list", "watch")
RIGHTS: Final = (
    Right(GROUP, "inferenceservices", _READ, "its own kind"),
    Right(GROUP, "acceleratorpools", _READ, "its own kind"),
    Right(GROUP, "modelroutes", ("list",), "its own kind"),
    Right("", "pods", _READ, "what runs where"),
    Right("", "nodes", _READ, "GPUs and their labels"),
    Right("apps", "deployments", _READ, "scale targets"),
    Right("apps", "replicasets", _READ, "whose pods they are"),
    Right("autoscaling", "horizontalpodautoscalers", _READ, "who else scales a target"),
    Right(GROUP, "inferenceservices/status", ("patch",), "telling users"),
)
ACTING: Final = (
    Right("apps", "deployments/scale", ("patch",), "replicas (mode Auto)"),
    Right("", "pods/eviction", ("create",), "rolling a batch cap (mode Auto)"),
    Right("", "configmaps", ("create", "patch"), "batch caps and memory"),
    Right("coordination.k8s.io", "leases", ("create", "update"), "leader election"),
)


@dataclass(frozen=True, slots=True)
class Account:
    """Whose permissions are asked for: a service account, or the caller's own where `user` is empty."""

    user: str = ""

    @property
    def words(self) -> str:
        """In a sentence."""
        return self.user or "you"


def api_findings(client: KubeClient) -> Iterator[Finding]:
    """Version and kinds.

    Raises:
        AdapterError: the API server does not answer.
    """
    version = client.call(ApiRequest("GET", "/version"))
    numbers = tuple(int("".join(filter(str.isdigit, str(version.get(part, "0")))) or 0) for part in ("major", "minor"))
    words = f"Kubernetes {version.get('gitVersion', '?')} at {client.host}"
    if numbers < OLDEST:
        yield bad("API server", words, f"pertoken needs {OLDEST[0]}.{OLDEST[1]} or newer")
    else:
        yield good("API server", words)
    try:
        served = client.call(ApiRequest("GET", f"/apis/{GROUP}/v1alpha1")).get("resources") or ()
    except NotFound:
        served = ()
    missing = [kind.kind for kind in KINDS if kind.kind not in {entry["kind"] for entry in served}]
    if missing:
        todo = "install the chart, or: pertoken crd | kubectl apply --server-side -f -"
        yield bad("CRDs", f"not served: {', '.join(missing)}", todo)
    else:
        yield good("CRDs", f"{', '.join(kind.kind for kind in KINDS)} of {GROUP}/v1alpha1")


def permission_findings(client: KubeClient, account: Account) -> Iterator[Finding]:
    """Every right that the operator needs, asked of the API server for one account; in one line where all are there."""
    for title, rights, tell in (("permissions to read", RIGHTS, bad), ("permissions to act", ACTING, doubt)):
        refused = []
        for right in rights:
            lacking = [verb for verb in right.verbs if not _allowed(client, account, right, verb)]
            if lacking:
                refused.append(f"{'/'.join(lacking)} {right.resource} ({right.why})")
        if refused:
            todo = "install the chart with rbac.create=true, or grant what its ClusterRole names"
            yield tell(title, f"{account.words} may not: {'; '.join(refused)}", todo)
        else:
            yield good(title, f"all that {account.words} need{'s' if account.user else ''}")


def _allowed(client: KubeClient, account: Account, right: Right, verb: str) -> bool:
    """Raises AdapterError where the question itself is refused."""
    resource, _, subresource = right.resource.partition("/")
    attributes = {"group": right.group, "resource": resource, "subresource": subresource, "verb": verb}
    spec: Json = {"resourceAttributes": attributes}
    kind = "SelfSubjectAccessReview"
    if account.user:
        kind, spec["user"] = "SubjectAccessReview", account.user
        spec["groups"] = ["system:serviceaccounts", "system:authenticated"]
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
    path = f"/apis/authorization.k8s.io/v1/{kind.lower()}s"
    answer = client.call(ApiRequest("POST", path, body=body))
    return bool((answer.get("status") or {}).get("allowed"))


def operator_findings(client: KubeClient, namespace: str) -> Iterator[Finding]:
    """Whether the operator runs."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    query: dict[str, str | int | bool] = {"labelSelector": "app.kubernetes.io/name=pertoken"}
    try:
        items = client.call(ApiRequest("GET", path, query=query)).get("items") or ()
        lease = _lease(client, namespace)
    except AdapterError as error:
        yield unseen("operator", str(error), "ask somebody who may read its namespace")
        return
    if lease:
        yield good("operator", f"{lease} leads")
    elif not items:
        yield doubt(
            "operator", f"no Deployment in {namespace}", "helm install it (docs/install.md), or --operator-namespace"
        )
    else:
        ready = sum(int((item.get("status") or {}).get("readyReplicas") or 0) for item in items)
        words = f"{ready} ready replicas, none leads"
        yield bad("operator", words, f"kubectl logs -n {namespace} deployment/{items[0]['metadata']['name']}")


def _lease(client: KubeClient, namespace: str) -> str:
    """Who holds the operator's lease; empty for nobody."""
    try:
        found = client.call(ApiRequest("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/pertoken"))
    except NotFound:
        return ""
    return str((found.get("spec") or {}).get("holderIdentity") or "")


def clock_findings(client: KubeClient, now: float) -> Iterator[Finding]:
    """The API server's clock beside this machine's, by a dry run that stores nothing.

    Args:
        client: of the user.
        now: this machine's, seconds since the epoch.
    """
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "pertoken-doctor-"}}
    query: dict[str, str | int | bool] = {"dryRun": "All"}
    try:
        made = client.call(ApiRequest("POST", "/api/v1/namespaces/default/configmaps", query=query, body=body))
        there = datetime.fromisoformat(str(made["metadata"]["creationTimestamp"])).timestamp()
    except (AdapterError, KeyError, ValueError) as error:
        yield unseen("clock", f"of the API server: {error}", "compare `date` on its machine")
        return
    apart = there + CREATED / 2 - now
    if abs(apart) > SKEW + CREATED:
        words = f"the API server's clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} this machine's"
        yield doubt("clock", words, "run NTP on both; leases and bills go by these clocks")
    else:
        yield good("clock", "the API server and this machine agree")


def node_findings(view: ClusterView, catalog: Catalog) -> Iterator[Finding]:
    """GPUs by kind, and what keeps them from being counted."""
    held = [
        (node, name, units) for node in view.nodes for name, units in node.allocatable.items() if units and _gpu(name)
    ]
    if not held:
        todo = "is the GPU operator (device plugin) installed? Devices claimed by DRA are not shown here"
        yield bad("GPUs", f"none on {len(view.nodes)} nodes", todo)
        return
    kinds: Counter[tuple[str, str]] = Counter()
    nodes: Counter[tuple[str, str]] = Counter()
    for node, name, units in held:
        kinds[product_of(node.labels), name] += units
        nodes[product_of(node.labels), name] += 1
    for (product, name), units in sorted(kinds.items()):
        words = f"{units} of {name} on {nodes[product, name]} nodes"
        if not product:
            todo = f"install GPU feature discovery, which sets {PRODUCT_LABELS[0]}: a pool selects nodes by a label"
            yield doubt("GPUs", f"{words}, whose kind no label tells", todo)
            continue
        gpu = catalog.known_gpu(product)
        if gpu is None:
            todo = "add it to the catalog (docs/reference/catalog.md), or engines are run by saturation alone"
            yield doubt("GPUs", f"{product}: {words}; the catalog does not know it", todo)
        else:
            yield good("GPUs", f"{product} ({gpu.id}): {words}")
    yield from _pools(view)


def _pools(view: ClusterView) -> Iterator[Finding]:
    for pool in view.pools:
        chosen = [node for node in view.nodes if pool.selects(node.labels)]
        if pool.node_selector and not chosen:
            labels = ", ".join(f"{key}={value}" for key, value in pool.node_selector)
            yield bad(
                "AcceleratorPool", f"{pool.name}: no node has {labels}", "correct spec.capacity.fromNodes.matchLabels"
            )
        if pool.price_per_gpu_hour is None:
            yield doubt("AcceleratorPool", f"{pool.name}: no price, so no cost", "set spec.pricePerGPUHour")


def engine_findings(view: ClusterView) -> Iterator[Finding]:
    """Engines that run: versions, and whether they are adopted."""
    discovery = find_engines(view)
    for engine in discovery.engines:
        release = str(engine.serving.release or "")
        version = release or "version unknown"
        todo = "pertoken adopt" if release else "pertoken adopt; then say engineVersion, if the image's tag does not"
        yield doubt("engine", f"{engine.title}: {engine.serving.engine}, {version}; not adopted", todo)
    if view.adopted:
        yield good("engine", f"{len(view.adopted)} workloads are adopted")
    elif not discovery.engines:
        yield doubt("engine", "no vLLM, SGLang, TGI or llama.cpp was found", "-A looks into all namespaces")


def _gpu(resource: str) -> bool:
    return GPU_RESOURCE.search(resource) is not None
