"""What users rely on, seen on a real API server and a real Prometheus."""

from __future__ import annotations

import json
import os
import time

import pytest
from typer.testing import CliRunner

from pertoken.cli.main import app

pytestmark = pytest.mark.e2e

# The module's conftest holds the stack; helpers come through the fixture `world`. Every test has a service of its own.


def test_a_service_gets_its_workload_and_a_readable_line(stack, world, serve):
    serve("line", 2)
    line = stack.kubectl("get", "ptis", "-n", world.namespace, "line").splitlines()

    assert line[0].split() == [
        "NAME", "MODEL", "REPLICAS", "DESIRED", "BATCH", "USD/1M", "INDEX", "GPU%", "READY", "AGE",
    ]  # fmt: skip
    assert line[1].split()[2:4] == ["2", "2"]
    assert stack.condition("line", "Accepted")["status"] == "True"


def test_users_objects_stay_free_of_the_framework(stack, serve):
    serve("free")
    meta = stack.service("free")["metadata"]

    assert "finalizers" not in meta
    assert not [key for key in meta.get("annotations", {}) if "kopf" in key or "last-handled" in key]


def test_the_cost_index_is_the_bill_over_the_price_list(stack, world, serve):
    serve("cost", 2)
    index = world.until(lambda: (stack.service("cost")["status"].get("cost") or {}).get("index"), 60)

    assert float(index) > 0
    assert world.until(lambda: stack.condition("cost", "WithinCostTarget").get("status") in {"True", "False"}, 60)


def test_the_last_plan_is_shown_stage_by_stage(stack, world, serve):
    serve("told")
    text = world.read(f"{stack.debug_url}/debug/plan?format=text")

    assert f"{world.namespace}/told" in text
    assert "  assess: " in text
    assert "  size: " in text


def test_what_the_flight_recorder_holds_replays_bit_for_bit(stack, world, serve, tmp_path):
    serve("recorded", 2)
    file = tmp_path / "recording.jsonl.gz"

    def replayed():
        file.write_bytes(world.fetch(f"{stack.debug_url}/debug/recording"))
        answer = CliRunner().invoke(app, ["replay", str(file), "-o", "json"])
        assert answer.exit_code == 0, answer.output
        return json.loads(answer.stdout)

    document = world.until(lambda: (told := replayed())["decisions"] >= 10 and told, 60)
    assert document["same"]

    def differs():
        replayed()
        changed = CliRunner().invoke(app, ["replay", str(file), "--set", "knee.prior=0.05", "-o", "json"])
        differences = json.loads(changed.stdout)["differences"]
        return changed.exit_code == 1 and f"{world.namespace}/recorded" in {each["service"] for each in differences}

    world.until(differs, 60)


def test_a_schedule_raises_the_minimum_once_the_freeze_is_lifted(stack, world):
    always = {"cron": "* * * * *", "timeZone": "Europe/Berlin", "durationSeconds": 120, "minReplicas": 2}
    freeze = {"endTime": "2099-01-01T00:00:00Z", "reason": "sale"}
    timed = world.manifest("timed", "timed", 2, minReplicas=1)
    stack.kubectl.apply(timed)
    world.until(lambda: stack.variant("timed").get("readyReplicas") == 1, 60)
    timed["spec"] |= {"schedule": [always], "freeze": freeze}
    stack.kubectl.apply(timed)
    world.until(lambda: stack.variant("timed").get("reason") == "Scheduled", 30)

    paused = stack.condition("timed", "Paused")
    assert (paused["status"], paused["reason"]) == ("True", "Frozen")
    assert paused["message"].startswith("frozen until 2099-01-01T00:00:00Z: sale")
    assert stack.condition("timed", "Accepted")["reason"] == "Accepted"
    assert stack.variant("timed")["desiredReplicas"] == 2
    assert stack.ready("timed") == 1
    lift = '[{"op": "remove", "path": "/spec/freeze"}]'
    stack.kubectl("patch", world.services, "-n", world.namespace, "timed", "--type=json", f"--patch={lift}")
    world.until(lambda: stack.ready("timed") == 2, 60)
    stack.kubectl("delete", world.services, "-n", world.namespace, "timed")


def test_a_template_that_the_server_refuses_is_named_and_nothing_is_half_applied(stack, world):
    bad = world.manifest("refused", "refused", 1)
    engine = bad["spec"]["variants"][0]["podTemplate"]["spec"]["containers"][0]
    engine["volumeMounts"] = [{"name": "nowhere", "mountPath": "/models"}]
    stack.kubectl.apply(bad)
    condition = world.until(
        lambda: (accepted := stack.condition("refused", "Accepted")).get("status") == "False" and accepted, 30
    )

    assert condition["reason"] == "TemplateRejected"
    assert "nowhere" in condition["message"]
    listed = stack.kubectl.json("get", "deployments,services,configmaps", "-n", world.namespace)["items"]
    assert not [each for each in listed if each["metadata"]["name"].startswith("refused")]
    stack.kubectl("delete", world.services, "-n", world.namespace, "refused")


def test_prometheus_down_moves_nothing_and_says_so(stack, world, serve):
    serve("outage", 2)
    stack.prometheus.stop()
    try:
        world.until(lambda: stack.condition("outage", "MetricsAvailable").get("status") == "False", 30)
        for _ in range(int(os.environ.get("PERTOKEN_TEST_OUTAGE_SECONDS", "20"))):
            deployment = stack.kubectl.json("get", "deployment", "-n", world.namespace, "outage-a")
            assert deployment["spec"]["replicas"] == 2
            time.sleep(1)
        assert stack.operator.running
    finally:
        stack.prometheus.start()
    world.until(lambda: stack.condition("outage", "MetricsAvailable").get("status") == "True", 60)


def test_pause_shows_decisions_and_acts_on_none(stack, world, serve):
    serve("pause")
    stack.kubectl("annotate", world.services, "-n", world.namespace, "pause", "pertoken.dev/paused=true")
    world.until(lambda: stack.condition("pause", "Paused").get("status") == "True", 30)
    stack.kubectl("annotate", world.services, "-n", world.namespace, "pause", "pertoken.dev/paused-")
    world.until(lambda: stack.condition("pause", "Paused").get("status") == "False", 30)


def test_the_commands_for_people_read_and_pause_services(stack, world, serve):
    def command(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, [*words, "--kubeconfig", str(stack.kubeconfig)])
        return result.exit_code, result.output

    serve("commands")
    code, text = command("status", "-n", world.namespace)
    assert code in {0, 1}
    assert "commands" in text
    code, text = command("explain", "commands", "-n", world.namespace)
    assert code == 0
    assert "MetricsAvailable=True" in text
    assert command("pause", "commands", "-n", world.namespace) == (0, f"{world.namespace}/commands is paused\n")
    world.until(lambda: stack.condition("commands", "Paused").get("status") == "True", 30)
    assert command("resume", "commands", "-n", world.namespace)[0] == 0
    world.until(lambda: stack.condition("commands", "Paused").get("status") == "False", 30)
    code, text = command("explain", "nobody", "-n", world.namespace)
    assert code == 1
    assert text == f"no InferenceService {world.namespace}/nobody\n"


def test_a_full_pool_rolls_its_cap_one_pod_at_a_time(stack, world, serve):
    serve("full", 3)
    lowest = 3

    def completed() -> bool:
        nonlocal lowest
        lowest = min(lowest, stack.ready("full"))
        annotations = stack.cap("full-a")["metadata"]["annotations"]
        return annotations.get("pertoken.dev/previous") is not None and annotations["pertoken.dev/completed"] == "true"

    world.until(completed, 240, every=0.2)
    assert lowest >= 2
    world.until(lambda: stack.ready("full") == 3, 60)
    assert [pod["status"]["phase"] for pod in stack.pods("full")] == ["Running"] * 3
    cap = int(stack.cap("full-a")["data"]["PERTOKEN_MAX_NUM_SEQS"])
    state = json.loads(world.read(f"{stack.fleet_url}/state"))
    assert {pod["cap"] for pod in state["pods"] if pod["name"].startswith("full-a")} == {cap}


def test_one_of_one_is_refused_with_its_reason(stack, world, serve):
    serve("single")
    uid = stack.pods("single")[0]["metadata"]["uid"]
    world.until(lambda: stack.variant("single").get("batchReason") == "BatchChangeWouldInterrupt", 120)

    assert stack.pods("single")[0]["metadata"]["uid"] == uid


def test_deleting_the_object_takes_its_workload_along(stack, world, serve):
    serve("gone")
    stack.kubectl("delete", world.services, "-n", world.namespace, "gone")
    world.until(lambda: not stack.pods("gone"), 60)


def test_a_clean_stop_is_quick_and_leaves_the_workload(stack, serve):
    serve("stopped", 2)
    stack.operator.stop()
    try:
        # It ended by itself, not because it was killed: a standby may lead at once.
        lease = stack.kubectl.json("get", "lease", "-n", "pertoken-system", "pertoken")
        assert not stack.operator.running
        assert not lease["spec"].get("holderIdentity")
        assert stack.ready("stopped") == 2
        assert "Traceback" not in stack.operator.log.read_text()
    finally:
        stack.operator.start()
