"""What a container says that its engine serves, by command line, variables, image, label and annotation."""

import pytest

from pertoken.api.serving import ENGINE_TYPE_LABEL, SOURCE_ANNOTATION, read_serving

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
VLLM = "vllm/vllm-openai:v0.32.0"


def container(image=VLLM, **fields):
    return {"name": "engine", "image": image, **fields}


@pytest.mark.parametrize(
    ("given", "engine", "model", "name"),
    [
        (container(args=[f"--model={LLAMA}", "--served_model_name", "chat"]), "vllm", LLAMA, "chat"),
        (container(args=[LLAMA]), "vllm", LLAMA, LLAMA),
        (container("x/y:1", command=["vllm", "serve", LLAMA]), "vllm", LLAMA, LLAMA),
        (
            container(
                "x/y", command=["sh", "-c"], args=["exec vllm serve $M -q fp8"], env=[{"name": "M", "value": "a/b"}]
            ),
            "vllm",
            "a/b",
            "a/b",
        ),
        (
            container(
                "lmsysorg/sglang:v0.5.9",
                command=["python3", "-m", "sglang.launch_server"],
                args=["--model-path", "a/b"],
            ),
            "sglang",
            "a/b",
            "a/b",
        ),
        (
            container("ghcr.io/huggingface/text-generation-inference:3.3", env=[{"name": "MODEL_ID", "value": "a/b"}]),
            "tgi",
            "a/b",
            "a/b",
        ),
        (
            container("ghcr.io/ggml-org/llama.cpp:server-cuda", args=["-m", "/models/q.gguf", "-a", "q"]),
            "llama.cpp",
            "/models/q.gguf",
            "q",
        ),
        (
            container("kserve/huggingfaceserver:v0.17", args=["--model_name=m", f"--model_id={LLAMA}"]),
            "vllm",
            LLAMA,
            "m",
        ),
        (container("nginx:1"), "", "", ""),
    ],
)
def test_engine_model_and_name(given, engine, model, name):
    serving = read_serving(given)
    assert (serving.engine, serving.model, serving.name) == (engine, model, name)


def test_sizes_and_formats():
    serving = read_serving(
        container(args=[LLAMA, "-tp", "2", "-pp=2", "--data-parallel-size", "3", "-q", "fp8", "--max-model-len=16k"])
    )
    figures = (serving.tensor, serving.pipeline, serving.data, serving.max_model_len)
    assert [figure.value for figure in figures] == [2, 2, 3, 16_000]
    assert serving.quantization == "fp8"
    assert str(serving.release) == "vLLM 0.32.0"


def test_switches_are_not_values():
    serving = read_serving(
        container(args=["--model", LLAMA, "--enable-expert-parallel", "--max-model-len", "--quantization"])
    )
    assert serving.spread
    assert serving.quantization == ""
    assert serving.max_model_len.value is None


def test_what_depends_on_a_secret_is_told_and_not_guessed():
    source = {"name": "TP", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    serving = read_serving(container(args=[LLAMA, "--tensor-parallel-size=$(TP)"], env=[source]))
    assert serving.tensor.value is None
    assert serving.open_ends == ("--tensor-parallel-size takes environment variable TP",)


def test_platforms_tell_engine_and_model():
    metadata = {
        "labels": {ENGINE_TYPE_LABEL: "sglang"},
        "annotations": {SOURCE_ANNOTATION: f"hf://{LLAMA}"},
    }
    serving = read_serving(container("registry.example/own:1", args=["--model=/mnt/models"]), metadata)
    assert (serving.engine, serving.model) == ("sglang", LLAMA)


def test_the_program_counts_more_than_the_image():
    given = container(
        "registry.example/vllm-tools:1", command=["python3", "-m", "sglang.launch_server", "--model-path=a/b"]
    )
    assert read_serving(given).engine == "sglang"
