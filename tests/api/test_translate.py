from __future__ import annotations

import copy
from datetime import datetime
from decimal import Decimal

import pytest

from pertoken.api.translate import AcceptedPool, AcceptedService, Rejected, translate_pool, translate_service
from pertoken.catalog.architecture import read_facts
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.service import DEFAULT_SCALE_UP, Batching, Mode, PolicyType, ScheduledMinimum, SelectPolicy


def accepted(obj) -> AcceptedService:
    result = translate_service(obj)
    assert isinstance(result, AcceptedService), result
    return result


def accepted_pool(obj) -> AcceptedPool:
    result = translate_pool(obj)
    assert isinstance(result, AcceptedPool), result
    return result


def paths(result) -> list[str]:
    assert isinstance(result, Rejected), result
    return [error.path for error in result.errors]


def test_owned_service(service):
    translated = accepted(service)
    spec = translated.spec
    assert (spec.key.namespace, spec.key.name, spec.uid, spec.generation) == ("demo", "chat", "u-1", 3)
    assert spec.mode is Mode.AUTO
    assert spec.cost is not None
    assert spec.cost.prices.input == spec.cost.prices.cached_input == spec.cost.prices.output == Decimal("0.80")
    assert (spec.latency.ttft_seconds, spec.latency.inter_token_seconds, spec.latency.percentile) == (2.0, 0.04, 95)
    variant = spec.variants[0]
    assert variant.owned
    assert variant.workload == WorkloadRef("apps/v1", "Deployment", "demo", "chat-a100")
    assert translated.templates["a100"]["spec"]["containers"][0]["image"] == "vllm/vllm-openai:v0.32.0"
    assert translated.not_acted_on == ()


def test_adopted_service_only_recommends_until_told_otherwise(service):
    variant = service["spec"]["variants"][0]
    del variant["podTemplate"]
    variant["scaleTargetRef"] = {"kind": "StatefulSet", "name": "server"}
    spec = accepted(service).spec
    assert spec.mode is Mode.RECOMMEND
    assert spec.variants[0].workload == WorkloadRef("apps/v1", "StatefulSet", "demo", "server")
    service["spec"]["mode"] = "Auto"
    assert accepted(service).spec.mode is Mode.AUTO


def test_one_adopted_variant_is_enough_to_recommend_only(service):
    service["spec"]["variants"].append({"name": "b", "pool": "a100", "scaleTargetRef": {"name": "server"}})
    assert accepted(service).spec.mode is Mode.RECOMMEND


@pytest.mark.parametrize(("annotation", "paused"), [("true", True), ("false", False), ("", False)])
def test_pause_annotation(service, annotation, paused):
    service["metadata"]["annotations"] = {"pertoken.dev/paused": annotation}
    assert accepted(service).spec.paused is paused


def test_price_list_and_cached_price(service):
    service["spec"]["objective"]["cost"]["perMillionTokens"] = {"input": "0.10", "output": "0.40"}
    prices = accepted(service).spec.cost.prices
    assert (prices.input, prices.cached_input, prices.output) == (Decimal("0.10"), Decimal("0.10"), Decimal("0.40"))
    service["spec"]["objective"]["cost"]["perMillionTokens"]["cachedInput"] = "0"
    assert accepted(service).spec.cost.prices.cached_input == 0


@pytest.mark.parametrize(
    ("given", "low", "high"),
    [
        ({}, 8, 256),
        ({"maxSequences": 4}, 4, 4),
        ({"minSequences": 512}, 512, 512),
        ({"minSequences": 16, "maxSequences": 32}, 16, 32),
    ],
)
def test_unset_batch_bounds_give_way(service, given, low, high):
    service["spec"]["variants"][0]["batching"] = given
    batching = accepted(service).spec.variants[0].batching
    assert (batching.min_sequences, batching.max_sequences) == (low, high)
    assert batching.mode is Batching().mode


def test_unset_maximum_follows_the_minimum(service):
    variant = service["spec"]["variants"][0]
    del variant["maxReplicas"]
    assert accepted(service).spec.variants[0].max_replicas == 1
    variant["minReplicas"] = 3
    assert accepted(service).spec.variants[0].max_replicas == 3


def test_behavior_takes_defaults_per_field(service):
    service["spec"]["behavior"] = {
        "scaleUp": {"selectPolicy": "Disabled"},
        "scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
    }
    behavior = accepted(service).spec.behavior
    assert behavior.scale_up.select is SelectPolicy.DISABLED
    assert behavior.scale_up.policies == DEFAULT_SCALE_UP.policies
    assert behavior.scale_down.stabilization_seconds is None
    assert [(p.type, p.value) for p in behavior.scale_down.policies] == [(PolicyType.PODS, 1)]


def test_inline_architecture_has_the_names_of_config_json(service):
    service["spec"]["model"] = {
        "servedName": "mine",
        "architecture": {
            "hiddenSize": 4096,
            "numHiddenLayers": 32,
            "numAttentionHeads": 32,
            "numKeyValueHeads": 8,
            "intermediateSize": 14336,
            "vocabSize": 128256,
        },
    }
    model = accepted(service).spec.model
    assert model.served_name == "mine"
    assert dict(model.architecture or ())["num_key_value_heads"] == 8


def test_an_inline_config_keeps_its_lists_and_objects(service):
    kinds = ["full_attention"] * 8 + ["sliding_attention"] * 24
    figures = {"hiddenSize": 4096, "numHiddenLayers": 32, "numAttentionHeads": 32, "intermediateSize": 14336}
    config = {"layer_types": kinds, "sliding_window": 1024, "quantization_config": {"quant_method": "fp8"}}
    service["spec"]["model"] = {
        "servedName": "mine",
        "architecture": {**figures, "vocabSize": 128256, "config": config},
    }
    facts = accepted(service).spec.model.architecture
    assert hash(facts)
    row = read_facts("mine", facts)
    assert (row.windowed_layers, row.window, row.native_quantization) == (24, 1024, "fp8")


def test_an_inline_config_is_bounded(service):
    figures = {"hiddenSize": 1, "numHiddenLayers": 1, "numAttentionHeads": 1, "intermediateSize": 1, "vocabSize": 1}
    service["spec"]["model"] = {"servedName": "m", "architecture": {**figures, "config": {"x": ["y" * 64] * 2_000}}}
    rejected = translate_service(service)
    assert isinstance(rejected, Rejected)
    assert rejected.errors[0].path == "spec.model.architecture.config"


def test_long_names_are_hashed_and_stay_different(service):
    service["metadata"]["name"] = "s" * 60
    first = accepted(service).spec.variants[0].workload.name
    service["spec"]["variants"][0]["name"] = "a100b"
    second = accepted(service).spec.variants[0].workload.name
    assert len(first) <= 63
    assert len(second) <= 63
    assert first != second


def test_fields_without_effect_are_named(service):
    spec = service["spec"]
    spec["objective"]["cost"].update(optimize="Latency", whenInfeasible="KeepCost", maxSpendPerHour="20")
    spec["objective"]["latency"]["stallMilliseconds"] = 500
    spec["variants"][0]["role"] = "Prefill"
    spec["schedule"] = [{"cron": "0 8 * * 1-5", "durationSeconds": 36000, "minReplicas": 2}]
    spec["variants"][0]["parallelism"] = {"tensor": 1, "expert": 4}
    assert accepted(service).not_acted_on == ("spec.variants[0].role",)
    assert accepted(service).spec.latency.stall_seconds == 0.5


def test_cost_objectives_act_for_any_number_of_variants(service):
    spec = service["spec"]
    spec["objective"]["cost"].update(optimize="Latency", whenInfeasible="KeepCost", hardLimitFactor="3")
    spec["variants"].append({**spec["variants"][0], "name": "second"})
    assert accepted(service).not_acted_on == ()


def test_defaults_written_out_are_not_called_without_effect(service):
    """The API server writes defaults into every object."""
    service["spec"]["objective"]["cost"].update(optimize="Cost", whenInfeasible="KeepLatency", windowSeconds=86400)
    service["spec"]["variants"][0].update(role="Combined", engine="vllm", parallelism={"expert": 1})
    service["spec"]["metrics"] = {"profile": "default"}
    assert accepted(service).not_acted_on == ()


def test_a_metrics_profile_acts(service):
    service["spec"]["metrics"] = {"profile": "team-b"}
    assert accepted(service).not_acted_on == ()
    assert accepted(service).spec.metrics_profile == "team-b"


def test_all_mistakes_at_once(service):
    service["spec"]["objektive"] = {}
    service["spec"]["objective"]["cost"]["perMillionTokens"] = {"blended": 0.8}
    service["spec"]["variants"][0]["minReplicas"] = 5
    assert set(paths(translate_service(service))) == {
        "spec.objektive",
        "spec.objective.cost.perMillionTokens.blended",
        "spec.variants[0].maxReplicas",
    }


def test_misspelt_field_is_suggested(service):
    service["spec"]["variants"][0]["maxReplica"] = 3
    result = translate_service(service)
    assert isinstance(result, Rejected)
    assert "did you mean maxReplicas?" in result.message


@pytest.mark.parametrize("spec", [None, [], "x", {}, {"variants": [None, 3]}, {"variants": "x", "model": 1}])
def test_no_shape_crashes_the_reader(spec):
    assert isinstance(translate_service({"metadata": {"name": "x"}, "spec": spec}), Rejected)
    assert isinstance(translate_pool({"metadata": {"name": "x"}, "spec": spec}), Rejected)
    assert isinstance(translate_pool({"spec": spec}), Rejected)


def test_null_means_unset(service):
    service["spec"]["freeze"] = None
    service["spec"]["variants"][0]["scaleTargetRef"] = None
    service["spec"]["priority"] = None
    assert accepted(service).spec.priority == 0


def test_pool(pool):
    pool["spec"].update(
        maxGPUs=8,
        provisioningSeconds=120,
        access=[{"namespaceSelector": {"matchLabels": {"team": "a"}}, "maxGPUs": 4}, {}],
    )
    spec = accepted_pool(pool).spec
    assert spec.price_per_gpu_hour == Decimal("1.29")
    assert spec.node_selector == (("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB"),)
    assert (spec.max_gpus, spec.provisioning_seconds, spec.capacity_gpus) == (8, 120, None)
    assert [(rule.namespace_labels, rule.max_gpus) for rule in spec.access] == [((("team", "a"),), 4), ((), None)]


def test_pool_fields_without_effect(pool):
    pool["spec"].update(billing="PerNode", committedGPUs=4, gpuFraction="0.5", access=[{"guaranteedGPUs": 1}])
    del pool["spec"]["pricePerGPUHour"]
    pool["spec"]["priceFrom"] = {"source": "OpenCost"}
    assert accepted_pool(pool).not_acted_on == ("spec.priceFrom",)


def test_translation_leaves_the_object_alone(service):
    before = copy.deepcopy(service)
    accepted(service)
    assert service == before


def test_a_schedule_is_acted_upon(service):
    entry = {"cron": "0 8 * * 1-5", "timeZone": "Europe/Berlin", "durationSeconds": 36000, "minReplicas": 2}
    service["spec"]["schedule"] = [entry, {"cron": "0 0 1 * *", "durationSeconds": 3600, "minReplicas": 1}]

    assert accepted(service).spec.schedule == (
        ScheduledMinimum("0 8 * * 1-5", "Europe/Berlin", 36000, 2),
        ScheduledMinimum("0 0 1 * *", "Etc/UTC", 3600, 1),
    )
    assert "spec.schedule" not in accepted(service).not_acted_on


@pytest.mark.parametrize(
    ("changed", "path", "words"),
    [
        ({"cron": "61 8 * * 1-5"}, "spec.schedule[0].cron", "five cron fields"),
        ({"cron": "0 0 8 * * 1-5"}, "spec.schedule[0].cron", "five cron fields"),
        ({"cron": "0 0 31 2 *"}, "spec.schedule[0].cron", "five cron fields"),
        ({"cron": "every day"}, "spec.schedule[0].cron", "five cron fields"),
        ({"timeZone": "Mars/Olympus"}, "spec.schedule[0].timeZone", "an IANA time zone"),
        ({"timeZone": "/etc/passwd"}, "spec.schedule[0].timeZone", "an IANA time zone"),
        ({"timeZone": "../Europe/Berlin"}, "spec.schedule[0].timeZone", "an IANA time zone"),
    ],
)
def test_a_schedule_that_never_comes_is_refused(service, changed, path, words):
    entry = {"cron": "0 8 * * 1-5", "durationSeconds": 36000, "minReplicas": 2}
    service["spec"]["schedule"] = [entry | changed]
    result = translate_service(service)
    assert isinstance(result, Rejected), result
    (mistake,) = result.errors

    assert mistake.path == path
    assert words in mistake.expectation


@pytest.mark.parametrize(
    ("given", "holds"),
    [
        ({"endTime": "2026-12-27T00:00:00Z"}, (True, True, False)),
        ({"startTime": "2026-12-24T00:00:00+01:00", "endTime": "2026-12-27T00:00:00Z"}, (False, True, False)),
    ],
)
def test_a_freeze_is_acted_upon(service, given, holds):
    service["spec"]["freeze"] = given | {"reason": "holidays"}
    freeze = accepted(service).spec.freeze
    moments = ("2026-12-23T22:59:59+00:00", "2026-12-23T23:00:00+00:00", "2026-12-27T00:00:00+00:00")

    assert tuple(freeze.holds(datetime.fromisoformat(text).timestamp()) for text in moments) == holds
    assert str(freeze).endswith("until 2026-12-27T00:00:00Z: holidays")
    assert "spec.freeze" not in accepted(service).not_acted_on


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"source": "GatewayQueue"}, ""),
        ({"source": "GatewayQueue", "name": "held"}, ""),
        ({"source": "ProfileSignal", "name": "held"}, "held"),
    ],
)
def test_a_wake_signal_is_acted_upon(service, given, name):
    service["spec"]["wakeSignal"] = given

    assert accepted(service).spec.wake_signal == name
    assert accepted(service).not_acted_on == ()
