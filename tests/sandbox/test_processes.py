"""Processes start, become ready, stop, and never stay behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from pertoken_sandbox.processes import (
    Identity,
    ManagedProcess,
    ProcessCommand,
    ProcessFailed,
    free_ports,
    stop_recorded,
)

SLEEP = ProcessCommand("sleeper", (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"))
STUBBORN = ProcessCommand(
    "stubborn",
    (
        sys.executable,
        "-c",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
    ),
)


def up(process: ManagedProcess) -> bool:
    return "up" in process.log.read_text()


def gone(pid: int, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while Identity.of(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    return Identity.of(pid) is None


def pid_of(process: ManagedProcess) -> int:
    assert process.identity is not None
    return process.identity.pid


def test_start_twice_starts_once_and_stop_ends_it(tmp_path):
    process = ManagedProcess(SLEEP, tmp_path)
    assert process.start()
    process.wait_ready(lambda: up(process), 10)
    pid = pid_of(process)
    assert not process.start()
    assert pid_of(process) == pid
    assert process.rss_bytes is not None
    process.stop()
    assert gone(pid, 0)
    assert not process.running
    process.stop()


def test_whatever_was_started_below_a_folder_is_stopped(tmp_path):
    first = ManagedProcess(ProcessCommand("first", SLEEP.argv), tmp_path, detached=True)
    second = ManagedProcess(ProcessCommand("second", SLEEP.argv), tmp_path / "part", detached=True)
    for process in (first, second):
        process.start()
        process.wait_ready(lambda process=process: up(process), 10)
    pids = [pid_of(first), pid_of(second)]
    assert stop_recorded(tmp_path) == ["second", "first"]
    assert not first.running
    assert not second.running
    assert all(gone(pid, 0) for pid in pids)
    assert stop_recorded(tmp_path) == []


def test_another_handle_on_the_folder_finds_and_stops_it(tmp_path):
    process = ManagedProcess(SLEEP, tmp_path)
    process.start()
    other = ManagedProcess(SLEEP, tmp_path)
    assert other.identity == process.identity
    other.stop()
    assert not process.running


def test_a_process_that_ignores_the_request_is_killed(tmp_path):
    process = ManagedProcess(STUBBORN, tmp_path)
    process.start()
    process.wait_ready(lambda: up(process), 10)
    pid = pid_of(process)
    process.stop(grace_seconds=0.2)
    assert gone(pid, 0)


def test_a_paused_process_stops_at_once(tmp_path):
    process = ManagedProcess(SLEEP, tmp_path)
    process.start()
    process.wait_ready(lambda: up(process), 10)
    process.pause()
    started = time.monotonic()
    process.stop()
    assert time.monotonic() - started < 5


def test_an_early_end_is_reported_with_the_log(tmp_path):
    process = ManagedProcess(
        ProcessCommand("failing", (sys.executable, "-c", "raise SystemExit('no such flag')")), tmp_path
    )
    process.start()
    with pytest.raises(ProcessFailed, match=r"failing ended while starting.*\n.*no such flag"):
        process.wait_ready(lambda: False, 10)


def test_a_slow_start_is_reported(tmp_path):
    process = ManagedProcess(SLEEP, tmp_path)
    process.start()
    try:
        with pytest.raises(ProcessFailed, match="was not ready after 0 s"):
            process.wait_ready(lambda: False, 0.1)
    finally:
        process.stop()


def test_a_stranger_with_the_same_pid_is_left_alone(tmp_path):
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    try:
        record = tmp_path / "run" / "sleeper.json"
        record.parent.mkdir()
        record.write_text(f'{{"pid": {stranger.pid}, "started": "1"}}')
        process = ManagedProcess(SLEEP, tmp_path)
        assert not process.running
        process.stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_process_survives_the_thread_that_started_it(tmp_path):
    process = ManagedProcess(SLEEP, tmp_path)
    thread = threading.Thread(target=process.start)
    thread.start()
    thread.join()
    try:
        process.wait_ready(lambda: up(process), 10)
        assert process.running
    finally:
        process.stop()


def started_by_another(tmp_path: Path, *, detached: bool) -> tuple[subprocess.Popen[str], int]:
    script = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from pertoken_sandbox.processes import ManagedProcess, ProcessCommand
        sleep = "import time; print('up', flush=True); time.sleep(600)"
        command = ProcessCommand("sleeper", (sys.executable, "-c", sleep))
        process = ManagedProcess(command, Path({str(tmp_path)!r}), detached={detached})
        process.start()
        process.wait_ready(lambda: "up" in process.log.read_text(), 20)
        print(process.identity.pid, flush=True)
        while True:
            time.sleep(0.1)  # a signal that comes just before a sleep does not cut it short
    """)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_tied_process_dies_with_its_parent(tmp_path, number):
    parent, pid = started_by_another(tmp_path, detached=False)
    with parent:
        parent.send_signal(number)
        parent.wait(20)
    assert gone(pid)


def test_a_detached_process_outlives_its_parent(tmp_path):
    parent, pid = started_by_another(tmp_path, detached=True)
    with parent:
        parent.kill()
        parent.wait(20)
    process = ManagedProcess(SLEEP, tmp_path, detached=True)
    assert pid_of(process) == pid
    process.stop()
    assert gone(pid)


def test_free_ports_are_distinct_and_not_given_to_outgoing_connections():
    ports = free_ports(50)
    assert len(set(ports)) == 50
    limits = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if limits.is_file():
        assert max(ports) < int(limits.read_text().split()[0]) or os.environ.get("CI")
