"""The node's durable state: accounts and jobs in SQLite, written by one thread with group commit.

Nothing is answered before the commit that holds it has returned. The database is in WAL mode with synchronous=FULL, so that
every commit syncs the log; a crash at any point leaves a store that opens with exactly the committed state.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from gates.node.jobs import Refusal, Submission, content_id, job_id

LONGEST_QUEUE = 10_000
LARGEST_BATCH = 512
SUBMITTED, COMPLETED = "Submitted", "Completed"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
    did TEXT PRIMARY KEY, minted INTEGER NOT NULL, balance INTEGER NOT NULL CHECK (balance >= 0));
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, key TEXT NOT NULL, content TEXT NOT NULL,
    manifest TEXT NOT NULL, spec TEXT NOT NULL, cost INTEGER NOT NULL, status TEXT NOT NULL, result TEXT);
CREATE UNIQUE INDEX IF NOT EXISTS jobs_by_key ON jobs (owner, key);
CREATE INDEX IF NOT EXISTS jobs_to_do ON jobs (number) WHERE status = 'Submitted';
CREATE TABLE IF NOT EXISTS probes (only INTEGER PRIMARY KEY CHECK (only = 1), written INTEGER NOT NULL);
"""


class StoreUnavailable(Exception):
    """The database could not take what was asked; nothing was written."""


class Undecided(Exception):
    """The commit itself failed: what was asked may or may not be there after a restart. Asking again under the key tells."""


FAILURES = (StoreUnavailable, Undecided)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a submission: the job's id and whether an earlier request under this key had made it."""

    job: str
    repeated: bool


@dataclass(frozen=True, slots=True)
class Totals:
    """Figures of the whole store."""

    minted: int
    balance: int
    jobs: int
    submitted: int


@dataclass(slots=True)
class _Waiter:
    """A change that waits for its commit, and where the answer goes."""

    change: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]
    answer: Any = None
    error: BaseException | None = None


class Store:
    """Accounts and jobs of one node.

    The coroutines must be awaited in the event loop in which `start` was called. *committed* is told the number of changes and
    the seconds of every commit.
    """

    def __init__(self, folder: Path, owner: str, *, committed: Callable[[int, float], None] = lambda *_: None) -> None:
        self.owner = owner
        self._folder = folder
        self._committed = committed
        self._queue: SimpleQueue[_Waiter | None] = SimpleQueue()

    def open(self, mana: int) -> None:
        """Open or make the database; the first opening ever mints *mana*.

        Raises StoreUnavailable when another node has the folder, or what is there is no database.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self._folder / "lock")
        try:
            self._writer = _connect(self._folder / "node.db", busy=0.25)
            self._writer.executescript(_SCHEMA)
            self._writer.execute("INSERT OR IGNORE INTO accounts VALUES (?, ?, ?)", (self.owner, mana, mana))
            self._reader = _connect(self._folder / "node.db", busy=0.05)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._folder / 'node.db'}: {error}") from error

    def start(self) -> None:
        """Begin to write. Call it in the event loop in which the coroutines will be awaited."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, name="writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what is queued, then close."""
        self._queue.put(None)
        self._thread.join()
        self._reader.close()
        self._writer.close()
        os.close(self._lock)

    # --- changes ------------------------------------------------------------------------------------------------------

    async def submit(self, submission: Submission) -> Receipt:
        """Charge and store a job, once a key. Raises Refusal (402, 409) and FAILURES."""
        receipt: Receipt = await self._durably(lambda connection: self._submit(connection, submission))
        return receipt

    async def complete(self, results: Iterable[tuple[str, str]]) -> None:
        """Store the (job, result) pairs of executed jobs."""
        rows = [(COMPLETED, json.dumps(result), job) for job, result in results]
        await self._durably(lambda c: c.executemany("UPDATE jobs SET status = ?, result = ? WHERE id = ?", rows).rowcount)

    async def try_write(self) -> None:
        """A real write, synced like any other. Raises FAILURES."""
        now = time.time_ns()
        await self._durably(
            lambda connection: connection.execute("INSERT OR REPLACE INTO probes VALUES (1, ?)", (now,)).rowcount
        )

    def _submit(self, connection: sqlite3.Connection, submission: Submission) -> Receipt:
        known = self._find(connection, submission.key)
        if known is not None:
            return self._repeat(connection, submission, known)
        self._charge(connection, submission.cost)
        job = self._new_id(submission.key)
        row = (job, self.owner, submission.key, submission.content, submission.manifest, submission.spec, submission.cost)
        connection.execute(
            "INSERT INTO jobs (id, owner, key, content, manifest, spec, cost, status) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, SUBMITTED),
        )
        return Receipt(job, repeated=False)

    def _find(self, connection: sqlite3.Connection, key: str) -> tuple[str, str] | None:
        query = "SELECT id, content FROM jobs WHERE owner = ? AND key = ?"
        found: tuple[str, str] | None = connection.execute(query, (self.owner, key)).fetchone()
        return found

    def _new_id(self, key: str) -> str:
        return job_id(self.owner, key)

    def _repeat(self, connection: sqlite3.Connection, submission: Submission, known: tuple[str, str]) -> Receipt:
        job, content = known
        if content != submission.content:
            raise Refusal(409, "this Idempotency-Key was used for another job")
        return Receipt(job, repeated=True)

    def _charge(self, connection: sqlite3.Connection, cost: int) -> None:
        statement = "UPDATE accounts SET balance = balance - ? WHERE did = ? AND balance >= ?"
        if connection.execute(statement, (cost, self.owner, cost)).rowcount != 1:
            raise Refusal(402, f"insufficient mana: the job costs {cost}")

    async def _durably(self, change: Callable[[sqlite3.Connection], Any]) -> Any:
        if self._queue.qsize() >= LONGEST_QUEUE:
            raise StoreUnavailable("too many writes are waiting")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put(_Waiter(change, future))
        return await future

    # --- reads --------------------------------------------------------------------------------------------------------

    def balance(self, did: str) -> int:
        """The balance of *did*, 0 when it has no account."""
        row = self._reader.execute("SELECT balance FROM accounts WHERE did = ?", (did,)).fetchone()
        return int(row[0]) if row else 0

    def job(self, job: str) -> dict[str, Any] | None:
        """The job with this id in the shape of the interface."""
        row = self._reader.execute("SELECT number, id, key, cost, status, result FROM jobs WHERE id = ?", (job,)).fetchone()
        return _job(row) if row else None

    def jobs(self, after: int, limit: int) -> tuple[list[dict[str, Any]], int | None]:
        """At most *limit* jobs beyond number *after*, oldest first, and the number to go on from when there are more."""
        query = "SELECT number, id, key, cost, status, result FROM jobs WHERE number > ? ORDER BY number LIMIT ?"
        rows = self._reader.execute(query, (after, limit + 1)).fetchall()
        return [_job(row) for row in rows[:limit]], rows[limit - 1][0] if len(rows) > limit else None

    def unfinished(self) -> list[tuple[str, str]]:
        """(id, specification) of the jobs that were stored and not yet executed."""
        return self._reader.execute("SELECT id, spec FROM jobs WHERE status = 'Submitted' ORDER BY number").fetchall()

    def totals(self) -> Totals:
        """The figures of the whole store, without a pass over the jobs: they are numbered without gaps."""
        minted, balance = self._reader.execute("SELECT minted, balance FROM accounts WHERE did = ?", (self.owner,)).fetchone()
        (jobs,) = self._reader.execute("SELECT coalesce(max(number), 0) FROM jobs").fetchone()
        (submitted,) = self._reader.execute("SELECT count(*) FROM jobs WHERE status = 'Submitted'").fetchone()
        return Totals(minted, balance, jobs, submitted)

    async def try_read(self) -> None:
        """A real read in a thread of its own, so that a database that hangs does not hold the event loop."""
        await asyncio.to_thread(self._read_once)

    def _read_once(self) -> None:
        with closing(_connect(self._folder / "node.db", busy=0.25)) as connection:
            connection.execute("SELECT balance FROM accounts WHERE did = ?", (self.owner,)).fetchone()

    # --- the writer thread --------------------------------------------------------------------------------------------

    def _write(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, last = self._batch(first)
            started = time.perf_counter()
            self._commit(batch)
            self._committed(len(batch), time.perf_counter() - started)
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
            self._writer.execute("BEGIN IMMEDIATE")
            for waiter in batch:
                _apply(waiter, self._writer)
        except Exception as failure:
            error = StoreUnavailable(f"the database refused the write: {failure}")
        else:
            error = self._committed_or_not()
        if error is not None:
            self._roll_back()
            for waiter in batch:
                waiter.error = error

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


def _apply(waiter: _Waiter, connection: sqlite3.Connection) -> None:
    try:
        waiter.answer = waiter.change(connection)
    except Refusal as refusal:  # a change refuses before it writes anything, so the rest of the batch goes on
        waiter.error = refusal


def _deliver(batch: list[_Waiter]) -> None:
    for waiter in batch:
        if waiter.future.done():
            continue
        if waiter.error is not None:
            waiter.future.set_exception(waiter.error)
        else:
            waiter.future.set_result(waiter.answer)


def _connect(path: Path, *, busy: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=busy, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StoreUnavailable(f"{path.parent} belongs to another running node") from None
    return descriptor


def _job(row: tuple[Any, ...]) -> dict[str, Any]:
    number, job, key, cost, status, result = row
    shown: dict[str, Any] = {"job_id": job, "status": status, "idempotency_key": key, "cost_mana": cost, "number": number}
    if result is not None:
        shown["result"] = json.loads(result)
        shown["result_cid"] = content_id(shown["result"].encode())
    return shown
