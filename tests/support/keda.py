"""A client that asks as KEDA does, and planning cycles for it to ask about."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import grpc
from cycling import Leader
from grpc_health.v1 import health_pb2
from lab import service_spec, variant_spec

from pertoken.control.objects import Refusal, ServiceObject
from pertoken.domain.plan import Condition, Decision, Plan, VariantDecision, Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Mode
from pertoken.scaler import externalscaler_pb2 as wire
from pertoken.scaler.recommended import Recommended

NAMESPACE = "llm"
METHODS = {
    "IsActive": (wire.ScaledObjectRef, wire.IsActiveResponse),
    "GetMetricSpec": (wire.ScaledObjectRef, wire.GetMetricSpecResponse),
    "GetMetrics": (wire.GetMetricsRequest, wire.GetMetricsResponse),
    "StreamIsActive": (wire.ScaledObjectRef, wire.IsActiveResponse),
    "StreamMetricSpec": (wire.ScaledObjectRef, wire.GetMetricSpecResponse),
}


def scaled_object(namespace: str = NAMESPACE, **metadata: str) -> wire.ScaledObjectRef:
    return wire.ScaledObjectRef(name="mine", namespace=namespace, scalerMetadata=metadata)


@dataclass
class Client:
    """One connection to the scaler."""

    channel: grpc.aio.Channel

    def call(self, name: str) -> Any:
        asks, answers = METHODS[name]
        kind = self.channel.unary_stream if name.startswith("Stream") else self.channel.unary_unary
        return kind(
            f"/externalscaler.ExternalScaler/{name}",
            request_serializer=asks.SerializeToString,
            response_deserializer=answers.FromString,
        )

    async def metric(self, namespace: str = NAMESPACE, **metadata: str) -> float:
        """As KEDA reads it: the float where it is above 0."""
        asked = wire.GetMetricsRequest(
            scaledObjectRef=scaled_object(namespace, **metadata), metricName="desired-replicas"
        )
        (value,) = (await self.call("GetMetrics")(asked)).metricValues
        assert value.metricName == "desired-replicas"
        return value.metricValueFloat if value.metricValueFloat > 0 else float(value.metricValue)

    async def active(self, **metadata: str) -> bool:
        return (await self.call("IsActive")(scaled_object(**metadata))).result

    async def health(self, service: str = "") -> str:
        ask = self.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        answer = await ask(health_pb2.HealthCheckRequest(service=service))
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


@dataclass
class Hands:
    """A clock whose hands tests move."""

    at: float = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


@dataclass
class Plans:
    """A planning loop that tests turn by hand."""

    clock: Hands = field(default_factory=Hands)
    leader: Leader = field(default_factory=Leader)
    cycle_seconds: float = 15.0
    recommended: Recommended = field(init=False)
    services: dict[str, ServiceObject] = field(default_factory=dict)
    refusals: dict[str, Refusal] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.recommended = Recommended(self.clock, self.leader, self.cycle_seconds)

    def service(self, name: str, mode: Mode = Mode.RECOMMEND, **changes: Any) -> None:
        spec = service_spec(name, mode=mode)
        known = ServiceObject(spec.key, spec.uid, 1, deleting=False, spec=spec)
        self.services[name] = replace(known, **changes)

    def decide(self, name: str, *variants: VariantDecision, paused: Verdict = Verdict.FALSE) -> None:
        conditions = {"Paused": Condition(paused, Reason.PAUSED, "")}
        key = service_spec(name).key
        self.decisions[name] = Decision(key, Reason.DEMAND_ROSE, "", variants, conditions, acts=False)

    def lend(self, name: str, desired: int, current: int = 2, **more: Any) -> None:
        """A service of one variant that pertoken recommends for."""
        paused = more.pop("paused", Verdict.FALSE)
        self.service(name, more.pop("mode", Mode.RECOMMEND))
        self.decide(name, VariantDecision("a100", current, desired, current, Reason.DEMAND_ROSE, **more), paused=paused)

    def turn(self) -> None:
        """A cycle went through."""
        snapshot = SimpleNamespace(services=tuple(self.services.values()))
        surveyed = SimpleNamespace(snapshot=snapshot, refusals=self.refusals)
        plan = Plan(tuple(self.decisions.values()), ())
        result: Any = SimpleNamespace(term=self.leader.term, surveyed=surveyed, plan=plan)
        self.recommended.finished(result)


def two_variants() -> tuple[VariantDecision, ...]:
    return tuple(
        VariantDecision(variant_spec(name=name).name, 1, count, 1, Reason.DEMAND_ROSE)
        for name, count in (("a100", 3), ("h100", 5))
    )
