"""Status documents from a cycle's decision. Pure: equal decisions give equal documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pertoken.api.conditions import (
    POOL_CONDITIONS,
    SERVICE_CONDITIONS,
    ConditionType,
    accepted,
    clip,
    doubted,
    merge,
    rejected,
)
from pertoken.api.figures import fixed, milliseconds, money, percent
from pertoken.domain.cost import AttributionFigures, CostFigures, TokenPrices
from pertoken.domain.plan import (
    Condition,
    Decision,
    DemandFigures,
    LatencyFigures,
    PoolFigures,
    VariantDecision,
    Verdict,
)
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Mode, ServiceSpec
from pertoken.domain.world import Rejection

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StatusContext:
    """What a status needs beside the decision.

    Attributes:
        now: seconds since the epoch.
        previous: the status that the object shows, empty at the first visit.
        not_acted_on: set fields without effect, see `translate.AcceptedService`.
        overrides: conditions that the decision does not know of, e.g. a template that the server refused.
        released: the object may be deleted without what was made for it.
    """

    now: float
    previous: Mapping[str, Any] = field(default_factory=dict)
    not_acted_on: Sequence[str] = ()
    overrides: Mapping[str, Condition] = field(default_factory=dict)
    released: bool = False


def service_status(spec: ServiceSpec, decision: Decision, context: StatusContext) -> Json:
    """The status of one planned InferenceService."""
    doubt = decision.conditions.get(ConditionType.ACCEPTED)
    conditions: dict[str, Condition] = {
        **decision.conditions,
        ConditionType.ACCEPTED: doubted(doubt, context.not_acted_on) if doubt else accepted(context.not_acted_on),
        **context.overrides,
    }
    variants = decision.variants
    return _present(
        {
            "observedGeneration": spec.generation,
            "conditions": merge(context.previous.get("conditions") or (), conditions, context.now, spec.generation),
            "replicas": sum(variant.current for variant in variants),
            "desiredReplicas": sum(variant.desired for variant in variants),
            "readyReplicas": sum(variant.ready for variant in variants),
            "batchSummary": batch_summary(variants),
            "costIndex": fixed(decision.cost.index, 2),
            "costPerMillionTokens": money(decision.cost.blended),
            "gpuUtilization": percent(_gpu_utilization(variants)),
            "variants": [_variant(variant) for variant in variants],
            "cost": _cost(decision.cost),
            "latency": _latency(decision.latency),
            "demand": _demand(decision.demand),
            "reason": decision.reason.value,
            "message": clip(decision.message),
            "recommendation": _recommendation(decision) if spec.mode is Mode.RECOMMEND else None,
            "calibration": _calibration_summary(variants),
            "releasedGeneration": spec.generation if context.released else None,
        }
    )


def rejected_status(rejection: Rejection, context: StatusContext) -> Json:
    """The status of an InferenceService that cannot be planned.

    Earlier figures would mislead, so they go, and so do conditions: nothing but the spec was looked at.
    """
    before = context.previous.get("conditions") or ()
    if rejection.conflicted:
        conditions = {
            ConditionType.ACCEPTED: accepted(context.not_acted_on),
            ConditionType.CONFLICTED: Condition(Verdict.TRUE, rejection.reason, rejection.message),
            **context.overrides,
        }
    else:
        conditions = {ConditionType.ACCEPTED: rejected(rejection.reason, rejection.message), **context.overrides}
    return {
        "observedGeneration": rejection.generation,
        "conditions": merge(before, conditions, context.now, rejection.generation, _looked_at(conditions)),
        "reason": rejection.reason.value,
        "message": clip(rejection.message),
        **({"releasedGeneration": rejection.generation} if context.released else {}),
    }


def _looked_at(conditions: Mapping[str, Condition]) -> tuple[ConditionType, ...]:
    """Conditions of a rejected object: what is left out of a status that is applied goes from the object."""
    return tuple(kind for kind in SERVICE_CONDITIONS if kind is ConditionType.READY or kind in conditions)


def pool_status(figures: PoolFigures | None, condition: Condition, generation: int, context: StatusContext) -> Json:
    """The status of one AcceleratorPool; `condition` is its Accepted condition, `figures` None when it is False."""
    conditions = {ConditionType.ACCEPTED: condition, **context.overrides}
    before = context.previous.get("conditions") or ()
    status: Json = {
        "observedGeneration": generation,
        "conditions": merge(before, conditions, context.now, generation, POOL_CONDITIONS),
    }
    if figures is None:
        return status
    return _present(
        {
            **status,
            "total": figures.total,
            "used": figures.used,
            "free": figures.free,
            "placeable": figures.placeable,
            "pending": figures.pending,
            "spendPerHour": money(figures.spend_per_hour_usd),
        }
    )


def batch_summary(variants: Sequence[VariantDecision]) -> str | None:
    """Operating batch / cap of the variant with the most replicas: ``41/96``, or ``41/128→96`` while it changes."""
    known = [variant for variant in variants if variant.operating_batch is not None or variant.cap is not None]
    if not known:
        return None
    shown = max(known, key=lambda variant: variant.ready)  # the first one of equals
    batch = fixed(shown.operating_batch, 0) or "-"
    if shown.cap is None:
        return f"{batch}/-"
    changing = shown.desired_cap is not None and shown.desired_cap != shown.cap
    return f"{batch}/{shown.cap}→{shown.desired_cap}" if changing else f"{batch}/{shown.cap}"


def _batch_changes(variant: VariantDecision) -> bool:
    """Cap or chunk are about to change, or on their way to the pods."""
    if variant.cap_reason is Reason.BATCH_CHANGE_ROLLING:
        return True
    moves = [(variant.cap, variant.desired_cap), (variant.chunk, variant.desired_chunk)]
    return any(desired not in (None, present) for present, desired in moves)


def _gpu_utilization(variants: Sequence[VariantDecision]) -> float | None:
    """Mean over GPUs: weighted by ready replicas and their GPUs; None when no variant has been measured."""
    weighed = [
        (variant.gpu_utilization, max(1, variant.ready) * max(1, variant.gpus_per_replica))
        for variant in variants
        if variant.gpu_utilization is not None
    ]
    weight = sum(gpus for _, gpus in weighed)
    return sum(share * gpus for share, gpus in weighed) / weight if weight else None


def _variant(variant: VariantDecision) -> Json:
    calibration = variant.calibration
    return _present(
        {
            "name": variant.variant,
            "replicas": variant.current,
            "desiredReplicas": variant.desired,
            "readyReplicas": variant.ready,
            "reason": variant.reason.value,
            "gpusPerReplica": variant.gpus_per_replica or None,
            "batchCap": variant.cap,
            "desiredBatchCap": variant.desired_cap,
            "batchedTokens": variant.chunk,
            "desiredBatchedTokens": variant.desired_chunk,
            "batchReason": variant.cap_reason.value,
            "batchMessage": clip(variant.cap_message) or None,
            "podsOnNewCap": variant.pods_on_new_cap if _batch_changes(variant) else None,
            "operatingBatch": fixed(variant.operating_batch, 1),
            "outputTokensPerSecondPerReplica": fixed(variant.capacity_per_replica, 0),
            "gpuUtilization": percent(variant.gpu_utilization),
            "kvCacheUsage": percent(variant.kv_usage),
            "calibration": {
                "decodeGain": fixed(calibration.decode_gain, 2),
                "prefillGain": fixed(calibration.prefill_gain, 2),
                "ttftOffsetMilliseconds": milliseconds(calibration.ttft_offset_seconds),
                "samples": calibration.samples,
            }
            if calibration.samples
            else None,
        }
    )


def _cost(cost: CostFigures) -> Json | None:
    figures = _present(
        {
            "index": fixed(cost.index, 3),
            "blended": money(cost.blended),
            "input": money(cost.input),
            "cachedInput": money(cost.cached_input),
            "output": money(cost.output),
            "marginal": money(cost.marginal),
            "idleShare": percent(cost.idle_share),
            "perThousandRequests": money(cost.per_thousand_requests),
            "bill": money(cost.bill_usd),
            "reachable": money(cost.reachable),
            "reachableIndex": fixed(cost.reachable_index, 2),
            "spendPerHour": money(cost.spend_per_hour),
            "attribution": None if cost.attribution is None else _attribution(cost.attribution),
            "goodLow": money(cost.good_low),
            "goodHigh": money(cost.good_high),
            "joulesPerToken": fixed(cost.joules_per_token, 3),
            "oneMore": None if cost.one_more is None else _token_prices(cost.one_more),
            "replica": None if cost.replica is None else _token_prices(cost.replica),
        }
    )
    if cost.window_seconds > 0:
        figures["windowSeconds"] = round(cost.window_seconds)
        figures["finishedRequests"] = round(cost.finished_requests)
    return figures or None


def _token_prices(prices: TokenPrices) -> Json:
    return _present(
        {"input": money(prices.input), "cachedInput": money(prices.cached_input), "output": money(prices.output)}
    )


def _attribution(attribution: AttributionFigures) -> Json:
    return _present(
        {
            "input": money(attribution.input),
            "cachedInput": money(attribution.cached_input),
            "output": money(attribution.output),
            "outputLow": money(attribution.output_low),
            "outputHigh": money(attribution.output_high),
            "work": percent(attribution.work),
            "idle": percent(attribution.idle),
            "warming": percent(attribution.warming),
            "unallocated": percent(attribution.unallocated),
        }
    )


def _latency(latency: LatencyFigures) -> Json | None:
    figures = _present(
        {
            "ttftMilliseconds": milliseconds(latency.ttft),
            "ttftLowMilliseconds": milliseconds(latency.ttft_low),
            "ttftHighMilliseconds": milliseconds(latency.ttft_high),
            "interTokenMilliseconds": _fine(latency.inter_token),
            "interTokenLowMilliseconds": _fine(latency.inter_token_low),
            "interTokenHighMilliseconds": _fine(latency.inter_token_high),
            "stallMilliseconds": _fine(latency.stall),
            "stallLowMilliseconds": _fine(latency.stall_low),
            "stallHighMilliseconds": _fine(latency.stall_high),
        }
    )
    return {"percentile": latency.percentile, **figures} if figures else None


def _fine(seconds: float | None) -> str | None:
    return None if seconds is None else fixed(seconds * 1000, 1)


def _demand(demand: DemandFigures) -> Json | None:
    now = _present(
        {
            "inputTokensPerSecond": fixed(demand.input_tokens_per_second, 1),
            "outputTokensPerSecond": fixed(demand.output_tokens_per_second, 1),
            "requestsPerSecond": fixed(demand.requests_per_second, 2),
            "running": fixed(demand.running, 0),
            "waiting": fixed(demand.waiting, 0),
        }
    )
    forecast = fixed(demand.forecast_output_tokens_per_second, 1)
    figures = _present(
        {"now": now or None, "forecast": {"outputTokensPerSecond": forecast} if forecast is not None else None}
    )
    return {**figures, "leadSeconds": round(demand.lead_seconds)} if figures else None


def _recommendation(decision: Decision) -> Json:
    moves = []
    for variant in decision.variants:
        if variant.desired != variant.current:
            moves.append(f"scale {variant.variant} from {variant.current} to {variant.desired}")
        if variant.desired_cap is not None and variant.desired_cap != variant.cap:
            was = "" if variant.cap is None else f" from {variant.cap}"
            moves.append(f"set the batch cap of {variant.variant}{was} to {variant.desired_cap}")
        if variant.desired_chunk not in (None, variant.chunk):
            moves.append(
                f"set the tokens per step of {variant.variant} from {variant.chunk} to {variant.desired_chunk}"
            )
    variants = [
        _present(
            {
                "name": variant.variant,
                "replicas": variant.desired,
                "batchCap": variant.desired_cap,
                "batchedTokens": variant.desired_chunk,
                "reason": variant.reason.value,
            }
        )
        for variant in decision.variants
    ]
    return {"summary": clip("; ".join(moves) or "change nothing"), "variants": variants}


def _calibration_summary(variants: Sequence[VariantDecision]) -> str | None:
    parts = [
        f"{variant.variant}: decode x{fixed(variant.calibration.decode_gain, 2)}, "
        f"prefill x{fixed(variant.calibration.prefill_gain, 2)}, {variant.calibration.samples} samples"
        for variant in variants
        if variant.calibration.samples
    ]
    return clip("; ".join(parts)) or None


def _present(values: Mapping[str, Any]) -> Json:
    """Without what is not known: missing data has no entry."""
    return {key: value for key, value in values.items() if value is not None}
