"""The chart on a real API server: install, upgrade, uninstall; what the operator may do; whom the policy lets in."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pertoken_sandbox.binaries import ensure
from pertoken_sandbox.controlplane import ControlPlane
from pertoken_sandbox.kubectl import Kubectl, KubectlFailed
from pertoken_sandbox.neighbours import neighbour_crds

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "pertoken"
SYSTEM = "pertoken-system"
OPERATOR = f"system:serviceaccount:{SYSTEM}:pertoken"

Json = dict[str, Any]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of its own: the chart's CRDs belong to the release, KServe's to nobody else."""
    with ControlPlane(tmp_path_factory.mktemp("chart-plane")) as started:
        yield started


@pytest.fixture(scope="module")
def kubectl(plane) -> Kubectl:
    return plane.kubectl


@pytest.fixture(scope="module")
def helm(plane):
    binary = ensure("helm")

    def run(*args: str) -> str:
        argv = [str(binary), *args, "--namespace", SYSTEM, "--kubeconfig", str(plane.kubeconfig)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def installed(helm, kubectl) -> str:
    for path in neighbour_crds("prometheus-operator"):
        if path.name.split("_")[1] in {"podmonitors.yaml", "servicemonitors.yaml", "prometheusrules.yaml"}:
            kubectl("apply", "--server-side", "-f", str(path))
    kubectl.await_crd(
        *(f"{kind}.monitoring.coreos.com" for kind in ("podmonitors", "servicemonitors", "prometheusrules"))
    )
    notes = helm("install", "pertoken", str(CHART), "--create-namespace", "--set", "replicaCount=0")
    kubectl.await_crd("inferenceservices.serving.pertoken.dev", "acceleratorpools.serving.pertoken.dev")
    kubectl("create", "namespace", "team")
    return notes


def service(name: str, variants: list[Json]) -> Json:
    return {
        "apiVersion": "serving.pertoken.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "team"},
        "spec": {"model": {"id": "meta-llama/Llama-3.1-8B-Instruct"}, "variants": variants},
    }


def owned(name: str = "a") -> Json:
    engine = {"name": "engine", "image": "i", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    return {"name": name, "pool": "p", "podTemplate": {"spec": {"containers": [engine]}}}


def adopted(number: int = 0, kind: str = "Deployment", api_version: str = "apps/v1") -> Json:
    ref = {"apiVersion": api_version, "kind": kind, "name": f"server-{number}"}
    return {"name": f"v{number}", "pool": "p", "scaleTargetRef": ref}


def create_as(kubectl: Kubectl, user: str, obj: Json) -> str:
    return kubectl("create", "--dry-run=server", f"--as={user}", "-f", "-", stdin=json.dumps(obj))


def until_enforced(attempt) -> None:
    """A new policy takes effect some time after it is stored."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            attempt()
        except KubectlFailed:
            return
        time.sleep(0.5)
    pytest.fail("the policy never refused anything")


MADE = [("apps", "deployments"), ("", "services"), ("policy", "poddisruptionbudgets"), ("", "configmaps")]


def may_create(group: str, resource: str) -> Json:
    return {"apiGroups": [group], "resources": [resource], "verbs": ["create"]}


@pytest.fixture(scope="module")
def users(installed, kubectl) -> None:  # noqa: ARG001 - the chart must be there
    """`author` may write InferenceServices; `scaler` also scale server-0 .. 15; `builder` also make podTemplates."""
    rules: dict[str, list[Json]] = {
        "author": [
            {
                "apiGroups": ["serving.pertoken.dev"],
                "resources": ["inferenceservices"],
                "verbs": ["get", "create", "update", "delete"],
            }
        ],
        "remover": [{"apiGroups": [group], "resources": [kind], "verbs": ["create", "delete"]} for group, kind in MADE],
        "scaler": [
            {
                "apiGroups": ["apps"],
                "resources": ["deployments/scale"],
                "resourceNames": [f"server-{n}" for n in range(16)],
                "verbs": ["update"],
            }
        ],
        **{f"makes-{resource}": [may_create(group, resource)] for group, resource in MADE},
    }
    members = {
        "remover": ["remover"],
        "author": ["author", "scaler", "builder", "remover", *(f"lacks-{resource}" for _, resource in MADE)],
        "scaler": ["scaler"],
        **{
            f"makes-{creatable}": ["builder", *(f"lacks-{denied}" for _, denied in MADE if denied != creatable)]
            for _, creatable in MADE
        },
    }
    for role, allowed in rules.items():
        meta = {"name": role, "namespace": "team"}
        kubectl.apply(
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": allowed},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": meta,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
                "subjects": [
                    {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name} for name in members[role]
                ],
            },
        )
    until_enforced(lambda: create_as(kubectl, "author", service("probe", [owned()])))


def test_notes_say_what_to_do_next(installed):
    for words in ("kubectl explain", "pertoken validate", "kubectl get ptis", "WARNING: replicaCount is 0"):
        assert words in installed


@pytest.mark.usefixtures("users")
def test_who_may_not_create_deployments_may_not_through_us(kubectl):
    with pytest.raises(KubectlFailed, match="author may not create deployments in namespace team"):
        create_as(kubectl, "author", service("chat", [owned()]))
    assert "created" in create_as(kubectl, "builder", service("chat", [owned()]))


@pytest.mark.usefixtures("users")
@pytest.mark.parametrize("resource", [resource for _, resource in MADE])
def test_every_kind_that_is_made_is_asked_for(kubectl, resource):
    """One missing right is enough: pertoken would else make a Service for somebody who may make none."""
    with pytest.raises(KubectlFailed, match=f"lacks-{resource} may not create {resource} in namespace team"):
        create_as(kubectl, f"lacks-{resource}", service("chat", [owned()]))


@pytest.mark.usefixtures("users")
def test_who_may_not_scale_may_not_through_us(kubectl):
    with pytest.raises(KubectlFailed, match="author may not update the scale of Deployment team/server-0"):
        create_as(kubectl, "author", service("chat", [adopted()]))
    assert "created" in create_as(kubectl, "scaler", service("chat", [adopted()]))
    with pytest.raises(KubectlFailed, match="Deployment team/server-99"):
        create_as(kubectl, "scaler", service("chat", [adopted(), adopted(99)]))


@pytest.mark.usefixtures("users")
def test_sixteen_variants_fit_the_policys_cost_budget(kubectl):
    assert "created" in create_as(kubectl, "scaler", service("chat", [adopted(n) for n in range(16)]))
    with pytest.raises(KubectlFailed, match="may not update the scale of Deployment team/server-16"):
        create_as(kubectl, "scaler", service("chat", [adopted(n) for n in range(1, 17)]))


@pytest.mark.usefixtures("users")
def test_kinds_that_are_not_allowed_are_refused_for_everyone(kubectl):
    for variant in (adopted(0, "ReplicaSet"), adopted(0, "LeaderWorkerSet", "leaderworkerset.x-k8s.io/v1")):
        with pytest.raises(KubectlFailed, match=r"the administrator allows Deployment\.apps, StatefulSet\.apps"):
            kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(service("chat", [variant])))


@pytest.mark.usefixtures("users")
def test_changes_that_run_nothing_are_free(kubectl):
    """Garbage collector and labellers must not need the right to create Deployments."""
    kubectl.apply(service("kept", [owned()]))
    obj = kubectl.json("get", "ptis", "kept", "-n", "team")
    obj["metadata"]["annotations"] = {"pertoken.dev/paused": "true"}
    replaced = kubectl("replace", "--dry-run=server", "--as=author", "-f", "-", stdin=json.dumps(obj))
    assert "replaced" in replaced
    obj["spec"]["priority"] = 7
    with pytest.raises(KubectlFailed, match="may not create deployments"):
        kubectl("replace", "--dry-run=server", "--as=author", "-f", "-", stdin=json.dumps(obj))
    kubectl("delete", "ptis", "kept", "-n", "team", "--cascade=foreground", "--timeout=60s")


def test_who_may_not_delete_what_goes_with_it_may_not_delete_it(users, kubectl):  # noqa: ARG001 - the roles
    kubectl.apply(service("going", [owned("a"), owned("b")]))
    obj = kubectl.json("get", "ptis", "going", "-n", "team")
    obj["spec"]["variants"].pop()
    words = "builder may not delete deployments in namespace team"
    deletes = ("delete", "ptis", "going", "-n", "team", "--dry-run=server")

    until_enforced(lambda: kubectl(*deletes, "--as=builder"))
    with pytest.raises(KubectlFailed, match=words):
        kubectl(*deletes, "--as=builder")
    with pytest.raises(KubectlFailed, match=words):
        kubectl("replace", "--dry-run=server", "--as=builder", "-f", "-", stdin=json.dumps(obj))
    assert "deleted" in kubectl(*deletes, "--as=remover")
    assert "replaced" in kubectl("replace", "--dry-run=server", "--as=remover", "-f", "-", stdin=json.dumps(obj))
    kubectl("delete", "ptis", "going", "-n", "team")


def test_orphan_holds_from_the_write_that_sets_it(users, kubectl):  # noqa: ARG001 - until the policy is enforced
    kubectl("create", "namespace", "doomed")
    obj = service("stays", [owned()])
    obj["spec"]["deletionPolicy"] = "Orphan"
    kubectl.apply(obj, {**obj, "metadata": {**obj["metadata"], "namespace": "doomed"}})
    delete = ("delete", "ptis", "stays", "-n", "team")

    until_enforced(lambda: kubectl(*delete, "--dry-run=server"))
    with pytest.raises(KubectlFailed, match="has not released the workloads yet"):
        kubectl(*delete)
    kubectl("delete", "namespace", "doomed", "--timeout=60s")
    status = json.dumps({"status": {"releasedGeneration": 1}})
    kubectl("patch", "ptis", "stays", "-n", "team", "--subresource=status", "--type=merge", "-p", status)
    change = json.dumps({"spec": {"priority": 3}})
    kubectl("patch", "ptis", "stays", "-n", "team", "--type=merge", "-p", change)
    with pytest.raises(KubectlFailed, match="has not released"):
        kubectl(*delete)
    status = json.dumps({"status": {"releasedGeneration": 2}})
    kubectl("patch", "ptis", "stays", "-n", "team", "--subresource=status", "--type=merge", "-p", status)
    kubectl(*delete)


def may(kubectl: Kubectl, *words: str) -> bool:
    try:
        return kubectl("auth", "can-i", *words, f"--as={OPERATOR}").strip() == "yes"
    except KubectlFailed:
        return False


@pytest.mark.usefixtures("installed")
def test_what_the_operator_may_do(kubectl):
    team = ("-n", "team")
    for words in (
        ("patch", "inferenceservices.serving.pertoken.dev", "--subresource=status"),
        ("patch", "deployments.apps", "--subresource=scale"),
        ("patch", "statefulsets.apps", "--subresource=scale"),
        ("create", "pods", "--subresource=eviction"),
        ("watch", "pods"),
        ("create", "events.events.k8s.io"),
        ("patch", "configmaps"),
    ):
        assert may(kubectl, *words, *team), words
    for words in (
        ("get", "secrets"),
        ("delete", "pods"),
        ("create", "pods"),
        ("patch", "inferenceservices.serving.pertoken.dev"),
        ("patch", "statefulsets.apps"),
        ("update", "leases.coordination.k8s.io"),
    ):
        assert not may(kubectl, *words, *team), words
    assert may(kubectl, "update", "leases.coordination.k8s.io", "-n", SYSTEM)
    assert may(kubectl, "list", "nodes")


@pytest.mark.usefixtures("installed")
def test_roles_of_users_are_aggregated(kubectl):
    kubectl("create", "rolebinding", "viewers", "-n", "team", "--clusterrole=view", "--user=viewer")
    kubectl("create", "rolebinding", "editors", "-n", "team", "--clusterrole=edit", "--user=editor")
    deadline = time.monotonic() + 30
    resource = "inferenceservices.serving.pertoken.dev"

    def allowed(user: str, verb: str) -> bool:
        try:
            return kubectl("auth", "can-i", verb, resource, "-n", "team", f"--as={user}").strip() == "yes"
        except KubectlFailed:
            return False

    while time.monotonic() < deadline and not (allowed("viewer", "list") and allowed("editor", "create")):
        time.sleep(0.5)
    assert allowed("viewer", "list")
    assert allowed("editor", "create")
    assert not allowed("viewer", "create")


@pytest.mark.usefixtures("installed")
def test_kserve_keeps_its_name(kubectl):
    """With KServe's real CRD `kubectl get inferenceservice` stays KServe's; ours is `ptis`."""
    [crd] = [path for path in neighbour_crds("kserve") if path.name == "serving.kserve.io_inferenceservices.yaml"]
    document = next(d for d in yaml.safe_load_all(crd.read_text()) if d)
    # KServe's conversion webhook is not running here; reading needs none.
    document["spec"].pop("conversion", None)
    kubectl.apply(document)
    kubectl.await_crd("inferenceservices.serving.kserve.io")
    kubectl.apply(service("ours", [owned()]))
    kserves = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "theirs", "namespace": "team"},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "huggingface"}}}},
    }
    kubectl.apply(kserves)
    deadline = time.monotonic() + 30
    while "theirs" not in (seen := kubectl("get", "inferenceservice", "-n", "team")) and time.monotonic() < deadline:
        time.sleep(1)  # discovery is cached by the server for a moment
    assert "theirs" in seen
    assert "ours" not in seen
    assert "ours" in kubectl("get", "ptis", "-n", "team")
    assert "theirs" not in kubectl("get", "ptis", "-n", "team")
    assert "ours" in kubectl("get", "pertoken", "-n", "team")
    kubectl("delete", "ptis", "ours", "-n", "team")
    kubectl("delete", "crd", "inferenceservices.serving.kserve.io", "--timeout=60s")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("values", sorted((CHART / "ci").glob("*.yaml")), ids=lambda path: path.name)
def test_ready_made_values_install_and_go_without_a_trace(helm, kubectl, values: Path):
    for name in ("team-a", "team-b"):
        kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    # The CRDs belong to the release of the other tests.
    helm("install", "ci", str(CHART), "-f", str(values), "--set", "crds.enabled=false")
    objects = [each for each in yaml.safe_load_all(helm("get", "manifest", "ci")) if each]
    assert len(objects) > 8
    if "everything" in values.name:
        kinds = {each["kind"] for each in objects}
        assert kinds >= {"PodMonitor", "ServiceMonitor", "PrometheusRule", "PodDisruptionBudget", "NetworkPolicy"}
    helm("uninstall", "ci")
    kinds = "clusterrole,clusterrolebinding,validatingadmissionpolicy,role,deployment,configmap,networkpolicy,cronjob"
    left = kubectl("get", kinds, "-A", "-l", "app.kubernetes.io/instance=ci", "-o", "name")
    assert left.strip() == ""


@pytest.mark.usefixtures("installed")
def test_upgrade_and_uninstall_keep_the_users_objects(helm, kubectl):
    kubectl.apply(service("precious", [owned()]))
    helm("upgrade", "pertoken", str(CHART), "--set", "replicaCount=0", "--set", "logLevel=DEBUG")
    settings = kubectl.json("get", "configmap", "pertoken-settings", "-n", SYSTEM)
    assert settings["data"]["PERTOKEN_LOG_LEVEL"] == "DEBUG"
    helm("rollback", "pertoken", "1")
    settings = kubectl.json("get", "configmap", "pertoken-settings", "-n", SYSTEM)
    assert settings["data"]["PERTOKEN_LOG_LEVEL"] == "INFO"
    assert "precious" in kubectl("get", "ptis", "-n", "team")
    helm("uninstall", "pertoken")
    assert "precious" in kubectl("get", "ptis", "-n", "team")
    left = kubectl("get", "clusterrole,validatingadmissionpolicy", "-o", "name")
    assert "/pertoken" not in left
    helm("install", "pertoken", str(CHART), "--set", "replicaCount=0")
    assert "precious" in kubectl("get", "ptis", "-n", "team")
