"""Valid manifests to vary."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
API = "serving.pertoken.dev/v1alpha1"
CAP_KEY = "PERTOKEN_MAX_NUM_SEQS"


def engine(*args: str, gpus: int = 1, image: str = "vllm/vllm-openai:v0.32.0", **container: Any) -> Json:
    """The container that serves `MODEL`; arguments come after the model's."""
    return {
        "name": "engine",
        "image": image,
        "args": [f"--model={MODEL}", *args],
        "ports": [{"containerPort": 8000, "name": "http"}],
        "resources": {"limits": {"nvidia.com/gpu": str(gpus)}},
        **container,
    }


def cap_reading_engine(workload: str, *args: str, **container: Any) -> Json:
    """An adopted engine that takes its batch cap from pertoken's ConfigMap."""
    reference = {"name": f"{workload}-batch", "key": CAP_KEY}
    variable = {"name": CAP_KEY, "valueFrom": {"configMapKeyRef": reference}}
    return engine(f"--max-num-seqs=$({CAP_KEY})", *args, env=[variable], **container)


def deployment(name: str, pool: str, replicas: int, containers: list[Json], **pod: Any) -> Json:
    """A Deployment on the nodes of a lab pool."""
    labels = {"app": name}
    spec = {
        "nodeSelector": {"pool": pool},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "terminationGracePeriodSeconds": 1,
        "containers": containers,
        **pod,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def adopted(workload: str, pool: str, *, kind: str = "Deployment", **variant: Any) -> Json:
    """A variant that scales an existing workload between 1 and 8 replicas."""
    target = {"apiVersion": "apps/v1", "kind": kind, "name": workload}
    return {"name": "a", "pool": pool, "minReplicas": 1, "maxReplicas": 8, "scaleTargetRef": target, **variant}


def owned(pool: str, *args: str, pod: Json | None = None, **variant: Any) -> Json:
    """A variant whose workload pertoken owns, between 1 and 8 replicas."""
    template = {"spec": {"terminationGracePeriodSeconds": 1, "containers": [engine(*args)], **(pod or {})}}
    return {"name": "a", "pool": pool, "minReplicas": 1, "maxReplicas": 8, "podTemplate": template, **variant}


def service(name: str, *variants: Json, **spec: Any) -> Json:
    """An InferenceService in mode Auto with generous objectives and no wait before scaling down."""
    return {
        "apiVersion": API,
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {
            "mode": "Auto",
            "model": {"id": MODEL},
            "objective": {
                "cost": {"perMillionTokens": {"blended": "1.00"}, "windowSeconds": 300},
                "latency": {"ttftMilliseconds": 4000, "interTokenMilliseconds": 75},
            },
            "minReplicas": 1,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 3}},
            "variants": list(variants),
            **spec,
        },
    }


def pool(name: str, *, accelerator: str = "a100-sxm-80gb", price: str = "2.45", **spec: Any) -> Json:
    """An AcceleratorPool over the nodes with the label ``pool: NAME``."""
    return {
        "apiVersion": API,
        "kind": "AcceleratorPool",
        "metadata": {"name": name},
        "spec": {
            "accelerator": accelerator,
            "pricePerGPUHour": price,
            "capacity": {"fromNodes": {"matchLabels": {"pool": name}}},
            "provisioningSeconds": 5,
            **spec,
        },
    }
