"""Whatever the endpoint does, a cycle ends in time with a snapshot that tells why it is not sound."""

import ssl
import time
import warnings

import pytest

from pertoken.adapters.prometheus.profile import (
    Credentials,
    EngineSource,
    GatewaySource,
    GpuSource,
    MetricsProfile,
    Tls,
)
from pertoken.domain.identity import PodKey
from pertoken.domain.signal import Signal
from pertoken_sandbox.pki import Authority, CertificateSubject

POD = PodKey("a", "pod-0")
PASSWORD = "s3cret pass"
PASSWORD_HASH = "$2b$04$abcdefghijklmnopqrstuuoBpIrM0OnplXjsOI8DWYJTHUhJDuUv."


def page(services):
    def text(age):
        rows = []
        for service in range(services):
            for replica in range(3):
                labels = f'engine="0",namespace="a",pod="s{service}-{replica}"'
                rows.append(f"vllm:num_requests_running{{{labels}}} 1")
                rows.append(f"vllm:generation_tokens_total{{{labels}}} {age * 100}")
        rows.append('vllm:num_requests_running{engine="0",namespace="a",pod="pod-0"} 8')
        rows.append('DCGM_FI_DEV_GPU_UTIL{UUID="GPU-0",namespace="a",pod="pod-0"} 50')
        return "\n".join(rows) + "\n"

    return text


@pytest.fixture(scope="module")
def prometheus(launcher, prometheus_programs, version, target):
    target.pages["few"] = page(1)
    running = launcher.start(prometheus_programs[version], version, [launcher.job("few", "few", target)])
    running.wait_for("count_over_time(vllm:num_requests_running[10s]) >= 4")
    return running


def profile(url, **changes):
    settings = {"scrape_seconds": 0.5, "window_seconds": 4.0, "timeout_seconds": 5.0, "lookback_seconds": 20.0}
    return MetricsProfile(url=url, **(settings | changes))


def refused(snapshot, *words, partial=False):
    assert not snapshot.health.ok
    assert snapshot.pods == {}
    assert snapshot.health.partial is partial
    for word in words:
        assert word in snapshot.health.why
    assert "Traceback" not in snapshot.health.why
    assert "0x" not in snapshot.health.why
    assert PASSWORD not in snapshot.health.why


def test_warnings_make_the_snapshot_partial(prometheus, proxy_to, source_of):
    proxy = proxy_to(prometheus.url)
    source = source_of(profile(proxy.url))
    assert source.observe().health.ok
    proxy.extra = {"warnings": ["store gateway 2: rpc timeout"]}
    refused(source.observe(), "partial answer: store gateway 2: rpc timeout", partial=True)
    proxy.extra = {"warnings": []}
    assert source.observe().health.ok


@pytest.mark.parametrize(
    ("extra", "headers", "words"),
    [
        ({"isPartial": True}, {}, "isPartial"),
        ({"isPartial": True, "warnings": ["vmstorage-2 is unavailable"]}, {}, "vmstorage-2 is unavailable"),
        ({"warnings": "one text instead of a list"}, {}, "one text instead of a list"),
        ({"warnings": ["PromQL info: not a counter", "store gateway 2: rpc timeout"]}, {}, "store gateway 2: rpc"),
        ({}, {"M3-Results-Limited": "max_fetch_series_limit_applied"}, "max_fetch_series_limit_applied"),
    ],
)
def test_an_answer_that_calls_itself_a_part_is_none(prometheus, proxy_to, source_of, extra, headers, words):
    source = source_of(profile(proxy_to(prometheus.url, extra=extra, headers=headers).url))
    refused(source.observe(), "partial answer: ", words, partial=True)


@pytest.mark.parametrize(
    "extra",
    [
        {"infos": ["metric might not be a counter"]},
        {
            "warnings": [
                'PromQL info: metric might not be a counter, name does not end in _total: "tgi_request_success"'
            ]
        },
        {"isPartial": False},
        {"isPartial": False, "warnings": [], "infos": []},
    ],
)
def test_infos_and_whole_answers_are_harmless(prometheus, proxy_to, source_of, extra):
    snapshot = source_of(profile(proxy_to(prometheus.url, extra=extra).url)).observe()
    assert snapshot.health.ok
    assert snapshot.pods[POD].values[Signal.RUNNING] == 8


def test_a_warning_on_one_engine_query_spoils_all(prometheus, proxy_to, source_of):
    proxy = proxy_to(prometheus.url, extra={"warnings": ["cut"]}, only="preemptions_total")
    refused(source_of(profile(proxy.url)).observe(), "rates, ages: partial answer: cut", partial=True)


def test_gpu_and_gateway_failures_leave_only_their_signals_out(prometheus, proxy_to, source_of):
    proxy = proxy_to(prometheus.url)
    source = source_of(profile(proxy.url))
    assert source.observe().pods[POD].values[Signal.GPU_UTILIZATION] == pytest.approx(0.5)
    proxy.only, proxy.status = "DCGM_FI", 422
    snapshot = source.observe()
    assert snapshot.health.ok
    assert "GPU: HTTP 422" in snapshot.health.why
    assert snapshot.pods[POD].values[Signal.RUNNING] == 8
    assert Signal.GPU_UTILIZATION not in snapshot.pods[POD].values
    proxy.only = "flow_control"
    snapshot = source.observe()
    assert snapshot.health.ok
    assert "gateway" in snapshot.health.why


def test_gpu_failure_is_fatal_where_there_is_nothing_else(prometheus, proxy_to, source_of):
    proxy = proxy_to(prometheus.url, only="DCGM_FI", status=500)
    only_gpu = profile(proxy.url, engine=EngineSource(engines=("generic",)))
    refused(source_of(only_gpu).observe(), "GPU: HTTP 500")


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ({"status": 401}, "credentials refused (401)"),
        ({"status": 403}, "credentials refused (403)"),
        ({"status": 302, "headers": {"Location": "http://127.0.0.1:9/login"}}, "redirected (302)"),
        ({"status": 400, "body": b'{"status":"error","error":"bad_data: 1:2"}'}, "HTTP 400: bad_data: 1:2"),
        ({"status": 503, "body": b"<html>down</html>"}, "HTTP 503"),
        ({"body": b"<html>login</html>"}, "not that of a Prometheus query API"),
        ({"body": b'{"status":"success"}'}, "not that of a Prometheus query API"),
        ({"body": b"[]"}, "not that of a Prometheus query API"),
        ({"body": b'{"warnings":'}, "not that of a Prometheus query API"),
    ],
)
def test_bad_answers_in_plain_words(proxy_to, source_of, behaviour, words):
    refused(source_of(profile(proxy_to("http://127.0.0.1:9", **behaviour).url)).observe(), words)


def test_down_is_told_at_once(proxy_to, source_of):
    proxy = proxy_to("http://127.0.0.1:9")
    proxy.server.close()
    start = time.monotonic()
    refused(source_of(profile(proxy.url)).observe(), "no connection: Connection refused", proxy.url)
    assert time.monotonic() - start < 2.0


def test_an_unknown_host_is_told(source_of):
    refused(source_of(profile("http://prometheus.invalid:9090")).observe(), "no connection:")


@pytest.mark.parametrize("behaviour", [{"delay": 30.0}, {"drip": True}])
def test_a_slow_endpoint_cannot_hold_the_cycle(prometheus, proxy_to, source_of, behaviour):
    proxy = proxy_to(prometheus.url, **behaviour)
    source = source_of(profile(proxy.url, timeout_seconds=1.0))
    start = time.monotonic()
    refused(source.observe(), "no answer within 1 s")
    assert time.monotonic() - start < 2.0
    proxy.delay, proxy.drip = 0.0, False
    time.sleep(0.3)
    assert source.observe().health.ok, "the next cycle starts afresh"


def test_it_recovers_after_an_outage(launcher, prometheus_programs, version, target, source_of):
    target.pages["few"] = page(1)
    running = launcher.start(prometheus_programs[version], version, [launcher.job("few", "few", target)])
    source = source_of(profile(running.url))
    running.wait_for("vllm:num_requests_running")
    assert source.observe().health.ok
    process = launcher.running.pop()
    process.kill()
    process.wait()
    refused(source.observe(), "no connection")


def test_requests_per_cycle_do_not_depend_on_services(
    launcher, prometheus_programs, version, target, proxy_to, source_of
):
    counts = {}
    for services in (1, 200):
        target.pages[f"services-{services}"] = page(services)
        jobs = [launcher.job("many", f"services-{services}", target)]
        running = launcher.start(prometheus_programs[version], version, jobs)
        running.wait_for("count_over_time(vllm:num_requests_running[10s]) >= 3")
        proxy = proxy_to(running.url)
        source = source_of(profile(proxy.url))
        snapshot = source.observe()
        assert len(snapshot.pods) == 3 * services + 1
        counts[services] = proxy.hits.total()
        assert counts[services] == source.report.queries
    assert counts[1] == counts[200]


def test_queries_travel_in_the_body_with_a_server_side_limit(prometheus, proxy_to, source_of):
    proxy = proxy_to(prometheus.url)
    source_of(profile(proxy.url)).observe()
    assert set(proxy.hits) == {"/api/v1/query"}, "no parameters in the address"
    assert all(int(form["timeout"][0].removesuffix("ms")) <= 5000 for _, form in proxy.seen)


def test_tokens_are_read_again_when_they_change(prometheus, proxy_to, source_of, tmp_path):
    token = tmp_path / "token"
    token.write_text("one\n")
    proxy = proxy_to(prometheus.url)
    source = source_of(profile(proxy.url, credentials=Credentials(bearer_token_file=token, tenant="team-a")))
    source.observe()
    assert {headers["Authorization"] for headers, _ in proxy.seen} == {"Bearer one"}
    assert {headers["X-Scope-OrgID"] for headers, _ in proxy.seen} == {"team-a"}
    proxy.seen.clear()
    token.write_text("another")
    source.observe()
    assert {headers["Authorization"] for headers, _ in proxy.seen} == {"Bearer another"}
    token.unlink()
    refused(source.observe(), f"cannot read {token}")


def test_basic_authentication_and_tls_of_prometheus_itself(
    launcher, prometheus_programs, version, target, source_of, tmp_path
):
    authority = Authority(tmp_path, "ca")
    server = authority.issue("server", CertificateSubject("localhost", hosts=("127.0.0.1", "localhost")))
    web = {
        "basic_auth_users": {"pertoken": PASSWORD_HASH},
        "tls_server_config": {"cert_file": str(server.certificate), "key_file": str(server.key)},
    }
    target.pages["few"] = page(1)
    jobs = [launcher.job("few", "few", target)]
    running = launcher.start(prometheus_programs[version], version, jobs, web=web)
    url = running.url.replace("http:", "https:")
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    sign_in, trust = Credentials(username="pertoken", password_file=secret), Tls(ca_file=authority.files.certificate)
    source = source_of(profile(url, credentials=sign_in, tls=trust))
    deadline = time.monotonic() + 15
    running_seen = None  # the first scrape may come between two of the queries of one observation
    while running_seen is None and time.monotonic() < deadline:
        seen = source.observe().pods.get(POD)
        running_seen = None if seen is None else seen.values.get(Signal.RUNNING)
        time.sleep(0.2)
    assert running_seen == 8
    refused(source_of(profile(url, tls=trust)).observe(), "credentials refused (401)")
    secret.write_text("wrong")
    refused(source.observe(), "credentials refused (401)")
    refused(source_of(profile(url, credentials=sign_in)).observe(), "TLS:", "certificate verify failed")


def test_a_client_certificate_is_shown_and_checks_can_be_switched_off(prometheus, proxy_to, source_of, tmp_path):
    authority = Authority(tmp_path, "ca")
    server = authority.issue("server", CertificateSubject("somewhere-else"))
    client = authority.issue("client", CertificateSubject("pertoken"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.files.certificate)
    context.load_cert_chain(server.certificate, server.key)
    context.verify_mode = ssl.CERT_REQUIRED
    proxy = proxy_to(prometheus.url, tls=context)
    shown = Tls(cert_file=client.certificate, key_file=client.key, insecure_skip_verify=True)
    with warnings.catch_warnings():
        assert source_of(profile(proxy.url, tls=shown)).observe().health.ok
        refused(source_of(profile(proxy.url, tls=Tls(insecure_skip_verify=True))).observe())
        strict = Tls(cert_file=client.certificate, key_file=client.key, ca_file=authority.files.certificate)
        refused(source_of(profile(proxy.url, tls=strict)).observe(), "TLS:")


def test_gateway_and_gpu_can_be_switched_off(prometheus, proxy_to, source_of):
    proxy = proxy_to(prometheus.url)
    switched_off = profile(proxy.url, gpu=GpuSource(enabled=False), gateway=GatewaySource(enabled=False))
    assert source_of(switched_off).observe().health.ok
    sent = " ".join(form["query"][0] for _, form in proxy.seen)
    assert "DCGM" not in sent
    assert "flow_control" not in sent
