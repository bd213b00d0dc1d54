"""The plan's page: figures of its document and nothing else's, one file that fetches nothing, and no text as markup."""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_pages import EVIL, answered, question, service

from pertoken.capacity.answer import answer
from pertoken.capacity.document import answer_document
from pertoken.capacity.report.axes import time_ticks, value_axis
from pertoken.capacity.report.chart import Chart
from pertoken.capacity.report.figures import Figures
from pertoken.capacity.report.page import html_page
from pertoken.capacity.report.purchase import mix
from pertoken.capacity.report.tags import VOID
from pertoken.capacity.report.times import date_of
from pertoken.capacity.spec import PlanSpec
from pertoken.domain.pool import PoolSpec

FETCHING = {
    "script",
    "link",
    "img",
    "iframe",
    "object",
    "embed",
    "base",
    "form",
    "audio",
    "video",
    "source",
    "image",
    "use",
}
HOUR = 3600


class Reader(HTMLParser):
    """Every element with its attributes and text; refuses what is not nested as it should be."""

    def __init__(self, text) -> None:
        super().__init__(convert_charrefs=True)
        self.elements, self.stack = [], []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append({"tag": tag, "attrs": dict(attrs), "text": ""})
        if tag not in VOID:
            self.stack.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert self.stack.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self.stack:
            element["text"] += data


@pytest.fixture(scope="module")
def page():
    whole = answered(question())
    document = json.loads(json.dumps(answer_document(whole)))
    text = html_page(whole, document)
    return text, Reader(text).elements, document


def test_every_figure_is_the_documents(page):
    _, elements, document = page
    figures = Figures(document)
    shown = [each for each in elements if each["tag"] in {"data", "time"} and "data-at" in each["attrs"]]
    assert len(shown) > 100

    for each in shown:
        attrs, text = each["attrs"], each["text"]
        value = figures.number(attrs["data-at"], attrs.get("data-take"))
        if each["tag"] == "time":
            assert text == datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M UTC")
            continue
        assert float(attrs["value"]) == value
        number = Decimal(re.match(r"[+-]?[\d,]*\.?\d+(e[+-]\d+)?", text)[0].replace(",", ""))
        last_digit, whole = 10.0 ** number.as_tuple().exponent, 100 if "%" in text else 1
        assert float(number) == pytest.approx(value * whole, rel=1e-9, abs=0.5 * last_digit + 1e-9), attrs


@pytest.mark.parametrize(
    "path",
    [
        *(
            "purchase.usd_per_month",
            "purchase.usd_per_month_high",
            "purchase.saving_against_all_on_demand_usd_per_month",
        ),
        *("purchase.peak_reserved_usd_per_month", "purchase.todays_fleet_usd_per_month"),
        *("pools.0.peak_gpus", "pools.0.short_gpus", "pools.0.first_shortfall_s", "pools.0.order_by_s"),
        *("services.0.backtest.wape", "services.1.backtest.p90_coverage", "services.1.backtest.p90_coverage_low"),
        *("purchase.reserved.0.idle_gpus", "purchase.reserved.0.idle_usd_per_day", "purchase.reserved.0.order_by_s"),
        *("purchase.committed.0.idle_gpus", "purchase.on_demand.0.peak_gpus", "purchase.spot.0.usd_per_month"),
        *("what_ifs.2.usd_per_month", "what_ifs.0.change_usd_per_month", "what_ifs.1.pools.0.peak_gpus"),
    ],
)
def test_what_a_plan_is_read_for_is_shown(page, path):
    _, elements, _ = page
    assert any(each["attrs"].get("data-at") == path for each in elements)


def test_lines_of_the_charts_are_the_documents_hours(page):
    _, elements, document = page
    lines = [each["attrs"] for each in elements if each["tag"] == "path" and "data-at" in each["attrs"]]
    expected = {f"services.{i}.forecast.*.{name}_tokens_per_s" for i in (0, 1) for name in ("p50", "p90")}
    assert {each["data-at"] for each in lines} == expected | {
        f"pools.{i}.gpus_by_hour.{name}" for i in (0, 1) for name in ("p50", "p90")
    }
    for attrs in lines:
        top = float(attrs["data-top"])
        drawn = [top * (1 - float(y) / 1000) for y in re.findall(r"(?:V|[ML][\d.]+,)([\d.]+)", attrs["d"])]
        np.testing.assert_allclose(drawn, Figures(document).at(attrs["data-at"]), atol=top / 1000)


def test_it_fetches_nothing_and_runs_nothing(page):
    _, elements, _ = page
    assert not {each["tag"] for each in elements} & FETCHING
    for each in elements:
        attrs = each["attrs"]
        assert not any(name in attrs for name in ("src", "href", "srcset", "data", "action", "xlink:href"))
        assert not any(name.startswith("on") for name in attrs)
        assert not re.search(r"url\(|@import|http", attrs.get("style", ""))
    (style,) = [each["text"] for each in elements if each["tag"] == "style"]
    assert not re.search(r"url\(|@import|http", style)
    assert any("default-src 'none'" in each["attrs"].get("content", "") for each in elements)


def test_texts_of_users_are_text(page):
    text, elements, _ = page
    assert "<script" not in text
    assert "<img" not in text
    for place in (f"spring {EVIL}", f"launch {EVIL}", f"soon {EVIL}", f"growth=40% {EVIL}", f"remark {EVIL}"):
        assert any(place in each["text"] for each in elements), place


def test_it_says_what_is_short_overdue_and_over_the_budget(page):
    _, elements, document = page
    text = elements[0]["text"]
    assert document["pools"][0]["overdue"]
    for words in ("overdue", document["purchase"]["budget"]["message"][1:], "UTC", "GPUs", "tokens per second", "P90"):
        assert words in text


def test_ways_to_buy_add_up_to_the_plans_cost(page):
    _, _, document = page
    assert len(document["purchase"]["reserved"]) >= 2
    total = sum(usd for ways in mix(Figures(document)).values() for usd in ways.values())
    assert total == pytest.approx(document["purchase"]["usd_per_month"], abs=0.05)


def test_a_plan_without_prices_beside_or_existing_gpus_has_a_page_too():
    pool = PoolSpec("h100", "h100-sxm", price_per_gpu_hour=Decimal(2))
    asked = question(pools=(pool,), services=(service("chat", "h100"),), spec=PlanSpec("", horizon_days=1))
    whole = answer(asked, [], asked.history.end_s)
    elements = Reader(html_page(whole, answer_document(whole))).elements

    assert "unknown" in elements[0]["text"]
    assert "Nothing is short" not in elements[0]["text"] or "Nobody says" in elements[0]["text"]
    assert not any(each["attrs"].get("id") == "what-if" for each in elements)


def test_nothing_asked_for_has_an_axis_all_the_same():
    assert [tick.text for tick in value_axis(0.0, whole=False).ticks] == ["0", "0.5"]
    assert [tick.text for tick in value_axis(0.0, whole=True).ticks] == ["0", "1"]


@pytest.mark.parametrize(("hours", "size"), [(1008, 1), (1100, 1), (1101, 2), (2200, 2), (2201, 24), (9120, 24)])
def test_long_charts_have_whole_days_for_points(hours, size):
    assert Chart("", "", 0, hours, (), ()).size == size


@given(st.integers(-(2**33), 2**35))
def test_dates_are_those_of_the_calendar(seconds):
    date = datetime.fromtimestamp(seconds, UTC)
    assert date_of(seconds).text == date.strftime("%Y-%m-%d %H:%M UTC")
    assert datetime.fromisoformat(date_of(seconds).machine) == date.replace(second=0, microsecond=0)


@given(st.floats(0, 1e9), st.booleans())
def test_an_axis_holds_its_values_in_few_round_steps(most, whole):
    axis = value_axis(most, whole=whole)
    assert axis.top >= most * (1 - 1e-9)
    assert 2 <= len(axis.ticks) <= 6
    assert (axis.ticks[0].place, axis.ticks[-1].place) == (0.0, 1.0)
    assert len({tick.text for tick in axis.ticks}) == len(axis.ticks)


@given(st.integers(0, 10**6), st.integers(3, 24 * 366))
def test_times_stand_apart(begin, hours):
    ticks = time_ticks(begin * HOUR, (begin + hours) * HOUR)
    assert 1 <= len(ticks) <= 9
    assert all(0 <= tick.place < 1 for tick in ticks)
    assert all(after.place - before.place > 0.1 for before, after in pairwise(ticks))
