"""The summary of the benchmark pages: who is a peer, what a ratio is, which scenarios count; from the rows alone."""

from __future__ import annotations

import pytest

from pertoken_bench.report.long_document import page as long_page
from pertoken_bench.report.long_sections import Group, groups
from pertoken_bench.report.sections import Section, sections
from pertoken_bench.report.summary import (
    NAMED,
    PeerVerdict,
    cheapest_peer,
    compared,
    is_peer,
    ratios,
    records,
    summary,
)


def figure(mean):
    return {"mean": mean, "interval": None}


def row(policy, usd, attained, worst=0.92):
    plain = ("usd_per_million_good_tokens", "bound_ratio", "scale_events")
    return {
        "policy": policy,
        "usd": figure(usd),
        "slo_attainment": figure(attained),
        "worst_ten_minutes": figure(worst),
        "ttft_ms": {"p95": figure(300.0)},
        "itl_ms": {"p95": figure(30.0)},
        "settings": {"target": 16.0},
        "services": {"chat": {"slo_attainment": figure(attained), "worst_ten_minutes": figure(worst)}},
        **{key: figure(2.0) for key in plain},
    }


def section(*rows, scenario="azure-conv", trials=0, **more):
    plain = {"description": "an hour", "seeds": 3, "seconds": 3600.0, "jobs": 2, "digest": "d", "date": "2026-01-01"}
    return {"scenario": scenario, "required": 0.95, "rows": list(rows), "trials": trials, **plain, **more}


OWN = row("pertoken", 10.0, 0.97)


@pytest.mark.parametrize(
    ("policy", "peer"),
    [
        ("hpa-running", True),
        ("llmd-queue:tuned", True),
        ("wva-v1:fixed", True),
        ("pertoken", False),
        ("pertoken:tuned", False),
        ("pertoken:fixed-cap", False),
        ("clairvoyant", False),
        ("static-best", False),
        ("static-peak", False),
        ("actual", False),
    ],
)
def test_a_peer_knows_no_more_than_pertoken(policy, peer):
    assert is_peer(policy) is peer


@pytest.mark.parametrize(
    ("others", "cheapest"),
    [
        ([], None),
        ([row("kpa", 5.0, 0.94)], None),
        ([row("kpa", 5.0, 0.94), row("hpa-running", 12.0, 0.95)], "hpa-running"),
        ([row("hpa-running", 12.0, 0.99), row("hpa-running:tuned", 9.0, 0.951)], "hpa-running:tuned"),
        ([row("clairvoyant", 7.0, 0.96), row("static-best", 8.0, 0.96), row("kpa", 20.0, 0.99)], "kpa"),
    ],
)
def test_the_cheapest_peer_keeps_the_objective(others, cheapest):
    assert cheapest_peer([OWN, *others], 0.95) == cheapest


@pytest.mark.parametrize(
    ("own", "other", "verdict", "ratio"),
    [
        (OWN, row("kpa", 12.0, 0.96), PeerVerdict.CHEAPER, 10 / 12),
        (OWN, row("kpa", 10.2, 0.96), PeerVerdict.TIE, 10 / 10.2),
        (OWN, row("kpa", 9.8, 0.96), PeerVerdict.TIE, 10 / 9.8),
        (OWN, row("kpa", 9.0, 0.96), PeerVerdict.DEARER, 10 / 9),
        (OWN, row("kpa", 9.0, 0.90), PeerVerdict.ALONE, None),
        (row("pertoken", 10.0, 0.94), row("kpa", 20.0, 0.96), PeerVerdict.MISSED, 0.5),
        (row("pertoken", 10.0, 0.94), row("kpa", 20.0, 0.94), PeerVerdict.NOBODY, None),
    ],
)
def test_verdicts(own, other, verdict, ratio):
    comparison = compared(section(own, other))
    assert comparison.verdict is verdict
    assert comparison.to_peer == (None if ratio is None else pytest.approx(ratio))


def test_ratios_stand_only_over_policies_that_keep_the_objective():
    comparison = compared(section(OWN, row("clairvoyant", 8.0, 0.95), row("static-best", 5.0, 0.94)))
    assert comparison.to_clairvoyant == pytest.approx(1.25)
    assert comparison.to_static is None
    assert comparison.worst == 0.92


@pytest.mark.parametrize("rows", [[OWN], [row("kpa", 9.0, 0.96), row("static-best", 5.0, 0.96)]])
def test_a_section_without_anything_to_compare_is_none(rows):
    assert compared(section(*rows)) is None


def test_each_scenario_counts_once_with_its_highest_ratio_and_only_where_the_objective_is_kept():
    comparisons = [
        compared(section(OWN, row("kpa", 20.0, 0.96), scenario="a")),  # 0.5
        compared(section(OWN, row("kpa", 8.0, 0.96), scenario="a", trials=9)),  # 1.25
        compared(section(OWN, row("kpa", 10.0, 0.96), scenario="b")),  # 1.0
        compared(section(OWN, row("kpa", 12.5, 0.96), scenario="c")),  # 0.8
        compared(section(row("pertoken", 10.0, 0.5), row("kpa", 2.0, 0.96), scenario="d")),
    ]
    told = ratios(comparisons, "to_peer")
    assert (told.median, told.worst, told.count) == (pytest.approx(1.0), pytest.approx(1.25), 3)
    assert ratios(comparisons, "to_static") is None


def test_records_count_what_was_kept_over_the_whole_time_and_in_the_worst_ten_minutes():
    told = {
        record.policy: record
        for record in records(
            [
                section(OWN, row("kpa", 9.0, 0.96, worst=0.7)),
                section(row("pertoken", 9.0, 0.99, worst=0.8), row("kpa", 9.0, 0.5, worst=None)),
            ]
        )
    }
    own, other = told["pertoken"], told["kpa"]
    assert (own.ran, own.kept, own.held, own.attained, own.worst) == (2, 2, 1, 0.97, 0.8)
    assert (other.ran, other.kept, other.held, other.attained, other.worst) == (2, 1, 0, 0.5, 0.7)
    assert list(told) == ["pertoken", "kpa"]


def test_losses_stand_in_the_same_table_and_additions_apart():
    text = "\n".join(
        summary(
            [
                section(OWN, row("kpa", 20.0, 0.96)),
                section(OWN, row("kpa", 5.0, 0.96), scenario="long-output"),
                section(row("pertoken", 9.0, 0.9), row("kpa", 50.0, 0.96), scenario="long-context"),
                section(OWN, row("kpa", 4.0, 0.96), scenario="new-one"),
            ]
        )
    )
    named, added = text.split("### Additions")
    assert "| `long-output` | 10.00 | 97.00 | 92.0 | `kpa` | 2.00 |" in named
    assert "| `long-context` | 9.00 | *90.00* |" in named
    assert "missed, a peer keeps it" in named
    assert "| **median** | | | | | 1.25 |" in named
    assert "| **worst** | | | | | 2.00 |" in named
    assert "keeps the objective in 2 of 3 scenarios" in named
    assert "`new-one`" in added
    assert "`new-one`" not in named


def test_without_sections_there_is_no_summary():
    assert list(summary([])) == []


def test_every_scenario_of_the_short_page_is_a_named_one():
    assert {part.scenario for part in sections()} <= NAMED


def test_long_sections_can_be_read_and_their_names_are_their_own():
    parts = [part for group in groups() for part in group.sections]
    scenarios = [part.load() for part in parts]
    assert len({part.name for part in parts}) == len(parts)
    assert len({scenario.name for scenario in scenarios}) == len(parts)


def test_a_section_changes_start_up_router_and_length_and_says_so():
    plain = Section("s", "heterogeneous", ("pertoken",)).load()
    changed = Section("s", "heterogeneous", ("pertoken",), cold_start=300.0, router="random", seconds=600.0).load()
    assert changed.name == "heterogeneous-start-300-random"
    assert (changed.timing.cold_start, changed.router) == (300.0, "random")
    assert changed.traffic["chat"].cut.duration_seconds == 600.0
    assert (plain.warmup, changed.warmup) == (300.0, 60.0)


def test_the_long_page_dates_what_is_there_and_names_what_is_not():
    parts = (Group("Pools", "Short ones.", (Section("a", "x", ()), Section("b", "y", ()))),)
    text = long_page(parts, {"a": section(OWN, row("kpa:tuned", 20.0, 0.96), trials=9)})
    assert "Not run yet: `b`." in text
    assert "3 seeds, 2026-01-01, code `d`, 1.0 h on 2 processes" in text
    assert "Chosen: `kpa:tuned` target 16." in text
    assert "1 of 2 sections" in text
