"""What of the live peers needs no control plane."""

from __future__ import annotations

import re

import pytest

from pertoken_sandbox import gobuild
from pertoken_sandbox.controlplane_commands import ControlPlaneSettings
from pertoken_sandbox.peers import adapter, follow, keda
from pertoken_sandbox.peers.aggregation import registration
from pertoken_sandbox.peers.live import LiveRun
from pertoken_sandbox.peers.live_tables import following, side_by_side, trajectories
from pertoken_sandbox.peers.setting import (
    LEAST,
    METRIC,
    MOST,
    autoscaler,
    control_plane_settings,
    deployment,
    scaled_object,
)


def test_adapter_answers_as_the_custom_metrics_api_does():
    answer = {
        "data": {
            "result": [
                {"metric": {"pod": "a-1"}, "value": [1700000000.25, "7"]},
                {"metric": {"pod": "a-2"}, "value": [1700000000.25, "0.5"]},
            ]
        }
    }
    values = adapter.value_list("shop", METRIC, answer)
    assert values["apiVersion"] == "custom.metrics.k8s.io/v1beta2"
    assert [(item["describedObject"]["name"], item["value"]) for item in values["items"]] == [
        ("a-1", "7000m"),
        ("a-2", "500m"),
    ]
    assert values["items"][0]["timestamp"] == "2023-11-14T22:13:20Z"
    assert adapter.series_of(METRIC) == "vllm:num_requests_waiting"
    (resource,) = adapter.resource_list((METRIC,))["resources"]
    assert (resource["name"], resource["namespaced"]) == (f"pods/{METRIC}", True)


def test_all_autoscalers_have_the_same_bounds_and_target():
    plain, object_ = autoscaler()["spec"], scaled_object("http://127.0.0.1:9090")["spec"]
    assert (plain["minReplicas"], plain["maxReplicas"]) == (LEAST, MOST)
    assert (object_["minReplicaCount"], object_["maxReplicaCount"]) == (LEAST, MOST)
    assert plain["metrics"][0]["pods"]["target"]["averageValue"] == object_["triggers"][0]["metadata"]["threshold"]
    assert "behavior" not in plain
    assert deployment()["spec"]["replicas"] == LEAST
    (container,) = deployment()["spec"]["template"]["spec"]["containers"]
    assert container["name"] == "engine"


def test_controllers_run_on_the_traces_clock():
    settings = control_plane_settings()
    assert settings.hpa_sync_seconds == ControlPlaneSettings().hpa_sync_seconds / 12
    assert settings.extra_controller_manager_args == ("--horizontal-pod-autoscaler-downscale-stabilization=25s",)


def test_an_api_service_leads_to_this_machine():
    namespace, service, api = registration("external.metrics.k8s.io", "v1beta1", "keda", 4443)
    assert namespace["metadata"]["name"] == service["metadata"]["namespace"] == api["spec"]["service"]["namespace"]
    assert service["spec"]["externalName"] == "localhost"
    assert api["metadata"]["name"] == "v1beta1.external.metrics.k8s.io"
    assert api["spec"]["service"]["name"] == service["metadata"]["name"]


def test_keda_is_the_version_that_its_tools_module_pins():
    text = (gobuild.module_folder("keda") / "go.mod").read_text(encoding="utf-8")
    assert re.search(rf"{re.escape(keda.MODULE)} v{re.escape(keda.VERSION)}\b", text)


@pytest.fixture(scope="module")
def followed() -> follow.Followed:
    return follow.follow("hpa-queue")


def test_the_comparing_scenario_moves_between_the_bounds(followed: follow.Followed):
    assert min(followed.ready) == LEAST
    assert max(followed.ready) == MOST
    length = followed.seconds[-1]
    assert LEAST * 290 / 3600 < followed.replica_hours < MOST * length / 3600


def test_live_and_simulated_stand_side_by_side(followed: follow.Followed):
    run = LiveRun("hpa-queue", [0.0, 10.0], [4, 6], [4, 4], 0.02, 0.0298, 200_000, 100, 0.9, 1500.0, None, [0, 1], 6)
    assert run.cold_start == pytest.approx(5.0)
    table = side_by_side({"hpa-queue": run})
    assert "| 0.020 | 0.030 | 0.1490 | 90.0% | 1500 ms | - | 5.0 | 4 to 6 |" in table
    assert f"{followed.replica_hours / 0.02:.3f}" in following({"hpa-queue": run}, {"hpa-queue": [followed]})
    assert trajectories({"hpa-queue": run}, {"hpa-queue": [followed]}).count("\n") == 3
