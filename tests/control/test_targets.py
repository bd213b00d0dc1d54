"""One target, one service: who holds what."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pertoken.control.objects import ServiceObject
from pertoken.control.targets import taken_targets, target_of
from pertoken.domain.identity import ServiceKey, WorkloadRef
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Mode, ModelSpec, ServiceSpec, VariantSpec

APPS = "apps/v1"


def ref(name: str, api_version: str = APPS, kind: str = "Deployment") -> WorkloadRef:
    return WorkloadRef(api_version, kind, "team", name)


def service(name: str, *targets: WorkloadRef, at: float = 0.0, mode: Mode = Mode.AUTO, uid: str = "") -> ServiceObject:
    key = ServiceKey("team", name)
    variants = tuple(
        VariantSpec(name=f"v{index}", pool="p", workload=target, owned=False) for index, target in enumerate(targets)
    )
    spec = ServiceSpec(key, uid or f"uid-{name}", 1, ModelSpec("m", "m"), variants, mode=mode)
    return ServiceObject(key, spec.uid, 1, deleting=False, spec=spec, created_at=at)


def test_the_older_keeps_the_target_and_is_named():
    older, younger = service("z", ref("chat"), at=1.0), service("a", ref("chat"), at=2.0)
    [(uid, refusal)] = taken_targets([younger, older]).items()
    assert uid == younger.uid
    assert refusal.reason is Reason.TARGET_TAKEN
    assert refusal.conflicted
    assert "Deployment team/chat belongs to InferenceService team/z" in refusal.message


def test_of_the_same_second_the_uid_decides():
    first, second = service("b", ref("chat"), uid="1"), service("a", ref("chat"), uid="2")
    assert set(taken_targets([second, first])) == {"2"}


def test_the_version_of_an_api_is_a_spelling():
    assert target_of(ref("chat", "apps/v1beta2")) == target_of(ref("chat"))
    assert target_of(ref("chat", "other.io/v1")) != target_of(ref("chat"))
    assert target_of(ref("chat", kind="StatefulSet")) != target_of(ref("chat"))
    assert set(taken_targets([service("a", ref("x"), at=1), service("b", ref("x", "apps/v1beta1"), at=2)])) == {"uid-b"}


def test_one_shared_target_is_enough():
    older, younger = service("a", ref("x"), at=1), service("b", ref("y"), ref("x"), at=2)
    assert set(taken_targets([older, younger])) == {"uid-b"}


def test_recommending_holds_off_and_deleted_do_not():
    younger = service("b", ref("x"), at=2)
    assert taken_targets([service("a", ref("x"), at=1, mode=Mode.RECOMMEND), younger])
    assert not taken_targets([service("a", ref("x"), at=1, mode=Mode.OFF), younger])
    assert not taken_targets([replace(service("a", ref("x"), at=1), deleting=True), younger])
    assert not taken_targets([replace(service("a", ref("x"), at=1), spec=None), younger])


def test_a_service_that_is_off_conflicts_with_nobody():
    assert not taken_targets([service("a", ref("x"), at=1), service("b", ref("x"), at=2, mode=Mode.OFF)])


def test_one_workload_twice_in_one_service_is_a_mistake_of_its_spec():
    [refusal] = taken_targets([service("a", ref("x"), ref("x", "apps/v1beta2"))]).values()
    assert refusal.reason is Reason.INVALID_SPEC
    assert not refusal.conflicted
    assert "v0 and v1" in refusal.message


services = st.lists(
    st.tuples(st.lists(st.sampled_from("xyz"), min_size=1, max_size=3, unique=True), st.integers(0, 3)), max_size=6
)


@given(services)
def test_no_target_is_ever_worked_by_two(drawn):
    rivals = [service(f"s{index}", *map(ref, names), at=at) for index, (names, at) in enumerate(drawn)]
    refused = taken_targets(rivals)
    worked = [
        target for each in rivals if each.uid not in refused for target in [v.workload for v in each.spec.variants]
    ]
    assert len(worked) == len(set(worked))
    # The oldest of all is never in the way of itself.
    if rivals:
        assert min(rivals, key=lambda each: (each.created_at, each.uid)).uid not in refused
