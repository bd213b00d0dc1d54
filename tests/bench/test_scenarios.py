"""Scenario files: all mistakes at once, one line each; every shipped one can be run."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import yaml

from pertoken_bench.scenarios.prepare import prepare
from pertoken_bench.scenarios.scenario import ScenarioError, load, parse
from pertoken_bench.traces.arrivals import Drawing, draw
from pertoken_bench.traces.files import TraceError
from pertoken_bench.traces.rates import load_bins
from pertoken_bench.traces.trace import Cut, load_requests, merged

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "bench" / "scenarios"
CONV = ROOT / "examples" / "traces" / "azure_2023_conv.csv.gz"
BASE = yaml.safe_load((FOLDER / "azure-conv.yaml").read_text())


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_shipped_scenario_loads_and_names_itself(file):
    scenario = load(file)
    assert scenario.name == file.stem
    assert scenario.description
    assert {service.key.name for service in scenario.services} == set(scenario.traffic)


def changed(path, value):
    content = copy.deepcopy(BASE)
    place = content
    for part in path[:-1]:
        place = place[part]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("traces", "chat", "file"), "nowhere.csv.gz", "traces.chat.file"),
        (("traces", "chat", "rateScale"), 0, "traces.chat.rateScale: 0"),
        (("traces", "other"), {"file": "x.csv"}, "no service of this name"),
        (("traces",), {}, "traces"),
        (("coldStartSeconds",), "soon", "coldStartSeconds: 'soon'"),
        (("router",), "round-robin", "router: 'round-robin'"),
        (("truth",), {"decode": 1.1, "speed": 2}, "truth.speed"),
        (("initialReplicas",), {"chat": 3}, "expected service/variant"),
        (("gpusPerNode",), {"b200": 8}, "no pool of this name"),
        (("pools", 0, "spec", "capacity"), {"fromNodes": {"matchLabels": {"a": "b"}}}, "capacity.gpus"),
        (("services", 0, "spec", "variants", 0, "pool"), "h100", "pool"),
        (("services", 0, "spec", "model", "id"), None, "model"),
        (("services",), ["no-such-file.yaml"], "no-such-file.yaml: cannot be read"),
        (("name",), "Azure Conv", "name"),
    ],
)
def test_mistakes_name_file_field_and_expectation(path, value, words):
    with pytest.raises(ScenarioError) as caught:
        parse(changed(path, value), FOLDER / "broken.yaml")
    assert any((words in mistake and "broken.yaml" in mistake) or words in mistake for mistake in caught.value.mistakes)
    assert all("\n" not in mistake for mistake in caught.value.mistakes)


def test_all_mistakes_at_once():
    content = changed(("traces", "chat", "file"), "nowhere.csv.gz")
    content["initialReplicas"] = {"chat": 3}
    with pytest.raises(ScenarioError) as caught:
        parse(content, FOLDER / "broken.yaml")
    assert len(caught.value.mistakes) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("arrival_s,input_tokens\n1,2\n", "output_tokens"),
        ("arrival_s,input_tokens,output_tokens\n1,2,x\n", ":2: output_tokens: 'x'"),
        ("arrival_s,input_tokens,output_tokens\n-1,2,3\n", ":2: arrival_s: '-1'"),
        ("arrival_s,input_tokens,output_tokens\n1,0,3\n", ":2: input_tokens: '0'"),
        ("arrival_s,input_tokens,output_tokens\n", "no requests"),
    ],
)
def test_trace_mistakes(tmp_path, text, words):
    file = tmp_path / "t.csv"
    file.write_text(text)
    with pytest.raises(TraceError, match=words):
        load_requests(file, Cut(), 0, 0)


def test_repeating_keeps_time_and_multiplies_requests():
    once = load_requests(CONV, Cut(duration_seconds=1200), 0, 0)
    often = load_requests(CONV, Cut(duration_seconds=1200, rate_scale=3.5), 0, 0)
    assert len(often) == pytest.approx(3.5 * len(once), rel=0.02)
    assert often.arrival[-1] <= once.arrival[-1]
    assert (np.diff(often.arrival) >= 0).all()
    per_minute = [np.histogram(trace.arrival, np.arange(0, 1201, 60))[0] for trace in (once, often)]
    assert np.corrcoef(*per_minute)[0, 1] > 0.8
    thinned = load_requests(CONV, Cut(duration_seconds=1200, rate_scale=0.25), 0, 0)
    assert len(thinned) == pytest.approx(0.25 * len(once), rel=0.05)
    other = load_requests(CONV, Cut(duration_seconds=1200, rate_scale=3.5), 0, 1)
    assert not np.array_equal(other.arrival[:1000], often.arrival[:1000])


def test_prefix_ids_are_renumbered_and_kept_apart(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("arrival_s,input_tokens,output_tokens,prefix_ids\n2,600,1,7 9\n1,600,1,7\n3,10,1,\n")
    trace = load_requests(file, Cut(), 0, 0)
    assert trace.prefix_at.tolist() == [0, 1, 3, 3]
    assert trace.prefix.tolist() == [0, 0, 1]
    both = merged([trace, load_requests(file, Cut(start_seconds=0.5), 1, 0)])
    assert both.arrival.tolist() == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert both.prefix.tolist() == [2, 0, 2, 3, 0, 1]


def test_requests_drawn_from_a_rate_series_follow_it(tmp_path):
    file = tmp_path / "rate.csv"
    rates = [600, 1200, 300, 0, 900]
    rows = "".join(f"{600 * i},{n},{n * 2000},{n * 100}\n" for i, n in enumerate(rates))
    file.write_text("time_s,requests,input_tokens,output_tokens\n" + rows)
    assert load_bins(file).times.tolist() == [0, 600, 1200, 1800, 2400, 3000]
    trace = draw(file, Cut(rate_scale=5), Drawing(CONV, burstiness=1.5, clients=30), 0, 3)
    counts = np.histogram(trace.arrival, np.arange(0, 3001, 600))[0]
    assert counts[3] == 0
    assert counts / 5 == pytest.approx(rates, rel=0.25, abs=1)
    assert trace.input_tokens.mean() == pytest.approx(2000, rel=0.05)
    assert trace.output_tokens.mean() == pytest.approx(100, rel=0.05)
    calm = draw(file, Cut(rate_scale=5), Drawing(CONV, burstiness=0.3, clients=1), 0, 3)
    bursty = draw(file, Cut(rate_scale=5), Drawing(CONV, burstiness=6.0, clients=1), 0, 3)
    dispersion = [_dispersion(drawn.arrival) for drawn in (calm, trace, bursty)]
    assert dispersion[0] < 0.7 < dispersion[1] < dispersion[2]


def _dispersion(arrival):
    """Variance over mean of counts in 5 s within the first bin."""
    counts = np.histogram(arrival, np.arange(0, 601, 5))[0]
    return counts.var() / counts.mean()


def test_warm_up_longer_than_the_traffic_is_refused():
    content = changed(("warmupSeconds",), 4000)
    with pytest.raises(TraceError, match="warmupSeconds 4000"):
        prepare(parse(content, FOLDER / "x.yaml"), 0)
