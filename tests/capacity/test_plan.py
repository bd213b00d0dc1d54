"""A plan over many services: work that grows with them and no faster, growth, events, and what cannot be planned."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

import pertoken.capacity.foresight as foresight_module
from pertoken.capacity.asked import Asked
from pertoken.capacity.foresight import foresee
from pertoken.capacity.history.value import History, ServiceHistory
from pertoken.capacity.plan import Changes, factors_of, plan
from pertoken.capacity.spec import Event, PlanSpec
from pertoken.capacity.tuning import BACKTEST
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.identity import ServiceKey, WorkloadRef
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import LatencyObjective, ModelSpec, ServiceSpec, VariantSpec

DAY = 24
TWO_DAYS = PlanSpec("", horizon_days=2)
POOL = PoolSpec(name="h100", accelerator="h100-sxm")
START = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp())


def service(name, model="meta-llama/Llama-3.1-8B-Instruct"):
    key = ServiceKey("default", name)
    variant = VariantSpec("v", "h100", WorkloadRef("apps/v1", "Deployment", "default", name), owned=False)
    return ServiceSpec(key, name, 1, ModelSpec(model, name), (variant,), latency=LatencyObjective(2.0, 0.05))


def past(name, days=8, scale=20_000.0):
    hours = np.arange(days * DAY)
    requests = scale * (1.2 + np.sin(hours / DAY * 2 * np.pi))
    return ServiceHistory(name, requests, requests * 900, requests * 150, np.full(len(hours), np.nan))


def asked(*names, spec=TWO_DAYS, **changes):
    histories = {f"default/{name}": past(f"default/{name}") for name in names}
    history = History(START, tuple(histories.values()))
    services = tuple(service(name) for name in names)
    return replace(Asked(spec, services, (POOL,), history, histories, SHIPPED, resamples=40), **changes)


@pytest.fixture
def counted(monkeypatch):
    """Origins at which each service was back-tested."""
    origins = []

    def outlook(values, tested, real=foresight_module.outlook_of):
        origins.append(len(tested.hours))
        return real(values, tested)

    monkeypatch.setattr(foresight_module, "outlook_of", outlook)
    return origins


def test_back_tests_of_many_services_are_bounded(counted, monkeypatch):
    monkeypatch.setattr(foresight_module, "BACKTEST", replace(BACKTEST, origin_budget=12, least_origins=2))

    foresee(asked("a"))
    foresee(asked("a", "b", "c"))
    foresee(asked(*"abcdefgh"))

    assert counted[0] == 5  # as many as the history has
    assert counted[1:4] == [4, 4, 4]
    assert counted[4:] == [2] * 8


def test_a_what_if_forecasts_nothing_again(counted):
    question = asked("a", "b")
    foresight = foresee(question)
    usual = plan(question, foresight)
    double = plan(question, foresight, Changes(demand=2.0))

    assert len(counted) == 2
    assert double.futures.pools[0].gpus.sum() > usual.futures.pools[0].gpus.sum()
    np.testing.assert_allclose(double.services[0].p90, 2 * usual.services[0].p90)


def test_services_of_one_shape_share_their_gpus_one_by_one():
    one, two = (plan(asked(*names), foresee(asked(*names))) for names in (("a",), ("a", "b")))

    np.testing.assert_array_equal(two.futures.pools[0].gpus, 2 * one.futures.pools[0].gpus)


def test_growth_compounds_by_30_days_and_events_hold_for_their_hours():
    begin = START + 8 * DAY * 3600
    event = Event("launch", begin + 3600, begin + 3 * 3600, 3.0, (ServiceKey("default", "a"),))
    question = asked("a", "b", spec=PlanSpec("", horizon_days=60, growth_per_month=0.5, events=(event,)))
    mine, other = (factors_of(spec, question) for spec in question.services)

    assert other[0] == pytest.approx(1.0, abs=0.01)
    assert other[30 * DAY] == pytest.approx(1.5, rel=0.01)
    assert other[60 * DAY - 1] == pytest.approx(2.25, rel=0.01)
    np.testing.assert_allclose((mine / other)[:5], [1, 3, 3, 1, 1])


def test_a_service_that_cannot_be_planned_leaves_the_others_planned():
    question = asked("a", "b", "c")
    gaps = np.full(8 * DAY, np.nan)
    histories = {**question.histories, "default/b": ServiceHistory("default/b", gaps, gaps, gaps, gaps)}
    services = (*question.services[:2], service("c", "acme/none"))
    question = replace(question, histories=histories, services=services)

    planned = plan(question, foresee(question))

    assert [each.spec.key.name for each in planned.services] == ["a"]
    assert [(mistake.service, mistake.field) for mistake in planned.unplanned] == [
        ("default/b", "history"),
        ("default/c", "variant v: model.id"),
    ]
