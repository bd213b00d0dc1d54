"""Dynamic Resource Allocation (``resource.k8s.io/v1``): its objects as frozen values.

Claims say how many devices of which class a pod wants, slices what devices the nodes have. `pertoken.control.claims`
counts with them. https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from pertoken.control.cel import DeviceSubject
from pertoken.control.quantities import EXPECTED, quantity
from pertoken.ports import Json
from pertoken.raw.values import Malformed, count

MOST_DEVICES: Final = 1024  # of one request; the API server takes no more
MODE_ALL: Final = "All"
_VALUES: Final = ("string", "int", "bool", "version")  # the ways in which an attribute has its value


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """One request of a claim.

    Attributes:
        name: of a subrequest with that of its request before it, as results name it.
        device_class: empty where only the alternatives have one.
        count: devices; None for all that match on a node.
        counts: False for one with admin access, which takes no device away.
        selectors: CEL, all of which must hold beside those of the class.
        alternatives: the first one that can be had is taken.
    """

    name: str
    device_class: str = ""
    count: int | None = 1
    counts: bool = True
    selectors: tuple[str, ...] = ()
    alternatives: tuple[DeviceRequest, ...] = ()


@dataclass(frozen=True, slots=True)
class ClaimSpec:
    """What a claim, or a template of claims, asks for; `constrained` is how its devices must fit each other."""

    requests: tuple[DeviceRequest, ...] = ()
    constrained: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A ResourceClaim.

    Attributes:
        allocated: names of the requests, one entry for every device that was given; None while nothing was.
        devices: those devices, by driver, pool and name.
    """

    namespace: str
    name: str
    spec: ClaimSpec
    allocated: tuple[str, ...] | None = None
    devices: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceClass:
    """A DeviceClass; `resource` is the extended resource by which pods may ask for its devices, empty without one."""

    name: str
    selectors: tuple[str, ...] = ()
    resource: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """A device of one node.

    Attributes:
        pool: of its driver, in which its name is unique.
        consumes: what it takes of counters of its pool while it is allocated: a MIG slice and the whole card take of
            the same ones. By counter set and counter.
    """

    node: str
    subject: DeviceSubject
    pool: str = ""
    name: str = ""
    consumes: tuple[tuple[tuple[str, str], Decimal], ...] = ()

    @property
    def key(self) -> tuple[str, str, str]:
        """As claims name it."""
        return self.subject.driver, self.pool, self.name


@dataclass(frozen=True, slots=True)
class ResourceSlice:
    """A part of a driver's pool of devices; of several generations of a pool only the newest counts.

    `counters` are amounts that its pool's devices share, by counter set and counter.
    """

    driver: str
    pool: str
    generation: int
    devices: tuple[Device, ...] = ()
    counters: tuple[tuple[tuple[str, str], Decimal], ...] = ()


@dataclass(frozen=True, slots=True)
class Devices:
    """All of it at one instant.

    Attributes:
        templates: by namespace and name.
        claims: by namespace and name.
    """

    classes: Mapping[str, DeviceClass] = field(default_factory=dict)
    templates: Mapping[tuple[str, str], ClaimSpec] = field(default_factory=dict)
    claims: Mapping[tuple[str, str], Claim] = field(default_factory=dict)
    slices: tuple[ResourceSlice, ...] = ()

    def newest(self) -> Iterable[ResourceSlice]:
        """The slices that hold now."""
        generations: dict[tuple[str, str], int] = {}
        for each in self.slices:
            key = each.driver, each.pool
            generations[key] = max(each.generation, generations.get(key, 0))
        for each in self.slices:
            if each.generation == generations[each.driver, each.pool]:
                yield each


def device_class(obj: Json) -> DeviceClass:
    """A DeviceClass."""
    spec = _mapping(obj.get("spec"))
    return DeviceClass(str(obj["metadata"]["name"]), _selectors(spec), str(spec.get("extendedResourceName") or ""))


def claim(obj: Json) -> Claim:
    """A ResourceClaim with what was allocated to it."""
    meta, status = obj["metadata"], _mapping(obj.get("status"))
    allocation = status.get("allocation")
    results = _list(_mapping(_mapping(allocation).get("devices")).get("results"))
    held = [result for result in results if not result.get("adminAccess")]
    given = tuple(str(result.get("request", "")) for result in held)
    names = tuple((str(each.get("driver")), str(each.get("pool")), str(each.get("device"))) for each in held)
    spec = claim_spec(_mapping(obj.get("spec")))
    return Claim(str(meta["namespace"]), str(meta["name"]), spec, given if allocation else None, names)


def template(obj: Json) -> tuple[tuple[str, str], ClaimSpec]:
    """A ResourceClaimTemplate: its namespace and name, and what claims made from it ask for."""
    meta, spec = obj["metadata"], _mapping(obj.get("spec"))
    return (str(meta["namespace"]), str(meta["name"])), claim_spec(_mapping(spec.get("spec")))


def claim_spec(spec: Json) -> ClaimSpec:
    """The device requests of a claim's spec.

    Raises:
        Malformed: a count is none.
    """
    devices = _mapping(spec.get("devices"))
    requests = tuple(_request(each) for each in _list(devices.get("requests")))
    return ClaimSpec(requests, constrained=bool(devices.get("constraints")))


def slice_of(obj: Json) -> ResourceSlice:
    """A ResourceSlice. Devices that no single node has (of a network) are left out, and those that a taint closes."""
    spec = _mapping(obj.get("spec"))
    pool, driver = _mapping(spec.get("pool")), str(spec.get("driver") or "")
    devices = []
    for each in _list(spec.get("devices")):
        node = str(spec.get("nodeName") or each.get("nodeName") or "")
        if node and not _closed(each):
            name, consumed = str(each.get("name") or ""), _amounts(each.get("consumesCounters"), "counterSet")
            devices.append(Device(node, _subject(driver, each), str(pool.get("name") or ""), name, consumed))
    generation = count(pool.get("generation"), "spec.pool.generation", most=2**62)
    shared = _amounts(spec.get("sharedCounters"), "name")
    return ResourceSlice(driver, str(pool.get("name") or ""), generation, tuple(devices), shared)


def _amounts(sets: Any, name: str) -> tuple[tuple[tuple[str, str], Decimal], ...]:
    """Counters by their set and name; `name` is the field that names the set."""
    amounts = []
    for each in _list(sets):
        for counter, value in _mapping(each.get("counters")).items():
            try:
                amount = quantity(_mapping(value).get("value"))
            except ValueError as error:
                raise Malformed(f"counters.{counter}", value, EXPECTED) from error
            amounts.append(((str(each.get(name) or ""), str(counter)), amount))
    return tuple(amounts)


def _request(entry: Json, before: str = "") -> DeviceRequest:
    exact = _mapping(entry.get("exactly")) or entry
    name = before + str(entry.get("name") or "")
    alternatives = tuple(_request(each, f"{name}/") for each in _list(entry.get("firstAvailable")))
    every = exact.get("allocationMode") == MODE_ALL
    return DeviceRequest(
        name=name,
        device_class=str(exact.get("deviceClassName") or ""),
        count=None if every else count(exact.get("count"), "devices.requests[].count", default=1, most=MOST_DEVICES),
        counts=not exact.get("adminAccess"),
        selectors=_selectors(exact),
        alternatives=alternatives,
    )


def _selectors(holder: Json) -> tuple[str, ...]:
    return tuple(str(_mapping(each.get("cel")).get("expression") or "") for each in _list(holder.get("selectors")))


def _closed(device: Json) -> bool:
    taints = _list(device.get("taints")) or _list(_mapping(device.get("basic")).get("taints"))
    return any(taint.get("effect") in {"NoSchedule", "NoExecute"} for taint in taints)


def _subject(driver: str, device: Json) -> DeviceSubject:
    basic = _mapping(device.get("basic")) or device  # v1beta1 has a level between
    attributes: dict[str, dict[str, Any]] = {}
    for key, value in _mapping(basic.get("attributes")).items():
        domain, name = _qualified(str(key), driver)
        told = [_mapping(value)[way] for way in _VALUES if way in _mapping(value)]
        if told:
            attributes.setdefault(domain, {})[name] = told[0]
    capacity: dict[str, dict[str, Any]] = {}
    for key, value in _mapping(basic.get("capacity")).items():
        domain, name = _qualified(str(key), driver)
        try:
            capacity.setdefault(domain, {})[name] = quantity(_mapping(value).get("value", value))
        except ValueError:
            continue  # an amount that cannot be read is one that the device does not tell
    return DeviceSubject(driver, attributes, capacity)


def _qualified(key: str, driver: str) -> tuple[str, str]:
    """A name without a domain is the driver's own."""
    domain, slash, name = key.partition("/")
    return (domain, name) if slash else (driver, key)


def _mapping(value: Any) -> Json:
    return dict(value) if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Json]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Malformed("spec.devices", value, "a list")
    return [_mapping(each) for each in value]
