"""Taints and placement rules as the API server shows them, parsed to domain values."""

from __future__ import annotations

from typing import Any

import pytest

from pertoken.control.facts import pod_fact
from pertoken.control.placement import placement_rules
from pertoken.control.workloads import scalable_fact
from pertoken.domain.placement import ANYWHERE, NodeTerm, PlacementRules, Requirement, Toleration

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def test_tolerations_selector_and_affinity():
    spec = {
        "tolerations": [
            {"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},
            {"operator": "Exists"},
        ],
        "nodeSelector": {"b": "2", "a": "1"},
        "affinity": {
            "nodeAffinity": {
                REQUIRED: {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
                        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]},
                    ]
                }
            }
        },
    }

    assert placement_rules(spec) == PlacementRules(
        tolerations=(Toleration("sku", "Equal", "gpu", "NoSchedule"), Toleration(operator="Exists")),
        node_selector=(("a", "1"), ("b", "2")),
        affinity=(
            NodeTerm((Requirement("zone", "In", ("a",)),)),
            NodeTerm(fields=(Requirement("metadata.name", "In", ("n",)),)),
        ),
    )


@pytest.mark.parametrize(
    ("spec", "narrowed_by", "unknown"),
    [
        ({"affinity": {"podAntiAffinity": {REQUIRED: [{}]}}}, ("required pod anti-affinity",), ()),
        ({"affinity": {"podAffinity": {REQUIRED: [{}]}}}, ("required pod affinity",), ()),
        ({"affinity": {"podAntiAffinity": {PREFERRED: [{}]}}}, (), ()),
        ({"affinity": {"nodeAffinity": {PREFERRED: [{}]}}}, (), ()),
        ({"topologySpreadConstraints": [{}]}, ("topology spread (DoNotSchedule)",), ()),
        ({"topologySpreadConstraints": [{"whenUnsatisfiable": "ScheduleAnyway"}]}, (), ()),
        ({"schedulingGates": [{"name": "g"}]}, ("scheduling gates",), ()),
        ({"volumes": [{"persistentVolumeClaim": {"claimName": "c"}}]}, ("volumes bound to a topology",), ()),
        ({"volumes": [{"emptyDir": {}}]}, (), ()),
        ({"containers": [{"ports": [{"containerPort": 1, "hostPort": 1}]}]}, ("host ports",), ()),
        ({"schedulerName": "default-scheduler"}, (), ()),
        ({"schedulerName": "volcano"}, (), ("scheduler volcano",)),
        ({"resourceClaims": [{"name": "gpu"}]}, (), ("resource claims (DRA)",)),
    ],
)
def test_what_else_the_scheduler_looks_at(spec: dict[str, Any], narrowed_by: tuple[str, ...], unknown: tuple[str, ...]):
    rules = placement_rules(spec)

    assert (rules.narrowed_by, rules.unknown) == (narrowed_by, unknown)


def test_equal_rules_are_one_value():
    first, second = placement_rules({"nodeSelector": {"a": "b"}}), placement_rules({"nodeSelector": {"a": "b"}})

    assert first is second
    assert placement_rules({}) == ANYWHERE


def test_templates_and_pods_carry_their_rules():
    template = {"spec": {"containers": [{"name": "engine"}], "nodeName": "n"}}
    workload = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"namespace": "a", "name": "w", "uid": "u"},
        "spec": {"template": template, "volumeClaimTemplates": [{}]},
    }
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "w", "uid": "u", "controller": True}
    pod = {
        "metadata": {"namespace": "a", "name": "w-0", "uid": "p", "ownerReferences": [owner]},
        "spec": template["spec"],
    }
    fact = pod_fact(pod)

    assert scalable_fact(workload).placement.node_name == "n"
    assert scalable_fact(workload).placement.narrowed_by == ("volumes bound to a topology",)
    assert fact is not None
    assert fact.placement.node_name == "n"
