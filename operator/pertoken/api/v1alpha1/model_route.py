"""ModelRoute: which models may answer, how good each is, and how traffic is split between them."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from pertoken.api.v1alpha1.base import ATOMIC, LIST_LENGTH, Amount, Label, Name, Strict, Subdomain, Text, keyed

MOST_TIERS: Final = 8
Port = Annotated[int, Field(ge=1, le=65_535)]


class SecretKey(Strict):
    """A key of a Secret in the route's namespace. pertoken names it, and never reads it."""

    name: Subdomain = Field(description="Name of the Secret.")
    key: Name = Field(default="apiKey", description="Key in it.")


class ExternalPrices(Strict):
    """What a provider's API charges, in USD per 1,000,000 tokens."""

    input: Amount = Field(description="Input tokens.")
    cached_input: Amount | None = Field(default=None, description="Input tokens that hit its cache. Default: input.")
    output: Amount = Field(description="Output tokens.")


class ExternalModel(Strict):
    """A model behind a provider's API."""

    host: Subdomain = Field(description='Host name of the API, such as "api.example.com".')
    port: Port = Field(default=443, description="Port of the API.")
    tls: bool = Field(default=True, description="Whether the API is spoken to by TLS.")
    model: Text | None = Field(default=None, description="Name of the model there. Default: the served name.")
    secret_ref: SecretKey | None = Field(
        default=None, description="Secret with the API's key. The gateway reads it; pertoken does not."
    )
    per_million_tokens: ExternalPrices = Field(description="The provider's price list.")


class RouteBackend(Strict):
    """An entry of the HTTPRoute's backendRefs."""

    kind: Literal["Service", "InferencePool", "Backend"] = Field(
        default="Service",
        description="Service, InferencePool (inference.networking.k8s.io), or a gateway's own Backend.",
    )
    group: Subdomain | None = Field(
        default=None, description="API group of the kind. Default: that of Service, or of InferencePool."
    )
    name: Label = Field(description="Name of the object, in the route's namespace.")
    variant: Name | None = Field(
        default=None, description="Variant of the service that stands behind it. Unset: all of them."
    )


class RouteTier(Strict):
    """One model that may answer."""

    name: Label = Field(description="Name of the tier, such as small.")
    service: Label | None = Field(default=None, description="InferenceService of this namespace that serves it.")
    external: ExternalModel | None = Field(default=None, description="A provider's API that serves it.")
    quality: Amount = Field(
        description='Expected quality of an answer, between "0" and "1": your own evaluation on your own requests.'
    )
    backends: list[RouteBackend] | None = Field(
        default=None,
        min_length=1,
        max_length=LIST_LENGTH,
        json_schema_extra=ATOMIC,
        description="Its entries in the HTTPRoute. Default: a Service with the name of each variant's workload.",
    )


class RouteCost(Strict):
    """What answers may cost."""

    per_thousand_answers: Amount = Field(description="USD per 1,000 answers of the whole route.")


class HttpRouteRef(Strict):
    """An HTTPRoute of gateway.networking.k8s.io/v1 in this namespace."""

    name: Label = Field(
        description="Name of the HTTPRoute. pertoken changes the weights of the backends, nothing else."
    )


class RouteSignal(Strict):
    """A signal that the administrator defined in the metrics profile (gateway.signals)."""

    name: Name = Field(description="Name of the profile's signal.")
    profile: Name = Field(default="default", description="Metrics profile that has it.")


class ModelRouteSpec(Strict):
    """How traffic is split between models."""

    mode: Literal["Auto", "Recommend"] = Field(
        default="Auto", description="Auto writes the weights; Recommend only shows them in the status."
    )
    strategy: Literal["Weights"] = Field(
        default="Weights",
        description="Weights: requests are split at random; quality is the mean of the tiers, weighed by their shares.",
    )
    served_model_name: Text | None = Field(
        default=None,
        description="Name by which clients ask for the model. Every tier's service must answer to it (servedName), as "
        "engines refuse other names. Unset: the gateway translates names; nothing is checked.",
    )
    tiers: list[RouteTier] = Field(
        min_length=1, max_length=MOST_TIERS, json_schema_extra=keyed("name"), description="Models that may answer."
    )
    quality_floor: Amount = Field(
        default="0", description="Least expected quality of an answer, a mean over all requests, in every cycle."
    )
    optimize: Literal["Cost", "Quality"] = Field(
        default="Cost",
        description="Cost: the least spend that keeps the floor. Quality: the best quality within spec.cost.",
    )
    cost: RouteCost | None = Field(default=None, description="What answers may cost.")
    http_route: HttpRouteRef | None = Field(
        default=None, description="HTTPRoute whose weights are set. Unset: the split is only shown."
    )
    demand_signal: RouteSignal | None = Field(
        default=None,
        description="Requests per second of the whole route, as a gateway counts them. Unset: what the services' "
        "engines take up; then an external tier never gets everything, as its traffic cannot be seen.",
    )
