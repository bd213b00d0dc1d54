"""The plan's fleets on days that came: the least fleet is the least, and the page keeps what two commands write."""

from dataclasses import replace

import pytest

from pertoken_bench.plan_check.__main__ import CASES, PAGE
from pertoken_bench.plan_check.page import BEGIN, END, section, section_of, with_section
from pertoken_bench.plan_check.trial import Piece, Trial, trial

PIECE = Piece(
    hour=3, requests=100, planned=1, usual=4, sized=3, of_p90=0.5, kept=0.8, kept_usual=0.7, least=2, kept_less=0.8
)


def test_the_least_fleet_keeps_the_objectives_and_one_replica_fewer_does_not():
    case = CASES[0]
    tried = trial(case.name, case.scenario(), case.days, (9,))
    (piece,) = tried.pieces

    assert tried.required == 0.95
    assert piece.planned >= 1
    assert piece.least > 1
    assert piece.kept_less < 0.95
    assert (piece.kept >= 0.95) == (piece.planned >= piece.least)
    assert tried.kept == piece.kept


def test_kept_is_weighed_by_requests():
    pieces = (PIECE, replace(PIECE, hour=9, requests=300, kept=1.0, kept_usual=0.9))
    tried = Trial("a", 4, 0.95, pieces)

    assert tried.kept == pytest.approx(0.95)
    assert tried.kept_usual == pytest.approx(0.85)


def test_the_part_is_replaced_and_the_rest_stays():
    piece = replace(PIECE, requests=1000, planned=7, kept=0.9512, kept_less=None)
    part = section((Trial("a", 4, 0.95, (piece,)),), "2026-01-02")
    page = with_section("# Title\n\ntext\n", part)

    assert "| a | 3:00 | 1,000 | 50% | 7 | 95.12% | 4 | 70.00% | 3 | 2 | - |" in page
    assert section_of(page) == part
    assert section_of(with_section("# Other\n", section_of(page))) == part
    assert with_section(f"before\n{BEGIN}\nold\n{END}\nafter\n", part) == f"before\n{part}\nafter\n"


def test_the_page_has_the_part():
    assert section_of(PAGE.read_text(encoding="utf-8")) is not None
