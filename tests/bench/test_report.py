"""The page of results: what it says follows from the rows, the losses first of all."""

from __future__ import annotations

import pytest

from pertoken_bench.report import document


def figure(mean, half=0.1):
    return {"mean": mean, "interval": [mean - half, mean + half]}


def row(name, usd, share):
    plain = ("usd_per_million_good_tokens", "bound_ratio", "scale_events")
    return {
        "policy": name,
        "usd": figure(usd),
        "slo_attainment": figure(share, 0.001),
        "ttft_ms": {"p95": figure(300.0)},
        "itl_ms": {"p95": figure(30.0)},
        "settings": {},
        **{key: figure(2.0) for key in plain},
    }


def results(*rows, required=0.95, **more):
    hour = {
        "scenario": "hour",
        "description": "an hour",
        "required": required,
        "seeds": 5,
        "rows": list(rows),
        "seconds": 1.0,
        "jobs": 1,
        "digest": "d",
        "trials": 0,
    }
    return {"all": hour | more}


@pytest.mark.parametrize(
    ("own", "other", "words"),
    [
        ((3.0, 0.97), (2.5, 0.96), "`rival` costs 16.7% less at 96.00%"),
        ((3.0, 0.97), (2.5, 0.90), None),
        ((3.0, 0.97), (3.5, 0.99), None),
        ((3.0, 0.90), (3.6, 0.96), "misses the objective (90.00% of 95%); `rival` keeps it for 20.0% more"),
        ((3.0, 0.90), (2.4, 0.92), "`rival` costs 20.0% less at 92.00%"),
    ],
)
def test_losses_are_found_by_comparing(own, other, words):
    text = document.page(results(row("pertoken", *own), row("rival", *other)))
    lost = text.split("## Where pertoken loses")[1].split("## Definitions")[0]
    if words is None:
        assert "`hour`" not in lost
    else:
        assert words in lost


def test_policies_that_keep_the_objective_come_first_and_the_front_is_bold():
    table = document.table(
        [row("cheap", 1, 0.5), row("good", 3, 0.97), row("dear", 9, 0.96), row("best", 8, 0.99)], 0.95
    )
    names = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert names == ["**good**", "**best**", "dear", "**cheap**"]


def test_definitions_are_on_the_page():
    text = document.page(results(row("pertoken", 3, 0.97)))
    for words in (
        "window length", "jitter", "KV admission", "chunk budget", "billing", "initial replicas", "scale-in victim",
        "where waiting is counted", "what is seen", "what profiles know", "short answers",
    ):  # fmt: skip
        assert words in text
