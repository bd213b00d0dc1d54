"""Metrics profiles as an administrator writes them."""

from dataclasses import replace
from pathlib import Path

import pytest

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
from pertoken.adapters.prometheus.profile_settings import profiles
from pertoken.outside import StartError, connect
from pertoken.settings import Settings

SIGN_IN = Credentials(bearer_token_file=Path("/run/token"), tenant="a")
DEFAULT = MetricsProfile(
    "http://prometheus:9090",
    engine=EngineSource(engines=("vllm", "sglang")),
    credentials=SIGN_IN,
    tls=Tls(ca_file=Path("/run/ca.crt")),
    window_seconds=90.0,
)
EXPORTED = SeriesLabels("exported_namespace", "exported_pod")


def engine(**changes):
    return replace(DEFAULT, engine=replace(DEFAULT.engine, **changes))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("default: {}", {}),
        ("default:", {}),
        ("batch: {}", {"batch": replace(DEFAULT, name="batch")}),
        (
            "default: {gpu: {labels: {namespace: exported_namespace, pod: exported_pod}}}",
            {"default": replace(DEFAULT, gpu=GpuSource(labels=EXPORTED))},
        ),
        (
            "default: {engine: {labels: {pod: kubernetes_pod_name}, rank: exported_engine}}",
            {"default": engine(labels=SeriesLabels("namespace", "kubernetes_pod_name"), rank="exported_engine")},
        ),
        (
            '{"default": {"engine": {"prefixes": {"vllm:": "vllm_"}, "renamed": {"vllm:running": "busy"}}}}',
            {"default": engine(prefixes=(("vllm:", "vllm_"),), renamed=(("vllm:running", "busy"),))},
        ),
        (
            "default: {gateway: {signals: {held: proxy_held_requests}}}",
            {"default": replace(DEFAULT, gateway=GatewaySource(signals=(("held", "proxy_held_requests"),)))},
        ),
        (
            "default: {engine: {engines: [tgi], matchers: [{label: cluster, value: eu, operator: '=~'}]}}",
            {"default": engine(engines=("tgi",), matchers=(Matcher("cluster", "eu", "=~"),))},
        ),
        (
            "default: {gpu: {device: uuid, prefixes: {DCGM_FI_: gpu_}}}",
            {"default": replace(DEFAULT, gpu=GpuSource(device="uuid", prefixes=(("DCGM_FI_", "gpu_"),)))},
        ),
        (
            "b: {url: 'http://other:9090', rateWindowSeconds: 120, scrapeIntervalSeconds: 30, freshSeconds: 60}",
            {
                "b": replace(
                    DEFAULT,
                    name="b",
                    url="http://other:9090",
                    credentials=Credentials(),
                    tls=Tls(),
                    window_seconds=120.0,
                    scrape_seconds=30.0,
                    fresh_seconds=60.0,
                )
            },
        ),
        (
            "b: {url: 'http://other:9090', credentials: {username: u, passwordFile: /p}}",
            {
                "b": replace(
                    DEFAULT,
                    name="b",
                    url="http://other:9090",
                    credentials=Credentials("u", Path("/p")),
                    tls=Tls(),
                )
            },
        ),
        (
            "{a: {engine: {container: x}}, default: {gpu: {enabled: false}}}",
            {
                "default": replace(DEFAULT, gpu=GpuSource(enabled=False)),
                "a": replace(engine(container="x"), name="a", gpu=GpuSource(enabled=False)),
            },
        ),
    ],
)
def test_profiles(text, expected):
    assert profiles(text, DEFAULT) == {"default": DEFAULT} | expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "PERTOKEN_METRICS_PROFILES: list of 1: expected a mapping of profiles by name"),
        ("a: {", "PERTOKEN_METRICS_PROFILES: no YAML in line 1"),
        ("My_Profile: {}", '"My_Profile": the name of a profile is made of lower-case letters'),
        ("1: {}", "1: the name of a profile"),
        ("a: x", 'a: "x": a mapping'),
        ("a: {gpu: {label: {pod: x}}}", "a.gpu.label: {pod}: no such field, did you mean labels?"),
        ("a: {engine: {labels: {pods: x}}}", 'a.engine.labels.pods: "x": no such field, did you mean pod?'),
        ("a: {engine: {engines: [vlm]}}", "metrics profile 'a': engine.engines: unknown 'vlm', known are"),
        ("a: {engine: {labels: {pod: exported-pod}}}", "'exported-pod' is not a label name"),
        ("a: {engine: {renamed: {x: 3}}}", "a.engine.renamed.x: 3: a text"),
        ("a: {rateWindowSeconds: soon}", 'a.rateWindowSeconds: "soon"'),
        ("a: {rateWindowSeconds: 5}", "window_seconds=5 must be at least 4 scrape intervals"),
        ("a: {url: 'prometheus:9090'}", "metrics profile 'a': url must be http(s)://"),
        ("a: {engine: {matchers: [{label: x, value: y, operator: '=='}]}}", "a.engine.matchers[0].operator"),
        ("a: {credentials: {password: x}}", "a.credentials.password"),
        ("{a: {gpu: {labels: {pod: namespace}}}, b: {speed: 1}}", "cannot name both"),
        ("\n".join(f"p{number}: {{}}" for number in range(65)), "65 profiles: at most 64"),
    ],
)
def test_bad_input_is_told_in_one_line(text, words):
    with pytest.raises(ProfileError) as told:
        profiles(text, DEFAULT)
    assert words in str(told.value)
    assert str(told.value).startswith("PERTOKEN_METRICS_PROFILES: ")
    assert "\n" not in str(told.value)


def test_the_mistakes_of_all_profiles_are_told_at_once():
    with pytest.raises(ProfileError) as told:
        profiles("{a: {speed: 1}, b: {rateWindowSeconds: 5}}", DEFAULT)
    assert "a.speed" in str(told.value)
    assert "metrics profile 'b'" in str(told.value)


def test_settings_make_the_sources(monkeypatch):
    monkeypatch.setenv("PERTOKEN_METRICS_PROFILES", "team-b: {engine: {prefixes: {'vllm:': vllm_}}}")
    profiles = Settings().all_metrics_profiles()
    assert set(profiles) == {"default", "team-b"}
    assert profiles["team-b"].engine.prefixes == (("vllm:", "vllm_"),)
    assert set(profiles["default"].engine.engines) == {"vllm", "sglang", "tgi", "triton", "trtllm", "llama.cpp"}


def test_the_operator_does_not_start_with_a_profile_that_cannot_work(monkeypatch):
    monkeypatch.setenv("PERTOKEN_METRICS_PROFILES", "team-b: {speed: 1}")
    with pytest.raises(StartError, match=r"PERTOKEN_METRICS_PROFILES: team-b\.speed: 1: no such field"):
        connect(Settings())
