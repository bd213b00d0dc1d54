"""The past out of tables: what is an hour, what is a gap, and what is refused with its line."""

import gzip

import numpy as np
import pytest

from pertoken.adapters.history_files import read_history_file
from pertoken.capacity.history.table import read_table
from pertoken.capacity.history.value import HistoryError, joined

HOUR = 3600


def table(*rows, header="time_s,requests"):
    return read_table(iter([f"{header}\n", *(f"{row}\n" for row in rows)]), "chat")


def only(history):
    (service,) = history.services
    return service


def test_bins_of_an_hour_are_added_up_and_the_busiest_minutes_kept():
    service = only(table(*(f"{600 * i},{30 if i == 2 else 6}" for i in range(12))))

    assert service.requests.tolist() == [60.0, 36.0]
    assert service.peak.tolist() == [3.0, 1.0]


def test_a_bin_that_is_not_there_is_a_gap_and_never_zero():
    rows = [f"{600 * i},6" for i in range(18) if i not in {1, 7, 8, 9, 10, 11}]
    service = only(table(*rows))

    assert service.requests[0] == 36.0  # five of six bins say how the hour was
    assert np.isnan(service.requests[1])  # one of six does not
    assert service.requests[2] == 36.0


def test_an_empty_cell_is_a_gap_and_a_zero_is_a_zero():
    service = only(table("0,5", "3600,", "7200,0", "10800,5"))

    np.testing.assert_array_equal(service.requests, [5.0, np.nan, 0.0, 5.0])
    assert np.isnan(service.peak).all()  # bins of a whole hour say nothing of its minutes


def test_the_last_hour_counts_once_half_of_it_is_told():
    whole = [f"{600 * i},6" for i in range(12)]

    assert table(*whole, "7200,6", "7800,6").hours == 2
    assert table(*whole, "7200,6", "7800,6", "8400,6").hours == 3


def test_services_stand_on_one_clock():
    history = table(
        "7200,1,100,10,a",
        "10800,2,200,20,a",
        "3600,5,500,50,b",
        "7200,6,600,60,b",
        header="time_s,requests,input_tokens,output_tokens,service",
    )

    assert (history.start_s, history.hours, history.end_s) == (3600, 3, 14400)
    np.testing.assert_array_equal(history.service("a").requests, [np.nan, 1, 2])
    np.testing.assert_array_equal(history.service("b").output_tokens, [50, 60, np.nan])
    assert history.service("c") is None


def test_rows_of_one_bin_are_added_up():
    service = only(table("0,1.5,x", "0,0.5,x", "3600,1,x", header="time_s,rate_rps,model"))

    assert service.name == "x"
    assert service.requests.tolist() == [7200.0, 3600.0]


def test_a_column_for_each_service():
    history = table("0,60,1", "3600,90,2", header="time_s,big_prompt_tokens,small_requests")

    assert history.service("big").input_tokens.tolist() == [60.0, 90.0]
    assert np.isnan(history.service("big").requests).all()
    assert history.service("small").requests.tolist() == [1.0, 2.0]


def test_single_requests_are_counted_and_quiet_hours_are_zero():
    rows = [f"{t},100,10" for t in (*range(0, 3600, 60), *range(7200, 10800, 30))]
    service = only(table(*rows, header="arrival_s,input_tokens,output_tokens"))

    assert service.requests.tolist() == [60.0, 0.0, 120.0]
    assert service.input_tokens.tolist() == [6000.0, 0.0, 12000.0]


@pytest.mark.parametrize(
    ("header", "rows", "said"),
    [
        ("time_s,requests", ["0,1", "3600,-1"], "^3: requests: '-1': expected a number of 0 or more"),
        ("time_s,requests", ["0,1", "3600,many"], "^3: requests: 'many'"),
        ("time_s,requests", ["0,1", "3600,nan"], "^3: requests: 'nan'"),
        ("time_s,requests", ["0,1", "3600,inf"], "^3: requests: 'inf'"),
        ("time_s,requests", ["0,1", ",1"], "^3: time_s: ''"),
        ("time_s,requests", ["0,1", "3600"], "^3: 1 columns; expected 2"),
        ("time_s,requests", ["0,1", "86400,1"], "bins of 86400 s"),
        ("time_s,requests", ["0,1"], "fewer than two bins"),
        ("time_s,requests", [], "^1: no rows"),
        ("when,requests", ["0,1"], "^1: header: 'when,requests': expected time_s,requests"),
    ],
)  # fmt: skip
def test_what_is_no_history_is_refused_in_one_line(header, rows, said):
    with pytest.raises(HistoryError, match=said) as refused:
        table(*rows, header=header)
    assert "\n" not in str(refused.value)


def test_files_may_be_packed_and_their_mistakes_name_them(tmp_path):
    packed, broken = tmp_path / "a.csv.gz", tmp_path / "b.csv"
    packed.write_bytes(gzip.compress(b"time_s,requests\n0,1\n3600,2\n"))
    broken.write_text("time_s,requests\n0,1\n3600,x\n")

    assert only(read_history_file(packed, "chat")).requests.tolist() == [1.0, 2.0]
    with pytest.raises(HistoryError, match=f"^{broken}:3: requests: 'x'"):
        read_history_file(broken)
    with pytest.raises(HistoryError, match="cannot be read: No such file"):
        read_history_file(tmp_path / "none.csv")


def test_histories_are_joined_on_one_clock_but_no_service_twice():
    early, late = table("0,1", "3600,2"), table("7200,3,b", "10800,4,b", header="time_s,requests,service")
    both = joined([early, late])

    np.testing.assert_array_equal(both.service("chat").requests, [1, 2, np.nan, np.nan])
    np.testing.assert_array_equal(both.service("b").requests, [np.nan, np.nan, 3, 4])
    with pytest.raises(HistoryError, match="chat: in two histories"):
        joined([early, early])
