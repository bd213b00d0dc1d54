"""KEDA's external scaler over gRPC: one metric, the replicas that pertoken recommends, with a target of 1 each.

What is not known is a gRPC error, never 0: KEDA then falls back to what its ScaledObject says, and the HPA stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Never

import grpc
from grpc.aio import ServicerContext

from pertoken.scaler import externalscaler_pb2 as wire
from pertoken.scaler.answers import Failure, NoAnswer, Wanted
from pertoken.scaler.recommended import Recommended

SERVICE: Final = wire.DESCRIPTOR.services_by_name["ExternalScaler"].full_name
METRIC: Final = "desired-replicas"
TARGET: Final = 1  # per replica, so that as an AverageValue the metric is the count that the HPA sets

_CODES: Final[Mapping[Failure, grpc.StatusCode]] = {
    Failure.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Failure.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Failure.NOT_LENT: grpc.StatusCode.FAILED_PRECONDITION,
    Failure.UNKNOWN: grpc.StatusCode.UNAVAILABLE,
}
_SPEC: Final = wire.GetMetricSpecResponse(
    metricSpecs=[wire.MetricSpec(metricName=METRIC, targetSize=TARGET, targetSizeFloat=float(TARGET))]
)

Context = ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class ScalerService:
    """The methods of the contract."""

    recommended: Recommended

    async def is_active(self, asked: wire.ScaledObjectRef, context: Context) -> wire.IsActiveResponse:
        """Whether the variant is to have any replica."""
        return wire.IsActiveResponse(result=(await self._wanted(asked, context)).active)

    async def stream_is_active(
        self, asked: wire.ScaledObjectRef, context: Context
    ) -> AsyncIterator[wire.IsActiveResponse]:
        """The same at once, and whenever it changes; nothing while it is not known."""
        told: bool | None = None
        while True:
            news = self.recommended.news
            found = self.recommended.answer(asked.namespace, asked.scalerMetadata)
            if isinstance(found, Wanted):
                if found.active is not told:
                    told = found.active
                    yield wire.IsActiveResponse(result=told)
            elif found.failure is not Failure.UNKNOWN:
                await _refuse(found, context)
            await news.wait()

    async def get_metric_spec(self, asked: wire.ScaledObjectRef, context: Context) -> wire.GetMetricSpecResponse:
        """The one metric; the same whatever is known, since without it KEDA can neither make an HPA nor fall back."""
        del asked, context
        return _SPEC

    async def stream_metric_spec(
        self, asked: wire.ScaledObjectRef, context: Context
    ) -> AsyncIterator[wire.GetMetricSpecResponse]:
        """The same, once: it never changes. KEDA then need not ask for it before each value."""
        del asked, context
        yield _SPEC
        await asyncio.Event().wait()

    async def get_metrics(self, asked: wire.GetMetricsRequest, context: Context) -> wire.GetMetricsResponse:
        """Replicas that the variant is to have."""
        if asked.metricName != METRIC:
            words = f"metricName: {asked.metricName!r}; expected {METRIC}"
            await _refuse(NoAnswer(Failure.INVALID, words), context)
        wanted = await self._wanted(asked.scaledObjectRef, context)
        value = wire.MetricValue(
            metricName=METRIC, metricValue=wanted.replicas, metricValueFloat=float(wanted.replicas)
        )
        return wire.GetMetricsResponse(metricValues=[value])

    async def _wanted(self, asked: wire.ScaledObjectRef, context: Context) -> Wanted:
        found = self.recommended.answer(asked.namespace, asked.scalerMetadata)
        return found if isinstance(found, Wanted) else await _refuse(found, context)

    def handlers(self) -> grpc.GenericRpcHandler:
        """The methods by their names in the contract."""
        asks = wire.ScaledObjectRef.FromString
        active = wire.IsActiveResponse.SerializeToString
        spec = wire.GetMetricSpecResponse.SerializeToString
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "IsActive": grpc.unary_unary_rpc_method_handler(self.is_active, asks, active),
            "StreamIsActive": grpc.unary_stream_rpc_method_handler(self.stream_is_active, asks, active),
            "GetMetricSpec": grpc.unary_unary_rpc_method_handler(self.get_metric_spec, asks, spec),
            "StreamMetricSpec": grpc.unary_stream_rpc_method_handler(self.stream_metric_spec, asks, spec),
            "GetMetrics": grpc.unary_unary_rpc_method_handler(
                self.get_metrics, wire.GetMetricsRequest.FromString, wire.GetMetricsResponse.SerializeToString
            ),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)


async def _refuse(found: NoAnswer, context: Context) -> Never:
    await context.abort(_CODES[found.failure], found.why)
