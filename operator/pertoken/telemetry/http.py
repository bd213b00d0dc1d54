"""Metrics and probes for the cluster on one listener, the debug view for an administrator on loopback alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from pertoken.domain.plan import Plan
from pertoken.telemetry.logging import LogControl
from pertoken.telemetry.plan_view import plain, plan_text
from pertoken.telemetry.prices import AVERAGE, BASES, litellm_table

LOOPBACK = "127.0.0.1"
CHECK_SECONDS = 4.0  # probes usually wait 5 s at most

# A check returns what is wrong in words, or None.
Check = Callable[[], str]


def not_older(name: str, age_seconds: Callable[[], float | None], limit_seconds: float) -> Check:
    """Wrong when an age exceeds its limit; an age of None (nothing happened yet) is right."""

    def check() -> str:
        age = age_seconds()
        late = age is not None and age > limit_seconds
        return f"{name} is {age:.1f} s old, more than {limit_seconds:g} s" if late else ""

    return check


def ready_when(reachable: Callable[[], bool], leading: Callable[[], bool], synced: Callable[[], bool]) -> Check:
    """Right when the API server answers, and what leads has listed the cluster. A standby is ready.

    Readiness must not mean leadership: in a rolling update the new pod leads only after the old one has gone.
    """

    def check() -> str:
        if not reachable():
            return "the API server is not reachable"
        if leading() and not synced():
            return "the inventory is not synced yet"
        return ""

    return check


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Where to listen; port 0 takes a free one. The debug listener is always on 127.0.0.1."""

    host: str = "0.0.0.0"  # noqa: S104 - Prometheus and the kubelet come from other addresses
    port: int = 8080
    debug_port: int = 8081


@dataclass(frozen=True, slots=True)
class HttpSources:
    """What the server shows, asked at each request.

    Attributes:
        metrics: Accept header -> body and content type.
        last_plan: number of the cycle and its plan; None before the first.
        history: the last actions, oldest first, as plain values.
        recording: what the flight recorder holds, piece by piece, read in threads; None where it is off.
        health: checks of ``/healthz`` by name; quick, run in the event loop.
        readiness: checks of ``/readyz`` by name; may block, run in threads.
    """

    metrics: Callable[[str], tuple[bytes, str]]
    last_plan: Callable[[], tuple[int, Plan] | None]
    log_control: LogControl
    history: Callable[[], Sequence[Mapping[str, object]]] = tuple
    recording: Callable[[], Iterator[bytes]] | None = None
    health: Mapping[str, Check] = field(default_factory=dict)
    readiness: Mapping[str, Check] = field(default_factory=dict)


class TelemetryServer:
    """Two listeners.

    ``/metrics /healthz /readyz /prices``; on loopback ``/debug/plan /debug/history /debug/recording /debug/loglevel``.
    """

    def __init__(self, options: HttpOptions, sources: HttpSources) -> None:
        """Build the routes; nothing listens before `start`."""
        self._options = options
        self._sources = sources
        self._runners: list[web.AppRunner] = []
        self._ports: list[int] = []

    @property
    def port(self) -> int:
        """Where metrics and probes are served, once started."""
        return self._ports[0]

    @property
    def debug_port(self) -> int:
        """Where the debug view is served on 127.0.0.1, once started."""
        return self._ports[1]

    async def start(self) -> None:
        """Listen on both addresses.

        Raises:
            OSError: when an address is in use; nothing listens then.
        """
        open_routes = [
            web.get("/metrics", self._metrics),
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/prices", self._prices),
        ]
        debug_routes = [
            web.get("/debug/plan", self._plan),
            web.get("/debug/history", self._history),
            web.get("/debug/recording", self._recording),
            web.get("/debug/loglevel", self._levels),
            web.put("/debug/loglevel", self._set_level),
        ]
        try:
            await self._listen(open_routes, self._options.host, self._options.port)
            await self._listen(debug_routes, LOOPBACK, self._options.debug_port)
        except BaseException:
            await self.stop()
            raise

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            OSError: when an address is in use.
        """
        await self.start()
        try:
            await asyncio.Event().wait()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Stop listening. Idempotent."""
        while self._runners:
            await self._runners.pop().cleanup()
        self._ports.clear()

    async def _listen(self, routes: list[web.RouteDef], host: str, port: int) -> None:
        app = web.Application(client_max_size=4096)
        app.add_routes(routes)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, host, port).start()
        self._ports.append(int(runner.addresses[0][1]))

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._sources.metrics(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _prices(self, request: web.Request) -> web.Response:
        """Token prices as LiteLLM reads them, ``?basis=average`` (default), ``marginal`` or ``replica``."""
        basis = request.query.get("basis", AVERAGE)
        if basis not in BASES:
            return web.json_response({"error": f"basis: expected one of {', '.join(BASES)}"}, status=400)
        last = self._sources.last_plan()
        if last is None:
            return web.json_response({"error": "this process has planned nothing: another one leads"}, status=503)
        return web.json_response(litellm_table(last[1], basis))

    async def _healthz(self, _: web.Request) -> web.Response:
        return _verdict({name: check() for name, check in self._sources.health.items()})

    async def _readyz(self, _: web.Request) -> web.Response:
        checks = self._sources.readiness
        answers = await asyncio.gather(*(_in_thread(check) for check in checks.values()))
        return _verdict(dict(zip(checks, answers, strict=True)))

    async def _plan(self, request: web.Request) -> web.Response:
        last = self._sources.last_plan()
        if last is None:
            return web.json_response({"error": "no cycle has finished yet"}, status=404)
        number, plan = last
        if request.query.get("format") == "text":
            return web.Response(text=f"cycle {number}\n\n{plan_text(plan)}")
        return web.json_response({"cycle": number, **plain(plan)})

    async def _history(self, _: web.Request) -> web.Response:
        return web.json_response([plain(action) for action in self._sources.history()])

    async def _recording(self, request: web.Request) -> web.StreamResponse:
        """All recorded cycles as one file that `pertoken replay` reads."""
        if self._sources.recording is None:
            error = "nothing is recorded: PERTOKEN_RECORD_CYCLES is 0"
            return web.json_response({"error": error}, status=404)
        name = 'attachment; filename="pertoken-recording.jsonl.gz"'
        response = web.StreamResponse(headers={"Content-Type": "application/gzip", "Content-Disposition": name})
        await response.prepare(request)
        pieces = self._sources.recording()
        while piece := await asyncio.to_thread(next, pieces, b""):
            await response.write(piece)
        await response.write_eof()
        return response

    async def _levels(self, _: web.Request) -> web.Response:
        return web.json_response(self._sources.log_control.levels())

    async def _set_level(self, request: web.Request) -> web.Response:
        """PUT ``{"level": "DEBUG", "logger": "pertoken.planner"}``; without a logger for the whole program."""
        try:
            wanted = await request.json()
            self._sources.log_control.set_level(str(wanted["level"]), str(wanted.get("logger", "")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return web.json_response({"error": f"expected {{level, logger?}}: {error}"}, status=400)
        return web.json_response(self._sources.log_control.levels())


async def _in_thread(check: Check) -> str:
    try:
        return await asyncio.wait_for(asyncio.to_thread(check), CHECK_SECONDS)
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} s"


def _verdict(answers: Mapping[str, str]) -> web.Response:
    wrong = {name: why for name, why in answers.items() if why}
    body = {name: answers[name] or "ok" for name in answers}
    return web.json_response(body, status=503 if wrong else 200)
