"""What the account of a service says of its bill, cycle by cycle."""

from dataclasses import replace
from decimal import Decimal

import pytest
from lab import EDGES, START, Pod, generic, plant, pool_spec, spread

from pertoken.accounting.account import account
from pertoken.accounting.bill import Bill
from pertoken.accounting.cost_index import Tokens
from pertoken.accounting.ledger import Charged, Lines, from_json, to_json
from pertoken.accounting.statement import window_statement
from pertoken.accounting.window import WindowSums, sums
from pertoken.api.status import StatusContext, service_status
from pertoken.domain.cost import no_account
from pertoken.domain.identity import ServiceKey
from pertoken.domain.plan import Verdict
from pertoken.domain.pool import Billing
from pertoken.domain.reasons import Reason
from pertoken.domain.service import LatencyObjective
from pertoken.domain.signal import Signal
from pertoken.planner.pipeline import plan


def still(**changes):
    """A cluster that nothing scales."""
    fleet = plant(rate=6.0, replicas=3, act=False)
    fleet.pools = [pool_spec(**changes)]
    fleet.run(600)
    return fleet


def account_of(fleet, name="chat"):
    return sums(fleet.ledger.services[f"llm/{name}"], fleet.now, 3600)


def test_the_lines_of_a_bill_add_up():
    fleet = still()
    cost = fleet.decision().cost
    shares = cost.attribution
    assert shares is not None

    assert shares.work + shares.idle + shares.warming + shares.unallocated == pytest.approx(1.0)
    work = (shares.input * cost.input_tokens + shares.output * cost.output_tokens) / 1e6
    assert work == pytest.approx(shares.work * cost.bill_usd, abs=0.005)
    assert shares.cached_input is None
    assert shares.output_low < shares.output < shares.output_high
    assert shares.output > shares.input


def test_the_statement_of_every_cycle_adds_up_to_the_bill():
    fleet = plant(rate=6.0, replicas=3)
    gaps = []

    def watch(lab, _):
        accounted = account_of(lab)
        stated = window_statement(accounted)
        assert stated is not None
        assert stated.bill.usd_microhours == accounted.bill.usd_microhours
        prices = stated.loaded_prices
        gaps.append(abs(prices.usd(accounted.tokens) + stated.unloaded - accounted.bill.usd))

    fleet.run(300, watch)
    fleet.rates["chat"] = 40.0
    fleet.run(600, watch)
    fleet.rates["chat"] = 0.0
    fleet.run(600, watch)

    assert max(gaps) <= Decimal("0.005")


def test_starting_pods_are_a_line_of_their_own():
    fleet = plant(rate=6.0, replicas=3)
    fleet.run(300)
    assert fleet.decision().cost.attribution.warming == 0.0
    fleet.rates["chat"] = 40.0
    fleet.run(300)

    started = [pod for pod in fleet.pods if pod.created > START + 60]
    expected = sum(min(pod.ready or fleet.now, fleet.now) - pod.bound for pod in started if pod.bound is not None)
    lines = account_of(fleet).lines

    assert expected > 0
    assert lines.warming / 3.6e9 == pytest.approx(expected * 2.00 / 3600, rel=0.15)
    assert fleet.decision().cost.attribution.warming > 0


def test_idle_pods_are_idle_and_busy_ones_are_not():
    quiet = plant(rate=0.3, replicas=4, act=False)
    quiet.run(600)
    busy = plant(rate=20.0, replicas=2, act=False)
    busy.run(600)

    assert quiet.decision().cost.attribution.idle > 0.5
    assert busy.decision().cost.attribution.idle < 0.05


@pytest.mark.parametrize(
    ("changes", "gpus"),
    [
        ({}, 3),
        ({"billing": Billing.PER_NODE}, 8),
        ({"committed_gpus": 2}, 3),
        ({"committed_gpus": 6}, 6),
        ({"committed_gpus": 6, "billing": Billing.PER_NODE}, 8),
    ],
    ids=["per GPU", "per node", "commitment in use", "commitment not used up", "both"],
)
def test_the_bill_holds_what_the_provider_charges(changes, gpus):
    cost = still(**changes).decision().cost

    hours = cost.window_seconds / 3600
    assert cost.bill_usd == pytest.approx(gpus * 2.00 * hours, rel=1e-6)
    assert cost.attribution.unallocated == pytest.approx((gpus - 3) / gpus)


def test_services_share_what_nobody_holds():
    fleet = plant("chat", "code", rate=6.0, replicas=1, act=False)
    fleet.deployments["code"].replicas = 3
    fleet.pools = [pool_spec(billing=Billing.PER_NODE)]
    fleet.run(600)
    chat, code = (fleet.decision(name).cost for name in ("chat", "code"))

    # One node of 8 GPUs: 1 + 3 are held, the other 4 go 1 : 3. The pods of `code` are bound from the first cycle on.
    assert chat.bill_usd + code.bill_usd == pytest.approx(8 * 2.00 * chat.window_seconds / 3600, rel=1e-6)
    assert chat.bill_usd == pytest.approx(code.bill_usd / 3, rel=0.02)


def test_without_a_price_list_the_attributed_prices_add_up_to_the_bill():
    fleet = plant(rate=6.0, replicas=3, act=False)
    fleet.services["chat"] = replace(fleet.services["chat"], cost=None)
    fleet.run(600)
    cost = fleet.decision().cost

    assert cost.index is None
    assert (cost.input * cost.input_tokens + cost.output * cost.output_tokens) / 1e6 == pytest.approx(
        cost.bill_usd, abs=0.005
    )
    assert cost.output > cost.input


def test_without_a_model_the_price_list_says_how_work_is_spread():
    fleet = plant(rate=6.0, replicas=3, act=False)
    fleet.services["chat"] = generic(fleet.services["chat"])
    fleet.run(600)
    shares = fleet.decision().cost.attribution

    assert shares.output == pytest.approx(shares.input, rel=1e-3)  # the list has one price for all
    assert shares.output_low == pytest.approx(shares.output_high)


def test_without_a_gpu_price_nothing_is_said_of_money():
    cost = still(price_per_gpu_hour=None).decision().cost

    assert (cost.attribution, cost.input, cost.good_low) == (None, None, None)


def test_good_tokens_cost_more_than_tokens():
    fleet = plant(rate=12.0, replicas=2, act=False)
    fleet.run(120)
    taken = fleet.ready("chat")[0].history[-1][0].inter_token
    objective = min(EDGES, key=lambda edge: abs(edge - taken))
    fleet.services["chat"] = replace(fleet.services["chat"], latency=LatencyObjective(inter_token_seconds=objective))
    fleet.run(480)
    cost = fleet.decision().cost
    points = [pod.history[-1][0].inter_token for pod in fleet.ready("chat")]
    histograms = [spread(point, 1.0) for point in points]
    good = sum(histogram.cumulative[EDGES.index(objective)] for histogram in histograms) / len(histograms)

    assert 0.01 < good < 0.999
    assert cost.good_low == pytest.approx(cost.blended / good, rel=0.01)
    assert cost.good_high == pytest.approx(cost.good_low)  # the objective is an edge of the histogram


def test_energy_is_told_where_the_power_of_all_pods_is():
    fleet = plant(rate=6.0, replicas=2, act=False)
    plain = fleet.values
    fleet.values = lambda pod: {**plain(pod), Signal.POWER_WATTS: 400.0}
    fleet.run(600)
    cost = fleet.decision().cost

    per_second = 2 * 400.0
    assert cost.joules_per_token == pytest.approx(per_second / (6.0 * 1200), rel=0.05)
    assert still().decision().cost.joules_per_token is None


def test_the_account_survives_in_json():
    fleet = still(billing=Billing.PER_NODE)

    again = from_json(to_json(fleet.ledger))

    assert again == fleet.ledger
    bucket = again.services["llm/chat"].buckets[-1]
    assert bucket.lines.unallocated > 0
    assert bucket.charged.output > 0


def test_lines_that_round_up_never_exceed_the_bill():
    accounted = WindowSums(
        Bill(10, Decimal("10.4")), Tokens(1, 5, 0, 5), 10.0, 0.0, 0.0, Lines(4, 4, 4), Charged(1.0, 0.0, 1.0, 1.0, 1.0)
    )

    stated = window_statement(accounted)

    assert stated is not None
    assert stated.bill.usd_microhours == Decimal("10.4")
    assert stated.work.usd_microhours == 0


def test_the_status_shows_the_lines():
    fleet = still(billing=Billing.PER_NODE)
    shown = service_status(fleet.services["chat"], fleet.decision(), StatusContext(fleet.now))["cost"]

    assert set(shown["attribution"]) >= {"input", "output", "outputLow", "outputHigh", "work", "idle", "unallocated"}
    assert shown["attribution"]["unallocated"] == "62"
    assert float(shown["goodLow"]) > 0


def test_failed_pods_cost_nothing_from_their_end():
    """A node that refuses every second pod leaves a heap of failed ones beside the three that serve."""
    fleet = plant(rate=6.0, replicas=3, act=False)
    fleet.run(60)
    before = account_of(fleet).bill.usd
    began = fleet.now
    for index in range(9):
        fleet.pods.append(
            Pod(f"failed-{index}", "chat", fleet.now, None, node="n0", bound=fleet.now, ended=fleet.now + 20 + index)
        )
    fleet.run(300)

    cost, figures = fleet.decision().cost, fleet.last.pools[0]

    assert cost.spend_per_hour == pytest.approx(3 * 2.00)
    assert figures.spend_per_hour_usd == pytest.approx(3 * 2.00)
    assert (figures.used, figures.free) == (3, 13)
    # The bill was posted last at the beginning of the last cycle.
    until = fleet.now - fleet.settings.cycle_seconds
    held = 3 * (until - began + fleet.settings.cycle_seconds) + sum(20 + index for index in range(9))
    assert float(account_of(fleet).bill.usd - before) == pytest.approx(held * 2.00 / 3600)
    assert fleet.decision().variants[0].ready == 3


def test_a_bill_that_a_restart_goes_on_with_counts_an_ended_pod_once():
    uninterrupted, restarted = (plant(rate=6.0, replicas=3, act=False) for _ in range(2))
    for lab in (uninterrupted, restarted):
        lab.run(60)
        lab.ready("chat")[0].ended = lab.now - 7.0
        lab.run(30)
    restarted.restart()
    for lab in (uninterrupted, restarted):
        lab.run(60)

    assert account_of(restarted).bill == account_of(uninterrupted).bill


def broken(fleet, name):
    """One service's pods hold a number of GPUs that no bill can be made of."""
    world = fleet.world()
    views = tuple(
        replace(
            view,
            variants=tuple(
                replace(v, pods=tuple(replace(pod, requests={"nvidia.com/gpu": None}) for pod in v.pods))
                for v in view.variants
            ),
        )
        if view.spec.key.name == name
        else view
        for view in world.services
    )
    return replace(world, services=views)


def test_an_account_that_fails_is_told_and_the_others_go_on():
    fleet = plant("chat", "code", rate=6.0, replicas=2, act=False)
    fleet.run(300)
    ledger, costs = account(broken(fleet, "code"), fleet.ledger, fleet.now)
    chat, code = costs[ServiceKey("llm", "chat")], costs[ServiceKey("llm", "code")]

    assert chat.fault == ""
    assert ledger.services["llm/chat"].closed_at == fleet.now
    assert code.fault.startswith("TypeError")
    assert ledger.services["llm/code"] == fleet.ledger.services["llm/code"]

    fleet.step()
    assert fleet.ledger.services["llm/code"].closed_at == fleet.now - fleet.settings.cycle_seconds


def test_a_plan_without_an_account_says_so_and_scales_all_the_same():
    fleet = plant(rate=6.0, replicas=3)
    fleet.run(300)
    world = fleet.world()
    _, costs = account(world, fleet.ledger, fleet.now)
    whole, _ = plan(replace(world, costs=costs), fleet.memory, fleet.now)
    key = ServiceKey("llm", "chat")
    failed, _ = plan(replace(world, costs={key: no_account("ValueError: figure")}), fleet.memory, fleet.now)
    condition = failed.decisions[0].conditions["WithinCostTarget"]

    assert (condition.verdict, condition.reason) == (Verdict.UNKNOWN, Reason.ACCOUNTING_FAILED)
    assert "ValueError: figure" in str(failed.decisions[0].trace)
    assert failed.actions == whole.actions
    assert failed.decisions[0].variants == whole.decisions[0].variants
