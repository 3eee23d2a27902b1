"""Recorded arrivals: read from what people and tools write, and refused with a place where they make no sense."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from gates.errors import BadFileError
from gates.load.recording import read_recording


@pytest.mark.parametrize(
    ("name", "text", "place", "problem"),
    [
        ("a.csv", "at\n1\n0.5\n", "a.csv:3:1", "comes before the one above it (0.5 after 1)"),
        ("a.csv", "flow,at\nbuy,soon\n", "a.csv:2:5", "expected a number of seconds (got 'soon')"),
        ("a.csv", "at\nnan\n", "a.csv:2:1", "expected a number of seconds"),
        ("a.csv", "when\n1\n", "a.csv:1:1", "no column `at`; it has when"),
        ("a.csv", "at,flow\n1\n", "a.csv:2:1", "expected 2 values as in the header, got 1"),
        ("a.csv", "at,flow\n1,\n", "a.csv:2:3", "expected the name of a flow"),
        ("a.csv", "", "a.csv:1:1", "the file is empty"),
        ("a.csv", "at\n", "a.csv", "no arrival in it"),
        ("a.csv", 'at\n"1\n', "a.csv:2:1", "not valid CSV"),
        ("a.jsonl", '{"at": 1}\n{"at": tomorrow}\n', "a.jsonl:2:8", "not valid JSON"),
        ("a.jsonl", '{"at": 1}\n{"at": true}\n', "a.jsonl:2:2", "expected a number of seconds (got True)"),
        ("a.jsonl", "[1]\n", "a.jsonl:1:1", "expected a JSON object"),
        ("a.jsonl", '{"flow": "a", "at": 1}\n{"at": 2}\n', "a.jsonl:2:1", "some rows name their flow and some do not"),
        ("a.txt", "1\n", "a.txt", "unknown ending; expected .csv, .csv.gz, .jsonl, .jsonl.gz"),
        ("a.csv.gz", "at\n1\n", "a.csv.gz", "not a gzip file"),
    ],
)
def test_what_is_wrong_with_a_recording_is_told_at_its_line(
    tmp_path: Path, name: str, text: str, place: str, problem: str
) -> None:
    """With what was got and what was expected."""
    (tmp_path / name).write_text(text)
    with pytest.raises(BadFileError) as caught:
        read_recording(tmp_path / name, name)
    assert caught.value.location == place
    assert problem in caught.value.message


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """By its name."""
    with pytest.raises(BadFileError, match="data/none.csv: the file is not there"):
        read_recording(tmp_path / "data/none.csv", "data/none.csv")


def test_the_evidence_of_a_load_can_be_replayed(tmp_path: Path) -> None:
    """`arrivals.csv.gz` as it was written: times and flows; its other columns don't matter."""
    from test_measure import rows

    from gates.load.exhibits import write_evidence

    outcome = rows({})
    write_evidence(outcome, tmp_path)
    found = read_recording(tmp_path / "arrivals.csv.gz", "arrivals.csv.gz")
    assert len(found.times) == len(outcome.intended)
    assert [found.names[index] for index in found.flow[:20]] == [outcome.flows[index] for index in outcome.flow[:20]]
    assert found.times[1:20].tolist() == pytest.approx((outcome.intended[1:20] - outcome.intended[0]).tolist(), abs=1e-6)


def test_a_byte_order_mark_and_quoted_cells_are_read(tmp_path: Path) -> None:
    """As spreadsheets write them."""
    (tmp_path / "a.csv").write_text('\ufeffat,flow\r\n"0.5","a"\r\n"2","b"\r\n')
    found = read_recording(tmp_path / "a.csv", "a.csv")
    assert (found.times.tolist(), found.names, found.lasting) == ([0, 1.5], ("a", "b"), 3)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    assert read_recording(tmp_path / "a.csv.gz", "a.csv.gz").times == found.times
