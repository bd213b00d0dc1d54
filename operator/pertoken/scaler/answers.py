"""What a ScaledObject is answered: replicas that the last plan recommends, or why there is no such number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from pertoken.control.objects import Refusal, ServiceObject
from pertoken.domain.identity import ServiceKey
from pertoken.domain.plan import Decision, VariantDecision, Verdict
from pertoken.domain.service import Mode

SERVICE: Final = "service"  # keys of the trigger's metadata
VARIANT: Final = "variant"


class Failure(Enum):
    """Why there is no number."""

    INVALID = "the trigger's metadata is wrong"
    NOT_FOUND = "nothing has that name"
    NOT_LENT = "the service is not for others to scale, or is refused"
    UNKNOWN = "nothing is known at the moment"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Replicas that the variant is to have."""

    replicas: int

    @property
    def active(self) -> bool:
        """It is to have any."""
        return self.replicas > 0


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Why there is no number, in words for KEDA's log and events."""

    failure: Failure
    why: str


Answer = Wanted | NoAnswer


@dataclass(frozen=True, slots=True)
class Planned:
    """What one cycle says of every service.

    Attributes:
        services: all that exist, the refused ones too.
        refusals: why a service takes no part, by its uid.
    """

    services: Mapping[ServiceKey, ServiceObject]
    refusals: Mapping[str, Refusal]
    decisions: Mapping[ServiceKey, Decision]


def answer(planned: Planned, namespace: str, metadata: Mapping[str, str]) -> Answer:
    """Replicas for the variant that a trigger's metadata names, in the namespace of its ScaledObject."""
    name = metadata.get(SERVICE, "")
    if not name:
        return NoAnswer(Failure.INVALID, f"metadata.{SERVICE}: missing; expected the name of an InferenceService")
    key = ServiceKey(namespace, name)
    service = planned.services.get(key)
    if service is None:
        there = _names(known.name for known in planned.services if known.namespace == namespace)
        words = f"metadata.{SERVICE}: there is no InferenceService {key}; namespace {namespace} has {there}"
        return NoAnswer(Failure.NOT_FOUND, words)
    decision = planned.decisions.get(key)
    if decision is None or service.spec is None:
        refusal = planned.refusals.get(service.uid)
        why = "; ".join(service.refusals) if refusal is None else refusal.message
        return NoAnswer(Failure.NOT_LENT, f"InferenceService {key} is not planned: {why or 'it is being deleted'}")
    if service.spec.mode is not Mode.RECOMMEND:
        return NoAnswer(Failure.NOT_LENT, _kept(key, service.spec.mode))
    variant = _variant(decision, metadata.get(VARIANT, ""))
    return variant if isinstance(variant, NoAnswer) else _wanted(decision, variant)


def _kept(key: ServiceKey, mode: Mode) -> str:
    does = "pertoken scales it itself" if mode is Mode.AUTO else "nothing is recommended for it"
    return f"InferenceService {key} has mode {mode.value}: {does}; expected mode {Mode.RECOMMEND.value}"


def _variant(decision: Decision, name: str) -> VariantDecision | NoAnswer:
    variants = {variant.variant: variant for variant in decision.variants}
    names = _names(variants)
    if name:
        missing = f"metadata.{VARIANT}: InferenceService {decision.service} has no variant {name}; it has {names}"
        return variants.get(name) or NoAnswer(Failure.NOT_FOUND, missing)
    if len(variants) != 1:
        words = f"metadata.{VARIANT}: missing; InferenceService {decision.service} has {names}"
        return NoAnswer(Failure.INVALID, words)
    return decision.variants[0]


def _wanted(decision: Decision, variant: VariantDecision) -> Answer:
    """While the service is paused or frozen its replicas stay as they are; what is not known is no number."""
    if variant.unknown:
        return NoAnswer(Failure.UNKNOWN, f"variant {variant.variant} of {decision.service}: {variant.unknown}")
    paused = decision.conditions.get("Paused")
    stays = paused is not None and paused.verdict is Verdict.TRUE
    return Wanted(variant.current if stays else variant.desired)


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
