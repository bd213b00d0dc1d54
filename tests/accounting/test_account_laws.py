"""Laws of `account` over worlds of pods that come, serve and go."""

from dataclasses import replace
from decimal import Decimal

import pytest
from accounts import CHAT, GPU, WINDOW, both, gone, pod, pool, service, snapshot, tells, view, world
from hypothesis import given, settings
from hypothesis import strategies as st

from pertoken.accounting.account import account, with_token_work
from pertoken.accounting.bill import micros
from pertoken.accounting.ledger import EMPTY, Ledger, ServiceLedger
from pertoken.accounting.window import sums
from pertoken.domain.cost import TokenWork
from pertoken.domain.plan import Decision, Plan, VariantDecision
from pertoken.domain.reasons import Reason
from pertoken.domain.signal import Missing

OPENED = 1000.0
WORK = TokenWork(1e-4, 1e-5, 5e-3, 4e-3, 6e-3)


def through(worlds, ledger=EMPTY):
    """Account for (instant, world) pairs one after the other."""
    costs = {}
    for now, each in worlds:
        ledger, costs = account(each, ledger, now)
    return ledger, costs


def lifetimes():
    """A pod that is bound, becomes ready and is deleted at any time, or never."""
    return st.builds(
        lambda index, bound, ready, deleted, gpus: pod(
            f"chat-{index}", bound=bound, ready=ready, deleted_at=deleted, gpus=gpus
        ),
        st.integers(0, 10**6),
        st.none() | st.floats(900, 1500),
        st.none() | st.floats(900, 1500),
        st.none() | st.floats(1000, 2000),
        st.integers(1, 8),
    )


cycles = st.lists(st.floats(OPENED, 2000), min_size=1, max_size=6).map(sorted)


@settings(deadline=None)
@given(
    pods=st.lists(lifetimes(), max_size=4, unique_by=lambda fact: fact.key),
    cuts=cycles,
    price=st.decimals("0.01", "99", places=2),
)
def test_the_bill_is_gpu_time_times_price(pods, cuts, price):
    seen = world(view(service(), pods), of=pool(str(price)))
    ledger, _ = through([(OPENED, seen), *((cut, seen) for cut in cuts)])
    bill = sums(ledger.services[str(CHAT)], cuts[-1], WINDOW).bill

    def held(fact):
        if fact.bound_at is None:
            return 0
        end = min(micros(cuts[-1]), micros(cuts[-1] if fact.deleted_at is None else fact.deleted_at))
        return max(0, end - max(micros(fact.bound_at), micros(OPENED))) * fact.requests[GPU]

    assert bill.gpu_microseconds == sum(held(fact) for fact in pods)
    assert bill.usd_microhours == bill.gpu_microseconds * price


@settings(deadline=None)
@given(
    pods=st.lists(lifetimes(), min_size=1, max_size=4, unique_by=lambda fact: fact.key),
    cuts=cycles,
    busy=st.floats(0, 1),
)
def test_the_shares_of_a_bill_add_up_to_one(pods, cuts, busy):
    served = [(fact, tells(fact.key.name, (0, 0, 0), gpu_utilization=busy)) for fact in pods]
    begun = world(view(service(), pods), metrics=snapshot(*(metrics for _, metrics in served)))
    finished = snapshot(*(tells(fact.key.name, (100, 1e5, 2e4), gpu_utilization=busy) for fact, _ in served))
    after = replace(begun, metrics={"default": finished})
    _, costs = through([(OPENED, begun), *((cut, after) for cut in cuts)])
    bought = costs[CHAT].figures.attribution

    if bought is not None and costs[CHAT].figures.bill_usd:
        assert bought.work + bought.idle + bought.warming + bought.unallocated == pytest.approx(1.0)
        assert min(bought.work, bought.idle, bought.warming, bought.unallocated) >= 0


@settings(deadline=None)
@given(cuts=cycles, counts=st.lists(st.integers(0, 500), min_size=6, max_size=6))
def test_what_is_accounted_for_twice_in_the_same_instant_counts_once(cuts, counts):
    worlds, total = [(OPENED, world(view(service(), [pod()]), metrics=snapshot(tells(finished=(0, 0, 0)))))], 0
    for cut, count in zip(cuts, counts, strict=False):
        total += count
        seen = snapshot(tells(finished=(total, total * 100, total * 20), histograms=both(0.9, 1.0)))
        worlds.append((cut, world(view(service(), [pod()]), metrics=seen)))
    once = through(worlds)
    twice = through([each for pair in worlds for each in (pair, pair)])

    assert twice == once


@given(st.data())
@settings(deadline=None)
def test_finished_tokens_do_not_depend_on_when_they_are_read(data):
    """However many cycles see them, requests and tokens of the window are the last counters less the first."""
    readings = sorted(data.draw(st.lists(st.integers(0, 1000), min_size=1, max_size=8)))
    worlds = [
        (OPENED + 15 * index, world(view(service(), [pod()]), metrics=snapshot(tells(finished=(n, n * 7, n * 3)))))
        for index, n in enumerate([0, *readings])
    ]
    ledger, costs = through(worlds)
    tokens = sums(ledger.services[str(CHAT)], worlds[-1][0], WINDOW).tokens

    assert (tokens.requests, tokens.input, tokens.output) == (readings[-1], readings[-1] * 7, readings[-1] * 3)
    assert costs[CHAT].figures.finished_requests == readings[-1]


def test_another_object_of_the_name_begins_an_account_of_its_own():
    seen = world(view(service(), [pod()]))
    ledger, _ = through([(OPENED, seen), (OPENED + 600, seen)])
    other, _ = account(world(view(service(uid="another"), [pod()])), ledger, OPENED + 700)

    assert other.services[str(CHAT)].opened_at == OPENED + 700
    assert sums(other.services[str(CHAT)], OPENED + 700, WINDOW).bill.gpu_microseconds == 0


def test_services_that_are_gone_have_no_account():
    ledger, _ = through([(OPENED, world(view(service())))])

    assert account(world(), ledger, OPENED + 15) == (EMPTY, {})


def test_a_variant_whose_workload_is_missing_is_not_billed_and_its_tokens_count():
    missing = view(service(), [pod()], workload=gone())
    begun = world(missing, metrics=snapshot(tells(finished=(0, 0, 0))))
    ledger, costs = through(
        [(OPENED, begun), (OPENED + 60, replace(begun, metrics={"default": snapshot(tells(finished=(9, 9, 9)))}))]
    )

    assert costs[CHAT].fault == ""
    assert sums(ledger.services[str(CHAT)], OPENED + 60, WINDOW).bill.gpu_microseconds == 0
    assert sums(ledger.services[str(CHAT)], OPENED + 60, WINDOW).tokens.requests == 9


def test_an_unpriced_pool_is_no_money_at_all():
    seen = world(view(service(), [pod()]), of=pool(None))
    _, costs = through([(OPENED, seen), (OPENED + 60, seen)])

    assert not costs[CHAT].priced
    assert costs[CHAT].figures.bill_usd is None
    assert costs[CHAT].money == Missing("a pool in use has no price per GPU-hour")


@pytest.mark.parametrize(
    ("cost", "window"), [(service().cost, WINDOW), (None, 86_400)], ids=["of the objective", "a day without one"]
)
def test_the_window_of_an_account(cost, window):
    _, costs = through([(OPENED, world(view(service(cost=cost))))])

    assert costs[CHAT].window_seconds == window


def planned(work, reason=Reason.AT_DESIRED, variant="a100"):
    decision = VariantDecision(variant, 1, 1, 1, reason, token_work=work)
    return Plan((Decision(CHAT, reason, "", (decision,), {}),), ())


@pytest.mark.parametrize(
    ("plan", "kept"),
    [
        (planned(TokenWork(2, 2, 2, 2, 2)), {"a100": TokenWork(2, 2, 2, 2, 2)}),
        (planned(None), {"a100": WORK}),
        (planned(None, Reason.PLANNING_FAILED, "other"), {"a100": WORK}),
        (planned(None, variant="other"), {}),
        (Plan((), ()), {"a100": WORK}),
    ],
    ids=["a new one", "unknown at present", "the plan failed", "the variant is gone", "not planned"],
)
def test_operating_points_for_the_next_cycle(plan, kept):
    ledger = Ledger({str(CHAT): ServiceLedger("uid-chat", token_work={"a100": WORK})})

    assert with_token_work(ledger, plan).services[str(CHAT)].token_work == kept


def test_tokens_are_charged_at_the_operating_point_of_the_plan_before():
    begun = world(view(service(), [pod()]), metrics=snapshot(tells(finished=(0, 0, 0))))
    told = snapshot(tells(finished=(10, 1000, 200), generation_tokens_per_second=5.0))
    ledger, _ = through([(OPENED, begun)])
    ledger = with_token_work(ledger, planned(WORK))
    ledger, _ = through([(OPENED + 60, replace(begun, metrics={"default": told}))], ledger)
    charged = sums(ledger.services[str(CHAT)], OPENED + 60, WINDOW).charged

    assert (charged.input, charged.output) == (pytest.approx(0.1), pytest.approx(1.0))
    assert (charged.output_low, charged.output_high) == (pytest.approx(0.8), pytest.approx(1.2))


def test_without_an_operating_point_the_list_spreads_the_gpu_time():
    """All in GPU-seconds, so that a first cycle weighs no more than its time beside the ones that follow."""
    begun = world(view(service(), [pod()]), metrics=snapshot(tells(finished=(0, 0, 0))))
    told = snapshot(tells(finished=(10, 4000, 1000), gpu_utilization=0.5))
    ledger, _ = through([(OPENED, begun), (OPENED + 60, replace(begun, metrics={"default": told}))])
    charged = sums(ledger.services[str(CHAT)], OPENED + 60, WINDOW).charged

    assert (charged.input, charged.output) == (pytest.approx(15.0), pytest.approx(15.0))
    assert Decimal("0.10") * 4000 == Decimal("0.40") * 1000
