"""`Lab`: what a black-box test works with, in a namespace of its own.

A test sees the API server, metrics pages and the audit log, and nothing of the operator's inside::

    def test_a_loaded_service_scales_up(lab):
        pool = lab.pool(nodes=[4])                                  # 4 GPUs; the pool's unique name comes back
        lab.deployment("chat", pool, replicas=1)
        lab.load("chat", requests_per_second=2)
        lab.service("chat", adopted("chat", pool))
        lab.until(lambda: lab.ready("chat") == 1)
        mark = lab.mark()
        lab.load("chat", requests_per_second=40)
        lab.until(lambda: lab.replicas("chat") > 1)
        assert lab.audit(mark, resource="deployments/scale")

Traffic is scripted (`clusterlab.scripted.Load`): the load is of the whole workload and shared by its ready pods, what
they do not take waits, and every figure on their vLLM pages follows from it. Pages can be edited: `drop` families,
`rename` them, `freeze` them, `silence` them, or serve another text (`page`, and `extra_page` for exporters that are no
pod, such as DCGM). Pods become ready 0.7 s after they are bound; `behave` makes them wait, crash or fail.

The operator is shared: cycles of 1 s, rates over 5 s, samples stale after 4 s. Wait for `cycles`, poll with `until`,
watch with `throughout`; never sleep. `lab.operator` is its process (`pause`, `restart`, `get("/healthz")`, `log`);
whoever stops or reconfigures it restarts it as it was. `second_operator` starts another under an account of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from clusterlab import manifests
from clusterlab.audit import Write
from clusterlab.cluster import PLURALS
from clusterlab.fleet import NodeSpec
from clusterlab.kubelet import Behaviour, Json
from clusterlab.operator import OperatorProcess
from clusterlab.scripted import Engine, Load, Page, Script
from clusterlab.stack import Stack
from pertoken_sandbox.fleet.kube import ApiError
from pertoken_sandbox.kubectl import Kubectl

SECONDS = 25.0
EVERY = 0.25


class Lab:
    """One namespace of the stack.

    Args:
        stack: the shared parts.
        namespace: created already.
    """

    def __init__(self, stack: Stack, namespace: str) -> None:
        self.stack = stack
        self.namespace = namespace
        self.cluster = stack.cluster
        self.operator: OperatorProcess = stack.operator
        self._pools: list[str] = []
        self._nodes: list[str] = []

    # -- what is there ------------------------------------------------------------------------------------------

    def pool(self, name: str = "pool", nodes: Sequence[int | NodeSpec] = (4,), **spec: Any) -> str:
        """Create a pool with its nodes; a node is its number of GPUs, or a `NodeSpec`.

        Args:
            name: beginning of the unique name.
            nodes: each gets the label ``pool: UNIQUE NAME``.
            spec: of the AcceleratorPool; `accelerator` and `price` are short for its first two fields.

        Returns:
            The unique name, for variants and node selectors.
        """
        unique = f"{name}-{self.namespace}"
        for index, given in enumerate(nodes):
            spec_of = NodeSpec(given) if isinstance(given, int) else given
            node = NodeSpec(
                spec_of.gpus, {"pool": unique, **spec_of.labels}, spec_of.taints, spec_of.allocatable, spec_of.product
            )
            self.stack.fleet.add_node(f"{unique}-{index}", node)
            self._nodes.append(f"{unique}-{index}")
        self.apply(manifests.pool(unique, **spec))
        self._pools.append(unique)
        return unique

    def deployment(self, name: str, pool: str, replicas: int = 1, *args: str, **pod: Any) -> None:
        """Create an adopted engine's Deployment; `args` are added to the engine's, `pod` to the pod's spec."""
        containers = pod.pop("containers", None) or [manifests.engine(*args)]
        self.apply(manifests.deployment(name, pool, replicas, containers, **pod))

    def service(self, name: str, *variants: Json, **spec: Any) -> None:
        """Create or change an InferenceService; see `manifests.service`."""
        self.apply(manifests.service(name, *variants, **spec))

    def apply(self, *objects: Json) -> None:
        """Server-side apply as the administrator, into this namespace unless the object says another."""
        for obj in objects:
            meta = {"namespace": self.namespace, **obj["metadata"]}
            if obj["kind"] in {"Namespace", "Node", "AcceleratorPool"}:
                meta.pop("namespace")
            self.stack.kubectl.apply({**obj, "metadata": meta})

    def user(self, name: str, *rules: Json) -> Kubectl:
        """The kubectl of a user who may do in this namespace what RBAC `rules` say and nothing else."""
        where = {"name": name, "namespace": self.namespace}
        rbac = "rbac.authorization.k8s.io"
        self.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
            {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": where, "rules": list(rules)},
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": where,
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", **where}],
            },
        )
        path = self.stack.folder / f"{self.namespace}-{name}.kubeconfig"
        self.stack.control_plane.token_kubeconfig(self.namespace, name, path)
        return self.stack.kubectl.as_user(path)

    # -- traffic and pods ---------------------------------------------------------------------------------------

    def load(self, workload: str, **load: Any) -> None:
        """Script a workload's traffic from now on; see `clusterlab.scripted.Load`. Nothing given is no traffic."""

        def change() -> None:
            script = self.stack.fleet.pods.scripts.setdefault((self.namespace, workload), Script())
            script.advance()
            script.load = Load(**load)

        self.stack.fleet.do(change)

    def queue(self, workload: str) -> float:
        """Requests that wait at a workload now."""

        def read() -> float:
            script = self.stack.fleet.pods.scripts.setdefault((self.namespace, workload), Script())
            script.advance()
            return script.queue

        return self.stack.fleet.do(read)

    def drop(self, target: str, families: str) -> None:
        """Leave out of the pages of a workload or pod what matches (regular expression, search); "" ends it."""
        self._page(target, dropped=families)

    def rename(self, target: str, *pairs: tuple[str, str]) -> None:
        """Rename metrics on the pages of a workload or pod; none ends it."""
        self._page(target, renamed=pairs)

    def silence(self, target: str, *, silent: bool = True) -> None:
        """Let scrapes of a workload or pod fail."""
        self._page(target, silent=silent)

    def freeze(self, pod: str) -> None:
        """Let a pod answer the page of this moment for ever."""
        fleet = self.stack.fleet

        def text() -> str:
            return next(
                each.text() for each in fleet.pods.engines() if (each.namespace, each.pod) == (self.namespace, pod)
            )

        self._page(pod, frozen=fleet.do(text))

    def page(self, target: str, text: Callable[[Engine], str] | None) -> None:
        """Serve another page than vLLM's for a workload or pod, made at each scrape; None ends it."""
        self._page(target, custom=text)

    def extra_page(self, name: str, text: Callable[[], str], **labels: str) -> None:
        """Scrape a page that belongs to no pod, such as a DCGM exporter's; `labels` are the target's."""
        unique = f"{self.namespace}-{name}"
        wanted = {"job": name, **labels}
        self.stack.fleet.do(lambda: self.stack.fleet.extra.__setitem__(unique, (wanted, text)))

    def behave(self, target: str, kind: str = "run", reason: str = "", message: str = "", **more: Any) -> None:
        """Make pods of a workload, or one pod, ``run``, ``wait``, ``crash`` or ``fail``, with Kubernetes' words.

        ``start_seconds`` is for pods that start from now on.
        """
        wanted = Behaviour(kind, reason, message, **more)
        self.stack.fleet.do(lambda: self.stack.fleet.pods.behave((self.namespace, target), wanted))

    def _page(self, target: str, **changes: Any) -> None:
        def change() -> None:
            page = self.stack.fleet.pods.pages.setdefault((self.namespace, target), Page())
            for name, value in changes.items():
                setattr(page, name, value)

        self.stack.fleet.do(change)

    # -- what can be seen ---------------------------------------------------------------------------------------

    def get(self, kind: str, name: str) -> Json:
        """An object of this namespace; empty when there is none."""
        return self.cluster.get(kind, self.namespace, name) or {}

    def pods(self, workload: str) -> list[Json]:
        """Pods of a workload that are not being deleted."""
        return [
            pod
            for pod in self.cluster.list("Pod", self.namespace)
            if "deletionTimestamp" not in pod["metadata"] and pod["metadata"]["name"].startswith(f"{workload}-")
        ]

    def ready(self, workload: str) -> int:
        """Pods of a workload that are ready."""
        return sum(
            any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", []))
            for pod in self.pods(workload)
        )

    def replicas(self, workload: str, kind: str = "Deployment") -> int:
        """``spec.replicas`` of a workload; -1 when there is none."""
        return int(self.get(kind, workload).get("spec", {}).get("replicas", -1))

    def status(self, service: str) -> Json:
        """An InferenceService's status."""
        return dict(self.get("InferenceService", service).get("status") or {})

    def condition(self, service: str, kind: str) -> Json:
        """One condition of an InferenceService; empty when it has none of that type."""
        conditions = (each for each in self.status(service).get("conditions", []) if each["type"] == kind)
        return next(conditions, {})

    def says(self, service: str, kind: str, status: str, reason: str = "") -> bool:
        """A condition has this status and, if given, this reason."""
        shown = self.condition(service, kind)
        return shown.get("status") == status and (not reason or shown.get("reason") == reason)

    def variant(self, service: str, index: int = 0) -> Json:
        """One variant of an InferenceService's status; empty when there is none yet."""
        variants = self.status(service).get("variants") or []
        return variants[index] if index < len(variants) else {}

    def events(self, name: str) -> list[Json]:
        """Events about an object of this namespace."""
        return [
            event
            for event in self.cluster.list("Event", self.namespace)
            if (event.get("regarding") or {}).get("name") == name
        ]

    def mark(self) -> int:
        """A place in the audit log: what `audit` shows after it happened since."""
        return len(self.stack.audit.writes())

    def audit(
        self, since: int = 0, *, resource: str = "", verb: str = "", name: str = "", everywhere: bool = False
    ) -> list[Write]:
        """Writes of the operators in this namespace, dry runs apart; `resource` may hold a subresource."""
        return [
            write
            for write in self.stack.audit.writes()[since:]
            if (everywhere or write.namespace == self.namespace)
            and not write.dry_run
            and resource in {"", write.resource}
            and verb in {"", write.verb}
            and name in {"", write.name}
        ]

    # -- time ---------------------------------------------------------------------------------------------------

    def until(self, what: Callable[[], Any], seconds: float = SECONDS, *, says: str = "") -> Any:
        """Poll until `what` is truthy and return it; fail with its last value and the services' words otherwise."""
        deadline = time.monotonic() + seconds
        value: Any = None
        while time.monotonic() < deadline:
            try:
                value = what()
            except (ApiError, KeyError, IndexError) as error:
                value, last = None, repr(error)
            else:
                last = repr(value)
            if value:
                return value
            time.sleep(EVERY)
        pytest.fail(f"not within {seconds:.0f} s: {says or 'see the condition'}; last: {last}\n{self.words()}")

    def cycles(self, count: int = 3, seconds: float = 60.0) -> None:
        """Wait until the operator finished `count` more cycles."""
        goal = self.operator.cycles() + count
        self.until(lambda: self.operator.cycles() >= goal, seconds, says=f"{count} more cycles")

    def throughout(self, count: int, holds: Callable[[], Any], *, says: str = "") -> None:
        """Fail if `holds` is ever false while the operator finishes `count` more cycles."""
        goal = self.operator.cycles() + count
        deadline = time.monotonic() + 60.0 + 3 * count
        while True:
            value = holds()
            if not value:
                pytest.fail(f"{says or 'it did not hold'}: {value!r}\n{self.words()}")
            if self.operator.cycles() >= goal:
                return
            if time.monotonic() > deadline:
                pytest.fail(f"the operator stands still: {self.operator.cycles()} of {goal} cycles\n{self.words()}")
            time.sleep(EVERY)

    def words(self) -> str:
        """What the services of this namespace say, for messages."""
        lines = []
        for service in self.cluster.list("InferenceService", self.namespace):
            status = service.get("status") or {}
            name = service["metadata"]["name"]
            lines += [
                f"{name}: {each['type']}={each['status']} {each.get('reason')}: {each.get('message')}"
                for each in status.get("conditions", [])
            ]
            lines += [f"{name}: {variant}" for variant in status.get("variants") or []]
        return "\n".join(lines)

    # -- further parts ------------------------------------------------------------------------------------------

    @contextmanager
    def second_operator(self, name: str = "standby", **settings: Any) -> Iterator[OperatorProcess]:
        """Another operator beside the shared one, under the service account `name`; it stands by for the lease."""
        process = self.stack.operator_process(name, self.stack.twin_account(name), **settings)
        process.start()
        try:
            yield process
        finally:
            process.stop()

    def close(self) -> None:
        """Delete what the test made, without waiting."""
        for kind in ("InferenceService", "Deployment", "StatefulSet"):
            for obj in self.cluster.list(kind, self.namespace):
                self.cluster.delete(kind, self.namespace, obj["metadata"]["name"])
        self.cluster.delete("Namespace", "", self.namespace)
        for name in self._nodes:
            self.cluster.delete("Node", "", name)
        for name in self._pools:
            self.cluster.delete("AcceleratorPool", "", name)

        def forget() -> None:
            self.stack.fleet.pods.forget(self.namespace)
            for name in [name for name in self.stack.fleet.extra if name.startswith(f"{self.namespace}-")]:
                del self.stack.fleet.extra[name]

        self.stack.fleet.do(forget)


__all__ = ["PLURALS", "Lab", "NodeSpec"]
