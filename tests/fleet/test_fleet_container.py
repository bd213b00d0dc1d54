"""Environment, expansion of references, and vLLM's flags."""

from typing import Any

import pytest

from pertoken_bench.hardware.truth import Truth
from pertoken_sandbox.fleet.container import ContainerConfigError, command_line, engine_container, expand
from pertoken_sandbox.fleet.engine_args import EngineArgsError, parse_engine_args
from pertoken_sandbox.fleet.launch import Host, launch

POD = {"metadata": {"name": "p", "namespace": "ns", "labels": {"a/b": "c"}}, "spec": {}}


async def read(name: str) -> dict[str, Any] | None:
    return {"data": {"cap": "64"}} if name == "caps" else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--n=$(A)", "--n=1"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$A", "$A"),
        ("$(A)$(A)", "11"),
        ("$(A", "$(A"),
    ],
)
def test_expansion_follows_kubernetes(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


async def test_references_are_resolved_in_order() -> None:
    container = {
        "command": ["vllm", "serve"],
        "args": ["--max-num-seqs=$(CAP)", "$(WHO)", "$(NONE)"],
        "env": [
            {"name": "CAP", "valueFrom": {"configMapKeyRef": {"name": "caps", "key": "cap"}}},
            {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "absent", "key": "x", "optional": True}}},
            {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a/b']"}}},
            {"name": "WHO", "value": "$(N)-$(L)"},
        ],
    }
    assert await command_line(container, POD, read) == ["vllm", "serve", "--max-num-seqs=64", "p-c", "$(NONE)"]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"name": "absent", "key": "cap"}, 'configmap "absent" not found'),
        ({"name": "caps", "key": "other"}, "couldn't find key other in ConfigMap ns/caps"),
    ],
)
async def test_missing_configuration_stops_the_container(reference: dict[str, str], message: str) -> None:
    container = {"env": [{"name": "CAP", "valueFrom": {"configMapKeyRef": reference}}]}
    with pytest.raises(ContainerConfigError, match=message):
        await command_line(container, POD, read)


def test_only_gpu_containers_are_engines() -> None:
    plain = {"name": "web", "image": "nginx"}
    vllm = {"name": "server", "image": "vllm/vllm-openai:v0.32.0", "resources": {"limits": {"nvidia.com/gpu": "2"}}}
    without_gpu = {"name": "engine", "image": "vllm/vllm-openai:v0.32.0"}
    assert engine_container({"spec": {"containers": [plain, vllm]}}) == vllm
    assert engine_container({"spec": {"containers": [plain, without_gpu]}}) is None


def test_both_forms_of_flags() -> None:
    words = [
        "vllm",
        "serve",
        "org/m",
        "--max-num-seqs",
        "64",
        "--max_num_batched_tokens=4096",
        "--port=8000",
        "-tp",
        "2",
    ]
    args = parse_engine_args(words)
    assert (args.model, args.served_model_name, args.max_num_seqs) == ("org/m", "org/m", 64)
    assert (args.max_num_batched_tokens, args.tensor_parallel_size) == (4096, 2)
    named = parse_engine_args(["--model=m", "--served-model-name", "chat", "--max-model-len=8k", "--host", "::1"])
    assert (named.model, named.served_model_name, named.max_model_len) == ("m", "chat", 8000)


def test_custom_buckets_flag() -> None:
    args = parse_engine_args(["serve", "m", "--custom-histogram-buckets", '{"time_to_first_token": [0.5, 2]}'])
    assert args.buckets == {"time_to_first_token": (0.5, 2.0)}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max-num-seqs=0"], "at least 1"),
        (["--max-num-seqs=$(PERTOKEN_MAX_NUM_SEQS)"], "invalid int value"),
        (["--max-num-seqs=512", "--max-num-batched-tokens=256"], "must be greater than or equal to max_num_seqs"),
        (["--gpu-memory-utilization=1.5"], "must be in"),
        (["--gpu-memory-utilization=0.2"], "No available memory"),
        (['--custom-histogram-buckets={"itl": [1]}'], "unknown bucket family"),
        (['--custom-histogram-buckets={"iteration_tokens": [2, 1]}'], "strictly increasing"),
        (["--tensor-parallel-size=2"], "World size"),
        (["--max-model-len=10M"], "larger than the KV cache"),
        (["--max-num-seqs"], "expected one argument"),
    ],
)
def test_bad_arguments_end_the_engine(flags: list[str], message: str) -> None:
    host = Host("NVIDIA-A100-SXM4-80GB", 80, 1, Truth())
    with pytest.raises(EngineArgsError, match=message):
        launch(["vllm", "serve", "meta-llama/Llama-3.1-8B-Instruct", *flags], host, "p")


def test_defaults_depend_on_the_gpu() -> None:
    words = ["vllm", "serve", "meta-llama/Meta-Llama-3.1-8B"]
    a100 = launch(words, Host("NVIDIA-A100-SXM4-80GB", 80, 1, Truth()), "p").config
    h100 = launch(words, Host("NVIDIA-H100-80GB-HBM3", 80, 1, Truth()), "p").config
    assert (a100.max_num_seqs, a100.max_num_batched_tokens) == (256, 2048)
    assert (h100.max_num_seqs, h100.max_num_batched_tokens) == (1024, 8192)
    with pytest.raises(EngineArgsError, match="no step-time table"):
        launch(["serve", "org/other"], Host("NVIDIA-L40S", 48, 1, Truth()), "p")
