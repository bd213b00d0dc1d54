"""Local processes with logs, readiness and a sure end, in this process's life or beyond it.

A process writes its identity (pid and start time) to ``run/<name>.json`` under the state folder, so a later command
finds, checks and stops what an earlier one left running, and never signals a stranger that got the same pid.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom

POLL_SECONDS = 0.05
LOG_TAIL_BYTES = 3000
DEFAULT_GRACE_SECONDS = 10.0
PORTS = range(20000, 32000)
EXEC_TIED = Path(__file__).with_name("exec_tied.py")

# The death signal of a tied process fires when the *thread* that started it ends: one lasting thread starts them all.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


class ProcessFailed(Exception):
    """A process ended early or did not become ready; the message holds the end of its log."""


@dataclass(frozen=True)
class Identity:
    """One process of this machine: pids are used again, pid and start time together are not."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The identity of a living process; None once it has ended (a zombie has)."""
        fields = _stat_fields(pid)
        return None if fields is None else cls(pid, fields)

    @property
    def alive(self) -> bool:
        """Whether exactly this process still runs."""
        return Identity.of(self.pid) == self


@dataclass(frozen=True)
class ProcessCommand:
    """What to run: the program with its arguments, and variables added to the environment."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


class ManagedProcess:
    """One background process in its own process group, with its log in ``logs/<name>.log``.

    Args:
        command: what to run.
        state_dir: folder of identity and log files.
        detached: True lets it outlive this process; otherwise the kernel kills it when this process dies.
    """

    def __init__(self, command: ProcessCommand, state_dir: Path, *, detached: bool = False) -> None:
        self._command = command
        self._detached = detached
        self._identity_file = state_dir / "run" / f"{command.name}.json"
        self.log = state_dir / "logs" / f"{command.name}.log"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """Name of the process in logs, files and messages."""
        return self._command.name

    @property
    def identity(self) -> Identity | None:
        """Which process runs now; None when none does."""
        if self._child is not None:
            self._child.poll()
        try:
            record = json.loads(self._identity_file.read_text())
        except FileNotFoundError:
            return None
        identity = Identity(int(record["pid"]), str(record["started"]))
        if identity.alive:
            return identity
        if self._child is not None and self._child.pid == identity.pid:
            # It may have ended since the poll above: reap it, or Python warns of a child left behind.
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(1)
        return None

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.identity is not None

    @property
    def rss_bytes(self) -> int | None:
        """Resident memory; None when the process does not run or the system does not tell."""
        identity = self.identity
        return None if identity is None else _rss_bytes(identity.pid)

    def start(self) -> bool:
        """Start it unless it runs already.

        Returns:
            Whether a process was started.
        """
        if self.running:
            return False
        self._identity_file.parent.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._child = _spawner.submit(self._spawn).result()
        identity = Identity.of(self._child.pid)
        if identity is None:
            raise ProcessFailed(self.failure("ended at once"))
        self._identity_file.write_text(json.dumps({"pid": identity.pid, "started": identity.started}))
        if not self._detached:
            atexit.register(self.stop)
        return True

    def wait_ready(self, probe: Callable[[], bool], timeout_seconds: float) -> None:
        """Poll until `probe` is true.

        Raises:
            ProcessFailed: the process ended, or the time is over.
        """
        deadline = time.monotonic() + timeout_seconds
        while not probe():
            if not self.running:
                raise ProcessFailed(self.failure("ended while starting"))
            if time.monotonic() > deadline:
                raise ProcessFailed(self.failure(f"was not ready after {timeout_seconds:.0f} s"))
            time.sleep(POLL_SECONDS)

    def stop(self, grace_seconds: float = DEFAULT_GRACE_SECONDS) -> None:
        """End the whole process group: ask, wait, then kill. Nothing happens when it does not run."""
        identity = self.identity
        if identity is not None:
            _signal_group(identity.pid, signal.SIGCONT)  # a paused process would not see the next one
            _signal_group(identity.pid, signal.SIGTERM)
            if not self._gone_within(identity, grace_seconds):
                _signal_group(identity.pid, signal.SIGKILL)
                self._gone_within(identity, grace_seconds)
        self._identity_file.unlink(missing_ok=True)
        atexit.unregister(self.stop)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        identity = self.identity
        if identity is not None:
            _signal_group(identity.pid, signal.SIGKILL)
            self._gone_within(identity, DEFAULT_GRACE_SECONDS)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process.

        Raises:
            ProcessFailed: it does not run.
        """
        identity = self.identity
        if identity is None:
            raise ProcessFailed(f"{self.name} does not run")
        os.kill(identity.pid, number)

    def pause(self) -> None:
        """Fault: make the process stand still; returns once all its threads do.

        Raises:
            ProcessFailed: it does not run, or did not stand still within 10 s.
        """
        self.send(signal.SIGSTOP)
        identity = self.identity
        deadline = time.monotonic() + DEFAULT_GRACE_SECONDS
        while identity is not None and not _stands_still(identity.pid):
            if time.monotonic() > deadline:
                raise ProcessFailed(self.failure("did not stand still"))
            time.sleep(POLL_SECONDS)

    def resume(self) -> None:
        """End a pause.

        Raises:
            ProcessFailed: it does not run.
        """
        self.send(signal.SIGCONT)

    def failure(self, what: str) -> str:
        """A message with the end of the log."""
        tail = self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip() if self.log.is_file() else ""
        return f"{self.name} {what}; its log {self.log} ends:\n{tail}"

    def _spawn(self) -> subprocess.Popen[bytes]:
        argv = list(self._command.argv)
        if not self._detached:
            argv = [sys.executable, "-I", "-S", str(EXEC_TIED), str(os.getpid()), *argv]
        with self.log.open("ab") as sink:
            return subprocess.Popen(
                argv,
                env={**os.environ, **self._command.environment},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _gone_within(self, identity: Identity, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while identity.alive:
            if self._child is not None:
                self._child.poll()
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        if self._child is not None and self._child.pid == identity.pid:
            self._child.wait()
        return True


def stop_recorded(folder: Path) -> list[str]:
    """End whatever was started with its records anywhere below a folder, what was started last first.

    Returns:
        Names of the processes that ran.
    """
    records = sorted(folder.rglob("run/*.json"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    recorded = [ManagedProcess(ProcessCommand(file.stem, ()), file.parent.parent) for file in records]
    alive = [each for each in recorded if each.running]
    for each in alive:
        each.stop()
    return [each.name for each in alive]


def free_ports(count: int) -> list[int]:
    """Free loopback ports below the range that the kernel gives to outgoing connections.

    A restarted API server must get its old port back, so it must be none that a client's connection can take meanwhile.
    """
    chooser = SystemRandom()
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            listener = socket.socket()
            try:
                listener.bind(("127.0.0.1", chooser.choice(PORTS)))
            except OSError:
                listener.close()
            else:
                held.append(listener)
        return [listener.getsockname()[1] for listener in held]
    finally:
        for listener in held:
            listener.close()


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def _stat_fields(pid: int) -> str | None:
    """When a process started, in the system's own words; None when it has ended."""
    if not sys.platform.startswith("linux"):
        done = subprocess.run(
            ["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        state, _, started = done.stdout.strip().partition(" ")
        return started.strip() if started and not state.startswith("Z") else None
    try:
        # proc(5): after the command in parentheses come the state and, 20th of these fields, the start time in ticks.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def _stands_still(pid: int) -> bool:
    """Whether every thread is stopped: the signal is sent at once but acts on each thread when it next is scheduled."""
    if not sys.platform.startswith("linux"):
        done = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return done.stdout.strip().startswith("T")
    try:
        threads = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return all(state in "Tt" for state in threads)


def _rss_bytes(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    resident = next((line for line in lines if line.startswith("VmRSS:")), None)
    return None if resident is None else int(resident.split()[1]) * 1024
