"""Objects as the API server stores them -> domain values. Mistakes come back as values, all at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from pertoken.api.errors import FieldError, Rejected, depth_error, model_errors, rule_errors
from pertoken.api.naming import workload_name
from pertoken.api.not_acted_on import POOL_FIELDS, SERVICE_FIELDS, inert_fields
from pertoken.api.rules import POOL_RULES, SERVICE_RULES, Rule
from pertoken.api.v1alpha1.accelerator_pool import AcceleratorPoolSpec, Access
from pertoken.api.v1alpha1.inference_service import InferenceServiceSpec
from pertoken.api.v1alpha1.inference_service import Model as ApiModel
from pertoken.api.v1alpha1.objective import (
    BehaviorModel,
    CostTarget,
    LatencyTarget,
    PerMillionTokens,
    ScalingRulesModel,
    WakeSignal,
)
from pertoken.api.v1alpha1.objective import Freeze as FreezeModel
from pertoken.api.v1alpha1.variant import BatchingModel, ParallelismModel, VariantModel
from pertoken.domain.identity import ServiceKey, WorkloadRef
from pertoken.domain.pool import AccessRule, Billing, PoolSpec, Purchase
from pertoken.domain.service import (
    DEFAULT_SCALE_DOWN,
    DEFAULT_SCALE_UP,
    Batching,
    BatchingMode,
    Behavior,
    CostObjective,
    EngineKind,
    Freeze,
    LatencyObjective,
    Mode,
    ModelSpec,
    Optimize,
    Parallelism,
    PolicyType,
    PriceList,
    ScalingPolicy,
    ScalingRules,
    ScheduledMinimum,
    SelectPolicy,
    ServiceSpec,
    VariantSpec,
    WhenInfeasible,
)

PAUSED_ANNOTATION: Final = "pertoken.dev/paused"
MILLISECONDS_PER_SECOND: Final = 1000.0

Json = dict[str, Any]
ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class AcceptedService:
    """An InferenceService that can be planned.

    Attributes:
        not_acted_on: paths of set fields that this version does not act upon.
        templates: raw podTemplate by the name of the owned variant.
        orphan: owned workloads outlive the object (deletionPolicy Orphan).
    """

    spec: ServiceSpec
    not_acted_on: tuple[str, ...] = ()
    templates: Mapping[str, Json] = field(default_factory=dict)
    orphan: bool = False


@dataclass(frozen=True, slots=True)
class AcceptedPool:
    """An AcceleratorPool that can be planned with."""

    spec: PoolSpec
    uid: str = ""
    generation: int = 0
    not_acted_on: tuple[str, ...] = ()


def translate_service(obj: Mapping[str, Any]) -> AcceptedService | Rejected:
    """An InferenceService manifest, defaulted by the API server or not."""
    spec = read_spec(obj, InferenceServiceSpec, SERVICE_RULES)
    if isinstance(spec, Rejected):
        return spec
    metadata = obj["metadata"]
    key = ServiceKey(metadata.get("namespace", "default"), metadata["name"])
    service = ServiceSpec(
        key=key,
        uid=metadata.get("uid", ""),
        generation=metadata.get("generation", 0),
        model=_model(spec.model, key),
        variants=tuple(_variant(variant, key) for variant in spec.variants),
        mode=_mode(spec),
        paused=(metadata.get("annotations") or {}).get(PAUSED_ANNOTATION) == "true",
        cost=_cost(spec.objective.cost) if spec.objective and spec.objective.cost else None,
        latency=_latency(spec.objective.latency) if spec.objective and spec.objective.latency else LatencyObjective(),
        behavior=_behavior(spec.behavior),
        priority=spec.priority,
        min_replicas=spec.min_replicas,
        idle_seconds=spec.idle_seconds,
        metrics_profile=spec.metrics.profile if spec.metrics else "default",
        schedule=tuple(
            ScheduledMinimum(entry.cron, entry.time_zone, entry.duration_seconds, entry.min_replicas)
            for entry in spec.schedule or ()
        ),
        wake_signal=_wake_signal(spec.wake_signal),
        freeze=_freeze(spec.freeze) if spec.freeze else None,
    )
    templates = {v["name"]: v["podTemplate"] for v in obj["spec"]["variants"] if v.get("podTemplate") is not None}
    return AcceptedService(
        spec=service,
        not_acted_on=inert_fields(obj, SERVICE_FIELDS),
        templates=templates,
        orphan=spec.deletion_policy == "Orphan",
    )


def translate_pool(obj: Mapping[str, Any]) -> AcceptedPool | Rejected:
    """An AcceleratorPool manifest. The accelerator's name is taken as it is; the catalog resolves it."""
    spec = read_spec(obj, AcceleratorPoolSpec, POOL_RULES)
    if isinstance(spec, Rejected):
        return spec
    metadata = obj["metadata"]
    nodes = spec.capacity.from_nodes
    pool = PoolSpec(
        name=metadata["name"],
        accelerator=spec.accelerator,
        resource_name=spec.resource_name,
        gpu_fraction=Decimal(spec.gpu_fraction),
        purchase=Purchase(spec.purchase),
        price_per_gpu_hour=_amount(spec.price_per_gpu_hour),
        billing=Billing(spec.billing),
        committed_gpus=spec.committed_gpus,
        capacity_gpus=spec.capacity.gpus,
        node_selector=tuple(sorted(nodes.match_labels.items())) if nodes else (),
        max_gpus=spec.max_gpus,
        provisioning_seconds=spec.provisioning_seconds,
        access=tuple(_access(rule) for rule in spec.access or ()),
    )
    return AcceptedPool(
        spec=pool,
        uid=metadata.get("uid", ""),
        generation=metadata.get("generation", 0),
        not_acted_on=inert_fields(obj, POOL_FIELDS),
    )


def read_spec(obj: Mapping[str, Any], model: type[ModelT], rules: tuple[Rule, ...]) -> ModelT | Rejected:
    """The spec of a raw object, or every mistake that the model and the rules find in it."""
    too_deep = depth_error(obj)
    if too_deep is not None:
        return Rejected((too_deep,))  # nothing else can be looked at without following it down
    errors = rule_errors(obj, rules)
    metadata = obj.get("metadata")
    if not isinstance(metadata, Mapping) or not metadata.get("name"):
        errors.append(FieldError("metadata.name", None, "required"))
    try:
        spec = model.model_validate(_without_nulls(obj.get("spec")))
    except ValidationError as error:
        spec_errors = model_errors(error, model, "spec")
        return Rejected(tuple(sorted([*spec_errors, *errors], key=lambda mistake: mistake.path)))
    return Rejected(tuple(errors)) if errors else spec


def _without_nulls(value: Any) -> Any:
    """Null means unset, as the API server has it."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(child) for key, child in value.items() if child is not None}
    if isinstance(value, list):
        return [_without_nulls(child) for child in value]
    return value


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _mode(spec: InferenceServiceSpec) -> Mode:
    if spec.mode is not None:
        return Mode(spec.mode)
    owned = all(variant.pod_template is not None for variant in spec.variants)
    return Mode.AUTO if owned else Mode.RECOMMEND


def _model(model: ApiModel, key: ServiceKey) -> ModelSpec:
    architecture = None
    if model.architecture is not None:
        facts = model.architecture.model_dump(exclude_none=True)
        if "config" in facts:  # as text, so that a spec stays a value
            facts["config"] = json.dumps(facts["config"], sort_keys=True, default=str)
        architecture = tuple(facts.items())
    return ModelSpec(
        id=model.id or "",
        served_name=model.served_name or model.id or key.name,
        max_model_len=model.max_model_len,
        architecture=architecture,
    )


def _variant(variant: VariantModel, key: ServiceKey) -> VariantSpec:
    ref = variant.scale_target_ref
    if ref is None:
        workload = WorkloadRef("apps/v1", "Deployment", key.namespace, workload_name(key.name, variant.name))
    else:
        workload = WorkloadRef(ref.api_version, ref.kind, key.namespace, ref.name)
    parallelism = variant.parallelism or ParallelismModel()
    return VariantSpec(
        name=variant.name,
        pool=variant.pool,
        workload=workload,
        owned=ref is None,
        engine=EngineKind(variant.engine),
        parallelism=Parallelism(parallelism.tensor, parallelism.pipeline, parallelism.data, parallelism.expert),
        quantization=variant.quantization,
        min_replicas=variant.min_replicas,
        max_replicas=variant.max_replicas or max(1, variant.min_replicas),
        batching=_batching(variant.batching or BatchingModel()),
        engine_version=variant.engine_version or "",
    )


def _batching(batching: BatchingModel) -> Batching:
    """Bounds; one that is unset gives way to one that is set."""
    default = Batching()
    low, high = batching.min_sequences, batching.max_sequences
    return Batching(
        mode=BatchingMode(batching.mode),
        min_sequences=min(default.min_sequences, high or default.max_sequences) if low is None else low,
        max_sequences=max(default.max_sequences, low or default.min_sequences) if high is None else high,
        max_batched_tokens=batching.max_batched_tokens,
    )


def _prices(prices: PerMillionTokens) -> PriceList:
    whole = _amount(prices.blended)
    if whole is not None:
        return PriceList(whole, whole, whole)
    computed, output = Decimal(prices.input or 0), Decimal(prices.output or 0)
    cached = _amount(prices.cached_input)
    return PriceList(computed, computed if cached is None else cached, output)


def _cost(cost: CostTarget) -> CostObjective:
    return CostObjective(
        prices=_prices(cost.per_million_tokens),
        window_seconds=cost.window_seconds,
        optimize=Optimize(cost.optimize),
        when_infeasible=WhenInfeasible(cost.when_infeasible),
        hard_limit_factor=Decimal(cost.hard_limit_factor or 2),
        max_spend_per_hour=_amount(cost.max_spend_per_hour),
    )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / MILLISECONDS_PER_SECOND


def _latency(latency: LatencyTarget) -> LatencyObjective:
    return LatencyObjective(
        ttft_seconds=_seconds(latency.ttft_milliseconds),
        inter_token_seconds=_seconds(latency.inter_token_milliseconds),
        stall_seconds=_seconds(latency.stall_milliseconds),
        percentile=latency.percentile,
        budget_seconds=float(latency.budget_window_seconds),
        floor_percent=latency.floor_percent,
    )


def _wake_signal(wake: WakeSignal | None) -> str:
    return wake.name or "" if wake is not None and wake.source == "ProfileSignal" else ""


def _freeze(freeze: FreezeModel) -> Freeze:
    return Freeze(
        end=datetime.fromisoformat(freeze.end_time).timestamp(),
        end_text=freeze.end_time,
        start=datetime.fromisoformat(freeze.start_time).timestamp() if freeze.start_time else None,
        start_text=freeze.start_time or "",
        why=freeze.reason or "",
    )


def _behavior(behavior: BehaviorModel | None) -> Behavior:
    if behavior is None:
        return Behavior()
    return Behavior(
        scale_up=_rules(behavior.scale_up, DEFAULT_SCALE_UP),
        scale_down=_rules(behavior.scale_down, DEFAULT_SCALE_DOWN),
    )


def _rules(given: ScalingRulesModel | None, default: ScalingRules) -> ScalingRules:
    """Unset fields take the default of their direction, as autoscaling/v2 does."""
    if given is None:
        return default
    window = given.stabilization_window_seconds
    policies = [ScalingPolicy(PolicyType(p.type), p.value, p.period_seconds) for p in given.policies or ()]
    return ScalingRules(
        stabilization_seconds=default.stabilization_seconds if window is None else window,
        policies=tuple(policies) or default.policies,
        select=SelectPolicy(given.select_policy) if given.select_policy else default.select,
    )


def _access(rule: Access) -> AccessRule:
    labels = rule.namespace_selector.match_labels if rule.namespace_selector else None
    return AccessRule(
        namespace_labels=tuple(sorted((labels or {}).items())),
        max_gpus=rule.max_gpus,
        guaranteed_gpus=rule.guaranteed_gpus,
        max_priority=rule.max_priority,
    )
