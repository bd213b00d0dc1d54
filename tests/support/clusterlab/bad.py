"""Manifests that no API server or operator may take for good: one valid one, one field made wrong at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from clusterlab import manifests
from clusterlab.kubelet import Json

_TEMPLATE = "spec.variants.0.podTemplate"
_ENGINE = f"{_TEMPLATE}.spec.containers.0"
_TYPES = (True, [1], {"a": 1}, "many")

# Whole numbers with their bounds.
_NUMBERS = {
    "spec.priority": (-1000, 1000),
    "spec.minReplicas": (0, 1000),
    "spec.idleSeconds": (30, 604_800),
    "spec.model.maxModelLen": (1, 16_777_216),
    "spec.objective.cost.windowSeconds": (60, 2_592_000),
    "spec.objective.latency.ttftMilliseconds": (1, 3_600_000),
    "spec.objective.latency.interTokenMilliseconds": (1, 3_600_000),
    "spec.objective.latency.percentile": (50, 99),
    "spec.behavior.scaleDown.stabilizationWindowSeconds": (0, 3600),
    "spec.variants.0.minReplicas": (0, 1000),
    "spec.variants.0.maxReplicas": (1, 1000),
    "spec.variants.0.batching.minSequences": (1, 8192),
    "spec.variants.0.batching.maxSequences": (1, 8192),
}
_WORDS = ("spec.mode", "spec.deletionPolicy", "spec.objective.cost.optimize", "spec.variants.0.engine")
_PRICES = ("spec.objective.cost.perMillionTokens.blended", "spec.objective.cost.maxSpendPerHour")
_NAMES = ("spec.variants.0.name", "spec.variants.0.pool")
_OBJECTS = (
    "spec.model",
    "spec.objective",
    "spec.objective.cost",
    "spec.objective.latency",
    "spec.behavior",
    "spec.freeze",
    "spec.variants.0.batching",
    _TEMPLATE,
    f"{_TEMPLATE}.spec",
)
_SINGLE: tuple[tuple[str, Any], ...] = (
    ("spec.variants", []),
    ("spec.variants", "a"),
    ("spec.model.id", 5),
    ("spec.model.id", "x" * 300),
    ("spec.freeze.endTime", "yesterday"),
    ("spec.freeze.endTime", "0000-13-45T99:99:99Z"),
    ("spec.objective.cost.perMillionTokens", {}),
    ("spec.objective.cost.perMillionTokens.input", "1.00"),
    ("spec.objective.cost.perMillionTokens.blended", "0"),
    ("spec.variants.0.name", "Upper"),
    ("spec.variants.0.name", "-a"),
    ("spec.variants.0.scaleTargetRef", {"name": "chat"}),
    ("spec.variants.0.parallelism", {"tensor": 0}),
    ("spec.schedule", [{"cron": "x", "durationSeconds": 60, "minReplicas": 1}]),
    ("spec.wakeSignal", {"source": "Telepathy"}),
    ("spec.wakeSignal", {"source": "ProfileSignal"}),
    ("spec.unheardOf", 1),
    ("spec.variants.0.unheardOf", 1),
    (f"{_TEMPLATE}.spec.containers", []),
    (f"{_TEMPLATE}.spec.containers", "engine"),
    (f"{_ENGINE}.name", "other"),
    (f"{_ENGINE}.image", 5),
    (f"{_ENGINE}.image", ""),
    (f"{_ENGINE}.args", "--model=x"),
    (f"{_ENGINE}.args", [5]),
    (f"{_ENGINE}.env", "x"),
    (f"{_ENGINE}.env", [{"value": "x"}]),
    (f"{_ENGINE}.ports", [{"containerPort": 99_999_999}]),
    (f"{_ENGINE}.ports", "8000"),
    (f"{_ENGINE}.resources", "all"),
    (f"{_ENGINE}.resources.limits", {"nvidia.com/gpu": "-1"}),
    (f"{_ENGINE}.resources.limits", {"nvidia.com/gpu": "0.5"}),
    (f"{_ENGINE}.resources.limits", {"nvidia.com/gpu": "²"}),
    (f"{_ENGINE}.resources.limits", {"nvidia.com/gpu": "9" * 5000}),
    (f"{_ENGINE}.resources.limits", {"nvidia.com/gpu": {"a": 1}}),
    (f"{_ENGINE}.imagePullPolicy", "Perhaps"),
    (f"{_ENGINE}.volumeMounts", [{"name": "nowhere", "mountPath": "/m"}]),
    (f"{_ENGINE}.securityContext", 5),
    (f"{_TEMPLATE}.spec.nodeSelector", "a100"),
    (f"{_TEMPLATE}.spec.tolerations", "all"),
    (f"{_TEMPLATE}.spec.affinity", "near"),
    (f"{_TEMPLATE}.spec.restartPolicy", "Never"),
    (f"{_TEMPLATE}.spec.terminationGracePeriodSeconds", "long"),
    (f"{_TEMPLATE}.spec.initContainers", "x"),
    (f"{_TEMPLATE}.metadata", "x"),
    (f"{_TEMPLATE}.metadata.labels", "x"),
    (f"{_TEMPLATE}.metadata.labels", {"a": "not a label!"}),
)


@dataclass(frozen=True)
class Bad:
    """A manifest with one wrong field.

    Attributes:
        field: its path, list indexes as numbers.
        value: what stands there.
        manifest: the whole.
    """

    field: str
    value: Any
    manifest: Json

    def __str__(self) -> str:
        return f"{self.field}={self.value!r}"[:80]

    def named_in(self, message: str) -> bool:
        """Whether a message names the field, or the part of the spec around it that the rule is about."""
        steps = [step for step in self.field.split(".") if not step.isdigit()]
        return steps[-1] in message or (len(steps) > 2 and steps[-2] in message)


def bad_services(pool: str) -> Iterator[Bad]:
    """More than 200 InferenceServices, each wrong in one field."""
    for index, (field, value) in enumerate(_faults()):
        manifest = copy.deepcopy(manifests.service(f"bad-{index}", manifests.owned(pool)))
        if field == "spec.freeze.endTime":
            manifest["spec"]["freeze"] = {}
        _set(manifest, field.split("."), value)
        yield Bad(field, value, manifest)


def _faults() -> Iterator[tuple[str, Any]]:
    for field, (low, high) in _NUMBERS.items():
        yield from ((field, value) for value in (low - 1, high + 1, 10**17, 1.5, *_TYPES))
    for field in _WORDS:
        yield from ((field, value) for value in ("Nonsense", 5, [], {}))
    for field in _PRICES:
        yield from ((field, value) for value in ("-1", "1e3", "", "1.", "NaN", "²", "9" * 25, 5, [], {}))
    for field in _NAMES:
        yield from ((field, value) for value in ("", "x" * 64, 5, [], {}))
    for field in _OBJECTS:
        yield from ((field, value) for value in ("text", 5, []))
    yield from _SINGLE


def _set(obj: Any, steps: list[str], value: Any) -> None:
    step, rest = steps[0], steps[1:]
    key: Any = int(step) if step.isdigit() else step
    if not rest:
        obj[key] = value
        return
    if isinstance(obj, dict) and key not in obj:
        obj[key] = {}
    _set(obj[key], rest, value)
