"""What a real API server makes of the kinds, of statuses, and of owned workloads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pertoken.api.batch_cap import CapDocument, cap_config_map, initial_cap, parse_cap
from pertoken.api.conditions import accepted
from pertoken.api.status import StatusContext, service_status
from pertoken.api.translate import translate_pool, translate_service
from pertoken.api.workloads import WorkloadRequest, build_workload, service_owner
from pertoken.domain.plan import Decision, VariantDecision
from pertoken.domain.reasons import Reason
from pertoken_sandbox.kubectl import Kubectl
from pertoken_sandbox.neighbours import neighbour_crds

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]


def apply(kubectl: Kubectl, manifest, manager: str, *flags: str) -> None:
    kubectl("apply", "--server-side", f"--field-manager={manager}", *flags, "-f", "-", stdin=json.dumps(manifest))


def stored(kubectl: Kubectl, service, namespace: str):
    service["metadata"] = {"name": "chat", "namespace": namespace}
    kubectl.apply(service)
    return translate_service(kubectl.json("get", "ptis", "chat", "-n", namespace))


def test_defaults_of_the_server_are_those_of_python(crds, service, namespace):
    direct = translate_service({**service, "metadata": {"name": "chat", "namespace": namespace}})
    kept = stored(crds, service, namespace)
    assert kept.not_acted_on == ()
    assert kept.spec.uid
    for part in (
        "model",
        "variants",
        "mode",
        "cost",
        "latency",
        "behavior",
        "priority",
        "min_replicas",
        "idle_seconds",
    ):
        assert getattr(kept.spec, part) == getattr(direct.spec, part), part


def test_status_is_taken_whole_and_printed(crds, service, namespace):
    spec = stored(crds, service, namespace).spec
    variant = VariantDecision(
        variant="a100",
        current=3,
        desired=4,
        ready=3,
        reason=Reason.DEMAND_ROSE,
        cap=128,
        desired_cap=96,
        operating_batch=40.6,
        gpu_utilization=0.63,
    )
    decision = Decision(spec.key, Reason.DEMAND_ROSE, "demand rose", (variant,), {})
    status = service_status(spec, decision, StatusContext(1_772_352_000.0))
    document = {
        "apiVersion": "serving.pertoken.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": "chat", "namespace": namespace},
        "status": status,
    }
    apply(crds, document, "pertoken", "--subresource=status", "--validate=strict")
    assert crds.json("get", "ptis", "chat", "-n", namespace)["status"] == status
    header, row = crds("get", "ptis", "-n", namespace).splitlines()
    assert header.split() == [
        *("NAME", "MODEL", "REPLICAS", "DESIRED", "BATCH", "USD/1M", "INDEX", "GPU%", "READY", "AGE"),
    ]
    assert row.split()[:5] == ["chat", "meta-llama/Llama-3.1-8B-Instruct", "3", "4", "41/128→96"]
    assert {"PAUSED", "REASON"} <= set(crds("get", "ptis", "-n", namespace, "-o", "wide").split())
    assert accepted().message


def test_owned_workload_comes_up_keeps_its_replicas_and_goes_with_its_service(crds, service, pool, namespace):
    """Applying without `replicas` must not take them back to the default of 1."""
    kept = stored(crds, service, namespace)
    variant = kept.spec.variants[0]
    ref = variant.workload
    request = WorkloadRequest(kept.spec, variant, kept.templates["a100"], translate_pool(pool).spec)
    workload = build_workload(request)
    owner = service_owner(kept.spec)
    cap = cap_config_map(CapDocument(kept.spec.key, "a100", ref, initial_cap(variant.batching), owner))
    apply(crds, cap, "pertoken")
    first = {**workload.deployment, "spec": {**workload.deployment["spec"], "replicas": 3}}
    apply(crds, first, "pertoken", "--validate=strict")
    claim = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": ref.name, "namespace": namespace}}
    apply(crds, {**claim, "spec": {"replicas": 3}}, "pertoken-scaler")
    for manifest in workload.manifests:
        apply(crds, manifest, "pertoken", "--validate=strict")
    deployment = crds.json("get", "deployment", ref.name, "-n", namespace)
    assert deployment["spec"]["replicas"] == 3
    generation = deployment["metadata"]["generation"]
    for manifest in workload.manifests:
        apply(crds, manifest, "pertoken")
    assert crds.json("get", "deployment", ref.name, "-n", namespace)["metadata"]["generation"] == generation
    assert parse_cap(crds.json("get", "configmap", f"{ref.name}-batch", "-n", namespace)) == initial_cap(
        variant.batching
    )
    crds("delete", "ptis", "chat", "-n", namespace, "--cascade=foreground", "--timeout=60s")
    left = crds("get", "deployment,service,pdb,configmap", "-n", namespace, "-l", "serving.pertoken.dev/service=chat")
    assert ref.name not in left


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("*.yaml")), ids=lambda path: path.stem)
def test_examples_pass_the_servers_dry_run(crds, path):
    if "kind: HTTPRoute" in path.read_text():
        [route] = [crd for crd in neighbour_crds("gateway-api") if crd.name.endswith("_httproutes.yaml")]
        crds.apply_files([route])
        crds.await_crd("httproutes.gateway.networking.k8s.io")
    namespaces = [line.split()[-1] for line in path.read_text().splitlines() if line.startswith("  namespace: ")]
    for name in {*namespaces} - {"default"}:
        crds.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    printed = crds("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", str(path))
    assert "serverside-applied" in printed


def test_explain_reads_well(crds):
    text = crds("explain", "--api-version=serving.pertoken.dev/v1alpha1", "inferenceservice.spec")
    for field in ("mode", "objective", "variants", "priority", "wakeSignal"):
        assert f"  {field}\t" in text
    assert "-required-" in text
    deep = crds("explain", "ptpool.spec.access.maxGPUs")
    assert "Most GPUs of one such namespace." in deep
