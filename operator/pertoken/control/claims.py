"""Devices that pods claim (DRA), counted in a pool's unit: how many ``nvidia.com/gpu`` a claim takes and a node has.

A class stands for an extended resource by its own field (``extendedResourceName``), by the devices that it selects, or
by its well-known name. A pool whose `resourceName` is the class itself counts that class.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final, TypeVar

from pertoken.control.cel import literals, matches
from pertoken.control.devices import (
    Claim,
    ClaimSpec,
    Device,
    DeviceRequest,
    Devices,
    claim,
    device_class,
    slice_of,
    template,
)
from pertoken.control.placement import CLAIMS_UNKNOWN
from pertoken.domain.cluster import ClaimUse, NodeFact, PodFact
from pertoken.domain.placement import PlacementRules
from pertoken.ports import AdapterError, Clock, ClusterReader, Forbidden, Json, NotFound

LOGGER = logging.getLogger(__name__)

READ_SECONDS: Final = 30.0
ABSENT_SECONDS: Final = 600.0  # before a cluster that does not serve the API is asked again
CLASS_RESOURCE: Final = "deviceclass.resource.kubernetes.io/"
# What drivers call a device that is one unit of an extended resource: driver, its `type` (empty for any), resources.
_DEVICES: Final = (
    ("gpu.nvidia.com", "gpu", ("nvidia.com/gpu",)),
    ("gpu.nvidia.com", "mig", ("nvidia.com/mig-{profile}",)),
    ("gpu.amd.com", "amdgpu", ("amd.com/gpu",)),
    ("gpu.amd.com", "", ("amd.com/gpu",)),
    ("gpu.intel.com", "", ("gpu.intel.com/xe", "gpu.intel.com/i915")),
    ("gaudi.intel.com", "", ("habana.ai/gaudi",)),
    ("tpu.google.com", "", ("google.com/tpu",)),
    ("neuron.aws.com", "", ("aws.amazon.com/neuron",)),
)

T = TypeVar("T")
_Counter = tuple[str, str, str, str]  # driver, pool, counter set, counter


@dataclass(slots=True)
class Accounts:
    """Counts the claims and devices of one snapshot in units of a resource."""

    devices: Devices
    _resources: dict[DeviceRequest, frozenset[str]] = field(default_factory=dict)
    _by_node: dict[str, list[tuple[Device, frozenset[str]]]] = field(default_factory=dict)
    _counters: dict[_Counter, Decimal] = field(default_factory=dict)
    _held: frozenset[tuple[str, str, str]] = frozenset()

    def __post_init__(self) -> None:
        """Sort the devices by node, each with every name of what it is one unit of."""
        self._held = frozenset(key for each in self.devices.claims.values() for key in each.devices)
        for part in self.devices.newest():
            self._counters.update({(part.driver, part.pool, *name): amount for name, amount in part.counters})
            for device in part.devices:
                self._by_node.setdefault(device.node, []).append((device, self._of_device(device)))

    def on_node(self, node: str, resource: str) -> int:
        """Devices of a node that are each one unit of a resource, as many as there can be at once.

        Devices may share counters (a card and its MIG slices): what devices of other kinds hold of them is gone, and
        those of this kind take their share one after another, the ones that are held first.
        """
        there = self._by_node.get(node, ())
        own = [device for device, resources in there if resource in resources]
        if not any(device.consumes for device in own):
            return len(own)
        left = dict(self._counters)
        for device, resources in there:
            if resource not in resources and device.key in self._held:
                _take(left, device)
        return sum(_take(left, device) for device in sorted(own, key=lambda device: device.key not in self._held))

    def of_use(self, namespace: str, use: ClaimUse, resource: str, nodes: Collection[str]) -> int | None:
        """Units of a resource that a claim of a pod takes; None where the claim is not known.

        Args:
            namespace: of the pod.
            use: its claim, or the template that its claim is made from.
            resource: the unit.
            nodes: on which it may run, for claims whose number of devices depends on it.
        """
        known = self.devices.claims.get((namespace, use.claim)) if use.claim else None
        if known is not None:
            return self._of_claim(known, resource, nodes)
        spec = self.devices.templates.get((namespace, use.template)) if use.template else None
        return None if spec is None else self._of_spec(spec, resource, nodes)

    def doubts(self, namespace: str, uses: Iterable[ClaimUse]) -> tuple[str, ...]:
        """Why these claims may not fit a node that has enough devices, in words; empty if nothing speaks against it."""
        specs = [spec for use in uses if (spec := self._spec(namespace, use)) is not None]
        requests = [request for spec in specs for request in _flat(spec.requests)]
        words = []
        if any(spec.constrained for spec in specs):
            words.append("constraints between claimed devices")
        if any(request.selectors for request in requests):
            words.append("selectors of claimed devices")
        return tuple(words)

    def _spec(self, namespace: str, use: ClaimUse) -> ClaimSpec | None:
        known = self.devices.claims.get((namespace, use.claim)) if use.claim else None
        return known.spec if known is not None else self.devices.templates.get((namespace, use.template))

    def _of_claim(self, known: Claim, resource: str, nodes: Collection[str]) -> int:
        if known.allocated is None:
            return self._of_spec(known.spec, resource, nodes)
        requests = {request.name: request for request in _flat(known.spec.requests)}
        return sum(
            1
            for name in known.allocated
            if name in requests and requests[name].counts and resource in self._of_request(requests[name])
        )

    def _of_spec(self, spec: ClaimSpec, resource: str, nodes: Collection[str]) -> int:
        return sum(self._units(request, resource, nodes) for request in spec.requests)

    def _units(self, request: DeviceRequest, resource: str, nodes: Collection[str]) -> int:
        if request.alternatives:
            return self._first_available(request, resource, nodes)
        if not request.counts or resource not in self._of_request(request):
            return 0
        if request.count is not None:
            return request.count
        return max((self._matching(request, node) for node in nodes), default=0)

    def _first_available(self, request: DeviceRequest, resource: str, nodes: Collection[str]) -> int:
        """Of alternatives, the first that some node has; where none is known to have any, the largest."""
        for each in request.alternatives:
            wanted = each.count or 1
            if any(self._matching(each, node) >= wanted for node in nodes):
                return self._units(each, resource, nodes)
        return max(self._units(each, resource, nodes) for each in request.alternatives)

    def _matching(self, request: DeviceRequest, node: str) -> int:
        device_class = self.devices.classes.get(request.device_class)
        if device_class is None:
            return 0
        selectors = (*device_class.selectors, *request.selectors)
        return sum(
            1
            for device, _ in self._by_node.get(node, ())
            if all(matches(selector, device.subject) is not False for selector in selectors)
        )

    def _of_request(self, request: DeviceRequest) -> frozenset[str]:
        """Every name of what one device of a request is one unit of."""
        if request not in self._resources:
            self._resources[request] = self._named(request)
        return self._resources[request]

    def _named(self, request: DeviceRequest) -> frozenset[str]:
        name = request.device_class
        device_class = self.devices.classes.get(name)
        names = {name, f"{CLASS_RESOURCE}{name}"} | (
            {device_class.resource} if device_class and device_class.resource else set()
        )
        selectors = (*(device_class.selectors if device_class else ()), *request.selectors)
        return (
            frozenset(names) | (self._selected(selectors) if device_class else frozenset()) | _by_words(name, selectors)
        )

    def _selected(self, selectors: tuple[str, ...]) -> frozenset[str]:
        """What the first device that is selected is a unit of: a class is of one kind of device."""
        for devices in self._by_node.values():
            for device, _ in devices:
                if _known(device) and all(matches(selector, device.subject) for selector in selectors):
                    return _known(device)
        return frozenset()

    def _of_device(self, device: Device) -> frozenset[str]:
        names = set(_known(device))
        for each in self.devices.classes.values():
            if all(matches(selector, device.subject) for selector in each.selectors):
                names |= {each.name, f"{CLASS_RESOURCE}{each.name}"} | ({each.resource} if each.resource else set())
        return frozenset(names)


def _take(left: dict[_Counter, Decimal], device: Device) -> bool:
    """Take what a device consumes off the counters; False, and nothing taken, where it does not fit any more.

    A counter that no slice tells is none.
    """
    driver, pool, _ = device.key
    wanted = [((driver, pool, *name), amount) for name, amount in device.consumes if (driver, pool, *name) in left]
    if any(amount > left[name] for name, amount in wanted):
        return False
    for name, amount in wanted:
        left[name] -= amount
    return True


def _flat(requests: Iterable[DeviceRequest]) -> Iterable[DeviceRequest]:
    for request in requests:
        yield from request.alternatives or (request,)


def _known(device: Device) -> frozenset[str]:
    """The extended resources that a driver's device would be a unit of with the vendor's device plugin."""
    own = device.subject.attributes.get(device.subject.driver, {})
    kind = str(own.get("type", ""))
    for driver, wanted, resources in _DEVICES:
        if device.subject.driver == driver and wanted in ("", kind):
            return frozenset(name.format(profile=own.get("profile", "")) for name in resources)
    return frozenset()


def _by_words(name: str, selectors: Iterable[str]) -> frozenset[str]:
    """The same by a class's name, and by the texts of selectors while no node has such devices yet."""
    words = frozenset(word for selector in selectors for word in literals(selector))
    for driver, kind, resources in _DEVICES:
        profiles = [word for word in words if "{profile}" in resources[0] and word[:1].isdigit()]
        named = name == driver and kind in ("", "gpu", "amdgpu")
        if named or (driver in words and (kind in words or (not kind and not words & {"gpu", "mig"}))):
            if "{profile}" not in resources[0]:
                return frozenset(resources)
            return frozenset(each.format(profile=profile) for each in resources for profile in profiles)
    return frozenset()


def counted_nodes(nodes: Iterable[NodeFact], accounts: Accounts, resources: Collection[str]) -> tuple[NodeFact, ...]:
    """Nodes with the devices of their slices. One that a device plugin tells as well is not counted twice."""
    return tuple(_counted_node(node, accounts, resources) for node in nodes)


def _counted_node(node: NodeFact, accounts: Accounts, resources: Collection[str]) -> NodeFact:
    more = {name: units for name in resources if (units := accounts.on_node(node.name, name))}
    if not more:
        return node
    allocatable = {
        **node.allocatable,
        **{name: max(units, node.allocatable.get(name, 0)) for name, units in more.items()},
    }
    return replace(node, allocatable=allocatable)


def counted_pods(
    pods: Iterable[PodFact], accounts: Accounts, resources: Collection[str], nodes: Collection[str]
) -> tuple[PodFact, ...]:
    """Pods with what they claim among their requests. Devices of a claim that several pods share count once.

    Args:
        pods: with or without claims.
        accounts: of this cycle.
        resources: units of the pools.
        nodes: names of all nodes.
    """
    taken: set[tuple[str, str]] = set()
    counted = {}
    listed = list(pods)
    for pod in sorted((pod for pod in listed if pod.claims), key=lambda pod: (pod.created_at, pod.uid)):
        counted[pod.uid] = _counted_pod(pod, accounts, resources, taken if not pod.ended else set(), nodes)
    return tuple(counted.get(pod.uid, pod) for pod in listed)


def _counted_pod(
    pod: PodFact,
    accounts: Accounts,
    resources: Collection[str],
    taken: set[tuple[str, str]],
    nodes: Collection[str],
) -> PodFact:
    here = [pod.node] if pod.node else nodes
    requests, known = Counter(dict(pod.requests)), True
    for use in pod.claims:
        key = (pod.key.namespace, use.claim)
        if use.claim and key in taken:
            continue
        for resource in resources:
            units = accounts.of_use(pod.key.namespace, use, resource, here)
            known = known and units is not None
            requests[resource] += units or 0
        if use.claim:
            taken.add(key)
    held = {name: units for name, units in requests.items() if units}
    where = placed(pod.placement, accounts.doubts(pod.key.namespace, pod.claims)) if known else pod.placement
    return replace(pod, requests=held, placement=where)


def placed(rules: PlacementRules, doubts: tuple[str, ...]) -> PlacementRules:
    """Placement rules of pods whose claims are counted: they are no longer a reason to know nothing."""
    unknown = tuple(words for words in rules.unknown if words != CLAIMS_UNKNOWN)
    return replace(rules, unknown=unknown, narrowed_by=(*rules.narrowed_by, *doubts))


@dataclass(slots=True)
class DeviceLists:
    """Reads the objects of dynamic resource allocation, each kind at most once per `READ_SECONDS`.

    They are not watched: a cluster may not serve them, and few need them.
    """

    reader: ClusterReader
    clock: Clock
    _accounts: Accounts | None = None
    _read_at: float = float("-inf")
    _absent_at: float = float("-inf")

    def accounts(self) -> Accounts | None:
        """What there is to count with; None where the cluster does not serve the API, or pertoken may not read it."""
        now = self.clock.monotonic()
        if now - self._absent_at < ABSENT_SECONDS:
            return None
        if now - self._read_at >= READ_SECONDS:
            self._read_at = now
            self._refresh(now)
        return self._accounts

    def _refresh(self, now: float) -> None:
        """Read anew; what was known stands while the API server does not answer."""
        try:
            self._accounts = Accounts(
                Devices(
                    {each.name: each for each in self._all("deviceclasses", device_class)},
                    dict(self._all("resourceclaimtemplates", template)),
                    {(each.namespace, each.name): each for each in self._all("resourceclaims", claim)},
                    tuple(self._all("resourceslices", slice_of)),
                )
            )
        except (NotFound, Forbidden) as error:
            LOGGER.info("claims of devices are not counted: %s", error)
            self._accounts, self._absent_at = None, now
        except AdapterError as error:
            LOGGER.warning("claims of devices cannot be read: %s", error)

    def _all(self, plural: str, parse: Callable[[Json], T]) -> list[T]:
        parsed = []
        for obj in self.reader.list(plural).items:
            try:
                parsed.append(parse(obj))
            except Exception as error:  # noqa: BLE001 - users write these objects: one that is none must not end the cycle
                LOGGER.warning("one of the %s cannot be read: %s", plural, error)
        return parsed


def uses_of(spec: Mapping[str, Any], status: Mapping[str, Any] | None = None) -> tuple[ClaimUse, ...]:
    """The claims of a pod spec; of a pod, with the names of the claims that were made for it.

    Args:
        spec: of a pod or a template.
        status: of the pod, None for a template.
    """
    claims = {
        str(each.get("name")): str(each.get("resourceClaimName") or "")
        for each in (status or {}).get("resourceClaimStatuses") or ()
    }
    return tuple(
        ClaimUse(
            claim=str(each.get("resourceClaimName") or "") or claims.get(str(each.get("name")), ""),
            template=str(each.get("resourceClaimTemplateName") or ""),
        )
        for each in spec.get("resourceClaims") or ()
        if isinstance(each, Mapping)
    )
