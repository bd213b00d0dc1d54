"""A valid service and pool, to be bent by each test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pertoken_sandbox.kubectl import Kubectl

ROOT = Path(__file__).parents[2]
Json = dict[str, Any]


@pytest.fixture
def service() -> Json:
    return {
        "apiVersion": "serving.pertoken.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": "chat", "namespace": "demo", "uid": "u-1", "generation": 3},
        "spec": {
            "model": {"id": "meta-llama/Llama-3.1-8B-Instruct"},
            "objective": {
                "cost": {"perMillionTokens": {"blended": "0.80"}},
                "latency": {"ttftMilliseconds": 2000, "interTokenMilliseconds": 40},
            },
            "variants": [
                {
                    "name": "a100",
                    "pool": "a100",
                    "maxReplicas": 4,
                    "podTemplate": {
                        "spec": {
                            "containers": [
                                {
                                    "name": "engine",
                                    "image": "vllm/vllm-openai:v0.32.0",
                                    "args": ["--model=meta-llama/Llama-3.1-8B-Instruct"],
                                    "resources": {"limits": {"nvidia.com/gpu": "1"}},
                                }
                            ]
                        }
                    },
                }
            ],
        },
    }


@pytest.fixture
def pool() -> Json:
    return {
        "apiVersion": "serving.pertoken.dev/v1alpha1",
        "kind": "AcceleratorPool",
        "metadata": {"name": "a100"},
        "spec": {
            "accelerator": "a100-sxm-80gb",
            "pricePerGPUHour": "1.29",
            "capacity": {"fromNodes": {"matchLabels": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}}},
        },
    }


@pytest.fixture
def plan() -> Json:
    return {
        "apiVersion": "serving.pertoken.dev/v1alpha1",
        "kind": "CapacityPlan",
        "metadata": {"name": "next-month"},
        "spec": {
            "services": [{"namespace": "demo", "name": "chat"}],
            "horizonDays": 14,
            "growth": {"percentPerMonth": "10"},
            "events": [
                {
                    "name": "launch",
                    "startTime": "2027-01-11T08:00:00Z",
                    "endTime": "2027-01-12T08:00:00+01:00",
                    "demandFactor": "1.5",
                }
            ],
            "budgetPerMonth": "12000",
            "pools": [
                {
                    "pool": "a100",
                    "gpusPerNode": 8,
                    "leadSeconds": 86400,
                    "onDemand": {"pricePerGPUHour": "2.45"},
                    "spot": {"pricePerGPUHour": "1.39"},
                    "reserved": [
                        {"name": "one-month", "termDays": 30, "pricePerGPUHour": "1.80"},
                        {
                            "name": "one-year",
                            "termDays": 365,
                            "pricePerGPUHour": "1.30",
                            "leadSeconds": 0,
                            "minNodes": 2,
                        },
                    ],
                }
            ],
        },
    }


@pytest.fixture
def route() -> Json:
    return {
        "apiVersion": "serving.pertoken.dev/v1alpha1",
        "kind": "ModelRoute",
        "metadata": {"name": "chat", "namespace": "default"},
        "spec": {
            "servedModelName": "chat",
            "qualityFloor": "0.78",
            "httpRoute": {"name": "chat"},
            "demandSignal": {"name": "route_requests"},
            "tiers": [
                {"name": "small", "service": "chat-small", "quality": "0.71"},
                {
                    "name": "large",
                    "service": "chat-large",
                    "quality": "0.86",
                    "backends": [{"kind": "InferencePool", "name": "chat-large"}],
                },
                {
                    "name": "api",
                    "external": {
                        "host": "api.example.com",
                        "secretRef": {"name": "provider", "key": "token"},
                        "perMillionTokens": {"input": "0.50", "output": "1.50"},
                    },
                    "quality": "0.90",
                    "backends": [{"kind": "Backend", "group": "gateway.envoyproxy.io", "name": "provider"}],
                },
            ],
        },
    }


@pytest.fixture(scope="session")
def crds(control_plane) -> Kubectl:
    """Kubectl of a control plane that serves pertoken's kinds."""
    kubectl = control_plane.kubectl
    kubectl.apply_files(sorted((ROOT / "crds").glob("*.yaml")))
    kinds = ("inferenceservices", "acceleratorpools", "capacityplans", "modelroutes")
    kubectl.await_crd(*(f"{kind}.serving.pertoken.dev" for kind in kinds))
    return kubectl
