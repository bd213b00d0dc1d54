"""InferenceService: which model to serve, where, how fast and at what cost."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field, field_validator

from pertoken.api.v1alpha1.base import ATOMIC, LIST_LENGTH, Name, ReplicaCount, Strict, Text, keyed
from pertoken.api.v1alpha1.objective import BehaviorModel, Freeze, Objective, ScheduleEntry, WakeSignal
from pertoken.api.v1alpha1.variant import VariantModel
from pertoken.catalog import bounds


class Architecture(Strict):
    """Sizes of a model that the catalog does not hold, named as in the model's config.json."""

    hidden_size: int = Field(ge=1, le=bounds.WIDTH, description="Width of the residual stream.")
    num_hidden_layers: int = Field(ge=1, le=bounds.LAYERS, description="Number of layers.")
    num_attention_heads: int = Field(ge=1, le=bounds.HEADS, description="Query heads per layer.")
    num_key_value_heads: int | None = Field(
        default=None, ge=1, le=bounds.HEADS, description="KV heads. Default: the query heads."
    )
    head_dim: int | None = Field(
        default=None, ge=1, le=bounds.HEAD_WIDTH, description="Width of a head. Default: hiddenSize / heads."
    )
    intermediate_size: int = Field(ge=1, le=bounds.FFN, description="Width of the dense feed-forward layers.")
    vocab_size: int = Field(ge=1, le=bounds.VOCABULARY, description="Size of the vocabulary.")
    tie_word_embeddings: bool | None = Field(default=None, description="Input and output embeddings share weights.")
    max_position_embeddings: int | None = Field(
        default=None, ge=1, le=bounds.CONTEXT, description="Longest context in tokens."
    )
    num_experts: int | None = Field(
        default=None, ge=1, le=bounds.EXPERTS, description="Routed experts per layer of a mixture of experts."
    )
    num_experts_per_tok: int | None = Field(
        default=None, ge=1, le=bounds.EXPERTS, description="Experts that each token visits."
    )
    moe_intermediate_size: int | None = Field(default=None, ge=1, le=bounds.FFN, description="Width of one expert.")
    n_shared_experts: int | None = Field(
        default=None, ge=0, le=bounds.EXPERTS, description="Experts that every token visits."
    )
    first_k_dense_replace: int | None = Field(
        default=None, ge=0, le=bounds.LAYERS, description="Leading layers without experts."
    )
    kv_lora_rank: int | None = Field(
        default=None, ge=1, le=bounds.WIDTH, description="Latent KV width of multi-head latent attention."
    )
    qk_rope_head_dim: int | None = Field(
        default=None, ge=1, le=bounds.HEAD_WIDTH, description="Rotary part of a latent-attention head."
    )
    sliding_window: int | None = Field(
        default=None, ge=1, le=bounds.CONTEXT, description="Attention window in tokens, where limited."
    )
    config: dict[str, Any] | None = Field(
        default=None,
        max_length=bounds.CONFIG_KEYS,
        description="The model's config.json with its lists and nested objects. Keys not understood are named.",
    )

    @field_validator("config")
    @classmethod
    def _bounded(cls, config: dict[str, Any] | None) -> dict[str, Any] | None:
        if len(json.dumps(config, default=str)) > bounds.CONFIG_LETTERS:
            raise ValueError(f"a config.json of at most {bounds.CONFIG_LETTERS:,} characters")
        return config


class Model(Strict):
    """Which model is served."""

    id: Text | None = Field(default=None, description="Hugging Face id, e.g. meta-llama/Llama-3.1-8B-Instruct.")
    architecture: Architecture | None = Field(default=None, description="Sizes of a model the catalog does not hold.")
    served_name: Text | None = Field(default=None, description="Name under which the engine answers. Default: the id.")
    max_model_len: int | None = Field(
        default=None, ge=1, le=16_777_216, description="Longest context in tokens. Default: the model's own."
    )


class Metrics(Strict):
    """Where the service's metrics come from."""

    profile: Name = Field(default="default", description="Name of a metrics profile that the administrator set up.")


class InferenceServiceSpec(Strict):
    """What to serve and what it owes."""

    mode: Literal["Auto", "Recommend", "Off"] | None = Field(
        default=None,
        description='Auto carries decisions out, Recommend only shows them, "Off" (in quotes: YAML reads a bare Off as '
        "false) makes none. "
        "Unset: Auto when every variant has a podTemplate, else Recommend.",
    )
    deletion_policy: Literal["Delete", "Orphan"] = Field(
        default="Delete",
        description="What becomes of owned workloads when this object is deleted. Adopted workloads always stay.",
    )
    model: Model = Field(description="Which model is served.")
    objective: Objective | None = Field(default=None, description="What the service owes: cost and latency.")
    priority: int = Field(
        default=0, ge=-1000, le=1000, description="Who gets GPUs first when they are short; the higher goes first."
    )
    min_replicas: ReplicaCount = Field(
        default=1, description="Fewest replicas of all variants together; 0 lets it sleep."
    )
    idle_seconds: int = Field(
        default=600, ge=30, le=604_800, description="Time without requests before scaling to zero, in seconds."
    )
    wake_signal: WakeSignal | None = Field(
        default=None, description="What starts a replica again; required when every minimum is 0."
    )
    schedule: list[ScheduleEntry] | None = Field(
        default=None, max_length=LIST_LENGTH, json_schema_extra=ATOMIC, description="Minimums by time of day or week."
    )
    freeze: Freeze | None = Field(default=None, description="A time in which no replicas and no batch cap change.")
    variants: list[VariantModel] = Field(
        min_length=1,
        max_length=LIST_LENGTH,
        json_schema_extra=keyed("name"),
        description="Ways to serve the model, between which pertoken divides the load.",
    )
    behavior: BehaviorModel | None = Field(default=None, description="How fast replicas may move.")
    metrics: Metrics | None = Field(default=None, description="Where the service's metrics come from.")
