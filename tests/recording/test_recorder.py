"""The flight recorder keeps the last cycles within its bounds, and never holds up a cycle."""

from __future__ import annotations

import asyncio
import copy
import gzip
import logging
from dataclasses import replace

import pytest
from cycling import Cycling, eventually
from watched import HEALTHY, filled

from pertoken.adapters.recording_files import RecordingFolder
from pertoken.catalog.lookup import SHIPPED
from pertoken.control.recording.differences import differences
from pertoken.control.recording.form import Decoder
from pertoken.control.recording.recorder import MOST_WAITING, Recorder, most_segments, segment_cycles
from pertoken.control.recording.replay import replay

MANY = 1 << 24


@pytest.fixture
def results():
    """The results of twelve cycles in a row."""

    async def cycles():
        cycling = Cycling()
        cycle = cycling.cycle()
        cycle_results = []
        for number in range(1, 13):
            cycle_results.append(await cycle.run_once(number))
            cycling.cluster.now_at += 15.0
        return cycle_results

    return asyncio.run(cycles())


def recorder(folder, cycles=8, most_bytes=MANY, segment_bytes=MANY):
    return Recorder(RecordingFolder(folder, most_bytes, most_segments(cycles)), "0.1.0", cycles, segment_bytes)


def read(recordings):
    decoder = Decoder()
    lines = gzip.decompress(b"".join(recordings.chunks())).splitlines()
    return [cycle for line in lines if (cycle := decoder.line(line)) is not None]


@pytest.mark.parametrize(("cycles", "kept"), [(1, 1), (3, 3), (8, 8), (10, 10), (12, 12), (100, 12)])
def test_the_last_cycles_are_kept_and_replay(tmp_path, results, cycles, kept):
    kept_cycles = recorder(tmp_path, cycles)
    for result in results:
        kept_cycles.write(result)
    read_back = read(kept_cycles.recordings)

    assert [cycle.number for cycle in read_back] == list(range(13 - kept, 13))
    assert [cycle.world for cycle in read_back] == [result.world for result in results[-kept:]]
    assert not [each for replayed in replay(read_back) for each in differences(replayed)]


@pytest.mark.parametrize("cycles", [*range(1, 40), 240, 1000])
def test_segments_never_hold_more_than_what_is_kept(cycles):
    assert 0.75 * cycles <= segment_cycles(cycles) * most_segments(cycles) <= cycles


def test_bytes_on_disk_are_bounded(tmp_path, results):
    bound = 100_000
    kept_cycles = recorder(tmp_path, 1000, bound, bound // 4)
    for _ in range(4):
        for result in results:
            kept_cycles.write(result)
            assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= bound

    assert read(kept_cycles.recordings)[-1].number == 12
    assert kept_cycles.left_out == 0


def test_what_is_larger_than_the_bound_is_left_out(tmp_path, results, caplog):
    kept_cycles = recorder(tmp_path, 10, 1000)
    kept_cycles.write(results[0])
    kept_cycles.write(results[1])

    assert kept_cycles.left_out == 2
    assert len([each for each in caplog.records if each.levelno == logging.WARNING]) == 1, "told once"


def test_a_folder_that_takes_nothing_ends_nothing_and_is_tried_again(tmp_path, results):
    blocked = tmp_path / "blocked"
    blocked.write_text("no folder")
    kept_cycles = recorder(blocked)
    kept_cycles.write(results[0])
    blocked.unlink()
    for result in results[1:4]:
        kept_cycles.write(result)

    assert kept_cycles.left_out == 1
    assert [cycle.number for cycle in read(kept_cycles.recordings)] == [2, 3, 4]


def test_a_gap_is_bridged_by_what_the_cycle_started_from(tmp_path, results):
    kept_cycles = recorder(tmp_path, 1000)
    for result in (*results[:4], *results[6:]):
        kept_cycles.write(result)
    read_back = read(kept_cycles.recordings)

    assert [cycle.number for cycle in read_back if not cycle.continues] == [1, 7]
    assert not [each for replayed in replay(read_back) for each in differences(replayed)]


def test_another_catalog_begins_a_segment(tmp_path, results):
    kept_cycles = recorder(tmp_path, 1000)
    other = replace(results[1].world, catalog=SHIPPED.extended(gpus=(replace(SHIPPED.gpus[0], id="new-gpu"),)))
    kept_cycles.write(results[0])
    kept_cycles.write(replace(results[1], world=other))

    assert read(kept_cycles.recordings)[1].world == other
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_killed_process_was_writing_is_left_out(tmp_path, results):
    first = recorder(tmp_path, 1000)
    for result in results[:3]:
        first.write(result)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    second = recorder(tmp_path, 1000)
    assert [cycle.number for cycle in read(second.recordings)] == [1, 2]
    for result in results[3:5]:
        second.write(result)

    assert [cycle.number for cycle in read(second.recordings)] == [1, 2, 4, 5]


async def test_cycles_do_not_wait_for_it(tmp_path, results):
    kept_cycles = recorder(tmp_path, 1000)
    for result in results:
        kept_cycles.finished(result)
    assert kept_cycles.left_out == len(results) - MOST_WAITING

    task = asyncio.create_task(kept_cycles.run())
    await eventually(lambda: not kept_cycles._waiting)
    task.cancel()
    assert [cycle.number for cycle in read(kept_cycles.recordings)] == [1, 2]


def test_nothing_of_the_objects_that_no_plan_needs_is_written(tmp_path):
    """Environment, arguments, annotations and pull secrets of pods and templates hold other people's secrets."""
    private = {
        "env": [{"name": "TOKEN", "value": "hunter2"}],
        "args": ["--api-key=hunter2"],
        "command": ["serve", "--api-key=hunter2"],
        "envFrom": [{"secretRef": {"name": "hunter2"}}],
    }
    deployments, pods = copy.deepcopy(HEALTHY["deployments"]), copy.deepcopy(HEALTHY["pods"])
    for item in (*deployments, *pods):
        item["metadata"]["annotations"] = {"note": "hunter2"}
        spec = item["spec"]["template"]["spec"] if "template" in item["spec"] else item["spec"]
        spec["imagePullSecrets"] = [{"name": "hunter2"}]
        spec["containers"][0] |= private
    cycling = Cycling(inventory=filled(deployments=deployments, pods=pods))
    kept_cycles = recorder(tmp_path)
    kept_cycles.write(asyncio.run(cycling.cycle().run_once(1)))
    text = gzip.decompress(b"".join(kept_cycles.recordings.chunks()))

    assert b"uid-chat-1-x" in text
    assert b"hunter2" not in text
