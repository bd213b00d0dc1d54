from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pertoken.api.batch_cap import (
    CapDocument,
    cap_after,
    cap_config_map,
    initial_cap,
    parse_cap,
)
from pertoken.api.engine_args import knows_buckets
from pertoken.api.errors import Rejected
from pertoken.api.launch import read_launch
from pertoken.api.naming import cap_name, workload_name
from pertoken.api.translate import translate_pool, translate_service
from pertoken.api.workloads import OwnedWorkload, WorkloadRequest, build_workload, without_replicas_yet, workload_owner
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.cluster import BatchCap
from pertoken.domain.identity import ServiceKey, WorkloadRef
from pertoken.domain.plan import CompleteBatchCap, SetBatchCap
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Batching
from pertoken.raw.values import Malformed


def engine_of(service):
    return service["spec"]["variants"][0]["podTemplate"]["spec"]["containers"][0]


def build(service, pool, **more):
    translated = translate_service(service)
    assert not isinstance(translated, Rejected), translated.message
    variant = translated.spec.variants[0]
    wanted = translate_pool(pool).spec
    return build_workload(WorkloadRequest(translated.spec, variant, translated.templates[variant.name], wanted, **more))


def built(service, pool, **more) -> OwnedWorkload:
    result = build(service, pool, **more)
    assert isinstance(result, OwnedWorkload), result
    return result


def container(workload: OwnedWorkload):
    return workload.deployment["spec"]["template"]["spec"]["containers"][0]


def test_engine_reads_its_cap_from_the_config_map(service, pool):
    workload = built(service, pool)
    assert workload.reads_cap
    assert "--max-num-active-seqs=$(PERTOKEN_MAX_NUM_SEQS)" in container(workload)["args"]
    assert container(workload)["env"] == [
        {
            "name": "PERTOKEN_MAX_NUM_SEQS",
            "valueFrom": {"configMapKeyRef": {"name": "chat-a100-batch", "key": "PERTOKEN_MAX_NUM_SEQS"}},
        }
    ]
    assert read_launch(container(workload)).reads_cap


def test_sglang_has_its_own_flag(service, pool):
    service["spec"]["variants"][0]["engine"] = "sglang"
    workload = built(service, pool)
    assert container(workload)["args"][-1] == "--max-running-requests=$(PERTOKEN_MAX_NUM_SEQS)"
    assert container(workload)["ports"][0]["containerPort"] == 30000


@pytest.mark.parametrize(
    "args", [["--max-num-seqs=64"], ["--max-num-seqs", "64"], ["--max_num_seqs", "64"], ["--max_num_seqs=64"]]
)
def test_a_cap_of_the_users_own_is_refused_unless_fixed(service, pool, args):
    engine_of(service)["args"] += args
    refused = build(service, pool)
    assert isinstance(refused, Rejected)
    assert refused.errors[0].path == "spec.variants[0].podTemplate.spec.containers[0].args"
    service["spec"]["variants"][0]["batching"] = {"mode": "Fixed"}
    workload = built(service, pool)
    assert not workload.reads_cap
    assert container(workload)["args"][1 : 1 + len(args)] == args
    assert "env" not in container(workload)


def test_a_shell_line_must_pass_the_cap_itself(service, pool):
    engine_of(service)["command"] = ["/bin/sh", "-ec"]
    engine_of(service)["args"] = ["vllm serve m"]
    assert isinstance(build(service, pool), Rejected)
    engine_of(service)["args"] = ["vllm serve m --max-num-seqs $(PERTOKEN_MAX_NUM_SEQS)"]
    workload = built(service, pool)
    assert workload.reads_cap
    assert container(workload)["args"] == ["vllm serve m --max-num-seqs $(PERTOKEN_MAX_NUM_SEQS)"]
    engine_of(service)["args"] = ["vllm serve m --max-num-seqs 64"]
    assert isinstance(build(service, pool), Rejected)


@pytest.mark.parametrize(
    ("command", "args"),
    [
        (None, ["--model=m --served-model-name=chat --max-num-seqs 512"]),
        (["vllm serve m --max-num-seqs 512"], []),
        (["sh", "-c", "vllm serve m --max-num-seqs 512"], []),
        (["sh", "-c", "vllm serve m $FLAGS"], []),
        (["bash", "-c", 'A=(--max-num-seqs 512); exec vllm serve m "${A[@]}" "$@"', "--"], []),
        (["bash", "-c", 'set -- "$@" --max-num-seqs 512; exec vllm serve m "$@"', "--"], []),
        (["sh", "-c", 'vllm serve m "$@"'], ["--", "--max-num-seqs=$(PERTOKEN_MAX_NUM_SEQS)", "--max-num-seqs=512"]),
    ],
)
def test_a_cap_of_the_users_own_is_seen_in_every_form(service, pool, command, args):
    engine_of(service).update(args=args, env=[{"name": "FLAGS", "value": "--max-num-seqs=512"}])
    if command:
        engine_of(service)["command"] = command
    refused = build(service, pool)
    assert isinstance(refused, Rejected)
    assert "--max-num-seqs" in refused.message


def test_a_shell_line_that_forwards_its_arguments_gets_the_cap(service, pool):
    engine_of(service).update(command=["bash", "-c", 'exec vllm serve m "$@"', "--"], args=["--port=8000"])
    workload = built(service, pool)
    assert workload.reads_cap
    added = ["--max-num-seqs=256", "--max-num-active-seqs=$(PERTOKEN_MAX_NUM_SEQS)"]
    assert container(workload)["args"][:3] == ["--port=8000", *added]
    # Without a name for the shell the first argument would be it, and be lost.
    engine_of(service).update(command=["bash", "-c", 'exec vllm serve m "$@"'], args=[])
    workload = built(service, pool)
    assert container(workload)["args"][:3] == ["engine", *added]
    assert read_launch(container(workload)).reads_cap


@pytest.mark.parametrize(
    ("command", "args", "certain"),
    [
        (["/start.sh"], [], False),
        (["python3", "/app/serve.py"], [], False),
        (["/start.sh"], ["--model=m", "--port=8000"], True),
        (["tini", "--", "vllm", "serve", "m"], [], True),
        (["python3", "-u", "-m", "vllm.entrypoints.openai.api_server"], [], True),
        (["bash", "-c", 'exec /start.sh "$@"', "--"], [], False),
        (["sh", "-c", 'vllm serve m "$@"'], [], True),
    ],
)
def test_only_a_command_that_is_known_to_pass_the_cap_on_is_certain_of_it(service, pool, command, args, certain):
    engine_of(service).update(command=command, args=args, image="registry.example/engine:1")
    workload = built(service, pool)
    assert workload.reads_cap
    launch = read_launch(container(workload))
    assert (launch.reads_cap, launch.certain) == (True, certain)


@pytest.mark.parametrize(
    ("command", "args"),
    [
        (["sh", "-c", 'echo "$@"; vllm serve m'], []),
        (["sh", "-c", "vllm serve m"], ["--", "--port=1"]),
        (["bash", "-c", "bash -c 'vllm serve m' --"], []),
        (["python3", "-c", "import engine; engine.run()"], []),
        (["python3", "-u", "-c", "import engine"], []),
    ],
)
def test_a_command_that_drops_its_arguments_is_refused(service, pool, command, args):
    engine_of(service).update(command=command, args=args)
    refused = build(service, pool)
    assert isinstance(refused, Rejected)
    assert "must itself pass --max-num-seqs" in refused.message


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"name": "MAX_NUM_SEQS", "value": "512"}, True),
        ({"name": "VLLM_ARGS", "value": "--port 8000 --max-num-seqs 512"}, True),
        ({"name": "ENGINE_ARGS", "value": '{"max_num_seqs": 512}'}, True),
        ({"name": "VLLM_ARGS", "value": "--max-num-seqs $(PERTOKEN_MAX_NUM_SEQS)"}, False),
        ({"name": "MAX_MODEL_LEN", "value": "512"}, False),
    ],
)
def test_a_cap_in_the_environment_of_a_start_script_is_the_users_own(service, pool, entry, named):
    engine_of(service).update(command=["/start.sh"], args=[], env=[entry])
    result = build(service, pool)
    assert isinstance(result, Rejected) is named
    if named:
        assert entry["name"] in result.message
        service["spec"]["variants"][0]["batching"] = {"mode": "Fixed"}
        assert not built(service, pool).reads_cap


def test_code_on_the_command_line_takes_no_arguments(service, pool):
    engine_of(service).update(command=["python3", "-c", "import engine; engine.run()"], args=[])
    assert isinstance(build(service, pool), Rejected)


def test_histogram_edges_stand_at_the_objectives(service, pool):
    args = container(built(service, pool))["args"]
    edges = json.loads(args[args.index("--custom-histogram-buckets") + 1])
    assert 2.0 in edges["time_to_first_token"]
    assert 0.04 in edges["inter_token_latency"]
    for family in edges.values():
        assert family == sorted(set(family))


def test_histogram_edges_are_left_alone_where_they_are_given_or_nothing_is_promised(service, pool):
    engine_of(service)["args"].append("--custom-histogram-buckets={}")
    assert container(built(service, pool))["args"].count("--custom-histogram-buckets") == 0
    engine_of(service)["args"].pop()
    del service["spec"]["objective"]["latency"]
    assert "--custom-histogram-buckets" not in container(built(service, pool))["args"]


@pytest.mark.parametrize(
    ("image", "knows"),
    [
        ("vllm/vllm-openai:v0.32.0", True),
        ("vllm/vllm-openai:v0.31.0-cu130", True),
        ("mirror.example:5000/hub/vllm/vllm-openai:v1.0.0", True),
        ("docker.io/vllm/vllm-openai:v0.32.0-x86_64", True),
        ("vllm/vllm-openai-rocm:v0.32.0.post1", True),
        # A digest is what runs, whatever tag stands before it; what a moving tag runs is known to the node alone.
        ("vllm/vllm-openai:v0.32.0@sha256:abc", False),
        ("vllm/vllm-openai:latest", False),
        ("vllm/vllm-openai", False),
        ("vllm/vllm-openai:nightly-1f9a", False),
        ("vllm/vllm-openai:v0.32", False),
        ("vllm/vllm-openai:v0.32.0-acme3", False),
        ("registry.example/acme/vllm-openai:v1.4.2", False),
        ("ghcr.io/llm-d/llm-d-cuda:v0.40.0", False),
        ("vllm/vllm-openai:v0.30.0", False),
        ("vllm/vllm-openai:v0.9.2", False),
        ("vllm/vllm-openai@sha256:abc", False),
        ("mirror.example:5000/serving:2026-01-01", False),
        ("nvcr.io/nvidia/vllm:25.12-py3", False),
        ("mirror.example/vllm-openai:25.12", False),
        ("registry.example/team/vllm:v0.32.0", False),
        ("lmsysorg/sglang:v0.32.0", False),
        ("vllm/vllm-openai:v0." + "9" * 5000, False),
        ("", False),
    ],
)
def test_only_engines_known_to_have_the_flag_get_it(image, knows):
    assert knows_buckets(image) is knows


@pytest.mark.parametrize(
    ("image", "version", "knows"),
    [
        ("nvcr.io/nvidia/vllm:25.12-py3", "0.11.1", False),
        ("nvcr.io/nvidia/vllm:26.10-py3", "0.31.0", True),
        ("registry.example/team/vllm@sha256:abc", "v0.32", True),
        ("vllm/vllm-openai:v0.32.0", "0.30.0", False),
        ("vllm/vllm-openai:v0.32.0", "", True),
    ],
)
def test_a_stated_version_counts_more_than_the_tag(service, pool, image, version, knows):
    engine_of(service)["image"] = image
    if version:
        service["spec"]["variants"][0]["engineVersion"] = version
    assert ("--custom-histogram-buckets" in container(built(service, pool))["args"]) is knows


@pytest.mark.parametrize("version", ["new", "0", "0.31.x", "v0.31.0-acme", "1.2.3.4", ""])
def test_a_stated_version_is_one(service, version):
    service["spec"]["variants"][0]["engineVersion"] = version
    assert isinstance(translate_service(service), Rejected)


CHUNK_ARGUMENT = "--max-num-batched-tokens=$(PERTOKEN_MAX_NUM_BATCHED_TOKENS)"


@pytest.mark.parametrize(
    ("batching", "image", "gpu", "chunk"),
    [
        ({"maxBatchedTokens": 4096}, "vllm/vllm-openai:v0.11.0", None, 4096),
        ({"maxBatchedTokens": 128, "maxSequences": 256}, "vllm/vllm-openai:v0.11.0", None, 256),
        # What the release runs with where nobody limits it.
        ({}, "vllm/vllm-openai:v0.11.0", "h100", 8192),
        ({}, "vllm/vllm-openai:v0.11.0", "l4", 2048),
        ({}, "vllm/vllm-openai:v0.11.0", None, None),
        ({}, "registry.example/own-vllm:7", "h100", None),
    ],
)
def test_the_engine_reads_its_chunk_where_the_first_one_is_known(service, pool, batching, image, gpu, chunk):
    service["spec"]["variants"][0]["batching"] = batching
    engine_of(service)["image"] = image
    workload = built(service, pool, gpu=gpu and SHIPPED.gpu(gpu))

    assert workload.chunk == chunk
    assert (CHUNK_ARGUMENT in container(workload)["args"]) is (chunk is not None)
    assert read_launch(container(workload)).reads_chunk is (chunk is not None)


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"batching": {"mode": "Fixed", "maxBatchedTokens": 4096}}, "--max-num-batched-tokens=4096"),
        ({"batching": {}, "args": ["--max-num-batched-tokens=2048"]}, "--max-num-batched-tokens=2048"),
    ],
)
def test_a_chunk_that_the_user_sets_is_left_alone(service, pool, change, argument):
    service["spec"]["variants"][0]["batching"] = change["batching"]
    engine_of(service)["args"] += change.get("args", [])
    workload = built(service, pool, gpu=SHIPPED.gpu("h100"))

    assert workload.chunk is None
    assert argument in container(workload)["args"]
    assert CHUNK_ARGUMENT not in container(workload)["args"]


def test_the_form_of_before_passes_a_maximum_as_it_is(service, pool):
    service["spec"]["variants"][0]["batching"] = {"maxBatchedTokens": 4096}
    older = built(service, pool, chunk=False)

    assert older.chunk is None
    assert "--max-num-batched-tokens=4096" in container(older)["args"]
    assert [entry["name"] for entry in container(older)["env"]] == ["PERTOKEN_MAX_NUM_SEQS"]


def test_batched_tokens_are_set_in_one_place(service, pool):
    service["spec"]["variants"][0]["batching"] = {"maxBatchedTokens": 4096}
    engine_of(service)["args"].append("--max-num-batched-tokens=2048")
    refused = build(service, pool)
    assert isinstance(refused, Rejected)
    assert refused.errors[0].path == "spec.variants[0].batching.maxBatchedTokens"


def test_gpus_must_agree_with_the_parallelism(service, pool):
    service["spec"]["variants"][0]["parallelism"] = {"tensor": 2}
    refused = build(service, pool)
    assert isinstance(refused, Rejected)
    assert "2 in sum" in refused.message
    engine_of(service)["resources"] = {"limits": {"nvidia.com/gpu": 2}}
    built(service, pool)


def test_placement_follows_the_pool_unless_the_template_says_where(service, pool):
    pod = built(service, pool).deployment["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    template = service["spec"]["variants"][0]["podTemplate"]["spec"]
    template.update(nodeSelector={"zone": "a"}, tolerations=[])
    pod = built(service, pool).deployment["spec"]["template"]["spec"]
    assert (pod["nodeSelector"], pod["tolerations"]) == ({"zone": "a"}, [])


def test_deployment_leaves_replicas_to_scaling(service, pool):
    deployment = built(service, pool).deployment
    assert "replicas" not in deployment["spec"]
    assert without_replicas_yet(deployment)["spec"] == {**deployment["spec"], "replicas": 0}


def test_rollouts_need_no_spare_gpu(service, pool):
    strategy = built(service, pool).deployment["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 0, "maxUnavailable": 1}


def test_owner_unless_orphan(service, pool):
    for manifest in built(service, pool).manifests:
        [owner] = manifest["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("InferenceService", "u-1", True)
        assert owner["blockOwnerDeletion"]
    for manifest in built(service, pool, orphan=True).manifests:
        assert "ownerReferences" not in manifest["metadata"]


def test_labels_select_exactly_the_variants_pods(service, pool):
    service["spec"]["variants"][0]["podTemplate"]["metadata"] = {"labels": {"team": "a"}, "annotations": {"x": "y"}}
    workload = built(service, pool)
    labels = workload.deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (
        workload.deployment["spec"]["selector"]["matchLabels"],
        workload.service["spec"]["selector"],
        workload.disruption_budget["spec"]["selector"]["matchLabels"],
    ):
        assert selector == {"serving.pertoken.dev/service": "chat", "serving.pertoken.dev/variant": "a100"}
        assert selector.items() <= labels.items()
    assert labels["team"] == "a"
    assert labels["app.kubernetes.io/managed-by"] == "pertoken"


def test_service_port_is_the_containers_first(service, pool):
    engine_of(service)["ports"] = [{"containerPort": 9000}, {"name": "other", "containerPort": 9001}]
    workload = built(service, pool)
    assert container(workload)["ports"][0] == {"name": "http", "containerPort": 9000}
    assert workload.service["spec"]["ports"][0]["port"] == 9000


@pytest.mark.parametrize(
    "change",
    [
        {"args": "x"},
        {"args": [1]},
        {"env": "x"},
        {"env": [1]},
        {"ports": [{"containerPort": "x"}]},
        {"ports": {}},
        {"resources": "x"},
        {"resources": {"limits": 3}},
    ],
)
def test_misshapen_templates_are_values_not_crashes(service, pool, change):
    engine_of(service).update(change)
    refused = build(service, pool)
    assert isinstance(refused, Rejected)
    assert refused.errors[0].path.startswith("spec.variants[0].podTemplate.spec.containers[0].")


def test_template_of_the_user_is_not_touched(service, pool):
    before = json.dumps(service, sort_keys=True)
    built(service, pool)
    assert json.dumps(service, sort_keys=True) == before


TARGET = WorkloadRef("apps/v1", "Deployment", "demo", "chat-a100")
KEY = ServiceKey("demo", "chat")


@pytest.mark.parametrize(
    "cap",
    [
        BatchCap(256),
        BatchCap(96, previous=128, changed_at=1_700_000_000.25, completed=False),
        BatchCap(128, previous=96, changed_at=1_700_000_900.0, rolled_back=True, completed=True),
    ],
)
def test_cap_survives_writing_and_reading(cap):
    config_map = cap_config_map(CapDocument(KEY, "a100", TARGET, cap))
    assert config_map["metadata"]["name"] == "chat-a100-batch"
    assert config_map["data"] == {"PERTOKEN_MAX_NUM_SEQS": str(cap.value)}
    assert parse_cap(config_map) == cap


@pytest.mark.parametrize("data", [None, {}, {"OTHER": "8"}])
def test_a_config_map_without_the_key_holds_no_cap(data):
    assert parse_cap({"metadata": {}, "data": data}) is None


@pytest.mark.parametrize("text", ["many", "-3", "0", "²", "١٢", "1e3", " 8", "8.0", "", "9" * 19, "9" * 5000])
def test_a_cap_that_is_no_count_is_refused_by_its_field(text):
    with pytest.raises(Malformed, match=r"^data\.PERTOKEN_MAX_NUM_SEQS: "):
        parse_cap({"metadata": {}, "data": {"PERTOKEN_MAX_NUM_SEQS": text}})


@pytest.mark.parametrize("stamp", ["nan", "inf", "1e999", "-1", "9" * 5000])
def test_a_cap_without_a_time_of_change_was_always_there(stamp):
    marks = {"pertoken.dev/changed-at": stamp, "pertoken.dev/previous": "9" * 5000}
    obj = {"metadata": {"annotations": marks}, "data": {"PERTOKEN_MAX_NUM_SEQS": "8"}}
    assert parse_cap(obj) == BatchCap(8)


def test_foreign_annotations_do_not_crash():
    marks = {"pertoken.dev/changed-at": "yesterday", "pertoken.dev/previous": "x"}
    obj = {"metadata": {"annotations": marks}, "data": {"PERTOKEN_MAX_NUM_SEQS": "8"}}
    assert parse_cap(obj) == BatchCap(8)


def test_cap_changes_completes_and_is_owned_by_an_adopted_workload():
    first = initial_cap(Batching(max_sequences=128))
    change = SetBatchCap(KEY, "a100", TARGET, previous=128, value=96, reason=Reason.BATCH_CAP_LOWERED)
    rolling = cap_after(change, first, now=50.0)
    assert rolling == BatchCap(96, previous=128, changed_at=50.0, completed=False)
    done = CompleteBatchCap(KEY, "a100", TARGET, value=96, reason=Reason.BATCH_CHANGE_COMPLETED)
    assert cap_after(done, rolling, now=90.0) == BatchCap(96, previous=128, changed_at=50.0, completed=True)
    owner = workload_owner(TARGET, "u-9")
    config_map = cap_config_map(CapDocument(KEY, "a100", TARGET, rolling, owner))
    assert config_map["metadata"]["ownerReferences"] == [owner]


def test_names_fit_and_begin_with_a_letter():
    assert workload_name("chat", "a100") == "chat-a100"
    assert workload_name("7b", "a100") == "s7b-a100"
    long = workload_name("s" * 63, "v" * 63)
    assert len(long) <= 63
    assert len(cap_name(long)) <= 63
    assert cap_name(long).endswith("-batch")


def test_a_chunk_goes_with_its_cap():
    rolling = BatchCap(128, 128, 5.0, completed=False, chunk=512, previous_chunk=2048)
    config_map = cap_config_map(CapDocument(KEY, "a100", TARGET, rolling))

    assert config_map["data"] == {"PERTOKEN_MAX_NUM_SEQS": "128", "PERTOKEN_MAX_NUM_BATCHED_TOKENS": "512"}
    assert parse_cap(config_map) == rolling
    config_map["data"]["PERTOKEN_MAX_NUM_BATCHED_TOKENS"] = "many"
    with pytest.raises(Malformed, match="PERTOKEN_MAX_NUM_BATCHED_TOKENS"):
        parse_cap(config_map)


def test_a_change_without_a_chunk_keeps_the_one_that_templates_of_before_read():
    known = BatchCap(128, chunk=512)
    action = SetBatchCap(KEY, "a100", TARGET, 128, 64, Reason.BATCH_CAP_LOWERED)

    assert cap_after(action, known, 7.0).chunk == 512
    assert cap_after(replace(action, chunk=256, previous_chunk=512), known, 7.0).chunk == 256
