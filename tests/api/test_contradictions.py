"""Specs that contradict their engines, their GPUs, or what GPUs can do: told by validate and by the operator alike."""

from __future__ import annotations

import copy

import pytest
import yaml

from pertoken.api.check import Severity, check
from pertoken.api.contradictions import foreign_gpus
from pertoken.api.serving import read_serving
from pertoken.api.translate import translate_pool, translate_service
from pertoken.catalog.lookup import SHIPPED
from pertoken.control import truth as truth_module
from pertoken.control.facts import node_fact
from pertoken.control.truth import Evidence, Truth
from pertoken.control.workloads import scalable_fact
from pertoken.domain.cluster import PodFact
from pertoken.domain.identity import PodKey, WorkloadRef
from pertoken.domain.reasons import Reason


def findings(service, pool):
    return check({"f": yaml.safe_dump_all([service, pool])}, SHIPPED).findings


def with_args(service, *args):
    bent = copy.deepcopy(service)
    container = bent["spec"]["variants"][0]["podTemplate"]["spec"]["containers"][0]
    container["args"] = [*container["args"], *args]
    return bent


@pytest.mark.parametrize(
    ("args", "field", "word"),
    [
        (("--tensor-parallel-size=2",), "spec.variants[0].parallelism.tensor", "2, as the engine's"),
        (("-pp", "2"), "spec.variants[0].parallelism.pipeline", "2, as the engine's"),
        (("--quantization=fp8",), "spec.variants[0].quantization", "fp8"),
        (("--model=Qwen/Qwen3-8B",), "spec.model.id", "Qwen/Qwen3-8B"),
        (("--served-model-name=other",), "spec.model.servedName", "other"),
    ],
)
def test_arguments_that_contradict_the_spec_are_errors(service, pool, args, field, word):
    told = {f.field: f for f in findings(with_args(service, *args), pool) if f.severity is Severity.ERROR}
    assert word in told[field].expectation


def test_more_gpus_than_requested_names_both_numbers(service, pool):
    told = [f for f in findings(with_args(service, "-tp=2"), pool) if f.field == "spec.variants[0].parallelism"]
    assert "2 GPUs" in told[0].expectation
    assert "requests 1" in told[0].expectation


def test_a_context_length_of_its_own_is_an_error_only_where_the_spec_has_another(service, pool):
    bent = with_args(service, "--max-model-len=8k")
    assert all(f.field != "spec.model.maxModelLen" for f in findings(bent, pool))
    bent["spec"]["model"]["maxModelLen"] = 4096
    assert any(f.field == "spec.model.maxModelLen" and "8000" in f.expectation for f in findings(bent, pool))


@pytest.mark.parametrize(
    "args",
    [
        ("--tensor-parallel-size=1", "--dtype=bfloat16"),
        ("--model=/mnt/models/llama",),
        ("--quantization=compressed-tensors",),
        ("--tensor-parallel-size=$(TP)",),
    ],
)
def test_what_agrees_or_cannot_be_told_is_fine(service, pool, args):
    assert [str(f) for f in findings(with_args(service, *args), pool) if f.severity is Severity.ERROR] == []


@pytest.mark.parametrize(
    ("objective", "field", "word", "severity"),
    [
        (
            {"latency": {"interTokenMilliseconds": 1}},
            "interTokenMilliseconds",
            "ms: so long does an idle",
            Severity.ERROR,
        ),
        ({"latency": {"ttftMilliseconds": 1}}, "ttftMilliseconds", "idle replica", Severity.ERROR),
        ({"latency": {"interTokenMilliseconds": 8}}, "interTokenMilliseconds", "idle replica", Severity.WARNING),
        ({"cost": {"perMillionTokens": {"blended": "0.001"}}}, "perMillionTokens", "USD per 1,000,000", Severity.ERROR),
        ({"cost": {"perMillionTokens": {"blended": "0.02"}}}, "perMillionTokens", "full replica", Severity.WARNING),
    ],
)
def test_impossible_objectives_are_told_with_the_number(service, pool, objective, field, word, severity):
    service["spec"]["objective"] = objective
    [told] = [f for f in findings(service, pool) if f.field.endswith(field)]
    assert told.severity is severity
    assert word in told.expectation


def test_possible_objectives_are_fine(service, pool):
    assert [f for f in findings(service, pool) if "objective" in f.field] == []


@pytest.mark.parametrize(
    ("products", "words"),
    [
        ({"NVIDIA-H100-80GB-HBM3": 2}, "2 on NVIDIA-H100-80GB-HBM3 (h100-sxm), but pool a100 is a100-sxm-80gb"),
        ({"NVIDIA-A100-SXM4-80GB": 2}, ""),
        ({"Unheard-Of": 1}, ""),
        ({}, ""),
    ],
)
def test_pods_on_another_gpu_than_their_pools(pool, products, words):
    spec = translate_pool({**pool, "metadata": {"name": "a100", "uid": "p"}}).spec
    assert words in foreign_gpus(spec, products, SHIPPED)
    assert bool(foreign_gpus(spec, products, SHIPPED)) is bool(words)


def deployment(*args):
    container = {"name": "x", "image": "vllm/vllm-openai:v0.32.0", "args": list(args)}
    container["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
    return scalable_fact(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "server", "namespace": "demo", "uid": "d"},
            "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}},
        }
    )


@pytest.fixture
def adopted(service, pool):
    variant = service["spec"]["variants"][0]
    del variant["podTemplate"]
    variant["scaleTargetRef"] = {"name": "server"}
    ref = WorkloadRef("apps/v1", "Deployment", "demo", "server")
    pod = PodFact(PodKey("demo", "p"), "p", {"nvidia.com/gpu": 1}, workload=ref, node="n")

    def doubts(*args, product="NVIDIA-A100-SXM4-80GB", truth=None):
        node = node_fact({"metadata": {"name": "n", "labels": {"nvidia.com/gpu.product": product}}})
        scalables = {ref: deployment("--model=meta-llama/Llama-3.1-8B-Instruct", *args)}
        evidence = Evidence(scalables, {"a100": translate_pool(pool).spec}, {ref: [pod]}, {"n": node}, SHIPPED)
        return (truth or Truth()).doubts(translate_service(service).spec, evidence)

    return doubts


def test_the_operator_says_the_same_of_what_runs(adopted):
    assert adopted() == ()
    assert [doubt.reason for doubt in adopted("-tp=2")] == [Reason.ARGUMENTS_CONTRADICT] * 2


def test_an_a100_in_a_pool_of_h100s_is_told_first(adopted):
    [first, *_] = adopted("-tp=2", product="NVIDIA-H100-80GB-HBM3")
    assert first.reason is Reason.GPU_MISMATCH
    assert "h100-sxm" in first.message
    assert "a100-sxm-80gb" in first.message


def test_what_changes_is_judged_anew(adopted):
    truth = Truth()
    assert adopted(truth=truth) == ()
    assert adopted("-tp=2", truth=truth)
    assert adopted(truth=truth) == ()


def test_a_target_whose_status_alone_changed_is_not_judged_again(adopted, monkeypatch):
    judged = []
    of_manifests = truth_module._of_manifests
    monkeypatch.setattr(truth_module, "_of_manifests", lambda *read: judged.append(read) or of_manifests(*read))
    truth = Truth()
    said = [adopted("-tp=2", truth=truth) for _ in range(2)]  # of two equal objects, as two events bring them
    assert said[0] == said[1] != ()
    assert len(judged) == 1


def test_a_template_is_read_once_by_one_reader():
    assert deployment("--tp=1").serving == read_serving(
        {"name": "x", "image": "vllm/vllm-openai:v0.32.0", "args": ["--tp=1"], "resources": {}}
    )
