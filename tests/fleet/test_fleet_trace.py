"""Trace files: what is read, and how mistakes are told."""

import gzip
from pathlib import Path

import pytest

from pertoken_bench.traces.files import TraceError
from pertoken_bench.traces.trace import Cut
from pertoken_sandbox.fleet.trace import load_arrivals

EXAMPLE = Path(__file__).parents[2] / "examples" / "traces" / "azure_2023_conv.csv.gz"


def test_reads_the_shipped_trace() -> None:
    trace = load_arrivals(EXAMPLE)
    assert len(trace) == 19366
    assert trace[0].at == 0.0
    assert (trace[0].input_tokens, trace[0].output_tokens) == (374, 44)


def test_reads_optional_columns_and_gzip(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"arrival_s,input_tokens,output_tokens,model,prefix_ids\n2,5,6,m,1 2\n1,3,4,,\n"))
    first, second = load_arrivals(path)
    assert (first.at, first.prefix_ids) == (1.0, ())
    assert (second.at, second.prefix_ids) == (2.0, (0, 1))
    assert [load_arrival.at for load_arrival in load_arrivals(path, Cut(model="m"))] == [2.0]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("arrival_s,input_tokens\n1,2\n", [":1:", "output_tokens"]),
        ("arrival_s,input_tokens,output_tokens\n1,2,3\nx,2,3\n", [":3:", "arrival_s", "'x'"]),
        ("arrival_s,input_tokens,output_tokens\n1,0,3\n", [":2:", "input_tokens", "'0'"]),
        ("arrival_s,input_tokens,output_tokens\n1,2\n", [":2:", "output_tokens", "''"]),
        ("arrival_s,input_tokens,output_tokens\nnan,2,3\n", [":2:", "arrival_s"]),
        ("arrival_s,input_tokens,output_tokens\n", ["no requests"]),
    ],
)
def test_mistakes_name_file_line_and_field(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(TraceError) as caught:
        load_arrivals(path, Cut(strict=True))
    assert str(path) in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_missing_or_broken_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read"):
        load_arrivals(tmp_path / "none.csv")
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(b"no gzip")
    with pytest.raises(TraceError, match="cannot be read"):
        load_arrivals(broken)


def test_arrivals_are_compressed_scaled_and_cut() -> None:
    trace = load_arrivals(EXAMPLE)
    fast = load_arrivals(EXAMPLE, speed=12)
    assert len(fast) == len(trace)
    assert fast[-1].at == pytest.approx(trace[-1].at / 12)
    assert sum(a.output_tokens for a in fast) == sum(a.output_tokens for a in trace)
    half = load_arrivals(EXAMPLE, Cut(rate_scale=0.5), seed=1)
    assert len(half) == pytest.approx(len(trace) / 2, rel=0.05)
    assert len(load_arrivals(EXAMPLE, Cut(rate_scale=2))) == 2 * len(trace)
    cut = load_arrivals(EXAMPLE, Cut(start_seconds=600, duration_seconds=60))
    assert cut[0].at >= 0
    assert cut[-1].at < 60
    assert len(cut) == sum(600 <= a.at < 660 for a in trace)
