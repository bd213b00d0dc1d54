"""Purchases decided on half of a recorded demand and paid on the other half."""

import numpy as np
import pytest

from pertoken_bench.purchases.__main__ import DECIDED_HOURS, PAGE
from pertoken_bench.purchases.page import NoMarks, clients_section, section, written
from pertoken_bench.purchases.series import COLUMNS, burstgpt, clients
from pertoken_bench.purchases.trial import Outcome, Sight, sight_of, trial


def test_the_shipped_series_is_whole():
    series = burstgpt()

    assert {name: len(values) for name, values in series.items()} == dict.fromkeys(COLUMNS, 61 * 24)
    assert series["requests"].sum() == 1_429_742
    assert (series["conversation"] + series["api"] == series["requests"]).all()


@pytest.mark.parametrize("ratio", [0.4, 0.6, 0.8])
def test_decided_on_thirty_days_within_five_percent_of_hindsight_on_the_next(ratio):
    requests = burstgpt()["requests"]
    sight = sight_of(requests[:DECIDED_HOURS], len(requests) - DECIDED_HOURS)
    outcome = trial(sight, requests[DECIDED_HOURS:], 16, ratio)

    assert 1.0 <= outcome.plan <= 1.05
    assert outcome.plan < outcome.forecast_alone
    assert outcome.plan < outcome.on_demand < outcome.peak


def test_what_is_paid_is_the_multiple_of_the_least():
    """Two GPUs always, where one was seen: 1 reserved at 0.5 and 1 on demand, for 2 at 0.5."""
    seen = np.full((1, 48), 10.0)
    outcome = trial(Sight(seen, seen, seen), np.full(48, 20.0), 1, 0.5)

    assert (outcome.reserved, outcome.hindsight) == (1, 2)
    assert (outcome.plan, outcome.on_demand, outcome.peak) == pytest.approx((1.5, 2.0, 1.5))


def test_sections_stand_between_their_marks():
    outcome = Outcome(4, 0.5, 1, 2, 1.013, 1.2, 1.0, 1.5, 3.0)
    page = "head\n<!-- burstgpt: written by make purchases -->\nold\n<!-- burstgpt: end -->\ntail\n"
    text = written(page, "burstgpt", section({"calls": [outcome]}))

    assert "| calls | 4 | 0.5 | 1 | 2 | +1.3 % | +20.0 % | +0.0 % | +50.0 % | +200.0 % |" in text
    assert "old" not in text
    assert text.startswith("head\n")
    assert text.endswith("tail\n")
    assert "| the plan | 100% | +1.3 % | +1.3 % |" in clients_section([[outcome]])
    with pytest.raises(NoMarks):
        written(page, "clients", "")


def test_the_page_has_both_sections():
    page = PAGE.read_text()

    assert written(written(page, "burstgpt", "x"), "clients", "y") != page
    assert "| all requests | 64 | 0.4 |" in page


def test_clients_are_read_by_the_hour_and_silent_ones_left_out(tmp_path):
    rows = [f"m-large,1,{600 * n},10.0,1" for n in range(24 * 6)] + ["m-large,2,0,10.0,1", "r1,3,0,10.0,1"]
    path = tmp_path / "clients.csv"
    path.write_text("\n".join(["model,client,time_s,rate_rps,iat_cv", *rows]) + "\n")
    told = clients(path)

    assert list(told) == ["m-large-1"]
    assert told["m-large-1"][:25].tolist() == [36_000.0] * 24 + [0.0]
