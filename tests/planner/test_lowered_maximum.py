"""A maximum that is lowered below what runs is reached by the rules of scaling down, whatever the load."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lab import plant

from pertoken.domain.reasons import Reason
from pertoken.domain.service import Behavior, PolicyType, ScalingPolicy, ScalingRules, SelectPolicy

ONE_A_MINUTE = (ScalingPolicy(PolicyType.PODS, 1, 60),)


def lowered(policies, most, *, rate, select=SelectPolicy.MAX):
    """Replicas have served for ten minutes when the maximum is cut."""
    rules = ScalingRules(stabilization_seconds=0, policies=policies, select=select)
    fleet = plant(replicas=6, rate=rate)
    fleet.run(600)
    before, spec = fleet.replicas(), fleet.services["chat"]
    variant = replace(spec.variants[0], max_replicas=most)
    fleet.services["chat"] = replace(spec, variants=(variant,), behavior=Behavior(scale_down=rules))
    fleet.deployments["chat"].spec = variant
    return fleet, before


@pytest.mark.parametrize("rate", [40.0, 400.0], ids=["as planned", "overload"])
def test_replicas_go_one_by_one_where_the_policy_says_so(rate):
    fleet, before = lowered(ONE_A_MINUTE, 2, rate=rate)
    seen = [before]

    def watch(*_):
        if fleet.replicas() != seen[-1]:
            seen.append(fleet.replicas())

    fleet.run(600, watch)
    assert seen == list(range(before, 1, -1))


def test_what_comes_down_is_told():
    fleet, before = lowered(ONE_A_MINUTE, 2, rate=400.0)
    fleet.step()
    decision = fleet.decision()
    assert decision.variants[0].desired == before - 1
    judged = decision.conditions["ScalingLimited"]
    assert judged.reason is Reason.AT_MAXIMUM
    assert "come down to it by the scale-down rules" in judged.message


def test_scaling_down_that_is_disabled_stays_disabled():
    fleet, before = lowered(ONE_A_MINUTE, 2, rate=400.0, select=SelectPolicy.DISABLED)
    fleet.run(300)
    assert fleet.replicas() == before
