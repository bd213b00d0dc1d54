"""A valid service and pool, to be bent by each test."""

from __future__ import annotations

from typing import Any

import pytest

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
