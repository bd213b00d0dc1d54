from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.calculators.breakeven import ReplicaGroup, api_usd_per_request, break_even
from pertoken.domain.service import PriceList
from pertoken.performance.steady import Load

API = PriceList(Decimal("0.10"), Decimal("0.05"), Decimal("0.40"))
LOAD = Load(1000, 250, 0.2)  # (800 x 0.10 + 200 x 0.05 + 250 x 0.40) / 1e6 = 0.00019 USD


def test_an_api_request_costs_its_tokens():
    assert api_usd_per_request(LOAD, API) == pytest.approx(0.00019)


def test_a_replica_pays_when_its_hour_costs_less_than_the_requests_of_an_hour():
    crossing = break_even(ReplicaGroup(rate=8.0, usd_per_hour=2.736), LOAD, API)  # 0.00076 USD/s

    assert crossing.first == pytest.approx(4.0)
    assert crossing.utilization == pytest.approx(0.5)
    assert crossing.always == pytest.approx(4.0)  # two replicas pay from 8 req/s on, where the second is needed


def test_a_dear_replica_loses_again_when_the_next_one_is_added():
    crossing = break_even(ReplicaGroup(rate=5.0, usd_per_hour=2.736), LOAD, API)

    assert crossing.first == pytest.approx(4.0)
    assert crossing.always == pytest.approx(
        16.0
    )  # the fourth pays from 16 on; the fifth is needed at 20, where it pays


@pytest.mark.parametrize(("rate", "factor"), [(3.9, 1.0), (7.0, 2.0)])
def test_some_replicas_never_pay(rate, factor):
    crossing = break_even(ReplicaGroup(rate, 2.736, factor), LOAD, API)

    assert (crossing.first, crossing.always) == (None, None)
    assert crossing.utilization > 1.0


def test_at_full_use_the_first_pays_and_the_fleet_does_not():
    crossing = break_even(ReplicaGroup(4.0, 2.736), LOAD, API)

    assert crossing.first == pytest.approx(4.0)
    assert crossing.always is None


def test_a_free_api_is_never_beaten():
    free = PriceList(Decimal(0), Decimal(0), Decimal(0))

    assert break_even(ReplicaGroup(4.0, 2.0), LOAD, free).first is None
    assert break_even(ReplicaGroup(4.0, 0.0), LOAD, free).first == 0.0


@pytest.mark.parametrize("fleet", [ReplicaGroup(0.0, 1.0), ReplicaGroup(1.0, 1.0, 0.5)])
def test_a_fleet_must_carry_something(fleet):
    with pytest.raises(ValueError, match="expected > 0 and >= 1"):
        break_even(fleet, LOAD, API)


@given(rate=st.floats(0.1, 100), hourly=st.floats(0.1, 50), factor=st.floats(1.0, 3.0), above=st.floats(1.0001, 20.0))
def test_beyond_the_break_even_own_gpus_are_never_dearer(rate, hourly, factor, above):
    fleet = ReplicaGroup(rate, hourly, factor)
    crossing = break_even(fleet, LOAD, API)

    def api(load):
        return load * crossing.api_usd_per_request * 3600

    if crossing.always is not None:
        load = crossing.always * above
        assert fleet.usd_per_hour_at(load) <= api(load) * (1 + 1e-6)
    if crossing.first is not None and crossing.first > 0:
        below = crossing.first / above
        assert fleet.usd_per_hour_at(below) > api(below)
