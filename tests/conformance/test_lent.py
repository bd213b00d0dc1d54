"""What of the live comparison with KEDA needs no control plane."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from pertoken_sandbox.peers import lent
from pertoken_sandbox.peers.setting import LEAST, MOST, WORKLOAD, deployment

GUIDE = lent.DOCUMENT.read_text(encoding="utf-8")


def guided(kind: str) -> dict:
    blocks = GUIDE.split("```yaml\n")[1:]
    return next(found for block in blocks if (found := yaml.safe_load(block.split("```")[0])).get("kind") == kind)


def test_keda_is_asked_as_the_guide_says():
    theirs, ours = guided("ScaledObject")["spec"], lent.scaled_object(6000, "0")["spec"]
    (guide,), (run,) = theirs["triggers"], ours["triggers"]

    assert guide["type"] == run["type"] == "external-push"
    assert guide["metadata"].keys() == run["metadata"].keys()
    assert theirs["fallback"] == ours["fallback"]
    for way in ("scaleUp", "scaleDown"):
        rules = [each["advanced"]["horizontalPodAutoscalerConfig"]["behavior"][way] for each in (theirs, ours)]
        assert [rule.get("tolerance") for rule in rules] == ["0", "0"]
        assert rules[0].get("stabilizationWindowSeconds") == rules[1].get("stabilizationWindowSeconds")


@pytest.mark.parametrize("mode", ["Auto", "Recommend"])
def test_both_writers_get_the_same_service_on_the_same_deployment(mode):
    service, scaled = lent.adopted(mode), lent.scaled_object(6000, None)["spec"]
    (variant,) = service["spec"]["variants"]

    assert service["spec"]["mode"] == mode
    assert variant["scaleTargetRef"]["name"] == deployment()["metadata"]["name"] == WORKLOAD
    assert scaled["scaleTargetRef"]["name"] == WORKLOAD
    assert (variant["minReplicas"], variant["maxReplicas"]) == (LEAST, MOST)
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (LEAST, MOST)
    assert "tolerance" not in str(scaled)


def test_certificates_of_both_sides_are_of_one_authority(tmp_path: Path):
    scaler = lent.Scaler(tmp_path, 6000)
    secret, authentication = scaler.client()
    named = {each["key"] for each in authentication["spec"]["secretTargetRef"]}

    assert named == set(secret["data"])
    assert Path(scaler.environment()["PERTOKEN_SCALER_CLIENT_CA_FILE"]).read_text().startswith("-----BEGIN CERT")


def test_the_guide_has_the_kept_runs():
    kept = json.loads(lent.RESULTS.read_text(encoding="utf-8"))

    assert set(kept["runs"]) == set(lent.RUNS)
    for text in lent.sections(kept).values():
        assert text.strip() in GUIDE
