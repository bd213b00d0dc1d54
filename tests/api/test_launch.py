"""What is known of an engine from the template that starts it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.api.launch import CAP_VARIABLE, read_launch
from pertoken.catalog.lookup import SHIPPED, Unknown
from pertoken.catalog.releases import release_of, stated_release
from pertoken.domain.cluster import BatchCap

VLLM = "vllm/vllm-openai:v0.32.0"
SIM = "ghcr.io/llm-d/llm-d-inference-sim:v0.10.2"
FROM_CONFIG = {"name": CAP_VARIABLE, "valueFrom": {"configMapKeyRef": {"name": "chat-batch", "key": CAP_VARIABLE}}}
SECRET = {"name": "SEQS", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
PLAIN = {"name": "SEQS", "value": "16"}
N_IS_16 = {"name": "N", "value": "16"}


def container(*args: str, command: list[str] | None = None, image: str = VLLM, **more: Any) -> dict[str, Any]:
    return {"name": "engine", "image": image, "args": list(args), **({"command": command} if command else {}), **more}


def gpu(name: str) -> Any:
    row = SHIPPED.gpu(name)
    assert not isinstance(row, Unknown)
    return row


def cap(spec: dict[str, Any]) -> int | None:
    return read_launch(spec).settings(gpu("h100-sxm")).max_sequences


@pytest.mark.parametrize(
    "spec",
    [
        container("--max-num-seqs=16"),
        container("--max-num-seqs", "16"),
        container("--max_num_seqs=16"),
        container("--model=m", "--max_num_seqs", "16", "--port", "8000"),
        container("--max-num-seqs=512", "--max-num-seqs=16"),
        container("--max-num-seqs=$(SEQS)", env=[PLAIN]),
        container("--max-num-seqs=$(OUTER)", env=[PLAIN, {"name": "OUTER", "value": "$(SEQS)"}]),
        container("--model=m --served-model-name=chat --max-num-seqs 16"),
        container(command=["vllm serve m --max-num-seqs 16"]),
        container(command=["sh", "-c", "vllm serve m --max-num-seqs 16"]),
        container("vllm serve m --max-num-seqs 16", command=["/bin/bash", "-lc"]),
        container(command=["/bin/sh", "-e", "-c", "exec vllm serve m --max-num-seqs=16"]),
        container(command=["/usr/bin/env", "bash", "-c", "vllm serve m --max-num-seqs=16"]),
        container(command=["bash", "-c", "sleep 1\nvllm serve m \\\n  --max-num-seqs 16 \\\n  --port 8000\n"]),
        container(command=["bash", "-c", "vllm serve m --max-num-seqs ${SEQS}"], env=[PLAIN]),
        container(command=["bash", "-c", 'vllm serve m --max-num-seqs "$SEQS"'], env=[PLAIN]),
        container(command=["bash", "-c", "vllm serve m --max-num-seqs ${SEQS:-512}"], env=[PLAIN]),
        container(command=["bash", "-c", "vllm serve m --max-num-seqs ${OTHER:-16}"]),
        container(command=["bash", "-c", "export N=16; vllm serve m --max-num-seqs $N"]),
        container(command=["bash", "-c", "ARGS='--port 1 --max-num-seqs 16'; vllm serve m $ARGS"]),
        container(command=["bash", "-c", "vllm serve m $EXTRA"], env=[{"name": "EXTRA", "value": "--max-num-seqs 16"}]),
        container("--max-num-seqs=16", command=["bash", "-c", 'exec vllm serve m "$@"', "--"]),
        container("16", command=["bash", "-c", "vllm serve m --max-num-seqs $1", "sh"]),
        container(command=["bash", "-c", "bash -c 'vllm serve m --max-num-seqs 16'"]),
        container(command=["bash", "-c", "# --max-num-seqs 64\nvllm serve m --max-num-seqs 16 2>&1 | tee /log"]),
        container("--max-num-seqs=16", command=["/start.sh"]),
        container("--max-num-seqs=16", image="registry.example/emulator:3", command=["python", "-m", "emulator"]),
        container("--max-running-requests", "16", command=["python3", "-m", "sglang.launch_server"]),
        container("--config=/etc/c.yaml", "--max-num-seqs=16"),
        container(command=["bash", "-c", 'exec "$0" "$@"', "vllm", "serve", "m", "--max-num-seqs", "16"]),
        container(command=["sh", "-c", 'exec "$@"', "--", "vllm", "serve", "m", "--max-num-seqs=16"]),
        container(command=["bash", "-c", 'A=(--port 1 --max-num-seqs 16)\nexec vllm serve m "${A[@]}"']),
        container(command=["bash", "-c", "A=(--port 1); A+=(--max-num-seqs $N); vllm serve m ${A[*]}"], env=[N_IS_16]),
        container(command=["bash", "-c", 'set -- --max-num-seqs 16 "$@"; exec vllm serve m "$@"', "--"]),
        container(command=["bash", "-c", "vllm serve m ${SEQS:+--max-num-seqs $SEQS}"], env=[PLAIN]),
        container(command=["bash", "-c", "vllm serve m --max-num-seqs ${A:-${SEQS}}"], env=[PLAIN]),
        container(command=["tini", "-g", "--", "numactl", "-N0", "vllm", "serve", "m", "--max-num-seqs=16"]),
        container(command=["python3", "-u", "-m", "vllm.entrypoints.openai.api_server", "--max-num-seqs=16"]),
    ],
    ids=lambda spec: " ".join([*spec.get("command", []), *spec["args"]])[:60],
)
def test_every_way_to_give_a_cap_of_16(spec):
    launch = read_launch(spec)
    assert cap(spec) == 16
    assert not launch.reads_cap
    assert launch.settings(None).source.startswith("argument --max-")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (container("--max-num-seqs=$(SEQS)", env=[SECRET]), "unknown: --max-num-seqs takes environment variable SEQS"),
        (
            container(
                command=["sh", "-c", "vllm serve m --max-num-seqs $SEQS"], envFrom=[{"secretRef": {"name": "s"}}]
            ),
            "unknown: --max-num-seqs takes environment variable SEQS",
        ),
        (
            container(command=["sh", "-c", "vllm serve m --max-num-seqs $(nproc)"]),
            "unknown: --max-num-seqs takes a command's output",
        ),
        (
            container(command=["sh", "-c", "vllm serve m --max-num-seqs $((8 * (1 + 1)))"]),
            "unknown: --max-num-seqs takes a command's output",
        ),
        (
            container(command=["/start.sh"], env=[{"name": "MAX_NUM_SEQS", "value": "16"}]),
            "unknown: /start.sh decides (environment variable MAX_NUM_SEQS names a cap)",
        ),
        (
            container(image="registry.example/vllm:3", env=[{"name": "VLLM_ARGS", "value": "--max-num-seqs=16"}]),
            "unknown: the image's entry point decides (environment variable VLLM_ARGS names a cap)",
        ),
        (
            container(command=["python", "-c", "run(max_num_seqs=1); run(max_num_seqs=2)"]),
            "unknown: the code of python -c names several caps",
        ),
        (container("--max-num-seqs=many"), "unknown: --max-num-seqs is many, no count"),
        (container("--max-num-seqs"), "unknown: --max-num-seqs has no value"),
        (container("--max-num-seqs=-1"), "unknown: --max-num-seqs is -1, no count"),
        (container("--max-num-seqs=" + "9" * 5000), "unknown: --max-num-seqs is 999"),
        (container("--config", "/etc/engine/c.yaml"), "unknown: the file /etc/engine/c.yaml may set it"),
        (container(command=["/start.sh"]), "unknown: /start.sh decides"),
        (container(command=["python", "-c", "print()"]), "unknown: python decides"),
        (container(image="nvcr.io/nvidia/vllm:25.12-py3"), "unknown: the image's entry point decides"),
        (
            container("serve", "m", command=["vllm"], image="nvcr.io/nvidia/vllm:25.12-py3"),
            "unknown: the image is no engine's own",
        ),
        (container(image="vllm/vllm-openai:latest"), "unknown: no default of vLLM is known here"),
        (container(image="vllm/vllm-openai:v0.6.3"), "unknown: no default of vLLM 0.6.3 is known here"),
        (container("--performance-mode=throughput"), "unknown: --performance-mode changes the default of vLLM 0.32.0"),
        (container(image="lmsysorg/sglang:v0.5.9"), "unknown: no default of SGLang 0.5.9 is known here"),
        (
            container(command=["sh", "-c", "if x; then vllm serve m --max-num-seqs 1; else vllm serve m; fi"]),
            "unknown: the start script sets it to different values",
        ),
        (container("x" * 70_000), "unknown: a line too long to be read decides"),
        (container(command=["sh", "-c", "$A" * 30_000], env=[{"name": "A", "value": "b" * 60_000}]), "unknown: a line"),
        (
            container(
                command=["sh", "-c", "[ -n $A ] && vllm serve m --max-num-seqs 1 || vllm serve m --max-num-seqs 2"]
            ),
            "unknown: the start script sets it to different values",
        ),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_what_is_not_certain_is_unknown_and_says_why(spec, words):
    settings = read_launch(spec).settings(gpu("h100-sxm"))
    assert settings.source.startswith(words)
    assert (settings.max_sequences is None) is words.startswith("unknown")


@pytest.mark.parametrize(
    ("image", "accelerator", "sequences", "tokens"),
    [
        (VLLM, "h100-sxm", 1024, 8192),
        (VLLM, "a100-sxm-80gb", 256, 2048),
        (VLLM, "l4", 256, 2048),
        (VLLM, "mi300x", 1024, 16384),
        ("vllm/vllm-openai:v0.27.1", "mi300x", 1024, 8192),
        ("mirror.example:5000/hub/vllm/vllm-openai:v0.32.0-cu130@sha256:ab", "h200-sxm", 1024, 8192),
        (SIM, "h100-sxm", 5, None),
        ("lmsysorg/sglang:v0.5.9-cu129", "h100-sxm", None, 8192),
    ],
)
def test_defaults_follow_version_and_memory(image, accelerator, sequences, tokens):
    settings = read_launch(container("--model=m", image=image)).settings(gpu(accelerator))
    assert (settings.max_sequences, settings.batched_tokens) == (sequences, tokens)
    release = release_of(image)
    if sequences:
        assert settings.source == f"default of {release}"


@pytest.mark.parametrize(
    "code",
    [
        "LLM('m', max_num_seqs=16)",
        'run(["vllm", "serve", "m", "--max-num-seqs", "16"])',
        "run('vllm --max_num_seqs=16')",
    ],
)
def test_code_of_python_may_set_the_cap(code):
    settings = read_launch(container(command=["python3", "-c", code])).settings(None)
    assert (settings.max_sequences, settings.source) == (16, "the code of python -c")


@pytest.mark.parametrize(
    ("spec", "certain"),
    [
        (container(f"--max-num-seqs=$({CAP_VARIABLE})", env=[FROM_CONFIG]), True),
        (
            container(
                "--model=m", f"--max-num-seqs=$({CAP_VARIABLE})", env=[FROM_CONFIG], image="registry.example/e:3"
            ),
            True,
        ),
        (container(f"--max-num-seqs=$({CAP_VARIABLE})", env=[FROM_CONFIG], image="registry.example/e:3"), False),
        (container(command=["/start.sh"], env=[FROM_CONFIG]), False),
        (container("--model=m", command=["/start.sh"], env=[FROM_CONFIG]), False),
        (container(command=["python", "-c", f"run(os.environ['{CAP_VARIABLE}'])"], env=[FROM_CONFIG]), False),
        (container(command=["sh", "-c", f"exec vllm serve m --max-num-seqs ${CAP_VARIABLE}"], env=[FROM_CONFIG]), True),
    ],
    ids=lambda part: " ".join([*part.get("command", []), *part["args"]])[:60] if isinstance(part, dict) else "",
)
def test_a_program_that_hides_the_engine_leaves_the_cap_to_be_confirmed(spec, certain):
    launch = read_launch(spec)
    assert launch.reads_cap
    assert launch.certain is certain


def test_data_parallel_engines_each_have_the_cap():
    assert read_launch(container("--data-parallel-size=4")).settings(None).ranks == 4
    assert read_launch(container("-dp", "4", "-tp=2")).settings(None).ranks == 4
    assert read_launch(container()).settings(None).ranks == 1


@pytest.mark.parametrize(
    ("image", "stated", "sequences"),
    [
        ("nvcr.io/nvidia/vllm:25.12-py3", "0.11.1", 1024),
        ("nvcr.io/nvidia/vllm:25.12-py3", "0.9.0", None),
        ("vllm/vllm-openai:v0.32.0", "0.9.0", None),
        ("registry.example/acme/vllm-openai:v0.32.0", "", None),
    ],
)
def test_defaults_are_those_of_the_stated_version(image, stated, sequences):
    launch = read_launch(container("serve", "m", command=["vllm"], image=image))
    assert launch.settings(gpu("h100-sxm"), None, stated_release("vllm", stated)).max_sequences == sequences


def test_without_the_gpu_only_a_default_that_does_not_ask_for_it_is_known():
    assert read_launch(container()).settings(None).max_sequences is None
    assert read_launch(container(image=SIM)).settings(None).max_sequences == 5


def test_the_chunk_is_read_as_the_cap_is():
    settings = read_launch(container("--max-num-seqs=64", "--max-num-batched-tokens", "8k")).settings(None)
    assert (settings.max_sequences, settings.batched_tokens) == (64, 8000)
    assert settings.batched_tokens_source == "argument --max-num-batched-tokens"
    unchunked = read_launch(container("--no-enable-chunked-prefill")).settings(gpu("h100-sxm"))
    assert (unchunked.max_sequences, unchunked.batched_tokens) == (1024, None)


READS = [
    container(f"--max-num-seqs=$({CAP_VARIABLE})", env=[FROM_CONFIG]),
    container("--max-num-seqs=64", f"--max-num-seqs=$({CAP_VARIABLE})", env=[FROM_CONFIG]),
    container(command=["sh", "-c", f"vllm serve m --max-num-seqs ${CAP_VARIABLE}"], env=[FROM_CONFIG]),
    container(command=["sh", "-c", f"vllm serve m --max-num-seqs ${{{CAP_VARIABLE}:-256}}"], env=[FROM_CONFIG]),
    container(f"--max-running-requests=$({CAP_VARIABLE})", env=[FROM_CONFIG], image="lmsysorg/sglang:v0.5.9"),
    container(command=["/start.sh"], env=[FROM_CONFIG]),
]
IGNORES = [
    container(f"--max-num-seqs=$({CAP_VARIABLE})", "--max-num-seqs=16", env=[FROM_CONFIG]),
    container(command=["sh", "-c", "vllm serve m --max-num-seqs 512"], env=[FROM_CONFIG]),
    container("--model=m", env=[FROM_CONFIG]),
    container(f"--max-num-seqs=$({CAP_VARIABLE})", env=[{"name": CAP_VARIABLE, "value": "64"}]),
    container(f"--max-num-seqs=$({CAP_VARIABLE})"),
]


@pytest.mark.parametrize(("spec", "reads"), [*((spec, True) for spec in READS), *((spec, False) for spec in IGNORES)])
def test_only_the_resolved_command_says_whether_pertokens_cap_is_read(spec, reads):
    launch = read_launch(spec)
    assert launch.reads_cap is reads
    settings = launch.settings(gpu("h100-sxm"), BatchCap(88))
    assert (settings.max_sequences == 88) is reads
    assert (settings.source == "pertoken's ConfigMap") is reads


TEXTS = st.text(st.sampled_from("abc$(){}\"'\\`|;&@#=- \n\tSEQ16") | st.characters(), max_size=40)


@given(
    st.lists(TEXTS | st.sampled_from(["sh", "-c", "vllm", "--max-num-seqs"]), max_size=5),
    st.lists(TEXTS | st.just("--max-num-seqs=16"), max_size=5),
    st.lists(st.fixed_dictionaries({"name": TEXTS}, optional={"value": TEXTS}), max_size=3),
    TEXTS,
)
def test_no_container_whatsoever_raises(command, args, env, image):
    launch = read_launch({"command": command, "args": args, "env": env, "image": image})
    settings = launch.settings(gpu("h100-sxm"))
    assert settings.source
    assert settings.max_sequences is None or settings.max_sequences > 0
