"""Base model and field types that all kinds share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

NAME_LENGTH: Final = 63
LIST_LENGTH: Final = 16
AMOUNT_PATTERN: Final = r"^(0|[1-9][0-9]*)(\.[0-9]+)?$"
DNS_LABEL: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"

DNS_SUBDOMAIN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
KIND_PATTERN: Final = r"^[A-Z][A-Za-z0-9]*$"
API_VERSION_PATTERN: Final = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[a-z]([-a-z0-9]*[a-z0-9])?$"
)
MOST_INT: Final = 2**53 - 1  # what JSON numbers carry exactly

PRESERVE_UNKNOWN: Final = "x-kubernetes-preserve-unknown-fields"
LIST_TYPE: Final = "x-kubernetes-list-type"
LIST_MAP_KEYS: Final = "x-kubernetes-list-map-keys"


def camel(name: str) -> str:
    """Camel case as Kubernetes has it: ``max_gpus`` -> ``maxGPUs``, ``price_per_gpu_hour`` -> ``pricePerGPUHour``."""
    return to_camel(name).replace("Gpus", "GPUs").replace("Gpu", "GPU") if "_gpu" in name else to_camel(name)


class Strict(BaseModel):
    """A part of a spec: camelCase, immutable, no type coercion, unknown fields refused."""

    model_config = ConfigDict(
        alias_generator=camel, extra="forbid", frozen=True, strict=True, populate_by_name=False, use_enum_values=False
    )


class Open(BaseModel):
    """A part of a foreign type of which only some fields are looked at; all others are kept."""

    model_config = ConfigDict(
        alias_generator=camel, extra="allow", frozen=True, strict=True, json_schema_extra={PRESERVE_UNKNOWN: True}
    )


def _instant(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError("a time with zone, such as 2026-03-01T08:00:00Z")
    return text


Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH)]
Label = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH, pattern=DNS_LABEL)]
Amount = Annotated[str, Field(max_length=24, pattern=AMOUNT_PATTERN)]
Text = Annotated[str, Field(max_length=256)]
Subdomain = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH, pattern=DNS_SUBDOMAIN)]
KindName = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH, pattern=KIND_PATTERN)]
ApiVersion = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH, pattern=API_VERSION_PATTERN)]
Shown = Annotated[int, Field(ge=-MOST_INT, le=MOST_INT)]
ReplicaCount = Annotated[int, Field(ge=0, le=1000)]
Milliseconds = Annotated[int, Field(ge=1, le=3_600_000)]
Instant = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"}), AfterValidator(_instant)]
LabelValue = Annotated[str, Field(max_length=NAME_LENGTH)]
LabelKey = Annotated[str, Field(max_length=317)]


def keyed(key: str) -> dict[str, Any]:
    """Schema marks of a list whose entries are told apart by one field."""
    return {LIST_TYPE: "map", LIST_MAP_KEYS: [key]}


ATOMIC: Final[dict[str, Any]] = {LIST_TYPE: "atomic"}
