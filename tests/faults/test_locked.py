"""The fault `database-locked` against a real database that something writes to."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from pydantic import ValidationError

from gates.errors import GatesError
from gates.faults import FAULTS, DatabaseLocked
from gates.faults.lock_probe import ROW, LockProbe
from gates.faults.locked import _held
from gates.faults.spec import FaultSpec, planned
from gates.faults.timeline import PlannedFault, play

pytestmark = pytest.mark.end_to_end

LOCK = {"node": "main", "file": "ledger.db"}


class Target:
    """As much of a target as the fault looks at."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def data(self, name: str) -> Path:
        return self._folder


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database in WAL mode, as the nodes' are."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (n INTEGER)")
    return path


def can_write(path: Path) -> bool:
    """Whether a writer gets the lock at once."""
    with closing(sqlite3.connect(path, timeout=0.0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Somebody who writes without a pause, as a node under load does."""
    stop = Event()

    def write() -> None:
        with closing(sqlite3.connect(path, timeout=5.0, isolation_level=None)) as connection:
            while not stop.is_set():
                connection.execute("INSERT INTO t VALUES (1)")
                stop.wait(0.002)

    writer = Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def test_a_lock_is_seen_by_another_connection_and_released(database: Path) -> None:
    """While it is held, writers are refused and readers are not; the probe saw its start and its end."""
    with DatabaseLocked().apply(Target(database.parent), LOCK) as watch:  # type: ignore[arg-type]
        assert not can_write(database)
        with closing(sqlite3.connect(database)) as reader:
            assert reader.execute("SELECT count(*) FROM t").fetchone() == (0,)
    assert can_write(database)
    assert watch.caused is not None
    assert watch.healing is not None
    assert watch.seen_start is not None
    assert watch.seen_end is not None
    assert watch.caused <= watch.seen_start < watch.healing <= watch.seen_end


def test_a_refusal_that_was_asked_for_before_the_cause_does_not_count(database: Path) -> None:
    """The fault came between the question and the answer: what is seen began no sooner than it was caused."""
    times = iter([1.0, 1.1, 3.0, 3.5])
    probe = LockProbe(database, lambda: next(times))

    class Refusing:
        """Looks like a connection whose database is locked just when it is asked."""

        def execute(self, _: str) -> None:
            probe.caused(2.0)
            raise sqlite3.OperationalError

    with closing(sqlite3.connect(database, isolation_level=None)) as free:
        probe._look(free)
    for _ in range(3):
        probe._look(Refusing())  # type: ignore[arg-type]
    assert probe.refused_at == 3.0


def test_a_lock_is_released_after_an_error(database: Path) -> None:
    """Whatever happens inside, and the moment is noted."""
    with (
        pytest.raises(ZeroDivisionError),
        DatabaseLocked().apply(Target(database.parent), LOCK) as watch,  # type: ignore[arg-type]
    ):
        raise ZeroDivisionError
    assert can_write(database)
    assert watch.healing is not None


def test_a_busy_writer_is_no_lock(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals between the commits of somebody else are not the fault: one that had no effect is not seen."""

    @contextmanager
    def nothing(path: Path, node: str) -> Iterator[None]:
        yield

    monkeypatch.setattr("gates.faults.locked._held", nothing)
    monkeypatch.setattr("gates.faults.locked.NOTICE", 0.3)
    monkeypatch.setattr("gates.faults.locked.PATIENCE", 0.1)
    fault = PlannedFault("database-locked", LOCK, 0.0, 0.01, ("main",))
    zero = time.monotonic()
    with writing(database):
        (seen,) = play([fault], Target(database.parent), FAULTS, clock=lambda: time.monotonic() - zero, stop=Event())  # type: ignore[arg-type]
    assert seen.caused is not None
    assert (seen.seen_start, seen.seen_end, seen.seen) == (None, None, False)


def test_only_an_unbroken_row_of_refusals_is_a_lock(database: Path) -> None:
    """Each look by itself: a lock between two refusals starts the row again, and refusals before the cause don't count."""
    probe = LockProbe(database, clock=lambda: now)
    answers: list[bool] = []
    probe._is_locked = lambda connection: answers.pop()  # type: ignore[method-assign]

    def look(at: float, locked: bool) -> None:
        nonlocal now
        now = at
        answers.append(locked)
        probe._look(None)  # type: ignore[arg-type]

    now = 0.0
    look(0.0, False)
    look(0.1, True)
    look(0.1 + ROW, True)
    assert probe.refused_at is None
    probe.caused(1.0)
    look(1.0, True)
    look(1.1, False)
    look(1.5, True)
    look(1.5 + ROW / 2, True)
    assert probe.refused_at is None
    look(1.5 + 2 * ROW, True)
    assert (probe.refused_at, probe.granted_at) == (1.5, None)
    look(3.0, False)
    assert probe.granted_at == 3.0


def test_a_lock_under_load_is_seen_at_its_times(database: Path) -> None:
    """With a busy writer beside it, the window that the probe saw lies inside cause and healing."""
    fault = PlannedFault("database-locked", LOCK, 0.05, 0.5, ("main",))
    zero = time.monotonic()
    with writing(database):
        (seen,) = play([fault], Target(database.parent), FAULTS, clock=lambda: time.monotonic() - zero, stop=Event())  # type: ignore[arg-type]
    assert seen.seen
    assert (seen.caused or 0) <= (seen.seen_start or 0) <= 0.5 <= (seen.healing or 0) <= (seen.seen_end or 0)


def test_a_database_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """And none is made by looking for it; the timeline says why the fault was not caused."""
    fault = PlannedFault("database-locked", LOCK, 0.0, 0.1, ("main",))
    (seen,) = play([fault], Target(tmp_path), FAULTS, clock=time.monotonic, stop=Event())  # type: ignore[arg-type]
    assert seen.caused is None
    assert "no database 'ledger.db'" in seen.detail
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_somebody_holds_can_not_be_had(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder waits for it only so long, and says what SQLite said."""
    monkeypatch.setattr("gates.faults.locked.PATIENCE", 0.05)
    with _held(database, "main"), pytest.raises(GatesError, match="database is locked"), _held(database, "main"):
        pytest.fail("two hold one lock")


def test_a_lock_dies_with_whoever_caused_it(database: Path) -> None:
    """A gate that is killed leaves no lock behind."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom gates.faults.locked import _held\n"
        "with _held(Path(sys.argv[1]), 'main'):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as gate:
        assert gate.stdout is not None
        assert gate.stdout.readline() == b"held\n"
        assert not can_write(database)
        os.kill(gate.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while not can_write(database):
        assert time.monotonic() < deadline


def test_a_lock_is_planned_like_any_fault() -> None:
    """Shares become seconds; what is not said has its default."""
    spec = FaultSpec.model_validate({"at": "10 %", "for": "50 %", "lock": {"node": "node-b", "file": "ledger.db"}})
    fault = planned(spec, 20.0)
    assert (fault.name, fault.nodes, fault.start, fault.end) == ("database-locked", ("node-b",), 2.0, 12.0)
    assert fault.settings == {"node": "node-b", "file": "ledger.db", "vital": True}


@pytest.mark.parametrize(
    "bad",
    [
        {"lock": {"node": "b"}},
        {"lock": {"node": "b", "file": ""}},
        {"lock": {"node": "b", "file": "/etc/passwd"}},
        {"lock": {"node": "b", "file": "../a/ledger.db"}},
        {"lock": {"node": "b", "file": "ledger.db"}, "crash": {"node": "b"}},
        {"lock": None},
    ],
)
def test_a_lock_that_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    """It needs a file below the data folder, and a fault is one thing."""
    with pytest.raises(ValidationError):
        FaultSpec.model_validate({"at": "10 %", "for": "10 %", **bad})
