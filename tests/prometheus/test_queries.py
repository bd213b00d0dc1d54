import math
import re
from pathlib import Path

import promql_parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pertoken.adapters.prometheus import engines
from pertoken.adapters.prometheus.engines import ENGINES
from pertoken.adapters.prometheus.engines.model import part_of
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
from pertoken.adapters.prometheus.promql import MOST_LETTERS, duration, quote, selector
from pertoken.adapters.prometheus.queries import plan
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


def test_queries_are_few_and_none_is_longer_than_servers_take():
    everything = MetricsProfile(url=URL, engine=EngineSource(engines=tuple(ENGINES)))
    assert len(texts(MetricsProfile(url=URL))) == 9
    assert len(texts(everything)) <= 12
    assert max(len(promql) for promql in texts(everything)) <= MOST_LETTERS < 16 * 1024
    names = [query.name for query in plan(everything).queries()]
    assert len(set(names)) == len(names), "answers are told apart by name"


def test_only_functions_that_old_and_new_servers_share():
    profile = MetricsProfile(url=URL, engine=EngineSource(engines=tuple(ENGINES)))
    words = {word for promql in texts(profile) for word in re.findall(r"([a-z_]+)\(", promql)}
    assert words <= KNOWN_TO_BOTH
    assert not any("le=" in promql for promql in texts(profile))


def test_the_rates_of_vllm_read_as_documented():
    (rates,) = plan(MetricsProfile(url=URL)).rates
    assert (
        "max by (namespace, pod, instance) (sum by (namespace, pod, instance, job, prometheus, prometheus_replica, "
        "replica, thanos_replica, receive_replica, monitor, endpoint, service, container) "
        "(rate(vllm:request_success_total[60s]) and timestamp(vllm:request_success_total) >= (time() - 45)))"
    ) in rates.promql


def test_a_label_that_the_scrape_renamed_is_used_everywhere():
    labels = SeriesLabels("exported_namespace", "exported_pod")
    source = EngineSource(labels=labels, rank="exported_engine", container="engine")
    settings = {"engine": source, "gpu": GpuSource(labels=labels), "gateway": GatewaySource(labels=labels)}
    for promql in texts(MetricsProfile(url=URL, **settings)):
        assert not re.search(r"[( ](namespace|pod|engine)[,)]", promql)
    assert 'container="engine"' in plan(MetricsProfile(url=URL, **settings)).rates[0].promql


def test_renamed_metrics_keep_their_meaning():
    renamed = (("vllm:num_requests_running", "vllm.running"), ("vllm:time_to_first_token_seconds", "ttft"))
    naming = EngineSource(renamed=renamed, prefixes=(("vllm:", "vllm_"),))
    planned = plan(MetricsProfile(url=URL, engine=naming))
    (gauges,), (rates,) = planned.gauges, planned.rates
    assert '({__name__="vllm.running"} and timestamp({__name__="vllm.running"}) >=' in gauges.promql
    assert '"signal", "vllm:num_requests_running"' in gauges.promql
    assert "rate(ttft_bucket[60s])" in dict(planned.histograms)[LatencyKind.TTFT][0].promql
    assert "rate(ttft_sum[60s])" in rates.promql, "a family is renamed as a whole"
    assert "rate(vllm_prompt_tokens_total[60s])" in rates.promql
    assert "rate(vllm:" not in rates.promql


def test_gpu_metrics_go_by_the_names_of_the_installation():
    gpu = GpuSource(prefixes=(("DCGM_FI_", "dcgm_"),), device="gpu_uuid", instance="mig", host="node")
    (query,) = plan(MetricsProfile(url=URL, gpu=gpu)).gpu
    promql_parser.parse(query.promql)
    assert "dcgm_DEV_GPU_UTIL{" in query.promql
    assert "dcgm_DEV_POWER_USAGE{" in query.promql
    assert not re.search(r"UUID|GPU_I_ID|Hostname|[( ]DCGM_", query.promql)


def metric_names(row, version):
    metrics = [*row.gauge_metrics(), *row.flows(), *row.total_metrics()]
    metrics += [part_of(metric, "_bucket") for metric in row.histogram_metrics()]
    return [metric for metric in metrics if metric.in_version(version)]


def test_the_vllm_row_matches_a_real_metrics_page():
    page = PAGE.read_text()
    row = engines.VLLM
    for metric in metric_names(row, "0.32"):
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


@settings(deadline=None)
@given(LABELS, st.text(), st.sampled_from(["=", "!="]))
def test_matchers_never_break_out_of_their_query(label, value, operator):
    matcher = (Matcher(label, value, operator),)
    sources = {"engine": EngineSource(matchers=matcher), "gpu": GpuSource(matchers=matcher)}
    matched, plain = texts(MetricsProfile(url=URL, **sources)), texts(MetricsProfile(url=URL))
    for promql in matched:
        promql_parser.parse(promql)
    terms = [sum(promql.count("label_replace(") for promql in those) for those in (matched, plain)]
    assert terms[0] >= terms[1]


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
        ({"engine": EngineSource(renamed=(("a", ""),))}, "engine.renamed: a name must not be empty"),
        ({"gpu": GpuSource(prefixes=(("a", "b"), ("a", "c")))}, "gpu.prefixes: 'a' stands twice"),
        ({"gpu": GpuSource(device="a-b")}, "'a-b' is not a label name"),
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
    plain = {
        "url": URL,
        "engine": {"engines": ["sglang"], "matchers": [{"label": "cluster", "value": "eu"}]},
        "gpu": {"labels": {"namespace": "exported_namespace", "pod": "exported_pod"}},
        "credentials": {"bearer_token_file": "/run/token"},
    }
    profile = TypeAdapter(MetricsProfile).validate_python(plain)
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
