"""Request traces as they are published: each format, rows that are no requests, files that are none, memory."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tracemalloc

import numpy as np
import pytest

from pertoken_bench.traces.columns import WantedColumns
from pertoken_bench.traces.files import LONGEST_LINE, TraceError
from pertoken_bench.traces.formats import FORMATS
from pertoken_bench.traces.rates import is_rate_series, load_bins
from pertoken_bench.traces.reader import read_requests
from pertoken_bench.traces.servegen import load_series, tells_lengths
from pertoken_bench.traces.trace import Cut, load_requests

# The same three requests (0, 1.5 and 4 s; 229/150, 1020/261, 529/68 tokens) in every format.
ARRIVALS, INPUTS, OUTPUTS = [0.0, 1.5, 4.0], [229, 1020, 529], [150, 261, 68]
PUBLISHED = {
    "pertoken": "arrival_s,input_tokens,output_tokens,model\n0,229,150,a\n1.5,1020,261,b\n4.0,529,68,a\n",
    "azure 2023": (
        "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,229,150\r\n"
        "2023-11-16 18:15:48.1805900,1020,261\r\n2023-11-16 18:15:50.6805900,529,68\r\n"
    ),
    "azure 2024": (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.500000+00:00,229,150\n"
        "2024-05-10 00:00:02+00:00,1020,261\n2024-05-10 02:00:04.500+02:00,529,68\n"
    ),
    "azure 2025, multimodal": (
        "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n2024-10-15 00:00:01,0,229,150\n"
        "2024-10-15 00:00:02.5,3,1020,261\n2024-10-15 00:00:05,1,529,68\n"
    ),
    "burstgpt 1": (
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,229,150,379,Conversation log\n"
        "6.5,GPT-4,1020,261,1281,API log\n9.0,ChatGPT,529,68,597,Conversation log\n"
    ),
    "burstgpt 3": (
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "19440110.0,1722ac82,43,GPT-4,229,150,379,Conversation log\n"
        "19440111.5,d5983bf9,2,ChatGPT,1020,261,1281,Conversation log\n"
        "19440114.0,b5c69b35,2,ChatGPT,529,68,597,API log\n"
    ),
    "splitwise": (
        "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n"
        "0,2,0,0.0,1,229,150\n1,2,0,1.5,1,1020,261\n2,2,0,4.0,1,529,68\n"
    ),
    "vidur": "arrived_at,num_prefill_tokens,num_decode_tokens\n10.0,229,150\n11.5,1020,261\n14,529,68\n",
    "mooncake": (
        '{"timestamp": 27000, "input_length": 229, "output_length": 150, "hash_ids": [0]}\n'
        '{"timestamp": 28500, "input_length": 1020, "output_length": 261, "hash_ids": [1, 2]}\n'
        '{"timestamp": 31000, "input_length": 529, "output_length": 68, "hash_ids": [1, 3]}\n'
    ),
    "qwen-bailian": (
        '{"chat_id": 1, "parent_chat_id": -1, "timestamp": 61.0, "input_length": 229, "output_length": 150, '
        '"type": "text", "turn": 1, "hash_ids": [1, 2]}\n'
        '{"chat_id": 2, "parent_chat_id": 1, "timestamp": 62.5, "input_length": 1020, "output_length": 261, '
        '"type": "text", "turn": 2, "hash_ids": []}\n'
        '{"chat_id": 3, "parent_chat_id": -1, "timestamp": 65.0, "input_length": 529, "output_length": 68, '
        '"type": "text", "turn": 1, "hash_ids": [3]}\n'
    ),
    "servegen, generated": (
        "request_id,timestamp,input_tokens,output_tokens\n0,3.0,229,150\n1,4.5,1020,261\n2,7.0,529,68\n"
    ),
    "access log, ISO": (
        '{"timestamp":"2026-03-01T10:00:00Z","model":"m","usage":{"prompt_tokens":229,"completion_tokens":150}}\n'
        '{"timestamp":"2026-03-01T11:00:01.5+01:00","model":"m","usage":{"prompt_tokens":1020,'
        '"completion_tokens":261,"prompt_tokens_details":{"cached_tokens":512}}}\n\n'
        '{"timestamp":"2026-03-01 10:00:04","model":"m","usage":{"prompt_tokens":529,"completion_tokens":68}}\n'
    ),
    "access log, epoch seconds": (
        '{"id":"a","created":1772359200,"usage":{"completion_tokens":150,"prompt_tokens":229}}\n'
        '{"id":"b","created":1772359201.5,"usage":{"completion_tokens":261,"prompt_tokens":1020}}\n'
        '{"id":"c","created":"1772359204","usage":{"completion_tokens":68,"prompt_tokens":529}}\n'
    ),
    "access log, epoch milliseconds, flat": (
        '{"ts":1772359200000,"prompt_tokens":229,"completion_tokens":150}\n'
        '{"ts":1772359201500,"prompt_tokens":1020,"completion_tokens":261}\n'
        '{"ts":1772359204000,"prompt_tokens":529,"completion_tokens":68}\n'
    ),
    "access log, nanoseconds, deep": (
        '{"time":1772359200000000000,"response":{"body":{"usage":{"prompt_tokens":229,"completion_tokens":150}}}}\n'
        '{"time":1772359201500000000,"response":{"body":{"usage":{"prompt_tokens":1020,"completion_tokens":261}}}}\n'
        '{"time":1772359204000000000,"response":{"body":{"usage":{"prompt_tokens":529,"completion_tokens":68}}}}\n'
    ),
    "access log, two kinds of endpoints": (
        '{"created_at":1772359200,"usage":{"input_tokens":229,"output_tokens":150}}\n'
        '{"created_at":1772359201.5,"response":{"usage":{"prompt_tokens":1020,"completion_tokens":261}}}\n'
        '{"created_at":1772359204,"usage":{"input_tokens":529,"output_tokens":68}}\n'
    ),
    "access log, as CSV with semicolons": (
        "startTime;model;prompt_tokens;completion_tokens\n2026-03-01T10:00:00Z;m;229;150\n"
        '"2026-03-01T10:00:01.500Z";m;1020.0;261\n2026-03-01T10:00:04Z;m;529;68\n'
    ),
    "a duration and an inner time beside the request's own": (
        '{"request_time":0.7,"timestamp":1772359200,"request":{"start_time":3.5},'
        '"usage":{"prompt_tokens":229,"completion_tokens":150}}\n'
        '{"request_time":9.9,"timestamp":1772359201.5,"request":{"start_time":1.5},'
        '"usage":{"prompt_tokens":1020,"completion_tokens":261}}\n'
        '{"request_time":0.1,"timestamp":1772359204,"request":{"start_time":0.5},'
        '"usage":{"prompt_tokens":529,"completion_tokens":68}}\n'
    ),
    "aibrix, several requests a line": (
        '{"timestamp": 2000, "requests": [{"prompt": "a", "prompt_length": 229, "output_length": 150}]}\n'
        '{"timestamp": 2500, "requests": []}\n'
        '{"timestamp": 3500, "requests": [{"prompt_length": 1020, "output_length": 261, "session_id": 1}]}\n'
        '{"timestamp": 6000, "requests": [{"prompt_length": 529, "output_length": 68}]}\n'
    ),
    "access log, one JSON array": (
        '[{"created":1772359200,"usage":{"prompt_tokens":229,"completion_tokens":150}}, '
        '{"created":1772359201.5,"usage":{"prompt_tokens":1020,"completion_tokens":261}},'
        '{"created":1772359204,"usage":{"prompt_tokens":529,"completion_tokens":68}}]'
    ),
    "access log, an array over several lines in an object": (
        '{\n  "data": [\n    {"ts": 1772359200,\n     "prompt_tokens": 229, "completion_tokens": 150},\n'
        '    {"ts": 1772359201.5, "prompt_tokens": 1020, "completion_tokens": 261},\n'
        '    {"ts": 1772359204, "prompt_tokens": 529, "completion_tokens": 68}\n  ]\n}\n'
    ),
    "access log, all in one object on one line": (
        '{"model": "m", "records": [{"ts": 1772359200, "prompt_tokens": 229, "completion_tokens": 150}, '
        '{"ts": 1772359201.5, "prompt_tokens": 1020, "completion_tokens": 261}, '
        '{"ts": 1772359204, "prompt_tokens": 529, "completion_tokens": 68}]}'
    ),
    "web server's time": (
        '{"time":"[01/Mar/2026:10:00:00 +0000]","usage":{"prompt_tokens":229,"completion_tokens":150}}\n'
        '{"time":"2026-03-01T10:00:01.5Z","usage":{"prompt_tokens":1020,"completion_tokens":261}}\n'
        '{"time":"[01/Mar/2026:11:00:04 +0100]","usage":{"prompt_tokens":529,"completion_tokens":68}}\n'
    ),
}


def written(tmp_path, text, name="t"):
    file = tmp_path / name
    file.write_text(text)
    return file


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_published_format_is_read(tmp_path, name):
    read = read_requests(written(tmp_path, PUBLISHED[name]), WantedColumns(strict=True))
    assert read.arrival.tolist() == pytest.approx(ARRIVALS, abs=1e-6)
    assert read.inputs.tolist() == INPUTS
    assert read.outputs.tolist() == OUTPUTS
    assert read.remark == ""


def test_every_declared_format_has_a_case():
    assert len(FORMATS) == 7
    heads = "\n".join(PUBLISHED.values())
    assert all(f"{known.time}" in heads and f"{known.inputs}" in heads for known in FORMATS)


def test_prefix_blocks_are_those_of_the_simulated_engines(tmp_path):
    mooncake = read_requests(written(tmp_path, PUBLISHED["mooncake"]), WantedColumns())
    assert (mooncake.prefix.tolist(), mooncake.prefix_at.tolist()) == ([0, 1, 2, 1, 3], [0, 1, 3, 5])
    lines = [
        {"chat_id": 1, "timestamp": 0.5, "input_length": 1100, "output_length": 2, "hash_ids": list(range(70))},
        {"chat_id": 2, "timestamp": 0.6, "input_length": 700, "output_length": 2, "hash_ids": [*range(32), 90, 91]},
    ]
    bailian = read_requests(written(tmp_path, "\n".join(map(json.dumps, lines))), WantedColumns())
    # blocks of 16 tokens: the 32nd one's id stands for the first 512 tokens
    assert (bailian.prefix.tolist(), bailian.prefix_at.tolist()) == ([31, 63, 31], [0, 2, 3])


BAD_ROWS = {  # one bad third row in an Azure file: what it is, and how it is told
    "no output": ("2024-05-10 00:00:09+00:00,5,0", ":4: GeneratedTokens: '0' is not a whole number >= 1"),
    "negative": ("2024-05-10 00:00:09+00:00,-5,7", ":4: ContextTokens: '-5'"),
    "half a token": ("2024-05-10 00:00:09+00:00,5.5,7", ":4: ContextTokens: '5.5'"),
    "not a number": ("2024-05-10 00:00:09+00:00,NaN,7", ":4: ContextTokens: 'NaN'"),
    "endless": ("2024-05-10 00:00:09+00:00,inf,7", ":4: ContextTokens: 'inf'"),
    "beyond any model": ("2024-05-10 00:00:09+00:00,99999999999,7", ":4: ContextTokens: '99999999999'"),
    "text": ("2024-05-10 00:00:09+00:00,many,7", ":4: ContextTokens: 'many'"),
    "missing column": ("2024-05-10 00:00:09+00:00,5", ":4: GeneratedTokens: ''"),
    "empty time": (",5,7", ":4: TIMESTAMP: '' is not a date and time"),
    "no time": ("yesterday,5,7", ":4: TIMESTAMP: 'yesterday'"),
    "another clock": ("12.5,5,7", ":4: TIMESTAMP: '12.5' is not on the clock of the rows before"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows_are_left_out_and_told_or_refused(tmp_path, name):
    row, words = BAD_ROWS[name]
    lines = PUBLISHED["azure 2024"].splitlines()
    file = written(tmp_path, "\n".join([*lines[:3], row, *lines[3:], row]))
    read = read_requests(file, WantedColumns())
    assert read.inputs.tolist() == INPUTS
    assert f"{file}: skipped 2 of 5 rows: 2 like line 4: {words[4:]}" in read.remark
    assert "\n" not in read.remark
    with pytest.raises(TraceError) as caught:
        read_requests(file, WantedColumns(strict=True))
    assert words in str(caught.value)


def test_lines_of_a_log_that_are_no_requests_are_counted_by_kind(tmp_path):
    good = PUBLISHED["access log, ISO"]
    failed = '{"timestamp":"2026-03-01T10:00:09Z","error":"overloaded"}\n'
    cut_off = '{"timestamp":"2026-03-01T10:00'
    file = written(tmp_path, failed + good + failed + "[]\nnull\n" + cut_off)
    read = read_requests(file, WantedColumns())
    assert read.inputs.tolist() == INPUTS
    assert "skipped 5 of 8 rows" in read.remark
    assert "3 like line 7: row: '[]' is not a JSON object" in read.remark


NO_TRACE = {
    "": ":1: no known trace format (have nothing)",
    "arrival_s,input_tokens\n1,2\n": ":1: output_tokens: missing",
    "TIMESTAMP,ContextTokens\n1,2\n": ":1: GeneratedTokens: missing",
    "PAR1\0\x1b[2J": ":1: no known trace format (have PAR1??[2J);",
    "a,b\n1,2\n": ":1: no known trace format (have a,b); expected columns arrival_s,input_tokens,output_tokens;",
    '{"a": 1}\n': ":1: no known trace format (have a)",
    '{"timestamp": 5, "input_length": 3}\n': ":1: output_length: missing",
    '[{"timestamp": 5}]': ":1: no known trace format (have timestamp)",
    "[1, 2]": ":1: no known trace format (have nothing)",
    '[{"timestamp": 5}, {"time': ": element 2: cut off or no JSON",
    "[]": ": no requests",
    "arrival_s,input_tokens,output_tokens\n": ": no requests",
    "arrival_s,input_tokens,output_tokens\n1,0,3\n2,1,0\n": ":2: input_tokens: '0' is not a whole number >= 1; no requ",
}


@pytest.mark.parametrize("text", NO_TRACE)
def test_what_is_no_trace_is_told_in_one_line(tmp_path, text):
    file = written(tmp_path, text)
    with pytest.raises(TraceError) as caught:
        read_requests(file, WantedColumns())
    assert str(caught.value).startswith(f"{file}{NO_TRACE[text]}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("pack", "name"), [(gzip.compress, "a.gz"), (bz2.compress, "b"), (lzma.compress, "c.xz")])
def test_packed_files_are_unpacked_and_broken_ones_told(tmp_path, pack, name):
    file = tmp_path / name
    packed = pack(PUBLISHED["burstgpt 1"].encode())
    file.write_bytes(packed)
    assert read_requests(file, WantedColumns()).inputs.tolist() == INPUTS
    file.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(TraceError, match="cannot be read"):
        read_requests(file, WantedColumns())


def test_requests_out_of_order_are_sorted_and_cut_from_the_first(tmp_path):
    rows = PUBLISHED["azure 2024"].splitlines()
    file = written(tmp_path, "\n".join([rows[0], rows[3], rows[1], rows[2]]))
    trace = load_requests(file, Cut(duration_seconds=2), 0, 0)
    assert trace.arrival.tolist() == [0.0, 1.5]
    assert trace.input_tokens.tolist() == [229, 1020]
    later = load_requests(file, Cut(start_seconds=1), 0, 0)
    assert later.arrival.tolist() == [0.5, 3.0]


def test_models_of_one_file_stay_on_one_clock(tmp_path):
    file = written(tmp_path, PUBLISHED["burstgpt 1"])
    assert read_requests(file, WantedColumns("GPT-4")).arrival.tolist() == [1.5]
    assert read_requests(file, WantedColumns("ChatGPT")).arrival.tolist() == [0.0, 4.0]


def test_a_remark_reaches_who_asks(tmp_path):
    told = []
    file = written(tmp_path, PUBLISHED["pertoken"] + "5,1,0,a\n")
    assert len(load_requests(file, Cut(), 0, 0, told.append)) == 3
    assert told == [f"{file}: skipped 1 of 4 rows: line 5: output_tokens: '0' is not a whole number >= 1"]
    with pytest.raises(TraceError, match=":5: output_tokens"):
        load_requests(file, Cut(strict=True), 0, 0)


def test_memory_grows_with_what_is_kept_not_with_the_file(tmp_path):
    file = tmp_path / "week.csv"
    rows = "".join(f"2024-05-10 {n // 3600 % 24:02}:{n // 60 % 60:02}:{n % 60:02},9,7\n" for n in range(80_000))
    file.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + rows)
    tracemalloc.start()
    read = read_requests(file, WantedColumns(end=600.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(read.arrival) == 600
    assert peak < file.stat().st_size / 4


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    assert LONGEST_LINE >= 2**20
    monkeypatch.setattr("pertoken_bench.traces.files.LONGEST_LINE", 500)
    file = written(tmp_path, PUBLISHED["mooncake"] + "x" * 600)
    with pytest.raises(TraceError, match=":4: longer than 500 letters"):
        read_requests(file, WantedColumns())


def test_windows_of_a_servegen_client_are_a_rate_series(tmp_path):
    file = written(tmp_path, "0,0.5,1.1,Gamma,0.8,1.1\n600,0.0,0.0,,0.0,0.0\n1200,2,0.9,Weibull,0.9,0.4\n")
    assert is_rate_series(file)
    bins = load_bins(file)
    assert bins.requests.tolist() == [300.0, 0.0, 1200.0]
    assert np.diff(bins.times).tolist() == [600.0] * 3
    assert not is_rate_series(written(tmp_path, PUBLISHED["azure 2023"]))


def test_several_requests_of_one_instant_count_each(tmp_path):
    line = '{"timestamp": 1000, "requests": [{"prompt_length": 9, "output_length": 7}, {"prompt_length": 8}]}\n'
    read = read_requests(written(tmp_path, line + line.replace("1000", "4000")), WantedColumns())
    assert read.arrival.tolist() == [0.0, 3.0]
    assert read.remark.endswith("rows: 2 like line 1: output_length: '' is not a whole number >= 1")


def test_a_long_array_is_read_in_pieces(tmp_path):
    elements = ",".join(
        f'{{"created": {1772359200 + n}, "prompt_tokens": 9, "completion_tokens": 7}}' for n in range(4000)
    )
    file = written(tmp_path, f"[{elements}]")
    tracemalloc.start()
    read = read_requests(file, WantedColumns(end=600.0, strict=True))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(read.arrival) == 600
    assert peak < file.stat().st_size


def test_elements_that_are_no_requests_are_counted_as_elements(tmp_path):
    file = written(tmp_path, '[{"ts": 1, "prompt_tokens": 5, "completion_tokens": 3}, 7, "x"]')
    assert "skipped 2 of 3 rows: 2 like element 2" in read_requests(file, WantedColumns()).remark
    with pytest.raises(TraceError, match=": element 2: row"):
        read_requests(file, WantedColumns(strict=True))


def test_a_folder_of_servegen_clients_is_their_sum_with_their_mean_lengths(tmp_path):
    written(tmp_path, "0,0.5,1.1,Gamma,0.8,1.1\n600,1.0,1.0,Gamma,1.0,1.0\n", "chunk-1-trace.csv")
    written(tmp_path, "0,1.5,1.1,Weibull,0.8,1.1\n600,0.0,0.0,,0.0,0.0\n", "chunk-2-trace.csv")
    first = {"0": {"input_tokens": "{100: 0.5, 300: 0.5}", "output_tokens": {"40": 1.0}}}
    written(tmp_path, json.dumps(first), "chunk-1-dataset.json")
    second = {"0": {"input_tokens": {"1000": 2.0, "4000": 1.0}, "output_tokens": "{80: 1}"}}
    written(tmp_path, json.dumps(second), "chunk-2-dataset.json")
    bins = load_series(tmp_path)
    assert is_rate_series(tmp_path)
    assert tells_lengths(tmp_path)
    assert bins.times.tolist() == [0.0, 600.0, 1200.0]
    assert bins.requests.tolist() == [1200.0, 600.0]
    assert bins.input_tokens.tolist() == pytest.approx([(200 + 3 * 2000) / 4, 200])
    assert bins.output_tokens.tolist() == pytest.approx([(40 + 3 * 80) / 4, 40])


def test_a_folder_without_clients_is_told(tmp_path):
    with pytest.raises(TraceError, match="no file"):
        load_series(tmp_path)
    written(tmp_path, "0,0.5,1.1,Gamma,0.8,1.1\n600,1.0,1.0,Gamma,1.0,1.0\n", "chunk-1-trace.csv")
    assert not tells_lengths(tmp_path)
    written(tmp_path, "[]", "chunk-1-dataset.json")
    with pytest.raises(TraceError, match="expected an object of windows"):
        load_series(tmp_path)
