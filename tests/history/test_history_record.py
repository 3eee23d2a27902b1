"""Histories on disk."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gates.errors import BadFileError
from gates.history import record
from gates.model import Operation

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.integers(min_value=0, max_value=10**12).map(lambda micros: micros / 1e6)
OPERATIONS = st.builds(
    Operation,
    process=st.integers(-1, 10**9),
    kind=TEXT,
    endpoint=TEXT,
    key=TEXT,
    status=st.sampled_from(["ok", "fail", "unknown"]),
    invoked=TIMES,
    completed=TIMES,
    code=st.integers(0, 599),
    value=st.none() | st.dictionaries(TEXT, st.integers()),
    answer=st.none() | st.dictionaries(TEXT, TEXT),
)


def operation(number: int) -> Operation:
    """A typical submission."""
    key = f"{number * 2654435761 % 2**128:032x}"
    answer = {"job_id": f"bafkrei{number:052d}"}
    return Operation(
        number, "submit_job", "node-b", key, "ok", number / 100, (number * 10 + 3) / 1000, 200, {"cost_mana": 10}, answer
    )


@pytest.mark.end_to_end
@given(st.lists(OPERATIONS, max_size=5))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, operations: list[Operation]) -> None:
    """Every field of every operation comes back, to the microsecond."""
    path = tmp_path_factory.mktemp("history") / "history.jsonl.gz"
    record.write(path, operations)
    assert record.read(path) == record.Recorded(tuple(operations), complete=True)


def test_a_run_that_ends_early_leaves_what_it_saw(tmp_path: Path) -> None:
    """An exception closes the history properly: all operations up to then, and an end."""
    path = tmp_path / "history.jsonl.gz"

    def interrupted() -> None:
        with record.Recorder(path) as recorder:
            recorder.add([operation(1), operation(2)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert record.read(path) == record.Recorded((operation(1), operation(2)), complete=True)


def test_a_history_that_was_cut_off_says_so(tmp_path: Path) -> None:
    """At whatever byte the file ends, what can be read is a beginning of the history and is never called complete."""
    path = tmp_path / "history.jsonl.gz"
    operations = tuple(operation(number) for number in range(300))
    record.write(path, operations)
    content = path.read_bytes()
    lengths = []
    for end in range(400, len(content), 997):
        path.write_bytes(content[:end])
        recorded = record.read(path)
        assert not recorded.complete
        assert recorded.operations == operations[: len(recorded.operations)]
        lengths.append(len(recorded.operations))
    assert max(lengths) > 100


def test_a_line_that_was_cut_off_counts_for_nothing(tmp_path: Path) -> None:
    """What was written whole before it is a beginning of the history."""
    path = tmp_path / "history.jsonl.gz"
    record.write(path, [operation(1), operation(2)])
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(lines[:2]) + lines[2][:20]))
    assert record.read(path) == record.Recorded((operation(1),), complete=False)


def test_a_line_removed_from_the_middle_is_noticed(tmp_path: Path) -> None:
    """The last line counts the operations."""
    path = tmp_path / "history.jsonl.gz"
    record.write(path, [operation(number) for number in range(5)])
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join([*lines[:3], *lines[4:]])))
    assert not record.read(path).complete


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        gzip.compress(b""),
        gzip.compress(b"{}\n"),
        gzip.compress(b"not json\n"),
        gzip.compress(
            b'{"fields":["process","kind","endpoint","key","status","invoked","completed","code","value","answer"]}\n[1]\n'
        ),
        gzip.compress(
            b'{"fields":["process","kind","endpoint","key","status","invoked","completed","code","value","answer"]}\n'
            b'[1,"k","e","k","fine",0,0,0,null,null]\n'
        ),
    ],
    # gzip holds the time, and workers that collect in different seconds would not agree on the names
    ids=["nothing", "no gzip", "no lines", "no fields", "no JSON", "too few values", "no such status"],
)
def test_what_is_no_history_is_an_error_with_its_path(tmp_path: Path, content: bytes) -> None:
    """An empty file, another format, a short line or an unknown status."""
    path = tmp_path / "history.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(BadFileError, match=str(path)):
        record.read(path)


def test_a_missing_history_is_an_error(tmp_path: Path) -> None:
    """No file is no history, and not an empty one."""
    with pytest.raises(BadFileError, match="not there"):
        record.read(tmp_path / "history.jsonl.gz")


def test_a_history_is_compact(tmp_path: Path) -> None:
    """A million operations must fit into 100 MB; keys are random, so this holds 10,000 of them to 1 MB."""
    path = tmp_path / "history.jsonl.gz"
    record.write(path, (operation(number) for number in range(10_000)))
    assert path.stat().st_size < 1_000_000
