"""`pertoken adopt`: what is proposed for engines that run already. The cluster is a value; no request is made."""

from __future__ import annotations

from decimal import Decimal

import pytest
import yaml

from pertoken.api.check import Severity, check
from pertoken.api.translate import translate_pool
from pertoken.calculators.breakeven import ReplicaGroup
from pertoken.calculators.savings import ServedLoad, savings
from pertoken.catalog.lookup import SHIPPED
from pertoken.cli.adopt.cluster import ClusterView
from pertoken.cli.adopt.commented import dump
from pertoken.cli.adopt.engines import MetricsSight, find_engines
from pertoken.cli.adopt.manifests import pool_manifest, service_manifest, text_of
from pertoken.cli.adopt.measured import Measured
from pertoken.cli.adopt.plan import adoption
from pertoken.cli.adopt.pools import pool_of
from pertoken.cli.adopt.proposal import group, propose
from pertoken.control.facts import node_fact, pod_fact
from pertoken.control.targets import target_of
from pertoken.control.workloads import AutoscalerFact
from pertoken.domain.identity import PodKey, WorkloadRef
from pertoken.domain.signal import QuantileBounds

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
A100, H100 = "NVIDIA-A100-SXM4-80GB", "NVIDIA-H100-80GB-HBM3"


def workload(name="chat", kind="Deployment", *, gpus=1, labels=None, pod_labels=None, **container):
    given = {"name": "server", "image": "vllm/vllm-openai:v0.32.0", "args": [f"--model={LLAMA}"], **container}
    if gpus:
        given["resources"] = {"limits": {"nvidia.com/gpu": str(gpus)}}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "team", "uid": name, "labels": labels or {}},
        "spec": {
            "replicas": 3,
            "template": {"metadata": {"labels": pod_labels or {}}, "spec": {"containers": [given]}},
        },
    }


def pod(name, node, owner="chat", kind="Deployment", gpus=1):
    return pod_fact(
        {
            "metadata": {
                "name": name,
                "namespace": "team",
                "uid": name,
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": owner, "controller": True}],
            },
            "spec": {
                "nodeName": node,
                "containers": [{"name": "server", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}],
            },
        }
    )


def node(name, product=A100, gpus=4, **labels):
    own = {"nvidia.com/gpu.product": product} if product else {}
    return node_fact(
        {
            "metadata": {"name": name, "labels": {**own, **labels}},
            "status": {
                "allocatable": {"nvidia.com/gpu": str(gpus)},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
    )


def view(*workloads, nodes=None, pods=(), **more):
    return ClusterView(
        workloads=workloads or (workload(),), nodes=tuple(nodes or (node("a"),)), pods=tuple(pods), **more
    )


def proposals(seen, measured=None):
    engines = find_engines(seen).engines
    pools = [pool_of(engine, seen, {}, SHIPPED) for engine in engines]
    groups = group(engines, pools, seen.services)
    return [propose(each, measured or Measured(), seen, SHIPPED) for each in groups]


def all_text(seen):
    adopted = adoption(seen, None, "no Prometheus", SHIPPED)
    return "---\n".join(text_of(manifest) for manifest in adopted.manifests)


@pytest.mark.parametrize(
    "container",
    [
        {},
        {"image": "nginx", "args": []},
        {"args": ["--model=some/thing-nobody-knows", "--quantization=compressed-tensors"]},
        {"args": ["--model=$(MODEL)"], "env": [{"name": "MODEL", "valueFrom": {"fieldRef": {}}}]},
        {"args": ["--model=/models/x y: z", "--served-model-name=a: #b"]},
        {"image": "ghcr.io/huggingface/text-generation-inference:3.3", "args": ["--model-id", LLAMA]},
        {"image": "ghcr.io/ggml-org/llama.cpp:server", "args": ["-hf", "bartowski/Llama-3.1-8B-Instruct-GGUF"]},
        {"gpus": 0},
        {"gpus": 4},
    ],
)
@pytest.mark.parametrize("nodes", [(node("a"),), (node("a", product=""),), (node("a", product="Unheard-Of"),), ()])
def test_what_is_written_passes_validate(container, nodes):
    seen = ClusterView(workloads=(workload(**container),), nodes=nodes)
    text = all_text(seen)
    checked = check({"adopted.yaml": text}, SHIPPED)
    errors = [str(finding) for finding in checked.findings if finding.severity is Severity.ERROR]
    assert errors == []
    assert len(checked.services) == (0 if container.get("image") == "nginx" else 1)


def test_a_service_is_proposed_in_recommend_mode_with_what_its_manifest_says():
    seen = view(workload(gpus=2, args=[LLAMA, "-tp", "2", "--served-model-name=x", "--max-num-seqs=64", "-q", "fp8"]))
    document = yaml.safe_load(text_of(service_manifest(proposals(seen)[0])))
    spec = document["spec"]
    assert spec["mode"] == "Recommend"
    assert spec["model"] == {"id": LLAMA, "servedName": "x"}
    assert spec["variants"] == [
        {
            "name": "a100-sxm-80gb",
            "pool": "a100-sxm-80gb",
            "parallelism": {"tensor": 2},
            "quantization": "fp8",
            "engine": "vllm",
            "minReplicas": 1,
            "maxReplicas": 6,
            "batching": {"maxSequences": 64},
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
        }
    ]


def test_the_gpu_is_that_of_the_nodes_the_pods_run_on():
    seen = view(nodes=[node("a"), node("h", H100)], pods=[pod("p", "h")])
    manifest, _ = pool_manifest(proposals(seen)[0].variants[0].pool)
    assert manifest["spec"]["accelerator"] == "h100-sxm"
    assert manifest["spec"]["capacity"]["fromNodes"]["matchLabels"] == {"nvidia.com/gpu.product": H100}


def test_pods_on_two_kinds_of_gpu_are_a_question():
    seen = view(nodes=[node("a"), node("h", H100)], pods=[pod("p", "h"), pod("q", "a"), pod("r", "a")])
    pool = proposals(seen)[0].variants[0].pool
    assert pool.accelerator == "a100-sxm-80gb"
    assert any(H100 in question for question in pool.questions)


def test_prices_of_opencost_go_before_the_list_and_unknown_ones_are_asked_for():
    seen = view()
    engine = find_engines(seen).engines[0]
    assert pool_of(engine, seen, {"a": Decimal("1.10")}, SHIPPED).price == Decimal("1.10")
    assert "list price" in pool_of(engine, seen, {}, SHIPPED).price_source
    unheard = view(nodes=[node("a", "Unheard-Of")])
    pool = pool_of(find_engines(unheard).engines[0], unheard, {}, SHIPPED)
    assert pool.price is None
    assert any("what does an hour" in question for question in pool.questions)


def test_an_autoscalers_limits_are_taken_over():
    hpa = AutoscalerFact("HorizontalPodAutoscaler team/x", "team", "apps", "Deployment", "chat")
    seen = view(autoscalers=(hpa,), limits={hpa.name: (2, 9)})
    assert proposals(seen)[0].variants[0].limits[:2] == (2, 9)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (workload(pod_labels={"llm-d.ai/role": "prefill"}), "prefill"),
        (
            workload(labels={"app.kubernetes.io/managed-by": "pertoken", "serving.pertoken.dev/service": "own"}),
            "pertoken made it",
        ),
    ],
)
def test_what_is_not_adopted_is_told(given, why):
    discovery = find_engines(view(given))
    assert discovery.engines == ()
    assert why in discovery.left_out[0]


def test_a_second_run_proposes_nothing_more():
    ref = WorkloadRef("apps/v1", "Deployment", "team", "chat")
    discovery = find_engines(view(adopted={target_of(ref): "team/chat"}))
    assert discovery.engines == ()
    assert "team/chat has it already" in discovery.left_out[0]


def test_an_existing_pool_of_the_nodes_is_used_and_not_written():
    first = proposals(view())[0].variants[0].pool
    existing = translate_pool({**pool_manifest(first)[0], "metadata": {"name": "theirs"}}).spec
    adopted = adoption(view(pools=(existing,), pool_names=frozenset({"theirs"})), None, "", SHIPPED)
    assert adopted.pools == ()
    assert adopted.services[0].variants[0].pool.name == "theirs"


def test_workloads_of_one_served_name_become_variants_of_one_service():
    args = [f"--model={LLAMA}", "--served-model-name=chat"]
    pinned = {"nvidia.com/gpu.product": H100}
    other = workload("chat-h100", args=args)
    other["spec"]["template"]["spec"]["nodeSelector"] = pinned
    seen = view(workload(args=args), other, nodes=[node("a"), node("h", H100)], pods=[pod("p", "a")])
    [service] = proposals(seen)
    assert [variant.name for variant in service.variants] == ["a100-sxm-80gb", "h100-sxm"]


def test_metrics_tell_the_engine_where_the_image_does_not():
    seen = view(workload(image="registry.example/own:1", args=[]), pods=[pod("p", "a")])
    key = PodKey("team", "p")
    assert find_engines(seen).engines == ()
    [engine] = find_engines(seen, MetricsSight({key: "sglang"}, {key: "own"})).engines
    assert (engine.serving.engine, engine.serving.name) == ("sglang", "own")


def measured(**more):
    load = ServedLoad((4.0,) * 30, (3.0,) * 30, 120.0)
    return Measured(
        ttft=QuantileBounds(0.25, 0.3, 0.5),
        inter_token=QuantileBounds(0.025, 0.03, 0.05),
        rate=4.0,
        requests=14_400.0,
        input_tokens=1000.0,
        output_tokens=200.0,
        loads={"a100-sxm-80gb": load},
        hours=1.0,
        **more,
    )


def test_objectives_are_what_is_kept_today():
    [service] = proposals(view(), measured())
    objective = service_manifest(service)[0]["spec"]["objective"]
    assert objective["latency"] == {"ttftMilliseconds": 500, "interTokenMilliseconds": 50, "percentile": 95}
    # 3 replicas x 2.45 USD/h over 4 requests/s of 1,200 tokens: 0.4253 USD per million.
    assert objective["cost"] == {"perMillionTokens": {"blended": "0.43"}}


def test_the_saving_is_replicas_that_the_load_did_not_need():
    [service] = proposals(view(), measured())
    [variant] = service.variants
    assert variant.saving.replicas == 3.0
    assert 1.0 <= variant.saving.needed < 3.0
    assert service.saving == pytest.approx((3.0 - variant.saving.needed) * 2.45 * 24)


@pytest.mark.parametrize(
    ("rates", "needed"),
    [
        ((1.0,) * 20, 1.0),
        ((9.0,) * 20, 5.0),  # 2 requests/s each: objectives ask for more than there is
        ((0.0,) * 10 + (4.0,) + (0.0,) * 10, (11 * 2 + 10) / 21),  # a rise counts for ten minutes before and after
    ],
)
def test_replicas_follow_the_highest_rate_around(rates, needed):
    load = ServedLoad(rates, (3.0,) * len(rates), 120.0)
    told = savings(load, ReplicaGroup(2.0, 1.0), 1)
    assert told.needed == pytest.approx(needed)
    assert told.usd_per_day == pytest.approx((3.0 - needed) * 24)


def test_no_record_no_saving():
    assert savings(ServedLoad((), (), 120.0), ReplicaGroup(1.0, 1.0), 1) is None


def test_few_requests_propose_no_objective():
    few = Measured(ttft=None, requests=3.0, rate=1.0, input_tokens=10.0, output_tokens=10.0)
    [service] = proposals(view(), few)
    assert "objective" not in service_manifest(service)[0]["spec"]


def test_comments_stand_above_their_field_and_texts_are_quoted():
    document = {"a": {"b": "yes", "c": ["x: y", {"d": "#"}]}, "e": [], "f": "1"}
    text = dump(
        document, {(): ["top"], ("a", "b"): ["of b"], ("a", "c", 1): ["of the item"], ("a", "c", 1, "d"): ["of d"]}
    )
    assert yaml.safe_load(text) == document
    lines = text.splitlines()
    assert lines[0] == "# top"
    assert lines[lines.index("  b: 'yes'") - 1] == "  # of b"
