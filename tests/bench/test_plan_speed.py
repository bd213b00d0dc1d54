"""The large cluster by which planning cycles are timed, in small."""

from pertoken.control.saved import NOTHING, to_json
from pertoken_bench.plan_speed.__main__ import Kept, measure, run_cycle
from pertoken_bench.plan_speed.fleet import FleetWorld, Size
from pertoken_bench.plan_speed.history import with_history

SMALL = Size(services=6, nodes=12)


def cycles(kept):
    """Plans and what they leave, of a few cycles whose replicas are as the plans say."""
    fleet, saved = FleetWorld(SMALL), NOTHING
    told = []
    for number in range(6):
        plan, saved, _ = run_cycle(fleet, saved, kept)
        told.append((plan, to_json(saved)))
        saved = with_history(saved, fleet) if number == 0 else saved
        fleet.carry_out(plan)
        fleet.advance()
    return told


def test_what_is_kept_changes_no_plan():
    assert cycles(Kept()) == cycles(None)


def test_every_service_is_sized_by_its_traffic():
    plan, _ = cycles(None)[-1]
    assert len(plan.decisions) == SMALL.services
    assert all(decision.demand.requests_per_second > 0 for decision in plan.decisions)
    assert all(decision.cost.index is not None for decision in plan.decisions)


def test_a_line_for_each_cycle():
    lines = measure(SMALL, cycles=2)
    assert [line.split("  ")[0] for line in lines[2:-2]] == [
        "first cycle, nothing known",
        "after a restart, full history",
        "steady cycle 1",
        "steady cycle 2",
        "steady cycles, mean",
    ]
