"""Composition root: builds every part from the settings, and runs them until a signal or a fault."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from pertoken.adapters.catalog_files import CatalogFolder
from pertoken.adapters.kube.fenced import FencedCaller
from pertoken.adapters.kube.reader import KubeReader
from pertoken.adapters.kube.writer import KubeWriter
from pertoken.adapters.recording_files import RecordingFolder
from pertoken.control.actuate import Actuator
from pertoken.control.capacity_plans import CapacityPlans
from pertoken.control.caps import CapReader
from pertoken.control.claims import DeviceLists
from pertoken.control.creation import CreationEvents
from pertoken.control.cycle import Cycle
from pertoken.control.fence import Fence
from pertoken.control.history import History
from pertoken.control.inventory import Inventory
from pertoken.control.loop import CycleListener, PlanningLoop
from pertoken.control.observer import Observer
from pertoken.control.owned import Keeper
from pertoken.control.parse import KINDS
from pertoken.control.rate_limiter import RateLimiter
from pertoken.control.recording.recorder import SEGMENTS, Recorder, most_segments
from pertoken.control.report import Reporter
from pertoken.control.report_queue import ReportQueue
from pertoken.control.routes import Router
from pertoken.control.state import StateStore
from pertoken.control.sync import KindNotServed, Sync
from pertoken.control.tasks import Part, run_together
from pertoken.control.waker import Waker
from pertoken.kopf_bridge.informer import Informer
from pertoken.kopf_bridge.login import login_from
from pertoken.outside import Outside, StartError, connect
from pertoken.scaler.recommended import Recommended
from pertoken.settings import Settings
from pertoken.telemetry.heartbeat import Heartbeat
from pertoken.telemetry.http import HttpOptions, HttpSources, TelemetryServer, not_older, ready_when
from pertoken.telemetry.logging import LogControl
from pertoken.telemetry.metrics import OperatorMetrics, ProcessState

if TYPE_CHECKING:
    from pertoken.scaler.server import ScalerServer

STATUS_WRITES_PER_SECOND: Final = 20
LONGEST_BEAT_SECONDS: Final = 30.0
STALLED_CYCLES: Final = 5
COLLECTOR_THRESHOLDS: Final = (100_000, 20, 100)  # as `gc.set_threshold` takes them


def build(settings: Settings, outside: Outside, log_control: LogControl, stop: asyncio.Event) -> Mapping[str, Part]:
    """The parts of the operator by name, ready to run; `stop` tells the informer to end."""
    clock, leadership = outside.clock, outside.leadership
    reader = KubeReader(outside.client, settings.namespaces)
    # A report may be told while a cycle of another term has begun: its writes have a fence of their own.
    cycle_fence, report_fence = Fence(leadership), Fence(leadership)
    writer = KubeWriter(FencedCaller(outside.client, cycle_fence), clock, instance=settings.identity)
    teller = KubeWriter(FencedCaller(outside.client, report_fence), clock, instance=settings.identity)

    inventory = Inventory(KINDS, clock)
    sync = Sync(inventory, reader, settings.resync_seconds)
    waker = Waker(min(1.0, settings.cycle_seconds))
    informer = Informer(
        inventory, waker, sync, login_from(settings.kubeconfig, settings.context), settings.namespaces, stop
    )

    capacity_plans = CapacityPlans(reader, settings.resync_seconds)
    history, metrics = History(), OperatorMetrics(clock, ProcessState.of(leadership, inventory, capacity_plans))
    observer = Observer(
        reader=reader,
        sources=outside.sources,
        catalog=CatalogFolder(settings.catalog_dir),
        caps=CapReader(reader, clock),
        rules=settings.rules(),
        settings=settings.planner(),
        creation=CreationEvents(reader, clock),
        devices=DeviceLists(reader, clock),
    )
    cycle = Cycle(
        clock=clock,
        inventory=inventory,
        leadership=leadership,
        fence=cycle_fence,
        observer=observer,
        keeper=Keeper(reader, writer, clock, observer.catalog, settings.read_only, settings.resync_seconds),
        actuator=Actuator(writer, clock, settings.read_only, reader),
        store=StateStore(reader, writer, clock, settings.operator_namespace),
        router=Router(reader, writer, clock, settings.read_only),
    )
    limiter = RateLimiter(STATUS_WRITES_PER_SECOND, STATUS_WRITES_PER_SECOND, clock)
    reports = ReportQueue(Reporter(teller, clock, limiter, settings.status_seconds), report_fence, clock, (metrics,))
    recordings = _recordings(settings)
    recorder = None if recordings is None else _recorder(settings, recordings, cycle)
    scaler = _scaler(settings, outside)
    listeners: list[CycleListener] = [history, metrics]
    listeners += [] if recorder is None else [recorder]
    listeners += [] if scaler is None else [scaler.recommended]
    loop = PlanningLoop(cycle, waker, reports, listeners, clock, settings.cycle_seconds)

    heartbeat = Heartbeat(clock)
    stalled_seconds = max(STALLED_CYCLES * settings.cycle_seconds, 60.0)
    sources = HttpSources(
        metrics=metrics.render,
        last_plan=lambda: history.last,
        history=lambda: history.entries,
        recording=None if recordings is None else recordings.chunks,
        log_control=log_control,
        health={
            "loop": not_older("the event loop's heartbeat", heartbeat.age_seconds, LONGEST_BEAT_SECONDS),
            "cycle": not_older("the last cycle", loop.age_seconds, stalled_seconds),
        },
        readiness={"ready": ready_when(outside.client.reachable, leadership.valid, lambda: inventory.synced)},
    )
    server = TelemetryServer(HttpOptions(settings.http_host, settings.http_port, settings.debug_port), sources)
    parts: dict[str, Part] = {
        "telemetry": server,
        "heartbeat": heartbeat,
        "sync": sync,
        "informer": informer,
        "planning": loop,
        "reports": reports,
        "capacity plans": capacity_plans,
    }
    parts |= {} if recorder is None else {"recorder": recorder}
    return parts if scaler is None else {**parts, "scaler": scaler}


def _recordings(settings: Settings) -> RecordingFolder | None:
    """Where the flight recorder writes; None where it is off."""
    if not settings.record_cycles or settings.record_dir is None:
        return None
    return RecordingFolder(settings.record_dir, settings.record_mebibytes << 20, most_segments(settings.record_cycles))


def _scaler(settings: Settings, outside: Outside) -> ScalerServer | None:
    """What KEDA asks; None where it is off.

    Raises:
        StartError: gRPC is not installed.
    """
    if not settings.scaler_enabled:
        return None
    try:
        from pertoken.scaler.credentials import CertificateFiles  # noqa: PLC0415 - an extra
        from pertoken.scaler.server import ScalerServer  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise StartError(
            f"the scaler for KEDA needs the extra `scaler`: pip install 'pertoken[scaler]' ({error})"
        ) from error
    certificate, key = settings.scaler_cert_file, settings.scaler_key_file
    tls = (
        None
        if certificate is None or key is None
        else CertificateFiles(certificate, key, settings.scaler_client_ca_file)
    )
    recommended = Recommended(outside.clock, outside.leadership, settings.cycle_seconds)
    return ScalerServer(recommended, settings.scaler_host, settings.scaler_port, tls)


def _recorder(settings: Settings, recordings: RecordingFolder, cycle: Cycle) -> Recorder:
    return Recorder(
        recordings, version("pertoken"), settings.record_cycles, recordings.most_bytes // SEGMENTS, cycle.tuning
    )


def collect_seldom() -> None:
    """Let the cyclic garbage collector run seldom, and not over what was imported.

    A cycle makes and drops millions of small frozen values, which reference counts free: looking for rings among them
    at Python's default pace takes a tenth of its CPU.
    """
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def run(settings: Settings, log_control: LogControl) -> None:
    """Run the operator until SIGTERM or SIGINT.

    Raises:
        StartError: it cannot work as it is set up.
    """
    collect_seldom()
    outside = connect(settings)
    outside.leadership.start()
    try:
        asyncio.run(_until_signal(settings, outside, log_control))
    except KindNotServed as error:
        raise StartError(str(error)) from error
    finally:
        outside.close()


async def _until_signal(settings: Settings, outside: Outside, log_control: LogControl) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run_together(build(settings, outside, log_control, stop), stop)
