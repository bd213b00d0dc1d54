"""Replicas in reserve for those that get lost, and what losses add to a variant's price."""

from decimal import Decimal

import pytest
from lab import variant_spec
from states import NOW, Variant, pod, proposal

from pertoken.domain.pool import Purchase
from pertoken.forecast.losses import Losses
from pertoken.planner.estimate.stage import estimate
from pertoken.planner.memory import VariantMemory
from pertoken.planner.size.stage import size

SPOT = {"purchase": Purchase.SPOT}
OFTEN = VariantMemory(losses=Losses(at=NOW - 15.0, asked=6, replaced=12.0, hours=6.0))


@pytest.mark.parametrize(
    ("variant", "count"),
    [
        (Variant(replicas=6), 4),
        (Variant(replicas=6, pool=SPOT), 4),
        (Variant(replicas=6, pool=SPOT, memory=OFTEN), 5),
        (Variant(replicas=6, memory=OFTEN), 5),
        (Variant(variant_spec(max_replicas=4), replicas=6, memory=OFTEN), 4),
    ],
    ids=["on demand", "spot, nothing watched", "spot, often lost", "on demand, often lost", "at its maximum"],
)
def test_what_is_often_lost_gets_a_reserve(variant, count):
    assert size(proposal(variant)).variants[0].least == count


def test_lost_replicas_are_paid_for_twice_while_others_start():
    spot = variant_spec(name="spot", pool="spot", min_replicas=0)
    steady = variant_spec(name="steady", pool="steady", min_replicas=0)

    def cheapest(losses, start):
        memory = VariantMemory(losses=losses, start_seconds=start)
        dearer = Variant(spot, replicas=1, memory=memory, pool={"price_per_gpu_hour": Decimal("1.95")})
        variants = (dearer, Variant(steady, replicas=1))
        counts = {variant.name: variant.replicas for variant in size(proposal(*variants)).variants}
        return max(counts, key=counts.__getitem__)

    assert cheapest(Losses(at=NOW, hours=50.0), 120.0) == "spot"
    assert cheapest(Losses(at=NOW, replaced=20.0, hours=4.0), 600.0) == "steady"


def test_losses_are_learnt_from_pods():
    known = VariantMemory(losses=Losses(at=NOW - 15.0, asked=2, newest=NOW - 3600.0, hours=1.0))
    pods = (pod("a100-0"), pod("a100-1", served=None, created_at=NOW - 10.0))
    after = estimate(proposal(Variant(replicas=2, pods=pods, memory=known)))

    assert after.state.variants[0].memory.losses.replaced == pytest.approx(1.0)
