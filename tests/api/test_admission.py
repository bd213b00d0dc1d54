"""The batch cap as vLLM's admission limit, apart from what it makes buffers and graphs for; SGLang's mixed chunks."""

from __future__ import annotations

import pytest

from pertoken.api.errors import Rejected
from pertoken.api.launch import read_launch
from pertoken.api.translate import translate_pool, translate_service
from pertoken.api.workloads import OwnedWorkload, WorkloadRequest, build_workload
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.cluster import BatchCap

CAP = "$(PERTOKEN_MAX_NUM_SEQS)"
ADMITTED = f"--max-num-active-seqs={CAP}"
BOTH = f"--max-num-seqs={CAP}"
ENTRY = {
    "name": "PERTOKEN_MAX_NUM_SEQS",
    "valueFrom": {"configMapKeyRef": {"name": "chat-batch", "key": "PERTOKEN_MAX_NUM_SEQS"}},
}


def engine_of(service):
    return service["spec"]["variants"][0]["podTemplate"]["spec"]["containers"][0]


def build(service, pool, **more):
    translated = translate_service(service)
    assert not isinstance(translated, Rejected), translated.message
    variant = translated.spec.variants[0]
    wanted = translate_pool(pool).spec
    return build_workload(WorkloadRequest(translated.spec, variant, translated.templates[variant.name], wanted, **more))


def built(service, pool, **more):
    result = build(service, pool, **more)
    assert isinstance(result, OwnedWorkload), result
    return result


def container(workload):
    return workload.deployment["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize(
    ("image", "stated", "admits"),
    [
        ("vllm/vllm-openai:v0.32.0", "", True),
        ("vllm/vllm-openai:v0.31.0", "", True),
        ("vllm/vllm-openai:v0.30.1", "", False),
        ("vllm/vllm-openai:latest", "", False),  # too new a flag is fatal
        ("registry.example/own-vllm:7", "", False),
        ("registry.example/own-vllm:7", "0.31", True),
        ("vllm/vllm-openai:v0.32.0", "0.30", False),
    ],
)
def test_engines_known_to_have_the_flag_get_their_cap_by_it(service, pool, image, stated, admits):
    engine_of(service)["image"] = image
    service["spec"]["variants"][0] |= {"engineVersion": stated} if stated else {}
    service["spec"]["variants"][0]["batching"] = {"maxSequences": 192}
    workload = built(service, pool)
    args = container(workload)["args"]

    assert workload.reads_cap
    assert workload.allocated == (192 if admits else None)
    assert (ADMITTED in args, "--max-num-seqs=192" in args, BOTH in args) == (admits, admits, not admits)
    launch = read_launch(container(workload))
    assert (launch.reads_cap, launch.admits) == (True, admits)


def test_a_fixed_cap_sizes_the_buffers_too(service, pool):
    service["spec"]["variants"][0]["batching"] = {"mode": "Fixed", "maxSequences": 64}
    args = container(built(service, pool))["args"]
    assert BOTH in args
    assert not any(argument.startswith("--max-num-active-seqs") for argument in args)


def test_the_form_of_before_has_one_number_for_both(service, pool):
    older = built(service, pool, admission=False)
    assert older.allocated is None
    assert BOTH in container(older)["args"]
    assert ADMITTED not in container(older)["args"]


def test_the_first_chunk_holds_a_token_of_every_sequence_with_a_buffer(service, pool):
    service["spec"]["variants"][0]["batching"] = {"maxSequences": 512, "maxBatchedTokens": 300}
    assert built(service, pool).chunk == 512


def test_a_users_own_admission_limit_is_refused_unless_fixed(service, pool):
    engine_of(service)["args"].append("--max-num-active-seqs=32")
    refused = build(service, pool)
    assert isinstance(refused, Rejected)
    assert "drop --max-num-active-seqs" in refused.errors[0].expectation
    service["spec"]["variants"][0]["batching"] = {"mode": "Fixed", "maxSequences": 32}
    assert not built(service, pool).reads_cap


@pytest.mark.parametrize(
    ("args", "reads", "sequences", "allocated"),
    [
        (["--max-num-seqs=256", ADMITTED], True, 48, 256),
        ([ADMITTED], True, 48, 256),  # by default of vLLM 0.32 on an A100
        ([BOTH], True, 48, None),
        (["--max-num-seqs=256", "--max-num-active-seqs=64"], False, 64, 256),
        ([BOTH, "--max-num-active-seqs=64"], False, 64, None),
        (["--max-num-seqs=256"], False, 256, None),
        (["--max_num_seqs", "256", "--max_num_active_seqs", CAP], True, 48, 256),
    ],
)
def test_adopted_engines_are_read_in_every_form(args, reads, sequences, allocated):
    launch = read_launch({"name": "engine", "image": "vllm/vllm-openai:v0.32.0", "args": args, "env": [ENTRY]})
    settings = launch.settings(SHIPPED.gpu("a100-sxm-80gb"), BatchCap(48) if launch.reads_cap else None)

    assert (launch.reads_cap, settings.max_sequences, settings.allocated) == (reads, sequences, allocated)


@pytest.mark.parametrize(("mixed", "reads"), [(["--enable-mixed-chunk"], True), ([], False)])
def test_sglang_reads_its_chunk_where_its_steps_hold_prompts_and_decoding_sequences(service, pool, mixed, reads):
    variant = service["spec"]["variants"][0]
    variant["engine"] = "sglang"
    engine_of(service).update(
        image="lmsysorg/sglang:v0.5.9",
        command=["python3", "-m", "sglang.launch_server"],
        args=["--model-path=m", *mixed],
    )
    workload = built(service, pool, gpu=SHIPPED.gpu("h100-sxm"))
    args = container(workload)["args"]

    assert "--max-running-requests=$(PERTOKEN_MAX_NUM_SEQS)" in args
    assert ("--chunked-prefill-size=$(PERTOKEN_MAX_NUM_BATCHED_TOKENS)" in args) is reads
    assert workload.chunk == (8192 if reads else None)
    launch = read_launch(container(workload))
    assert (launch.reads_chunk, launch.mixes) == (reads, reads)
