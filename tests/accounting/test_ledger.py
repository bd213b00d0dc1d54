"""Buckets of an account."""

from dataclasses import replace
from decimal import Decimal
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.accounting.bill import Bill
from pertoken.accounting.cost_index import Tokens
from pertoken.accounting.energy import Energy
from pertoken.accounting.ledger import (
    NO_TOTALS,
    Attained,
    Bucket,
    Charged,
    Entry,
    Ledger,
    Lines,
    ServiceLedger,
    Totals,
    bill_of,
    from_json,
    post,
    to_json,
    tokens_of,
    totals,
)
from pertoken.accounting.window import sums

WINDOW = 3600.0


def entry(size):
    amount = float(size)
    return Entry(
        Bill(size, Decimal(2 * size)),
        Tokens(amount, amount, amount, amount),
        amount,
        amount,
        Lines(size, size, size),
        Charged(amount, amount, amount, amount, amount),
        Energy(amount, amount),
        Attained(amount, amount, amount),
    )


steps = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 1000)), min_size=1, max_size=40)


@given(steps)
def test_entries_within_the_window_add_up(steps):
    ledger, now = ServiceLedger("u"), 10_000.0
    for seconds, size in steps:
        now += seconds
        ledger = post(ledger, entry(size), now, WINDOW)
    whole, total = sums(ledger, now, WINDOW), sum(size for _, size in steps)
    expected = entry(total)

    assert (whole.bill, whole.tokens, whole.lines) == (expected.bill, expected.tokens, expected.lines)
    assert (whole.charged, whole.energy, whole.attained) == (expected.charged, expected.energy, expected.attained)
    assert (whole.judged_gpu_seconds, whole.busy_gpu_seconds) == (total, total)
    assert whole.seconds == now - 10_000.0 - steps[0][0]


@given(steps)
def test_a_ledger_comes_back_from_json(steps):
    ledger, now = ServiceLedger("u"), 10_000.0
    for seconds, size in steps:
        now += seconds
        ledger = post(ledger, entry(size), now, WINDOW)

    assert from_json(to_json(Ledger({"llm/chat": ledger}))) == Ledger({"llm/chat": ledger})


@given(st.lists(st.tuples(st.floats(0, 600), st.floats(0, 1000)), min_size=1, max_size=60))
def test_the_running_sum_is_that_of_all_buckets(steps):
    ledger, now = ServiceLedger("u"), 10_000.0
    for seconds, size in steps:
        now += seconds
        ledger = post(ledger, replace(entry(1), tokens=Tokens(size), charged=Charged(size / 3)), now, WINDOW)
        assert sums(ledger, now, WINDOW) == sums(replace(ledger, before_last=None), now, WINDOW)


figures = st.floats(0, 1e9)
buckets = st.builds(
    Bucket,
    figures,
    st.integers(0, 10**15),
    st.decimals(0, 10**15, places=6),
    st.booleans(),
    *[figures] * 6,
    st.builds(Lines, *[st.integers(0, 10**18)] * 3),
    st.builds(Charged, *[figures] * 5),
    st.builds(Energy, figures, figures),
    st.builds(Attained, *[figures] * 3),
)


@given(st.lists(buckets, max_size=12))
def test_sums_by_field_are_those_of_bucket_after_bucket(rows):
    one_by_one = reduce(Totals.with_bucket, rows, NO_TOTALS)

    assert totals(iter(rows)) == one_by_one
    assert (bill_of(rows), tokens_of(rows)) == (one_by_one.bill, one_by_one.tokens)


def test_what_leaves_the_window_is_forgotten():
    ledger = post(ServiceLedger("u"), entry(7), 10_000.0, WINDOW)
    ledger = post(ledger, entry(1), 10_000.0 + WINDOW + 61.0, WINDOW)

    assert sums(ledger, ledger.closed_at, WINDOW).tokens.requests == 1
    assert sums(ledger, ledger.closed_at, WINDOW).seconds == WINDOW
    assert ledger.opened_at == 10_000.0


def test_a_window_has_at_most_so_many_buckets():
    ledger = ServiceLedger("u")
    for step in range(1000):
        ledger = post(ledger, entry(1), 10_000.0 + 15 * step, WINDOW)

    assert len(ledger.buckets) <= 122


def test_an_empty_account_has_no_idle_share():
    empty = sums(ServiceLedger("u"), 10.0, WINDOW)

    assert empty.idle_share is None
    assert empty.seconds == 0.0
    assert replace(empty, judged_gpu_seconds=4.0, busy_gpu_seconds=1.0).idle_share == pytest.approx(0.75)
