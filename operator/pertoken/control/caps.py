"""Batch caps that engines read from ConfigMaps: pertoken's own to change, other people's only to be read."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pertoken.api.launch import CAP_VARIABLE, CHUNK_VARIABLE
from pertoken.api.naming import cap_name
from pertoken.api.ownership import OwnershipClaim, stranger
from pertoken.control.objects import CapObject, ServiceObject
from pertoken.control.workloads import ConfigKey, ScalableFact
from pertoken.domain.cluster import BatchCap
from pertoken.domain.identity import WorkloadRef
from pertoken.domain.service import VariantSpec
from pertoken.ports import AdapterError, Clock, ClusterReader, NotFound
from pertoken.raw.values import MOST_SEQUENCES, whole_number

LOGGER = logging.getLogger(__name__)

Address = tuple[str, ConfigKey]  # namespace and key


def claim_of(service: ServiceObject, variant: VariantSpec, workload_uid: str) -> OwnershipClaim:
    """For whom a variant's cap is written; an adopted workload owns it, as its pods may outlive the service."""
    return OwnershipClaim(service.key, variant.name, service.uid, "" if variant.owned else workload_uid)


def own_cap(
    service: ServiceObject, variant: VariantSpec, scalable: ScalableFact, caps: Mapping[tuple[str, str], CapObject]
) -> CapObject | None:
    """The ConfigMap of pertoken from which the variant's engines read their cap; None if they read none of its.

    It has no prefill chunk where they take that from elsewhere.
    """
    key = scalable.cap_key
    if key is None or key != ConfigKey(cap_name(variant.workload.name), CAP_VARIABLE):
        return None
    cap = caps.get((service.key.namespace, key.name))
    if cap is None or stranger(cap.marks, claim_of(service, variant, scalable.uid)):
        return None
    if scalable.chunk_key != ConfigKey(key.name, CHUNK_VARIABLE):
        return replace(cap, cap=replace(cap.cap, chunk=None, previous_chunk=None))
    return cap


def cap_in_use(own: CapObject | None, address: Address | None, read: Mapping[Address, int]) -> BatchCap | None:
    """The cap that the engines start with, whoever owns its ConfigMap; pertoken changes only its own."""
    if own is not None:
        return own.cap
    if address is None or address not in read:
        return None
    namespace, key = address
    return BatchCap(read[address], foreign=f"ConfigMap {namespace}/{key.name}")


@dataclass(slots=True)
class CapReader:
    """Reads caps in other people's ConfigMaps, which no watch covers, each at most once per `seconds`."""

    reader: ClusterReader
    clock: Clock
    seconds: float = 60.0
    _values: dict[Address, tuple[float, int | None]] = field(default_factory=dict)

    def read(self, addresses: Iterable[Address]) -> dict[Address, int]:
        """The whole numbers behind these keys; what is not there or holds no number is left out."""
        now = self.clock.monotonic()
        kept = {}
        for address in addresses:
            at, value = self._values.get(address, (float("-inf"), None))
            kept[address] = (at, value) if now - at < self.seconds else (now, self._read(address))
        self._values = kept
        return {address: value for address, (_, value) in kept.items() if value is not None}

    def _read(self, address: Address) -> int | None:
        namespace, key = address
        try:
            config_map = self.reader.get(WorkloadRef("v1", "ConfigMap", namespace, key.name))
        except NotFound:
            return None
        except AdapterError as error:
            LOGGER.warning("ConfigMap %s/%s cannot be read: %s", namespace, key.name, error)
            return None
        return whole_number((config_map.get("data") or {}).get(key.key), MOST_SEQUENCES) or None
