"""Workloads that serve a model: recognized by image, command line, labels, and by the metrics of their pods. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pertoken.api.serving import Serving, read_serving
from pertoken.cli.adopt.cluster import ClusterView
from pertoken.control.facts import controller_of, engine_container
from pertoken.control.targets import target_of
from pertoken.control.workloads import ScalableFact, scalable_fact
from pertoken.domain.cluster import PodFact
from pertoken.domain.identity import PodKey
from pertoken.ports import Json

ROLE_LABEL: Final = "llm-d.ai/role"
SPLIT_ROLES: Final = frozenset({"prefill", "decode", "encode"})
KSERVE_LABEL: Final = "serving.kserve.io/inferenceservice"
LLM_LABEL: Final = "app.kubernetes.io/part-of"
LLM_PART: Final = "llminferenceservice"
MANAGERS: Final = {"argocd.argoproj.io/instance": "Argo CD", "kustomize.toolkit.fluxcd.io/name": "Flux"}


@dataclass(frozen=True, slots=True)
class FoundEngine:
    """One workload that serves a model.

    Attributes:
        serving: what its manifest says.
        pods: living ones.
        platform: who makes the workload, in words; empty where a user or a tool of the user's does.
        container: name of the engine's container.
        remarks: what a reader should know, one sentence each.
    """

    target: ScalableFact
    serving: Serving
    pods: tuple[PodFact, ...]
    container: str
    platform: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Kind namespace/name."""
        return str(self.target.ref)


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found, and what was left out with the reason in words."""

    engines: tuple[FoundEngine, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MetricsSight:
    """What Prometheus shows of pods: the engine by the names of its metrics, and the model that it answers for."""

    engines: Mapping[PodKey, str]
    names: Mapping[PodKey, str]


NO_SIGHT: Final = MetricsSight({}, {})


def find_engines(view: ClusterView, sight: MetricsSight = NO_SIGHT) -> Discovery:
    """All workloads with an engine, by namespace and name."""
    engines: list[FoundEngine] = []
    left_out: list[str] = []
    for workload in view.workloads:
        named = f"{workload.get('kind')} {workload['metadata'].get('namespace')}/{workload['metadata'].get('name')}"
        try:
            engine = _read(workload, view, sight)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            left_out.append(f"{named}: cannot be read: {error}")
            continue
        if engine is None:
            continue
        reason = _refused(engine, workload, view)
        if reason:
            left_out.append(f"{named}: {reason}")
        else:
            engines.append(engine)
    order = sorted(engines, key=lambda engine: (engine.target.ref.namespace, engine.target.ref.name))
    return Discovery(tuple(order), tuple(left_out))


def _read(workload: Json, view: ClusterView, sight: MetricsSight) -> FoundEngine | None:
    owner = controller_of(workload)
    if owner is not None and owner.kind in {"LeaderWorkerSet", "Deployment", "StatefulSet"}:
        return None  # a part of a workload that is looked at itself
    target = scalable_fact(workload)
    pods = tuple(pod for pod in view.pods if pod.workload == target.ref and not pod.ended)
    template = _template(workload.get("spec") or {})
    spec, metadata = template.get("spec") or {}, _labelled(workload, template)
    serving, container = _serving(spec, metadata)
    shown = next((sight.engines[pod.key] for pod in pods if sight.engines.get(pod.key)), "")
    if not serving.engine and not shown:
        return None
    remarks = []
    own = engine_container(spec)
    if container and container != own:
        remarks.append(f"container {container} is the engine, but pertoken reads {own}: rename the engine's to engine")
    if not serving.engine:
        serving = Serving(engine=shown)
        remarks.append("the image and its arguments tell no engine; its metrics do")
    if not serving.name:
        name = next((sight.names[pod.key] for pod in pods if sight.names.get(pod.key)), "")
        serving = replace(serving, served_name=name)
    platform, more = _platform(workload, metadata)
    return FoundEngine(target, serving, pods, container or own, platform, (*remarks, *more))


def _refused(engine: FoundEngine, workload: Json, view: ClusterView) -> str:
    """Why it is not adopted; empty if it is."""
    if engine.target.made_for:
        return f"pertoken made it for InferenceService {engine.target.made_for}"
    holder = view.adopted.get(target_of(engine.target.ref))
    if holder:
        return f"InferenceService {holder} has it already"
    role = str(_labelled(workload, _template(workload.get("spec") or {}))["labels"].get(ROLE_LABEL) or "")
    if role in SPLIT_ROLES:
        return f"it serves {role} alone ({ROLE_LABEL}): roles are not planned yet (docs/limits.md)"
    return ""


def _template(spec: Json) -> Json:
    """Of the pods that answer requests."""
    group = spec.get("leaderWorkerTemplate")
    if group is None:
        return dict(spec.get("template") or {})
    return dict(group.get("leaderTemplate") or group.get("workerTemplate") or {})


def _labelled(workload: Json, template: Json) -> Json:
    """Labels and annotations of the workload and of its template together."""
    parts = [workload.get("metadata") or {}, template.get("metadata") or {}]
    fields = ("labels", "annotations")
    return {field: {key: value for part in parts for key, value in (part.get(field) or {}).items()} for field in fields}


def _serving(spec: Json, metadata: Json) -> tuple[Serving, str]:
    """Of the container that pertoken reads, else of the first other one that runs an engine."""
    containers: Sequence[Mapping[str, Any]] = spec.get("containers") or ()
    own = engine_container(spec)
    for container in sorted(containers, key=lambda each: each.get("name") != own):
        serving = read_serving(container, metadata)
        if serving.engine:
            return serving, str(container.get("name", ""))
    return Serving(), ""


def _platform(workload: Json, metadata: Json) -> tuple[str, tuple[str, ...]]:
    labels, owner = metadata["labels"], controller_of(workload)
    if labels.get(KSERVE_LABEL) and labels.get(LLM_LABEL) != LLM_PART:
        remark = (
            "KServe makes this workload: before mode: Auto annotate its InferenceService with "
            "serving.kserve.io/autoscalerClass: external, else KServe sets the replicas back"
        )
        return f"KServe InferenceService {labels[KSERVE_LABEL]}", (remark,)
    if labels.get(LLM_LABEL) == LLM_PART:
        name = labels.get("app.kubernetes.io/name") or (owner.name if owner else "")
        remark = (
            "an LLMInferenceService makes this workload and sets its replicas back: keep mode: Recommend, or leave "
            "spec.replicas of the LLMInferenceService out"
        )
        return f"LLMInferenceService {name}", (remark,)
    if any(name.startswith("llm-d.ai/") for name in labels):
        return "llm-d", tuple(_tools(labels))
    return "", tuple(_tools(labels))


def _tools(labels: Mapping[str, Any]) -> Iterator[str]:
    for label, tool in MANAGERS.items():
        if labels.get(label):
            yield (
                f"{tool} applies this workload: before mode: Auto leave replicas out of its manifest, or let {tool} "
                "ignore them"
            )
