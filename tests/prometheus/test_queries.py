import math
import re
from pathlib import Path

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pertoken.adapters.prometheus import engines
from pertoken.adapters.prometheus.engines import ENGINES, Metric
from pertoken.adapters.prometheus.profile import (
    Credentials,
    EngineSource,
    GatewaySource,
    GpuSource,
    Matcher,
    MetricsProfile,
    ProfileError,
    SeriesLabels,
    Tls,
)
from pertoken.adapters.prometheus.queries import duration, plan, quote, selector
from pertoken.domain.signal import LatencyKind, Signal

URL = "http://prometheus:9090"
PAGE = Path(__file__).parents[1] / "fleet" / "data" / "vllm-0.32.0.prom"
KNOWN_TO_BOTH = {"rate", "label_replace", "time", "timestamp", "max_over_time", "count_over_time", "last_over_time"}
KNOWN_TO_BOTH |= {"avg_over_time"}
LABELS = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,20}", fullmatch=True)


def texts(profile):
    return [query.promql for query in plan(profile).queries()]


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_every_query_of_every_engine_is_valid(name):
    for promql in texts(MetricsProfile(url=URL, engine=EngineSource(engines=(name,)))):
        promql_parser.parse(promql)


def test_all_engines_together_need_no_more_queries_than_one():
    both = MetricsProfile(url=URL, engine=EngineSource(engines=tuple(ENGINES)))
    assert len(texts(both)) == len(texts(MetricsProfile(url=URL))) == 9


def test_only_functions_that_old_and_new_servers_share():
    profile = MetricsProfile(url=URL, engine=EngineSource(engines=tuple(ENGINES)))
    words = {word for promql in texts(profile) for word in re.findall(r"([a-z_]+)\(", promql)}
    assert words <= KNOWN_TO_BOTH
    assert not any("le=" in promql for promql in texts(profile))


def test_the_rates_of_vllm_read_as_documented():
    rates = plan(MetricsProfile(url=URL)).rates
    assert rates
    assert (
        "max by (namespace, pod, instance) (sum by (namespace, pod, instance, job, prometheus, prometheus_replica, "
        "replica, thanos_replica, receive_replica, monitor) (rate(vllm:request_success_total[60s]) and "
        "timestamp(vllm:request_success_total) >= (time() - 45)))"
    ) in rates.promql


def test_a_label_that_the_scrape_renamed_is_used_everywhere():
    labels = SeriesLabels("exported_namespace", "exported_pod")
    source = EngineSource(labels=labels, rank="exported_engine", container="engine")
    settings = {"engine": source, "gpu": GpuSource(labels=labels), "gateway": GatewaySource(labels=labels)}
    for promql in texts(MetricsProfile(url=URL, **settings)):
        assert not re.search(r"[( ](namespace|pod|engine)[,)]", promql)
    assert 'container="engine"' in plan(MetricsProfile(url=URL, **settings)).rates.promql


def test_renamed_metrics_keep_their_meaning():
    renamed = (("vllm:num_requests_running", "vllm.running"), ("vllm:time_to_first_token_seconds", "vllm_ttft"))
    made = plan(MetricsProfile(url=URL, engine=EngineSource(renamed=renamed)))
    assert '({__name__="vllm.running"} and timestamp({__name__="vllm.running"}) >=' in made.gauges.promql
    assert '"signal", "vllm:num_requests_running"' in made.gauges.promql
    assert "rate(vllm_ttft_bucket[60s])" in dict(made.histograms)[LatencyKind.TTFT].promql


def metric_names(row):
    metrics = [*(gauge.metric for gauge in row.gauges.values()), *row.rates.values(), *row.totals.values()]
    metrics += [part for mean in row.means.values() for part in (mean.total, mean.count)]
    metrics += [Metric(metric.name + "_bucket") for metric in row.histograms.values()]
    return metrics


def test_the_vllm_row_matches_a_real_metrics_page():
    page = PAGE.read_text()
    row = engines.VLLM
    for metric in metric_names(row):
        series = [line for line in page.splitlines() if line.startswith(metric.name + "{")]
        assert series, metric.name
        assert not {label for line in series for label in re.findall(r'(\w+)="', line)} & {*row.copies}
    info = next(line for line in page.splitlines() if line.startswith(row.capacity.name + "{"))
    for label in (row.capacity.label, *row.capacity.factors):
        assert re.search(rf'{label}="\d+"', info)


@given(st.text())
def test_any_label_value_is_a_valid_literal_that_means_itself(value):
    parsed = promql_parser.parse(selector("up", [("pod", "=", value)]))
    assert [matcher.value for matcher in parsed.matchers.matchers] == [value]


@given(LABELS, st.text(), st.sampled_from(["=", "!="]))
def test_matchers_never_break_out_of_their_query(label, value, operator):
    matcher = (Matcher(label, value, operator),)
    sources = {"engine": EngineSource(matchers=matcher), "gpu": GpuSource(matchers=matcher)}
    plain = texts(MetricsProfile(url=URL))
    for promql, reference in zip(texts(MetricsProfile(url=URL, **sources)), plain, strict=True):
        promql_parser.parse(promql)
        assert promql.count("label_replace(") >= reference.count("label_replace(")


@given(st.text(min_size=1))
def test_any_metric_name_can_be_selected(name):
    promql_parser.parse(selector(name, []))
    assert quote(name)[0] == quote(name)[-1] == '"'


@pytest.mark.parametrize(("seconds", "text"), [(60, "60s"), (0.25, "250ms"), (1.5, "1500ms"), (300.0, "300s")])
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "prometheus:9090"}, "url must be"),
        ({"url": "http://u:p@prometheus"}, "must not carry credentials"),
        ({"url": "http://prometheus/?x=1"}, "before any ?"),
        ({"window_seconds": 59.0}, "at least 4 scrape intervals (60)"),
        ({"window_seconds": math.nan}, "positive number"),
        ({"timeout_seconds": 0.0}, "timeout_seconds=0"),
        ({"lookback_seconds": 30.0}, "lookback_seconds"),
        ({"fresh_seconds": 10.0}, "fresh_seconds"),
        ({"engine": EngineSource(engines=("vlm",))}, "unknown 'vlm', known are"),
        ({"engine": EngineSource(engines=())}, "must not be empty"),
        ({"engine": EngineSource(labels=SeriesLabels("a b", "pod"))}, "'a b' is not a label name"),
        ({"gpu": GpuSource(labels=SeriesLabels("pod", "pod"))}, "both namespace and pod"),
        ({"gpu": GpuSource(matchers=(Matcher("x", "y", "=="),))}, "operator '=='"),
        ({"credentials": Credentials(username="u")}, "belong together"),
        ({"credentials": Credentials("u", Path("p"), Path("t"))}, "either username or bearer"),
        ({"credentials": Credentials(tenant="a\r\nb")}, "printable"),
        ({"tls": Tls(key_file=Path("k"))}, "key_file needs"),
        ({"tls": Tls(ca_file=Path("c"), insecure_skip_verify=True)}, "either ca_file"),
    ],
)
def test_profiles_that_cannot_work_are_refused(changes, words):
    with pytest.raises(ProfileError, match=re.escape(words)):
        MetricsProfile(**({"url": URL} | changes))


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ProfileError) as told:
        MetricsProfile(url="", timeout_seconds=-1, tls=Tls(key_file=Path("k")))
    assert str(told.value).count(";") == 2


def test_a_profile_can_be_read_from_plain_data():
    data = {
        "url": URL,
        "engine": {"engines": ["sglang"], "matchers": [{"label": "cluster", "value": "eu"}]},
        "gpu": {"labels": {"namespace": "exported_namespace", "pod": "exported_pod"}},
        "credentials": {"bearer_token_file": "/run/token"},
    }
    profile = TypeAdapter(MetricsProfile).validate_python(data)
    assert profile.engine.engines == ("sglang",)
    assert profile.credentials.bearer_token_file == Path("/run/token")


@pytest.mark.parametrize("row", ENGINES.values(), ids=lambda row: row.name)
def test_an_engine_offers_only_what_its_row_reads(row):
    read = {*row.gauges, *row.rates} | ({Signal.KV_CAPACITY_TOKENS} if row.capacity else set())
    assert row.offer.signals <= read
    assert row.offer.histograms <= set(row.histograms)
    assert not (row.offer.signals | row.offer.histograms) & row.sometimes
    assert row.sometimes <= {*row.gauges, *row.rates, *row.histograms}, "what is never read cannot be missing"


def test_engines_with_traffic_offer_what_scaling_down_asks_for():
    needed = {Signal.RUNNING, Signal.WAITING, Signal.GENERATION_TOKENS_PER_SECOND, Signal.FINISHED_PER_SECOND}
    for row in (engines.VLLM, engines.SGLANG, engines.TGI):
        assert needed <= row.offer.signals, row.name
