"""Devices that pods claim and nodes have, counted in the unit of a pool."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from watched import POOL, RULES, StandingClock, deployment, filled, pod, service

from pertoken.catalog.lookup import SHIPPED
from pertoken.control.claims import (
    READ_SECONDS,
    Accounts,
    DeviceLists,
    counted_nodes,
    counted_pods,
    uses_of,
)
from pertoken.control.devices import Devices, claim, device_class, slice_of, template
from pertoken.control.facts import pod_fact
from pertoken.control.placement import CLAIMS_UNKNOWN, placement_rules
from pertoken.control.survey import survey
from pertoken.control.world import build_world
from pertoken.domain.cluster import ClaimUse, NodeFact, PodFact
from pertoken.domain.identity import PodKey
from pertoken.domain.world import PlannerSettings
from pertoken.ports import Forbidden, Listing, NotFound, Unavailable

GPU = "nvidia.com/gpu"
OF_TYPE = "device.driver == 'gpu.nvidia.com' && device.attributes['gpu.nvidia.com'].type == '{}'"


def cls(name: str, *selectors: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"selectors": [{"cel": {"expression": s}} for s in selectors], **spec}}


def device(name: str, kind: str = "gpu", product: str = "A100", **more: Any) -> dict[str, Any]:
    attributes = {"type": {"string": kind}, "productName": {"string": product}, **more.pop("attributes", {})}
    return {"name": name, "attributes": attributes, **more}


def slice_(node: str, *devices: dict[str, Any], driver: str = "gpu.nvidia.com", generation: int = 1) -> dict[str, Any]:
    pool = {"name": node, "generation": generation, "resourceSliceCount": 1}
    return {
        "metadata": {"name": node},
        "spec": {"driver": driver, "nodeName": node, "pool": pool, "devices": list(devices)},
    }


def request(count: int | None = None, cls: str = "gpu.nvidia.com", **exact: Any) -> dict[str, Any]:
    wanted = {"deviceClassName": cls, **({} if count is None else {"count": count}), **exact}
    return {"name": "r", "exactly": wanted}


def first(*alternatives: dict[str, Any]) -> dict[str, Any]:
    named = [{"name": f"a{index}", **each["exactly"]} for index, each in enumerate(alternatives)]
    return {"name": "r", "firstAvailable": named}


def devices_of(*requests: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"devices": {"requests": list(requests), **more}}


MIG_1G = {"profile": {"string": "1g.10gb"}}
CLASSES = [
    cls("gpu.nvidia.com", OF_TYPE.format("gpu"), extendedResourceName=GPU),
    cls("mig.nvidia.com", OF_TYPE.format("mig")),
    cls("h100", OF_TYPE.format("gpu"), "device.attributes['gpu.nvidia.com'].productName == 'H100'"),
    cls("a100", OF_TYPE.format("gpu"), "device.attributes['gpu.nvidia.com'].productName == 'A100'"),
    cls("nic.example.com", "device.driver == 'nic.example.com'"),
]
SLICES = [
    slice_("n4", *(device(f"gpu-{index}") for index in range(4))),
    slice_("n8", *(device(f"gpu-{index}") for index in range(8)), device("mig-0", "mig", attributes=MIG_1G)),
    slice_("n8", device("nic-0", "nic"), driver="nic.example.com"),
    slice_("old", device("gpu-0"), generation=1),
    slice_("old", generation=2),
    slice_("tainted", device("gpu-0", taints=[{"key": "broken", "effect": "NoExecute"}]), device("gpu-1")),
]
NODES = ("n4", "n8")


def accounts(spec: dict[str, Any] | None = None, **claims: dict[str, Any]) -> Accounts:
    """With a template `t` of this spec, and claims by name."""
    meta = {"namespace": "team", "name": "t"}
    templates = [] if spec is None else [{"metadata": meta, "spec": {"spec": spec}}]
    parsed = [claim({"metadata": {"namespace": "team", "name": name}, **obj}) for name, obj in claims.items()]
    return Accounts(
        Devices(
            {each.name: each for each in map(device_class, CLASSES)},
            dict(map(template, templates)),
            {(each.namespace, each.name): each for each in parsed},
            tuple(map(slice_of, SLICES)),
        )
    )


@pytest.mark.parametrize(
    ("requests", "units"),
    [
        ([request()], 1),
        ([request(2)], 2),
        ([request(2), request(1)], 3),
        ([{"name": "r", "deviceClassName": "gpu.nvidia.com", "count": 2}], 2),
        ([request(2, allocationMode="ExactCount")], 2),
        ([request(allocationMode="All")], 8),
        ([request(1, adminAccess=True), request(1)], 1),
        ([request(1), request(4, "nic.example.com")], 1),
        ([request(2, "a100")], 2),
        ([request(1, "mig.nvidia.com")], 0),
        ([first(request(1, "h100"), request(2, "a100"))], 2),
        ([first(request(16, "a100"), request(4, "a100"))], 4),
        ([first(request(1, "h100"), request(3, "h100"))], 3),
        ([first(request(2, "a100", allocationMode="All"), request(1))], 8),
        ([request(3, "no-such-class")], 0),
        ([], 0),
    ],
    ids=[
        "one", "count", "two requests", "as before v1", "exact", "all", "admin access", "another device",
        "a class without a resource", "another unit", "first available", "first that a node has", "none is there",
        "all of the first", "unknown class", "nothing",
    ],
)  # fmt: skip
def test_devices_of_a_claim(requests, units):
    assert accounts(devices_of(*requests)).of_use("team", ClaimUse(template="t"), GPU, NODES) == units


@pytest.mark.parametrize(
    ("resource", "asked", "units"),
    [
        ("gpu.nvidia.com", request(2), 2),
        ("deviceclass.resource.kubernetes.io/h100", request(2, "h100"), 2),
        ("h100", request(2, "h100"), 2),
        ("h100", request(2, "a100"), 0),
        ("nvidia.com/mig-1g.10gb", request(1, "mig.nvidia.com"), 1),
        ("amd.com/gpu", request(3, "gpu.amd.com"), 3),
        ("gpu.intel.com/i915", request(1, "gpu.intel.com"), 1),
        ("gpu.intel.com/xe", request(1, "gpu.intel.com"), 1),
    ],
)
def test_units_of_other_pools(resource, asked, units):
    assert accounts(devices_of(asked)).of_use("team", ClaimUse(template="t"), resource, NODES) == units


def test_a_class_without_devices_is_known_by_its_words():
    selector = "device.attributes['gpu.nvidia.com'].profile == '3g.40gb'"
    asked = request(1, "mig.nvidia.com", selectors=[{"cel": {"expression": selector}}])
    bare = Accounts(Devices(accounts().devices.classes, dict([template({
        "metadata": {"namespace": "team", "name": "t"}, "spec": {"spec": devices_of(asked, request(2, "h100"))}
    })])))  # fmt: skip
    assert bare.of_use("team", ClaimUse(template="t"), "nvidia.com/mig-3g.40gb", ()) == 1
    assert bare.of_use("team", ClaimUse(template="t"), GPU, ()) == 2


def results(*names: str, **more: Any) -> dict[str, Any]:
    return {"allocation": {"devices": {"results": [{"request": name, "driver": "d", **more} for name in names]}}}


def test_what_was_allocated_counts_rather_than_what_was_asked_for():
    spec = devices_of(first(request(1, "h100"), request(2, "a100")))
    claims = accounts(
        None,
        waiting={"spec": spec},
        second={"spec": spec, "status": results("r/a1", "r/a1")},
        every={"spec": devices_of(request(allocationMode="All")), "status": results("r", "r", "r")},
        watching={"spec": devices_of(request(1)), "status": results("r", adminAccess=True)},
    )
    counted = {name: claims.of_use("team", ClaimUse(name), GPU, NODES) for _, name in claims.devices.claims}
    assert counted == {"waiting": 2, "second": 2, "every": 3, "watching": 0}


def test_what_is_not_known_is_none():
    claims = accounts(devices_of(request()))
    assert claims.of_use("team", ClaimUse("gone"), GPU, NODES) is None
    assert claims.of_use("team", ClaimUse("gone", "t"), GPU, NODES) == 1, "the claim is still to be made"
    assert claims.of_use("other", ClaimUse(template="t"), GPU, NODES) is None


def test_devices_of_nodes():
    names = ("n4", "n8", "old", "tainted", "plain")
    nodes = [NodeFact(name, {}, {GPU: 2} if name in {"n4", "plain"} else {}) for name in names]
    allocatable = {
        node.name: node.allocatable for node in counted_nodes(nodes, accounts(), (GPU, "nvidia.com/mig-1g.10gb"))
    }
    assert allocatable == {
        "n4": {GPU: 4},
        "n8": {GPU: 8, "nvidia.com/mig-1g.10gb": 1},
        "old": {},
        "tainted": {GPU: 1},
        "plain": {GPU: 2},
    }


def claiming(name: str, *uses: ClaimUse, **more: Any) -> PodFact:
    spec = {"resourceClaims": [{"name": "gpu"}]}
    return PodFact(PodKey("team", name), name, claims=uses, placement=placement_rules(spec), **more)


def partitionable(node: str, gpus: int) -> dict[str, Any]:
    """Cards of 80 GiB of which a driver offers the whole, two placements of 3g.40gb and seven of 1g.10gb."""
    devices = []
    for gpu in range(gpus):

        def part(name: str, first: int, slices: int, kind: str, profile: str = "", gpu: int = gpu) -> dict[str, Any]:
            taken = {f"memory-slice-{index}": {"value": "1"} for index in range(first, first + slices)}
            attributes = {"profile": {"string": profile}} if profile else {}
            counters = {"counterSet": f"gpu-{gpu}", "counters": {"memory": {"value": f"{10 * slices}Gi"}, **taken}}
            return device(f"gpu-{gpu}{name}", kind, attributes=attributes, consumesCounters=[counters])

        devices.append(part("", 0, 8, "gpu"))
        devices += [part(f"-3g-{first}", first, 4, "mig", "3g.40gb") for first in (0, 4)]
        devices += [part(f"-1g-{first}", first, 1, "mig", "1g.10gb") for first in range(7)]
    obj = slice_(node, *devices)
    slices = {f"memory-slice-{index}": {"value": "1"} for index in range(8)}
    obj["spec"]["sharedCounters"] = [
        {"name": f"gpu-{gpu}", "counters": {"memory": {"value": "80Gi"}, **slices}} for gpu in range(gpus)
    ]
    return obj


def given(*names: str, **more: Any) -> dict[str, Any]:
    results = [{"request": "r", "driver": "gpu.nvidia.com", "pool": "cut", "device": name, **more} for name in names]
    return {"status": {"allocation": {"devices": {"results": results}}}, "spec": devices_of(request(1))}


@pytest.mark.parametrize(
    ("held", "whole", "threes", "ones"),
    [
        ((), 2, 4, 14),
        (("gpu-0-1g-2",), 1, 3, 14),
        (("gpu-0-3g-4",), 1, 4, 11),
        (("gpu-0-3g-0", "gpu-0-3g-4"), 1, 4, 7),
        (("gpu-1",), 2, 2, 7),
        (("gpu-0-1g-6", "gpu-1-1g-0"), 0, 2, 14),
    ],
    ids=["nothing", "a small slice", "half a card", "both halves", "a whole card", "a slice of each"],
)
def test_a_card_and_its_slices_share_what_there_is(held, whole, threes, ones):
    holder = claim({"metadata": {"namespace": "other", "name": "c"}, **given(*held)})
    classes = {each.name: each for each in map(device_class, CLASSES)}
    shared = Accounts(Devices(classes, {}, {("other", "c"): holder}, (slice_of(partitionable("cut", 2)),)))
    named = [GPU, "nvidia.com/mig-3g.40gb", "nvidia.com/mig-1g.10gb"]
    assert [shared.on_node("cut", resource) for resource in named] == [whole, threes, ones]


def test_counters_may_stand_in_a_slice_of_their_own_and_admin_access_takes_nothing():
    whole = partitionable("cut", 1)
    counters = slice_("cut")
    counters["spec"]["sharedCounters"] = whole["spec"].pop("sharedCounters")
    holder = claim({"metadata": {"namespace": "other", "name": "c"}, **given("gpu-0-1g-2", adminAccess=True)})
    devices = Devices({}, {}, {("other", "c"): holder}, (slice_of(whole), slice_of(counters)))
    assert Accounts(devices).on_node("cut", GPU) == 1
    assert Accounts(devices).on_node("cut", "nvidia.com/mig-3g.40gb") == 2


def test_pods_hold_what_they_claim_and_a_shared_claim_once():
    claims = accounts(devices_of(request(2)), shared={"spec": devices_of(request(1)), "status": results("r")})
    pods = [
        claiming("own", ClaimUse(template="t"), requests={GPU: 1}),
        claiming("second", ClaimUse("shared"), created_at=2.0),
        claiming("first", ClaimUse("shared"), created_at=1.0),
        claiming("unknown", ClaimUse("gone")),
        PodFact(PodKey("team", "plain"), "plain", {GPU: 4}),
    ]
    counted = {each.uid: each for each in counted_pods(pods, claims, (GPU,), NODES)}
    assert {uid: dict(each.requests) for uid, each in counted.items()} == {
        "own": {GPU: 3}, "first": {GPU: 1}, "second": {}, "unknown": {}, "plain": {GPU: 4},
    }  # fmt: skip
    assert counted["own"].placement.unknown == ()
    assert counted["unknown"].placement.unknown == (CLAIMS_UNKNOWN,)


def test_a_pods_claims_are_named_by_its_status():
    spec = {
        "resourceClaims": [
            {"name": "gpu", "resourceClaimTemplateName": "t"},
            {"name": "net", "resourceClaimName": "shared"},
            {"name": "late", "resourceClaimTemplateName": "t"},
        ]
    }
    status = {"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "chat-gpu-x7"}]}
    assert uses_of(spec, status) == (ClaimUse("chat-gpu-x7", "t"), ClaimUse("shared"), ClaimUse("", "t"))
    job = pod("job")
    job["metadata"]["ownerReferences"][0]["kind"] = "Job"
    job["spec"] |= {"containers": [{"name": "c"}], **spec}
    fact = pod_fact(job)
    assert fact is not None, "a job that claims devices holds them"
    assert len(fact.claims) == 3


@dataclass
class Reader:
    """Lists by plural; one that is an exception is raised."""

    lists: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def list(self, plural: str) -> Listing:
        self.asked.append(plural)
        kept_object = self.lists.get(plural, [])
        if isinstance(kept_object, Exception):
            raise kept_object
        return Listing(kept_object)


class Clock(StandingClock):
    at = 1000.0

    def monotonic(self) -> float:
        return self.at


def test_lists_are_read_once_in_a_while_and_one_bad_object_leaves_the_others(caplog):
    reader, clock = Reader({"deviceclasses": [*CLASSES, {"spec": 5}], "resourceslices": SLICES}), Clock()
    lists = DeviceLists(reader, clock)
    claims = lists.accounts()
    assert claims.on_node("n4", GPU) == 4
    assert "one of the deviceclasses cannot be read" in caplog.text
    assert (lists.accounts(), len(reader.asked)) == (claims, 4)
    clock.at += READ_SECONDS
    reader.lists["resourceslices"] = Unavailable("no answer")
    assert lists.accounts() is claims, "what was known stands"


@pytest.mark.parametrize("error", [NotFound("not served"), Forbidden("cannot list resource")])
def test_a_cluster_without_the_api_is_not_asked_all_the_time(error):
    reader, clock = Reader({"deviceclasses": error}), Clock()
    lists = DeviceLists(reader, clock)
    assert lists.accounts() is None
    clock.at += READ_SECONDS
    assert lists.accounts() is None
    assert reader.asked == ["deviceclasses"]


def world(spec: dict[str, Any] | None, **node_status: Any) -> Any:
    """A service whose Deployment claims its GPUs, on a node whose driver tells eight."""
    target = deployment("chat")
    target["spec"]["template"]["spec"] = {
        "containers": [{"name": "engine", "resources": {"claims": [{"name": "gpu"}]}}],
        "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}],
    }
    status = {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": "96"}, **node_status}
    node = {"metadata": {"name": "n8", "uid": "u", "labels": {"gpu": "yes"}}, "status": status}
    running_pod = pod("chat-1-x")
    running_pod["spec"] |= {**target["spec"]["template"]["spec"], "nodeName": "n8"}
    inventory = filled(
        deployments=[target],
        pods=[running_pod],
        nodes=[node],
        inferenceservices=[service("chat")],
        acceleratorpools=[POOL],
    )
    surveyed = survey(inventory.snapshot(), RULES)
    assert surveyed.claims_devices()
    return build_world(replace(surveyed, accounts=accounts(spec)), {}, SHIPPED, PlannerSettings())


def test_claims_reach_the_planner_as_gpus():
    """A Deployment of one-GPU claims on a node whose GPUs are told by slices alone."""
    built_world = world(devices_of(request(2)))
    variant = built_world.services[0].variants[0]
    assert (variant.workload.gpus_per_replica, variant.workload.pod_gpus) == (2, (2,))
    assert variant.workload.placement.unknown == ()
    assert built_world.pools[0].nodes[0].allocatable == {GPU: 8}
    assert [dict(each.requests) for each in built_world.pods] == [{GPU: 2}]


def test_constraints_and_selectors_are_told():
    selected = request(2, selectors=[{"cel": {"expression": "device.attributes['x'].y == 1"}}])
    spec = devices_of(selected, constraints=[{"requests": ["r"], "matchAttribute": "resource.kubernetes.io/pcieRoot"}])
    where = world(spec).services[0].variants[0].workload.placement
    assert where.narrowed_by == ("constraints between claimed devices", "selectors of claimed devices")


def test_a_claim_whose_template_is_gone_leaves_count_and_place_unknown():
    workload = world(None).services[0].variants[0].workload
    assert (workload.gpus_per_replica, workload.placement.unknown) == (0, (CLAIMS_UNKNOWN,))
