"""Power cuts: SIGKILL to a node that holds back what it has not synced."""

from __future__ import annotations

import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from node_process import Start
from test_node_durability import DEFECT, kill_under_load

from gates.node.storage import UNSYNCED

pytestmark = pytest.mark.end_to_end

pytest.importorskip("apsw")
CARELESS = (*DEFECT, "commit-without-sync", "--")

WRITER = """
import sys
from pathlib import Path
from gates.node.unsynced import connect
writer, reader = (connect(Path(sys.argv[1]), Path(sys.argv[2]), busy=1.0) for _ in range(2))
writer.execute("PRAGMA journal_mode = WAL").fetchone()
writer.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, filler BLOB)")
writer.execute(f"PRAGMA synchronous = {sys.argv[3]}")
for n in range(300):
    writer.execute("BEGIN IMMEDIATE")
    assert writer.execute("INSERT INTO t VALUES (?, ?)", (n, bytes(3000))).rowcount == 1
    writer.execute("COMMIT")
    assert reader.execute("SELECT count(*), max(n) FROM t").fetchone() == (n + 1, n)
print("written", flush=True)
sys.stdin.read()
writer.close()
reader.close()
"""


def written(folder: Path, synchronous: str, *, kill: bool) -> int:
    """How many of 300 rows are there after a writer ended, or was killed."""
    command = [sys.executable, "-c", WRITER, str(folder / "x.db"), str(folder / "counters"), synchronous]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"written\n"
        if kill:
            process.kill()
        process.stdin.close()
    with closing(sqlite3.connect(folder / "x.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (count,) = connection.execute("SELECT count(*) FROM t").fetchone()
    return int(count)


@pytest.mark.parametrize(
    ("synchronous", "kill", "kept"),
    [("FULL", True, True), ("NORMAL", True, False), ("OFF", True, False), ("OFF", False, True)],
)
def test_a_power_cut_loses_what_was_not_synced_and_nothing_else(
    tmp_path: Path, synchronous: str, kill: bool, kept: bool
) -> None:
    """Every commit of FULL is there; without a sync of each, rows are gone; a process that ends in peace loses nothing."""
    assert (written(tmp_path, synchronous, kill=kill) == 300) == kept
    held, writes, syncs = struct.unpack_from("=qqq", (tmp_path / "counters").read_bytes())
    assert writes > 300
    assert (held == 0) == kept
    assert (syncs >= 300) == (synchronous == "FULL")


@pytest.mark.parametrize(("command", "held", "kept"), [((), True, True), (CARELESS, True, False), (CARELESS, False, True)])
def test_a_node_keeps_its_promises_through_a_power_cut(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], held: bool, kept: bool
) -> None:
    """A node that does not sync breaks them; by SIGKILL alone nobody would ever know."""
    if held:
        monkeypatch.setenv(UNSYNCED, str(tmp_path / "counters"))
    node = start(**({"command": command} if command else {}))
    promised = kill_under_load(node)
    node.process.wait()
    monkeypatch.delenv(UNSYNCED, raising=False)
    stored = {job["job_id"] for job in start().jobs()}
    assert len(promised) > 150
    assert ({job for _, job in promised} <= stored) == kept
