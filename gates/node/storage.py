"""Durable storage behind one small protocol: transactions written by one thread with group commit, and plain reads.

Nothing is answered before the commit that holds it has returned. SQLite is in WAL mode with synchronous=FULL, so that every
commit syncs the log; a crash at any point leaves a store that opens with exactly the committed state. A change is a function
over a `Transaction`; it sees and makes rows with the SQL that SQLite and PostgreSQL share, so that a store over PostgreSQL can
follow. What such a store will have to write in another way is in the scripts that make the tables, and mechanical: the clause
`WITHOUT ROWID` goes, `INTEGER` is `BIGINT` and `BLOB` is `BYTEA`, `number INTEGER PRIMARY KEY` becomes an identity column, and
`?` is its driver's placeholder. Numbers must go on in the order of the commits, which one writer a database gives.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from gates.node.errors import Refusal, StoreUnavailable, Undecided

if TYPE_CHECKING:
    from gates.node.unsynced import Connection

UNSYNCED = "READINESS_UNSYNCED"
"""Names a file of counters; see `gates.node.unsynced`."""

LONGEST_QUEUE = 10_000
LARGEST_BATCH = 512
BUSY = 0.25
READ_BUSY = 0.05
_PROBES = "CREATE TABLE IF NOT EXISTS probed (one INTEGER PRIMARY KEY CHECK (one = 1), written INTEGER NOT NULL)"
_PROBE = "INSERT INTO probed VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET written = excluded.written"

_MISTAKES = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)
"""What a change has done wrong; any other error is the database's."""

_FLOCK = "hhqqi"
_READ_MARKS = 123, 5
_ANY_READ_MARK = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, *_READ_MARKS, 0)

T = TypeVar("T")


class Rows(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Transaction(Protocol):
    """The rows of a store as one change sees them."""

    def execute(self, statement: str, parameters: Sequence[Any] = ..., /) -> Rows: ...
    def executemany(self, statement: str, parameters: Iterable[Sequence[Any]], /) -> Rows: ...


class Storage(Protocol):
    """One database of a node."""

    def open(self) -> None: ...
    def start(self) -> None: ...
    def close(self) -> None: ...
    async def write(self, change: Callable[[Transaction], T]) -> T: ...
    def read(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]: ...
    async def try_write(self) -> None: ...
    async def try_read(self) -> None: ...


@dataclass(slots=True)
class _Waiter:
    """A change that waits for its commit, and where the answer goes."""

    change: Callable[[Transaction], Any]
    future: asyncio.Future[Any]
    answer: Any = None
    error: BaseException | None = None


class SqliteStorage:
    """A store in one SQLite file.

    Args:
        path: the database file; its folder must exist.
        migrations: scripts, oldest first; the database's user_version says how many it has had.
        committed: told the number of changes and the seconds of every commit, in the writer's thread.

    `write`, `try_write` and `try_read` must be awaited in the event loop in which `start` was called.
    """

    def __init__(
        self, path: Path, migrations: Sequence[str], *, committed: Callable[[int, float], None] = lambda *_: None
    ) -> None:
        self.path = path
        self._migrations = migrations
        self._committed = committed
        self._queue: SimpleQueue[_Waiter | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Open or make the database and bring it up to date. Raises StoreUnavailable when what is there is no such database."""
        try:
            self._writer = _connect(self.path, busy=BUSY)
            self._migrate()
            self._reader = _connect(self.path, busy=READ_BUSY)
            self._index = os.open(self.path.with_name(f"{self.path.name}-shm"), os.O_RDONLY)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"{self.path}: {error}") from error

    def _migrate(self) -> None:
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        if version > len(self._migrations):
            raise StoreUnavailable(
                f"{self.path}: made by a newer version (schema {version}, this one knows {len(self._migrations)})"
            )
        self._writer.execute(_PROBES)
        for number in range(version, len(self._migrations)):
            script = f"BEGIN IMMEDIATE; {self._migrations[number]}; PRAGMA user_version = {number + 1}; COMMIT;"
            self._writer.executescript(script)

    def start(self) -> None:
        """Begin to write. Call it in the event loop in which the coroutines will be awaited."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, name=f"writer {self.path.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what is queued, then close."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        self._reader.close()
        self._writer.close()
        os.close(self._index)  # last, since closing a file gives up all locks that the process has on it

    @property
    def waiting(self) -> int:
        """How many changes wait for the writer."""
        return self._queue.qsize()

    # --- what the node asks for ---------------------------------------------------------------------------------------

    async def write(self, change: Callable[[Transaction], T]) -> T:
        """Apply *change* and return its answer once it is durable.

        What *change* raises is raised here, and nothing of it is written; the changes beside it in the same commit go on.
        Raises FAILURES when the database did not take it.
        """
        if self._queue.qsize() >= LONGEST_QUEUE:
            raise StoreUnavailable("too many writes are waiting")
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Waiter(change, future))
        return await future

    def read(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """The rows of a query over what is committed. Raises StoreUnavailable."""
        self._check_locks()
        try:
            return self._reader.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self.path.name}: {error}") from error

    async def try_write(self) -> None:
        """A real write, synced like any other. Raises FAILURES."""
        now = time.time_ns()
        await self.write(lambda tx: tx.execute(_PROBE, (now,)).rowcount)

    async def try_read(self) -> None:
        """A real read in a thread of its own, so that a database that hangs does not hold the event loop."""
        await asyncio.to_thread(self._read_once)

    def _read_once(self) -> None:
        self._check_locks()
        try:
            with closing(_connect(self.path, busy=BUSY)) as connection:
                connection.execute("SELECT count(*) FROM probed").fetchone()
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self.path.name}: {error}") from error

    def _check_locks(self) -> None:
        if _kept_from_reading(self._index):
            raise StoreUnavailable(f"{self.path.name}: another process lets nobody read")

    # --- the writer thread --------------------------------------------------------------------------------------------

    def _write(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, last = self._batch(first)
            started = time.perf_counter()
            self._commit(batch)
            self._committed(len(batch), time.perf_counter() - started)
            with suppress(RuntimeError):  # the loop is gone, and with it all who wait
                self._loop.call_soon_threadsafe(_deliver, batch)
            if last:
                return

    def _batch(self, first: _Waiter) -> tuple[list[_Waiter], bool]:
        """What is queued behind *first*, without waiting, and whether the queue is to be closed after it."""
        batch = [first]
        while len(batch) < LARGEST_BATCH:
            try:
                waiter = self._queue.get_nowait()
            except Empty:
                break
            if waiter is None:
                return batch, True
            batch.append(waiter)
        return batch, False

    def _commit(self, batch: list[_Waiter]) -> None:
        """Apply the changes of *batch* in one transaction; either all of them are durable afterwards or none."""
        error: BaseException | None = None
        try:
            self._check_locks()
            self._writer.execute("BEGIN IMMEDIATE")
            for waiter in batch:
                self._apply(waiter)
        except (sqlite3.Error, StoreUnavailable) as failure:
            error = StoreUnavailable(f"the database refused the write: {failure}")
        else:
            error = self._committed_or_not()
        if error is not None:
            self._roll_back()
            for waiter in batch:
                waiter.error = error

    def _apply(self, waiter: _Waiter) -> None:
        """One change inside a savepoint of its own, so that one that is refused half-way leaves nothing behind."""
        self._writer.execute("SAVEPOINT change")
        try:
            waiter.answer = waiter.change(self._writer)
        except Exception as error:
            if isinstance(error, sqlite3.Error) and not isinstance(error, _MISTAKES):
                raise
            waiter.error = error
            self._writer.execute("ROLLBACK TO change")
        self._writer.execute("RELEASE change")

    def _committed_or_not(self) -> Undecided | None:
        try:
            self._writer.execute("COMMIT")
        except sqlite3.Error as failure:
            return Undecided(f"the commit failed, and the outcome is unknown: {failure}")
        return None

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # a database that can't even do this refuses the next write as well
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")


def _deliver(batch: list[_Waiter]) -> None:
    for waiter in batch:
        if waiter.future.done():
            continue
        if waiter.error is not None:
            waiter.future.set_exception(waiter.error)
        else:
            waiter.future.set_result(waiter.answer)


def _connect(path: Path, *, busy: float) -> sqlite3.Connection | Connection:
    connection: sqlite3.Connection | Connection
    if UNSYNCED in os.environ:  # for power cuts: what is not synced must not outlive the process
        from gates.node.unsynced import connect

        connection = connect(path, Path(os.environ[UNSYNCED]), busy=busy)
    else:
        connection = sqlite3.connect(path, timeout=busy, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _kept_from_reading(index: int) -> bool:
    """Whether another process holds every lock of the WAL-index *index* that a reader could take.

    SQLite itself would look again and again for ten seconds, whatever its busy timeout, and hold up the event loop, or the
    writer, meanwhile.
    """
    if sys.platform != "linux":  # the layout of the structure is the system's
        return False
    answer = fcntl.fcntl(index, fcntl.F_GETLK, _ANY_READ_MARK)
    if answer[0] == fcntl.F_UNLCK:
        return False
    _, _, start, length, _ = struct.unpack(_FLOCK, answer)
    first, count = _READ_MARKS
    return bool(start <= first and (length == 0 or start + length >= first + count))


__all__ = ["UNSYNCED", "Refusal", "Rows", "SqliteStorage", "Storage", "StoreUnavailable", "Transaction", "Undecided"]
