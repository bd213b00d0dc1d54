"""One way to serve a model: pool, parallelism, engine, workload."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pertoken.api.v1alpha1.base import (
    ATOMIC,
    LIST_LENGTH,
    ApiVersion,
    KindName,
    Label,
    Name,
    Open,
    ReplicaCount,
    Strict,
    Subdomain,
)

ENGINE_VERSION = r"^v?[0-9]{1,4}\.[0-9]{1,4}(\.[0-9]{1,4})?$"


class ParallelismModel(Strict):
    """How one replica spreads over GPUs: tensor x pipeline x data of them."""

    tensor: int = Field(default=1, ge=1, le=256, description="Tensor-parallel size.")
    pipeline: int = Field(default=1, ge=1, le=256, description="Pipeline-parallel size.")
    data: int = Field(default=1, ge=1, le=256, description="Data-parallel size within one replica.")
    expert: int = Field(
        default=1, ge=1, le=256, description="Expert-parallel size; it reuses the GPUs of the other dimensions."
    )


class BatchingModel(Strict):
    """Bounds of the engine's cap on concurrently running sequences (max_num_seqs and its kin)."""

    mode: Literal["Auto", "Fixed"] = Field(
        default="Auto", description="Auto: pertoken moves the cap within the bounds. Fixed: it stays at maxSequences."
    )
    min_sequences: int | None = Field(
        default=None, ge=1, le=8192, description="Smallest cap. Default: 8, or maxSequences when that is less."
    )
    max_sequences: int | None = Field(
        default=None,
        ge=1,
        le=8192,
        description="Largest cap, and the first one. Default: 256, or minSequences when that is more.",
    )
    max_batched_tokens: int | None = Field(
        default=None,
        ge=1,
        le=1_048_576,
        description=(
            "Tokens per engine step (max_num_batched_tokens): what engines start with. With mode Auto pertoken may set "
            "fewer where they read it from PERTOKEN_MAX_NUM_BATCHED_TOKENS."
        ),
    )


class ContainerModel(Open):
    """A container; pertoken looks at its name only, the API server checks the rest."""

    name: Name = Field(description="Name of the container; the serving engine is the one named engine.")


class TemplatePodSpec(Open):
    """The pod's spec, as in a Deployment's template."""

    containers: list[ContainerModel] = Field(
        min_length=1,
        max_length=LIST_LENGTH,
        json_schema_extra=ATOMIC,
        description="Containers of the pod, one of them named engine.",
    )


class PodTemplate(Strict):
    """Template of the replicas' pods. pertoken owns a Deployment, a Service and a PodDisruptionBudget made from it."""

    metadata: dict[str, Any] | None = Field(
        default=None, max_length=LIST_LENGTH, description="Labels and annotations of the pods."
    )
    spec: TemplatePodSpec = Field(description="The pod's spec, with a container named engine.")


class ScaleTargetRef(Strict):
    """An existing workload of the service's namespace whose replicas pertoken sets through its scale subresource."""

    api_version: ApiVersion = Field(default="apps/v1", description="API group and version of the workload.")
    kind: KindName = Field(
        default="Deployment", description="Kind of the workload, one of those the administrator allowed."
    )
    name: Subdomain = Field(description="Name of the workload.")


class VariantModel(Strict):
    """GPU type x parallelism x engine configuration, with bounds on its replicas."""

    name: Label = Field(description="Name, unique within the service.")
    pool: Name = Field(description="AcceleratorPool on which the replicas run.")
    parallelism: ParallelismModel | None = Field(default=None, description="How one replica spreads over GPUs.")
    role: Literal["Combined", "Prefill", "Decode"] = Field(
        default="Combined", description="Phase that the replicas serve; Prefill and Decode are reserved."
    )
    quantization: Literal["bf16", "fp8", "int8", "int4", "mxfp4", "nvfp4"] = Field(
        default="bf16", description="Format of the weights as they are served."
    )
    min_replicas: ReplicaCount = Field(default=0, description="Fewest replicas of this variant.")
    max_replicas: int | None = Field(
        default=None, ge=1, le=1000, description="Most replicas of this variant. Default: minReplicas, at least 1."
    )
    batching: BatchingModel | None = Field(default=None, description="Bounds of the engine's batch size.")
    engine: Literal["vllm", "sglang", "generic"] = Field(default="vllm", description="Serving engine.")
    engine_version: str | None = Field(
        default=None,
        max_length=16,
        pattern=ENGINE_VERSION,
        description=(
            "Version of the engine, such as 0.32.0, where the image's tag does not tell it (another registry's image, "
            "a build of your own, a digest). Flags that only newer versions know, and defaults, depend on it."
        ),
    )
    pod_template: PodTemplate | None = Field(
        default=None, description="Pods of a workload that pertoken owns. Excludes scaleTargetRef."
    )
    scale_target_ref: ScaleTargetRef | None = Field(
        default=None, description="An existing workload that pertoken scales. Excludes podTemplate."
    )
