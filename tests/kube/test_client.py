"""The client against a scripted HTTP server: errors, time limits, no retries."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from pertoken.adapters.kube.client import APPLY_PATCH, ApiRequest, ClientOptions, KubeClient
from pertoken.adapters.kube.errors import Expired
from pertoken.ports import AdapterError, Conflict, Forbidden, NotFound, Refused, Timeout, Unavailable, Withheld

FORBIDDEN = (
    'inferenceservices.serving.pertoken.dev is forbidden: User "system:serviceaccount:ops:pertoken" cannot list '
    'resource "inferenceservices" in API group "serving.pertoken.dev" in the namespace "prod"'
)


@dataclass
class Script:
    """What the server answers, and what it was asked."""

    code: int = 200
    body: bytes = b"{}"
    delay: float = 0.0
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def server(script: Script) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.seen.append((self.command, self.path, headers, body))
            time.sleep(script.delay)
            self.send_response(script.code)
            self.send_header("Content-Length", str(len(script.body)))
            self.end_headers()
            self.wfile.write(script.body)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_one  # noqa: N815 - names of http.server

        def log_message(self, *_: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[..., KubeClient]]:
    opened: list[KubeClient] = []

    def build(url: str, user: dict[str, Any] | None = None, **options: Any) -> KubeClient:
        path = tmp_path / "kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": user or {"token": "t0ken"}}],
        }
        path.write_text(yaml.safe_dump(config))
        opened.append(KubeClient(ClientOptions(kubeconfig=path, **options)))
        return opened[-1]

    yield build
    for client in opened:
        client.close()


def failure(client: KubeClient) -> AdapterError:
    with pytest.raises(AdapterError) as caught:
        client.call(ApiRequest("GET", "/apis/serving.pertoken.dev/v1alpha1/inferenceservices"))
    return caught.value


def status(message: str, **details: Any) -> bytes:
    return json.dumps({"kind": "Status", "message": message, "details": details}).encode()


BUDGET = {"causes": [{"reason": "DisruptionBudget", "message": "The disruption budget b needs 2 healthy pods"}]}


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((403, status(FORBIDDEN)), Forbidden, "cannot list"),
        ((403, status('pods "x" is forbidden: exceeded quota: gpus')), Refused, "exceeded quota"),
        ((403, status('admission webhook "w" denied the request: no')), Refused, "denied"),
        ((401, status("Unauthorized")), Forbidden, "credentials"),
        ((404, status("not found")), NotFound, "not found"),
        ((404, b"404 page not found\n"), NotFound, "404 page not found"),
        ((409, status("the object has been modified")), Conflict, "modified"),
        ((410, status("The provided continue parameter is too old")), Expired, "too old"),
        ((400, status("bad")), Refused, "bad"),
        ((422, status("spec.replicas: Invalid value")), Refused, "spec.replicas"),
        ((429, status("Cannot evict pod", **BUDGET)), Refused, "needs 2 healthy pods"),
        ((429, status("too many requests")), Unavailable, "too many"),
        ((500, status("This pod has more than one PodDisruptionBudget, which …")), Refused, "more than one"),
        ((500, status("failed to create typed patch object: .spec.x: field not declared")), Refused, ".spec.x"),
        ((500, status("etcdserver: leader changed")), Unavailable, "leader changed"),
        ((503, b"<html>no backend</html>"), Unavailable, "no backend"),
        ((504, status("timed out")), Timeout, "timed out"),
        ((302, b""), Unavailable, "302"),
        ((200, b"<html>a proxy's login page</html>"), Unavailable, "no JSON"),
        ((200, b"[]"), Unavailable, "no object"),
    ],
)
def test_answers_become_typed_errors(server, script, connect, answer, kind, words):
    script.code, script.body = answer
    error = failure(connect(server))
    assert type(error) is kind
    assert words in str(error)
    assert "GET /apis/serving.pertoken.dev/v1alpha1/inferenceservices" in str(error)
    assert len(script.seen) == 1, "nothing is retried"


def test_forbidden_names_verb_resource_and_namespace(server, script, connect):
    script.code, script.body = 403, status(FORBIDDEN)
    words = str(failure(connect(server)))
    for part in ("cannot list", '"inferenceservices"', 'namespace "prod"'):
        assert part in words


def test_a_slow_server_is_a_timeout_in_time(server, script, connect):
    script.delay = 5.0
    began = time.monotonic()
    error = failure(connect(server, read_seconds=0.3))
    assert isinstance(error, Timeout)
    assert time.monotonic() - began < 2.0
    assert len(script.seen) == 1


def test_leave_is_asked_before_the_head_and_before_the_body(server, script, connect):
    asked = []
    connect(server).call(ApiRequest("POST", "/x", body={"a": 1}, guard=lambda: asked.append(len(script.seen))))
    assert asked == [0, 0]


@pytest.mark.parametrize("allowed", [0, 1], ids=["before the head", "before the body"])
def test_a_request_whose_leave_ends_is_not_carried_out(server, script, connect, allowed):
    """As when the process is stopped in the middle of sending, and another one leads when it goes on."""
    left = [None] * allowed

    def guard() -> None:
        if not left:
            raise Withheld("the lease is not held")
        left.pop()

    client = connect(server)
    with pytest.raises(Withheld):
        client.call(ApiRequest("POST", "/x", body={"a": 1}, guard=guard))
    assert [request for request in script.seen if request[-1]] == []
    assert client.call(ApiRequest("POST", "/x", body={"a": 1})) == {}


def test_one_call_may_wait_longer(server, script, connect):
    script.delay = 0.5
    assert connect(server, read_seconds=0.1).call(ApiRequest("GET", "/x", read_seconds=5.0)) == {}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_no_write_waits_longer_than_writes_may(server, script, connect, method):
    script.delay = 5.0
    began = time.monotonic()
    client = connect(server, read_seconds=5.0, write_seconds=0.4)
    with pytest.raises(Timeout):
        client.call(ApiRequest(method, "/x", body={}, read_seconds=5.0))
    assert time.monotonic() - began < 2.0


def test_a_server_that_accepts_and_says_nothing_is_a_timeout(connect):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = failure(connect(f"http://127.0.0.1:{silent.getsockname()[1]}", read_seconds=0.3))
    assert isinstance(error, Timeout)


def test_nobody_there_is_unavailable_at_once(connect):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    began = time.monotonic()
    error = failure(connect(f"http://127.0.0.1:{port}"))
    assert type(error) is Unavailable
    assert time.monotonic() - began < 2.0


def test_an_unknown_host_is_unavailable(connect):
    assert type(failure(connect("http://nowhere.invalid"))) is Unavailable


def test_a_body_cut_short_is_unavailable(connect):
    def answer_half(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_half, args=(listener,))
        thread.start()
        error = failure(connect(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        thread.join()
    assert type(error) is Unavailable


def test_what_is_sent(server, script, connect):
    query = {"fieldManager": "pertoken", "force": True, "limit": 500}
    body = {"spec": {"text": "ä\n"}}
    connect(server).call(ApiRequest("PATCH", "/apis/x", query=query, body=body, content_type=APPLY_PATCH))
    ((method, path, headers, sent),) = script.seen
    assert (method, path) == ("PATCH", "/apis/x?fieldManager=pertoken&force=true&limit=500")
    assert headers["content-type"] == "application/apply-patch+yaml"
    assert headers["authorization"].lower() == "bearer t0ken"
    assert headers["user-agent"].startswith("pertoken/")
    assert json.loads(sent) == body


@pytest.mark.parametrize("content", ["", "a: [", "kind: Config", "current-context: other\ncontexts: []"])
def test_a_useless_kubeconfig_says_where_it_is(tmp_path: Path, content: str):
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    with pytest.raises(Unavailable, match=str(path)):
        KubeClient(ClientOptions(kubeconfig=path))


def test_without_any_credentials_the_message_says_what_was_looked_for(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(Unavailable, match="service account"):
        KubeClient(ClientOptions())


def test_a_rotated_token_file_is_read_again(tmp_path, monkeypatch):
    from kubernetes.config import incluster_config  # noqa: PLC0415 - only this test looks behind the adapter

    token, ca = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("first")
    ca.write_text("-")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(ca))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    client = KubeClient(ClientOptions())
    hook = client._api.configuration.refresh_api_key_hook
    token.write_text("second")
    loader = hook.__closure__[0].cell_contents
    loader.token_expires_at -= loader._token_refresh_period
    hook(client._api.configuration)
    assert client._api.configuration.api_key["BearerToken"].endswith("second")
    client.close()


def test_reachable(server, script, connect):
    client = connect(server)
    assert client.reachable()
    script.code = 500
    assert not client.reachable()
