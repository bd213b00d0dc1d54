"""Composition root: builds everything from the settings and runs it until a signal or a fault."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pertoken.adapters.kube.client import ClientOptions, KubeClient
from pertoken.adapters.kube.fenced import FencedCaller
from pertoken.adapters.kube.lease import LeaseElector, LeaseSpec
from pertoken.adapters.kube.reader import WATCHED, KubeReader
from pertoken.adapters.kube.writer import KubeWriter
from pertoken.adapters.prometheus.profile import (
    Credentials,
    EngineSource,
    GatewaySource,
    MetricsProfile,
    Tls,
)
from pertoken.adapters.prometheus.source import PrometheusSource
from pertoken.catalog_files import CatalogFolder
from pertoken.control.actuate import Actuator, Outcome, describe, kind_of
from pertoken.control.caps import CapReader
from pertoken.control.cycle import Cycle, CycleResult, Prepared
from pertoken.control.fence import Fence
from pertoken.control.inventory import Inventory, Snapshot
from pertoken.control.observe import Rules, Surveyed, build_world, survey
from pertoken.control.owned import Keeper
from pertoken.control.parse import PARSERS
from pertoken.control.rate_limiter import RateLimiter
from pertoken.control.report import Reporter, Subjects
from pertoken.control.saved import Saved
from pertoken.control.state import StateStore
from pertoken.control.workloads import ScalableFact, scalable_fact
from pertoken.domain.metrics import MetricsSnapshot
from pertoken.domain.plan import Plan
from pertoken.domain.world import World
from pertoken.kopf_bridge.informer import keep_informed, run_informer
from pertoken.kopf_bridge.login import login_from
from pertoken.kopf_bridge.registry import build_registry
from pertoken.ports import AdapterError, Clock, CycleSummary, Leadership, NotFound
from pertoken.settings import Settings
from pertoken.telemetry.http import HttpOptions, HttpSources, TelemetryServer, not_older, ready_when
from pertoken.telemetry.logging import LogControl
from pertoken.telemetry.metrics import OperatorMetrics, ProcessState

LOGGER = logging.getLogger(__name__)

STATUS_WRITES_PER_SECOND = 20
HISTORY = 200
HEARTBEAT_SECONDS = 5.0
STALLED_CYCLES = 5
WAKING = frozenset({"inferenceservices", "acceleratorpools"})
SYNC_RETRY_SECONDS = 5.0


class StartError(Exception):
    """The operator cannot start; the message says what is missing and what to do."""


class SystemClock:
    """The one place where real time enters."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()  # noqa: TID251 - this is the Clock port's real side

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()


class Always:
    """Leadership without election: for one process that is sure to be alone."""

    term = 1

    def valid(self) -> bool:
        """Always."""
        return True


@dataclass(slots=True)
class Operator:
    """The running operator."""

    settings: Settings
    clock: Clock
    client: KubeClient
    reader: KubeReader
    inventory: Inventory
    leadership: Leadership
    fence: Fence
    cap_reader: CapReader
    keeper: Keeper
    reporter: Reporter
    store: StateStore
    metrics: OperatorMetrics
    log_control: LogControl
    sources: Mapping[str, PrometheusSource]
    catalog_folder: CatalogFolder
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    surveyed: Surveyed | None = None
    last: tuple[int, Plan] | None = None
    history: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=HISTORY))
    relist: asyncio.Event = field(default_factory=asyncio.Event)
    beat: float = 0.0
    _seen: dict[str, tuple[str, str, bool]] = field(default_factory=dict)

    async def run(self) -> None:
        """Watch, cycle and serve until `stop` is set. A fault of any part ends all: a restart is the cure."""
        cycle = self._cycle()
        server = self._server(cycle)
        await server.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._end(group, self._heartbeat()))
                group.create_task(self._end(group, self._resync()))
                group.create_task(self._end(group, self._plan(cycle)))
                group.create_task(self._end(group, self._inform(cycle)))
        except* _Stopped:
            LOGGER.info("stopping")
        finally:
            if cycle.remembers:
                await asyncio.to_thread(self.store.save, cycle.saved, force=True)
            await server.stop()
            for source in self.sources.values():
                source.close()

    async def _end(self, _: asyncio.TaskGroup, work: Any) -> None:
        """Run one part; ask all others to end when it ends or `stop` is set."""
        part = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self.stop.wait())
        await asyncio.wait({part, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if part.done():
            part.result()
        else:
            part.cancel()
            await asyncio.gather(part, return_exceptions=True)
        raise _Stopped

    async def _heartbeat(self) -> None:
        while True:
            self.beat = self.clock.monotonic()
            await asyncio.sleep(HEARTBEAT_SECONDS / 5)

    async def _resync(self) -> None:
        while True:
            done = True
            for plural in self.inventory.plurals:
                done = await self._list(plural) and done
            await self._until_relist(self.settings.resync_seconds if done else SYNC_RETRY_SECONDS)

    async def _until_relist(self, seconds: float) -> None:
        """Wait, but no longer than until a watch has broken off."""
        try:
            await asyncio.wait_for(self.relist.wait(), seconds)
        except TimeoutError:
            return
        self.relist.clear()

    async def _list(self, plural: str) -> bool:
        resync = self.inventory.begin_resync(plural)
        try:
            listing = await asyncio.to_thread(self.reader.list, plural)
        except NotFound as error:
            raise StartError(
                f"the cluster does not serve {plural}: {error}; install the CRDs first (kubectl apply -f crds/)"
            ) from error
        except AdapterError as error:
            LOGGER.warning("listing %s failed, trying again: %s", plural, error)
            return False
        except Exception:
            LOGGER.exception("listing %s failed, trying again", plural)
            return False
        ghosts = self.inventory.finish_resync(resync, listing.items)
        if ghosts:
            LOGGER.info("%d %s had vanished without an event", ghosts, plural)
        return True

    async def _plan(self, cycle: Cycle) -> None:
        while not (self.inventory.synced and self.leadership.valid()):  # noqa: ASYNC110 - the lease lives in a thread
            await asyncio.sleep(0.2)
        await cycle.run()

    async def _inform(self, cycle: Cycle) -> None:
        def wake(plural: str, obj: dict[str, Any], deleted: bool) -> None:
            if plural in WAKING and self._matters(obj, deleted=deleted):
                cycle.wake()

        registry = build_registry(
            [kind.key for kind in WATCHED.values()],
            self.inventory,
            wake,
            login_from(self.settings.kubeconfig, self.settings.context),
        )
        selectors = {kind.key: kind.label_selector for kind in WATCHED.values() if kind.label_selector}

        async def watch() -> None:
            await run_informer(registry, selectors=selectors, namespaces=self.settings.namespaces, stop=self.stop)

        await keep_informed(watch, self.stop, self.relist.set)

    def _matters(self, obj: dict[str, Any], *, deleted: bool) -> bool:
        """Only generation, annotations and deletion wake the cycle: its own status writes must not."""
        meta = obj["metadata"]
        face = (str(meta.get("generation")), str(sorted((meta.get("annotations") or {}).items())), deleted)
        changed = self._seen.get(meta["uid"]) != face
        self._seen[meta["uid"]] = face
        if deleted:
            self._seen.pop(meta["uid"], None)
        return changed

    def _cycle(self) -> Cycle:
        actuator = Actuator(self.keeper.writer, self.keeper.cap_manifest, self.settings.read_only)
        return Cycle(
            clock=self.clock,
            inventory=self.inventory,
            sources=self.sources,
            leadership=self.leadership,
            fence=self.fence,
            recall=self._recall,
            prepare=self._prepare,
            observe=self._observe,
            actuator=actuator,
            report=self._report,
            listen=self._listen,
            remember=self.store.save,
            interval_seconds=self.settings.cycle_seconds,
        )

    def _recall(self) -> Saved:
        """What the last leader saved; what this process remembers having written may be out of date with it."""
        self.keeper.forget()
        self.reporter.forget()
        return self.store.load()

    def _prepare(self, snapshot: Snapshot) -> Prepared:
        """Survey, then bring owned workloads in line; what the server refuses is not planned this cycle."""
        rules = Rules(frozenset(self.settings.target_kinds), self.settings.owned_workloads == "All")
        surveyed = survey(snapshot, rules, self._unwatched(snapshot))
        surveyed = replace(surveyed, read_caps=self.cap_reader.read(surveyed.foreign_caps()))
        self.surveyed = surveyed.without(self.keeper.keep(surveyed))
        return Prepared(snapshot, again=self.keeper.awaits(self.surveyed))

    def _unwatched(self, snapshot: Snapshot) -> Iterable[ScalableFact]:
        """Targets of kinds without a watch are read one by one: there are few."""
        wanted = {
            variant.workload
            for service in snapshot.of("inferenceservices")
            if service.spec is not None
            for variant in service.spec.variants
            if variant.workload.kind != "Deployment"
        }
        for ref in sorted(wanted):
            try:
                yield scalable_fact(self.reader.get(ref))
            except NotFound:
                continue
            except AdapterError as error:
                LOGGER.warning("%s cannot be read: %s", ref, error)
            except Exception:
                LOGGER.exception("%s cannot be understood", ref)

    def _observe(self, snapshot: Snapshot, metrics: Mapping[str, MetricsSnapshot]) -> World:
        if self.surveyed is None:
            raise RuntimeError("observe was called before prepare")
        catalog = self.catalog_folder.catalog()
        return build_world(snapshot, self.surveyed, metrics, catalog, self.settings.planner())

    def _report(self, result: CycleResult) -> None:
        snapshot = result.observed.snapshot
        refusals = self.surveyed.refusals if self.surveyed else {}
        subjects = Subjects(snapshot.of("inferenceservices"), snapshot.of("acceleratorpools"), refusals)
        self.reporter.report(subjects, result.plan, result.outcomes)

    def _listen(self, result: CycleResult | None, summary: CycleSummary) -> None:
        if result is not None:
            self.last = (result.number, result.plan)
            self.history.extend(_entry(result, outcome) for outcome in result.outcomes)
        self.metrics.update(result.plan if result else None, summary, result.metrics if result else None)

    def _server(self, cycle: Cycle) -> TelemetryServer:
        def beat_age() -> float | None:
            return self.clock.monotonic() - self.beat if self.beat else None

        def cycle_age() -> float | None:
            if cycle.finished_at is None or not self.leadership.valid():
                return None
            return self.clock.monotonic() - cycle.finished_at

        stalled = max(STALLED_CYCLES * self.settings.cycle_seconds, 60.0)
        sources = HttpSources(
            metrics=self.metrics.render,
            last_plan=lambda: self.last,
            history=lambda: tuple(self.history),
            log_control=self.log_control,
            health={
                "loop": not_older("the event loop's heartbeat", beat_age, 30.0),
                "cycle": not_older("the last cycle", cycle_age, stalled),
            },
            readiness={
                "ready": ready_when(self.client.reachable, self.leadership.valid, lambda: self.inventory.synced)
            },
        )
        options = HttpOptions(self.settings.http_host, self.settings.http_port, self.settings.debug_port)
        return TelemetryServer(options, sources)


def _entry(result: CycleResult, outcome: Outcome) -> dict[str, Any]:
    action = outcome.action
    return {
        "cycle": result.number,
        "at": result.now,
        "service": str(action.service),
        "variant": action.variant,
        "kind": kind_of(action),
        "reason": action.reason.value,
        "message": action.message or describe(action),
        "result": outcome.result.value,
        "why": outcome.why,
    }


class _Stopped(Exception):
    """Ends the task group."""


def build(settings: Settings, log_control: LogControl) -> tuple[Operator, LeaseElector | None]:
    """Everything, connected but not started.

    Raises:
        StartError: no credentials, or settings that do not fit together.
    """
    clock = SystemClock()
    try:
        lease = LeaseSpec.lasting(settings.lease_seconds, settings.operator_namespace, settings.identity)
        options = ClientOptions(settings.kubeconfig, settings.context, write_seconds=lease.write_seconds)
        lease.check_writes(options.write_seconds)
        client = KubeClient(options)
        sources = {"default": PrometheusSource(_profile(settings))}
    except (AdapterError, ValueError) as error:
        raise StartError(str(error)) from error
    elector = None
    leadership: Leadership = Always()
    if settings.leader_election:
        elector = LeaseElector(client, lease, clock)
        leadership = elector
    reader = KubeReader(client, settings.namespaces)
    fence = Fence(leadership)
    writer = KubeWriter(FencedCaller(client, fence), clock, instance=settings.identity)
    inventory = Inventory(PARSERS, clock)
    operator = Operator(
        settings=settings,
        clock=clock,
        client=client,
        reader=reader,
        inventory=inventory,
        leadership=leadership,
        fence=fence,
        cap_reader=CapReader(reader, clock),
        keeper=Keeper(reader, writer, clock, settings.read_only, settings.resync_seconds),
        reporter=Reporter(
            writer,
            clock,
            RateLimiter(STATUS_WRITES_PER_SECOND, STATUS_WRITES_PER_SECOND, clock),
            settings.status_seconds,
        ),
        store=StateStore(reader, writer, clock, settings.operator_namespace),
        metrics=OperatorMetrics(
            clock,
            ProcessState(
                leadership.valid,
                lambda: inventory.synced,
                lambda: inventory.resync_age_seconds,
                lambda: inventory.unreadable,
            ),
        ),
        log_control=log_control,
        sources=sources,
        catalog_folder=CatalogFolder(settings.catalog_dir),
    )
    return operator, elector


def run(settings: Settings, log_control: LogControl) -> None:
    """Run the operator until SIGTERM or SIGINT.

    Raises:
        StartError: it cannot work as it is set up.
    """
    operator, elector = build(settings, log_control)
    if elector is not None:
        elector.start()
    try:
        asyncio.run(_until_signal(operator))
    except* StartError as group:
        raise StartError(str(group.exceptions[0])) from group
    finally:
        if elector is not None:
            elector.stop()
        operator.client.close()


async def _until_signal(operator: Operator) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, operator.stop.set)
    await operator.run()


def _profile(settings: Settings) -> MetricsProfile:
    return MetricsProfile(
        url=settings.prometheus_url,
        engine=EngineSource(engines=("vllm", "sglang")),
        gateway=GatewaySource(enabled=settings.gateway_metrics),
        credentials=Credentials(
            username=settings.prometheus_username,
            password_file=settings.prometheus_password_file,
            bearer_token_file=settings.prometheus_bearer_token_file,
            tenant=settings.prometheus_tenant,
        ),
        tls=Tls(
            settings.prometheus_ca_file,
            settings.prometheus_client_cert_file,
            settings.prometheus_client_key_file,
            settings.prometheus_insecure_skip_verify,
        ),
        scrape_seconds=settings.scrape_interval_seconds,
        window_seconds=settings.rate_window_seconds,
        fresh_seconds=settings.fresh_seconds,
        timeout_seconds=settings.prometheus_timeout_seconds,
    )
