"""What all live runs share: the demo's fleet and trace, one clock, the same bounds; and each autoscaler's settings.

The demo plays an hour in five minutes, and pertoken's cycle and scrapes follow that clock. So do the peers' times: the
HPA controller's sync period and downscale window, KEDA's polling and cooldown. Targets are not touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from pertoken_sandbox.controlplane_commands import ControlPlaneSettings
from pertoken_sandbox.demo.setting import EXAMPLES, NAMESPACE, SERVICE, Setting

SPEED: Final = 12.0
TRACE_SECONDS: Final = 3502.0
LEAST, MOST = 4, 24  # replicas; every run begins with the least
WAITING_TARGET: Final = 5  # waiting requests per replica: vLLM production-stack, for HPA and KEDA alike
SYNC_SECONDS: Final = 15.0 / SPEED
DOWN_WINDOW_SECONDS: Final = 300.0 / SPEED
POLLING_SECONDS: Final = 1  # 15 s of the production stack / 12; KEDA takes whole seconds
COOLDOWN_SECONDS: Final = 30  # 360 s / 12
WORKLOAD: Final = "chat-a100"
METRIC: Final = "vllm_num_requests_waiting"

PEERS: Final = ("hpa-queue", "keda-waiting", "pertoken")


def demo_setting() -> Setting:
    """Fleet, trace and clock of the runs."""
    return Setting(speed=SPEED)


def control_plane_settings() -> ControlPlaneSettings:
    """The HPA controller on the same clock as the trace."""
    return ControlPlaneSettings(
        hpa_sync_seconds=SYNC_SECONDS,
        extra_controller_manager_args=(
            f"--horizontal-pod-autoscaler-downscale-stabilization={DOWN_WINDOW_SECONDS:g}s",
        ),
    )


def example(kind: str) -> dict[str, Any]:
    """The demo's manifest of a kind.

    Raises:
        LookupError: there is none.
    """
    for path in sorted(EXAMPLES.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if document and document["kind"] == kind:
                return dict(document)
    raise LookupError(f"{EXAMPLES} holds no {kind}")


def deployment() -> dict[str, Any]:
    """The same containers as a plain Deployment, as somebody without pertoken has it."""
    (variant,) = example("InferenceService")["spec"]["variants"]
    labels = {"app": WORKLOAD, "serving.pertoken.dev/service": SERVICE}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": WORKLOAD, "namespace": NAMESPACE},
        "spec": {
            "replicas": LEAST,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": variant["podTemplate"]["spec"]},
        },
    }


def autoscaler() -> dict[str, Any]:
    """A HorizontalPodAutoscaler on waiting requests, without `behavior`."""
    metric = {
        "type": "Pods",
        "pods": {
            "metric": {"name": METRIC},
            "target": {"type": "AverageValue", "averageValue": str(WAITING_TARGET)},
        },
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": WORKLOAD, "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": WORKLOAD},
            "minReplicas": LEAST,
            "maxReplicas": MOST,
            "metrics": [metric],
        },
    }


def scaled_object(prometheus_url: str) -> dict[str, Any]:
    """KEDA's ScaledObject of vLLM's production stack."""
    trigger = {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": prometheus_url,
            "query": f'sum(vllm:num_requests_waiting{{namespace="{NAMESPACE}"}})',
            "threshold": str(WAITING_TARGET),
        },
    }
    return scaled_by(trigger)


def scaled_by(trigger: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A ScaledObject of the workload; `more` goes into its spec."""
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": WORKLOAD, "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"name": WORKLOAD},
            "minReplicaCount": LEAST,
            "maxReplicaCount": MOST,
            "pollingInterval": POLLING_SECONDS,
            "cooldownPeriod": COOLDOWN_SECONDS,
            "triggers": [trigger],
            **more,
        },
    }
