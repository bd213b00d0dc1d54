"""What the observer reads beside the inventory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from cycling import Silent
from watched import RULES, StandingClock, deployment, filled, service

from pertoken.adapters.catalog_files import CatalogFolder
from pertoken.api.conditions import rfc3339
from pertoken.control.caps import CapReader
from pertoken.control.creation import CreationEvents
from pertoken.control.observer import Observer
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.world import PlannerSettings
from pertoken.ports import Json, NotFound, Unavailable

STATEFUL = {"kind": "StatefulSet", "apiVersion": "apps/v1"}


class Reader:
    """Objects by name; one that is an exception is raised."""

    def __init__(self, **objects: Any) -> None:
        self.objects, self.asked = objects, []

    def get(self, ref: WorkloadRef) -> Json:
        self.asked.append(str(ref))
        kept_object = self.objects.get(ref.name, NotFound(ref.name))
        if isinstance(kept_object, Exception):
            raise kept_object
        return kept_object

    def list(self, plural: str) -> Any:
        raise AssertionError(plural)

    def scale(self, target: WorkloadRef) -> Json:
        raise AssertionError(target)


class Events:
    """Says why the pods of one target are not made."""

    def __init__(self, name: str) -> None:
        self.name = name

    def events(self, namespace: str, reason: str) -> list[Json]:
        involved = {"kind": "StatefulSet", "name": self.name, "namespace": namespace}
        stamp = rfc3339(StandingClock().now() - 60)
        return [{"involvedObject": involved, "reason": reason, "message": "exceeded quota", "lastTimestamp": stamp}]


def observer(reader: Reader, folder: Path | None = None, **sources: Silent) -> Observer:
    caps = CapReader(reader, StandingClock())
    return Observer(reader, sources, CatalogFolder(folder), caps, RULES, PlannerSettings())


def stateful(name: str) -> Json:
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", **deployment(name)}


def asking(name: str) -> Json:
    manifest = service(name)
    manifest["spec"]["variants"][0]["scaleTargetRef"] = {**STATEFUL, "name": name}
    return manifest


def test_every_profile_is_asked():
    sources = {"default": Silent(), "other": Silent()}

    assert set(observer(Reader(), **sources).measure()) == {"default", "other"}
    assert [source.asked for source in sources.values()] == [1, 1]
    assert observer(Reader()).measure() == {}


def test_a_profile_that_cannot_be_asked_costs_no_other_its_answer(caplog):
    told = observer(Reader(), default=Silent(RuntimeError("no such thing")), other=Silent()).measure()

    assert not told["default"].health.ok
    assert told["default"].health.why == "metrics profile default could not be asked: RuntimeError: no such thing"
    assert told["other"] == Silent().observe()
    assert "metrics profile default could not be asked" in caplog.text


def test_targets_without_a_watch_are_read_one_by_one_and_a_bad_one_leaves_the_others(caplog):
    names = ("gone", "here", "silent", "strange")
    reader = Reader(here=stateful("here"), silent=Unavailable("no answer"), strange={"kind": "StatefulSet"})
    inventory = filled(inferenceservices=[service("chat"), *(asking(name) for name in names)])
    surveyed = observer(reader).survey(inventory.snapshot())

    assert [ref.name for ref in surveyed.scalables if ref.kind == "StatefulSet"] == ["here"]
    assert len(reader.asked) == 4
    assert "silent cannot be read: no answer" in caplog.text
    assert "strange cannot be understood" in caplog.text


def test_events_say_why_pods_of_targets_without_a_watch_are_not_made():
    ready = stateful("ready") | {"status": {"readyReplicas": 9}}
    reader = Reader(refused=stateful("refused"), ready=ready, other=stateful("other"))
    inventory = filled(inferenceservices=[asking(name) for name in ("refused", "ready", "other")])
    clock = StandingClock()
    for name, words in (("refused", "exceeded quota"), ("ready", "")):
        seen = replace(observer(reader), creation=CreationEvents(Events(name), clock))
        failures = {ref.name: fact.failure for ref, fact in seen.survey(inventory.snapshot()).scalables.items()}
        assert failures == dict.fromkeys(("chat", "refused", "ready", "other"), "") | {name: words}


def test_caps_in_other_peoples_config_maps_are_read():
    variable = {"name": "PERTOKEN_MAX_NUM_SEQS", "valueFrom": {"configMapKeyRef": {"name": "theirs", "key": "cap"}}}
    target = deployment("chat")
    container = target["spec"]["template"]["spec"]["containers"][0]
    container.update(args=["--max-num-seqs=$(PERTOKEN_MAX_NUM_SEQS)"], env=[variable])
    reader = Reader(theirs={"data": {"cap": "48"}})
    seen = observer(reader)
    surveyed = seen.survey(filled(deployments=[target]).snapshot())
    world = seen.world(surveyed, {})

    assert list(surveyed.read_caps.values()) == [48]
    assert world.services[0].variants[0].workload.cap.value == 48


def test_the_catalogs_folder_is_read_for_each_world(tmp_path):
    seen = observer(Reader(), tmp_path)
    surveyed = seen.survey(filled().snapshot())
    before = seen.world(surveyed, {}).catalog
    (tmp_path / "rows.yaml").write_text(
        "gpus: [{id: abacus-9000, memoryGib: 80, bandwidthGBps: 3350, tflops: {bf16: 989}, source: s, asOf: 2026}]"
    )
    after = seen.world(surveyed, {}).catalog

    assert before.known_gpu("abacus-9000") is None
    assert after.known_gpu("abacus-9000").memory_gib == 80
