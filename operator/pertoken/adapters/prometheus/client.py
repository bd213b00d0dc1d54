"""Instant queries over one kept-alive session, all within one deadline, with failures as plain words.

``prometheus_api_client`` does the querying. What it leaves out is added at the session that it is given: signs of a
partial answer (``warnings`` of Thanos and Mimir, ``isPartial`` of VictoriaMetrics, a header of M3), a limit on the
whole answer, and POST bodies: it would put a long query into the URL even for POST, where proxies cut it off.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.exceptions import HTTPError, InsecureRequestWarning, ReadTimeoutError
from urllib3.util.retry import Retry

from pertoken.adapters.prometheus.auth import SecretUnreadable, SignIn
from pertoken.adapters.prometheus.profile import MetricsProfile
from pertoken.adapters.prometheus.promql import Query

LOGGER = logging.getLogger(__name__)
MAX_PARALLEL = 4
MAX_ANSWER_BYTES = 128 * 1024 * 1024
_CHUNK = 256 * 1024
_DETAIL_LETTERS = 200
_QUERY_PATH = "/api/v1/query"
_SIGNS_OF_PARTS = (b'"warnings"', b'"isPartial"')  # a cheap look; a label value cannot hold them with bare quotes
_INFO = "PromQL info:"  # Prometheus 2.48 to 2.53 told its infos among the warnings
_LIMITED = "M3-Results-Limited"


class PartialAnswer(Exception):
    """The server answered and said that its answer is partial."""


class Declined(Exception):
    """The server answered with something other than a result; the message says what."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a query has no result, in plain words without secrets.

    Attributes:
        partial: the server itself called its answer incomplete.
    """

    why: str
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Answers:
    """Results of one cycle.

    Attributes:
        results: raw ``data.result`` by query name.
        failures: by query name; every query is in exactly one of the two.
        seconds: from the first request to the last answer.
    """

    results: Mapping[str, Any]
    failures: Mapping[str, Failure]
    seconds: float = 0.0


class _Limited:
    """A response body that ends in an error at the deadline or above the size limit."""

    def __init__(self, raw: Any, deadline: float) -> None:
        self._raw = raw
        self._deadline = deadline

    def stream(self, amount: int, *, decode_content: bool = True) -> Iterator[bytes]:
        received = 0
        # One read of the socket at a time: a larger read would wait, past the deadline, until it is full.
        while chunk := self._raw.read1(max(amount, _CHUNK), decode_content=decode_content):
            received += len(chunk)
            if received > MAX_ANSWER_BYTES:
                self._raw.close()
                raise Declined(f"answer longer than {MAX_ANSWER_BYTES >> 20} MiB")
            if time.monotonic() > self._deadline:
                self._raw.close()
                raise requests.ReadTimeout
            yield chunk
        self._raw.release_conn()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


class QuerySession(requests.Session):
    """The session under the library: signs in, sends queries as POST bodies and reads what the library drops."""

    def __init__(self, profile: MetricsProfile) -> None:
        super().__init__()
        self.deadline = float("inf")
        self.trust_env = False  # everything comes from the profile: no .netrc, no proxy of the environment
        self.auth = SignIn(profile.credentials)
        tls = profile.tls
        self.verify = str(tls.ca_file) if tls.ca_file else not tls.insecure_skip_verify
        if tls.cert_file:
            self.cert = (str(tls.cert_file), str(tls.key_file)) if tls.key_file else str(tls.cert_file)
        self.hooks["response"].append(self._inspect)

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """Send one request; a query's parameters travel in the body, and redirects are not followed."""
        if method == "POST" and kwargs.get("params"):
            kwargs["data"] = kwargs.pop("params")
        kwargs["allow_redirects"] = False  # a redirected POST loses its body, and credentials must not wander
        return super().request(method, url, *args, **kwargs)

    def _inspect(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Read the whole answer within the limits and refuse what is no complete result.

        Raises:
            Declined: another status than 200.
            Incomplete: the answer says that it is a part.
        """
        response.raw = _Limited(response.raw, self.deadline)
        body = response.content
        if response.status_code != requests.codes.ok:
            raise Declined(_refusal(response.status_code, body))
        if _LIMITED in response.headers:
            raise PartialAnswer(_short(f"{_LIMITED}: {response.headers[_LIMITED]}"))
        if any(sign in body for sign in _SIGNS_OF_PARTS):
            stated = _partial(response.json())
            if stated:
                raise PartialAnswer(_short(stated))


class QueryClient:
    """Runs the queries of one cycle. Not for concurrent cycles: `run` holds a lock.

    Args:
        profile: endpoint, credentials and time limits.
    """

    def __init__(self, profile: MetricsProfile) -> None:
        self._profile = profile
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(MAX_PARALLEL, thread_name_prefix=f"prometheus-{profile.name}")
        self._session = QuerySession(profile)
        self._connect = PrometheusConnect(
            url=profile.url.rstrip("/"), session=self._session, auth=self._session.auth, retry=Retry(0), method="POST"
        )
        if profile.tls.insecure_skip_verify:  # asked for by the administrator: no reminder on every connection
            warnings.simplefilter("ignore", InsecureRequestWarning)

    def run(self, queries: Sequence[Query]) -> Answers:
        """Ask all queries, at most four at a time, and give up on what is not answered by the deadline."""
        with self._lock:
            start = time.monotonic()
            deadline = start + self._profile.timeout_seconds
            self._session.deadline = deadline
            futures = {query.name: self._pool.submit(self._ask, query, deadline) for query in queries}
            wait(futures.values(), timeout=self._profile.timeout_seconds)
            answers = _Collected()
            for name, future in futures.items():
                answers.take(name, future, self._profile)
            return Answers(answers.results, answers.failures, time.monotonic() - start)

    def close(self) -> None:
        """Give up what runs and close the connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._connect.close()

    def _ask(self, query: Query, deadline: float) -> Any:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise requests.ReadTimeout
        limits: Any = (min(self._profile.connect_seconds, remaining), remaining)
        params = {"timeout": f"{max(1, round(remaining * 1000))}ms"}  # the server gives up as well
        return self._connect.custom_query(query.promql, params=params, timeout=limits)


@dataclass(slots=True)
class _Collected:
    """Results and failures while they are gathered."""

    results: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)

    def take(self, name: str, future: Future[Any], profile: MetricsProfile) -> None:
        if not future.done():
            future.cancel()
            self.failures[name] = Failure(_no_answer(profile))
            return
        error = future.exception()
        if error is None:
            self.results[name] = future.result()
        else:
            self.failures[name] = explain(error, profile)


def explain(error: BaseException, profile: MetricsProfile) -> Failure:
    """An exception of requests or of the library in words that help an administrator."""
    for kinds, words in _WORDS:
        if isinstance(error, kinds):
            return Failure(words(error, profile), partial=isinstance(error, PartialAnswer))
    LOGGER.error("profile %s: a query failed in an unexpected way", profile.name, exc_info=error)
    return Failure(f"unexpected {type(error).__name__}; see the log")


def _no_answer(profile: MetricsProfile) -> str:
    return f"no answer within {profile.timeout_seconds:g} s"


def _unconnected(error: BaseException, profile: MetricsProfile) -> str:
    """Requests calls a time-out in the middle of a body a connection error too."""
    cause = error.args[0] if error.args else None
    return _no_answer(profile) if isinstance(cause, ReadTimeoutError) else f"no connection: {_innermost(error)}"


def _innermost(error: BaseException) -> str:
    """The words of the first cause: requests wraps the plain ones in several layers of its own."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        reason = getattr(error, "reason", None)
        inner = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__
        if inner is None and error.args and isinstance(error.args[0], BaseException):
            inner = error.args[0]
        if inner is None:
            break
        error = inner
    text = getattr(error, "strerror", None) or str(error)
    return _short(re.sub(r"<[^>]*>:?\s*", "", str(text)) or type(error).__name__)


def _refusal(status: int, body: bytes) -> str:
    """A status other than 200, with the server's own words if it has any."""
    if status in {401, 403}:
        return f"credentials refused ({status})"
    if status in range(300, 400):
        return f"redirected ({status}); set the url to the final address"
    try:
        stated = json.loads(body).get("error", "")
    except (ValueError, AttributeError):
        stated = ""
    return _short(f"HTTP {status}: {stated}" if stated else f"HTTP {status}")


def _partial(answer: Mapping[str, Any]) -> str:
    """Why an answer calls itself a part of the whole; empty for a whole one. Infos are remarks on the query."""
    stated = answer.get("warnings") or ()
    warned = [str(text) for text in ([stated] if isinstance(stated, str) else stated)]
    reasons = [text for text in warned if not text.startswith(_INFO)]
    if not reasons and answer.get("isPartial"):
        reasons = ["isPartial, some of the storage did not answer"]
    return "; ".join(reasons)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _DETAIL_LETTERS else line[: _DETAIL_LETTERS - 1] + "…"


# The first match holds, so special cases stand before what they derive from.
_WORDS: tuple[tuple[tuple[type[BaseException], ...], Callable[[BaseException, MetricsProfile], str]], ...] = (
    ((PartialAnswer,), lambda error, _: f"partial answer: {error}"),
    ((Declined, SecretUnreadable), lambda error, _: str(error)),
    ((requests.exceptions.SSLError,), lambda error, _: f"TLS: {_innermost(error)}"),
    ((requests.ConnectTimeout,), lambda _, profile: f"no connection within {profile.connect_seconds:g} s"),
    ((requests.Timeout, ReadTimeoutError), lambda _, profile: _no_answer(profile)),
    (
        (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError, HTTPError),
        lambda *_: "the connection broke off in the middle of the answer",
    ),
    (
        (requests.JSONDecodeError, KeyError, TypeError, AttributeError),
        lambda *_: "the answer is not that of a Prometheus query API; check the url",
    ),
    ((requests.ConnectionError,), _unconnected),
    (
        (PrometheusApiClientException, requests.RequestException, OSError, ValueError),
        lambda error, _: _short(f"{type(error).__name__}: {_innermost(error)}"),
    ),
)
