"""The store: group commit, isolation of refused changes, migrations, and what a crash or a full disk leaves."""

from __future__ import annotations

import asyncio
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gates.node import storage
from gates.node.errors import Refusal, StoreUnavailable
from gates.node.storage import SqliteStorage, Transaction

TABLE = "CREATE TABLE things (name TEXT PRIMARY KEY, amount INTEGER NOT NULL CHECK (amount >= 0))"


def insert(name: str, amount: int = 1) -> Callable[[Transaction], int]:
    """A change that adds one row."""
    return lambda tx: tx.execute("INSERT INTO things VALUES (?, ?)", (name, amount)).rowcount


def run(path: Path, use: Callable[[SqliteStorage], Coroutine[Any, Any, Any]], *, migrations: tuple[str, ...] = (TABLE,)) -> Any:
    """Open the store at *path*, use it in an event loop, close it."""

    async def whole() -> Any:
        store = SqliteStorage(path, migrations)
        store.open()
        store.start()
        try:
            return await use(store)
        finally:
            store.close()

    return asyncio.run(whole())


def names(store: SqliteStorage) -> list[str]:
    return [name for (name,) in store.read("SELECT name FROM things ORDER BY name")]


def test_a_change_that_is_refused_leaves_nothing_and_the_changes_beside_it_stay(tmp_path: Path) -> None:
    """A refusal after a first statement takes that statement back, and only that change's."""

    def half(tx: Transaction) -> None:
        tx.execute("INSERT INTO things VALUES ('half', 1)")
        raise Refusal(409, "no")

    async def use(store: SqliteStorage) -> Any:
        answers = await asyncio.gather(
            store.write(insert("a")), store.write(half), store.write(insert("b")), return_exceptions=True
        )
        return answers, names(store)

    (first, refused, last), stored = run(tmp_path / "x.db", use)
    assert (first, last) == (1, 1)
    assert isinstance(refused, Refusal)
    assert refused.code == 409
    assert stored == ["a", "b"]


def test_a_constraint_that_one_change_breaks_fails_only_that_change(tmp_path: Path) -> None:
    """The database's own word, such as a CHECK, is raised to the one who broke it."""

    async def use(store: SqliteStorage) -> Any:
        answers = await asyncio.gather(
            store.write(insert("a")), store.write(insert("b", -1)), store.write(insert("a")), return_exceptions=True
        )
        return answers, names(store)

    (first, negative, twice), stored = run(tmp_path / "x.db", use)
    assert first == 1
    assert isinstance(negative, sqlite3.IntegrityError)
    assert isinstance(twice, sqlite3.IntegrityError)
    assert stored == ["a"]


def test_many_writers_share_commits(tmp_path: Path) -> None:
    """A thousand changes at once take far fewer commits, and every one of them is there."""
    commits: list[int] = []

    async def whole() -> int:
        store = SqliteStorage(tmp_path / "x.db", (TABLE,), committed=lambda changes, _: commits.append(changes))
        store.open()
        store.start()
        await asyncio.gather(*(store.write(insert(f"{number}")) for number in range(1000)))
        found = len(names(store))
        store.close()
        return found

    assert asyncio.run(whole()) == 1000
    assert sum(commits) == 1000
    assert len(commits) < 100


def test_an_older_database_is_brought_up_to_date_once(tmp_path: Path) -> None:
    """Every migration that a database has not had is applied, in order, and its rows stay."""
    path = tmp_path / "x.db"
    newer = (TABLE, "ALTER TABLE things ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'; CREATE TABLE more (id INTEGER)")

    async def add(store: SqliteStorage) -> Any:
        return await store.write(insert("old"))

    async def look(store: SqliteStorage) -> Any:
        return store.read("SELECT name, colour FROM things"), store.read("SELECT count(*) FROM more")

    run(path, add)
    for _ in range(2):
        assert run(path, look, migrations=newer) == ([("old", "grey")], [(0,)])


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    """A script that breaks half-way is rolled back whole, version and all."""
    path = tmp_path / "x.db"

    async def add(store: SqliteStorage) -> Any:
        return await store.write(insert("old"))

    run(path, add)
    broken = SqliteStorage(path, (TABLE, "CREATE TABLE more (id INTEGER); CREATE TABLE things (name TEXT)"))
    with pytest.raises(StoreUnavailable, match="already exists"):
        broken.open()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert "more" not in tables


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """An old program doesn't guess what a newer one meant."""
    path = tmp_path / "x.db"

    async def nothing(_store: SqliteStorage) -> None:
        return None

    run(path, nothing, migrations=(TABLE, "CREATE TABLE more (id INTEGER)"))
    with pytest.raises(StoreUnavailable, match="newer version"):
        SqliteStorage(path, (TABLE,)).open()


def test_what_is_no_database_is_named(tmp_path: Path) -> None:
    """A file of something else is an error with its path, and stays as it is."""
    path = tmp_path / "x.db"
    path.write_text("no database\n" * 100)
    with pytest.raises(StoreUnavailable, match=r"x\.db.*not a database"):
        SqliteStorage(path, (TABLE,)).open()
    assert path.read_text().startswith("no database")


def test_a_locked_database_refuses_writes_and_answers_reads(tmp_path: Path) -> None:
    """Another process that holds the write lock makes writes unavailable, not wrong; reads go on; afterwards writes do."""

    async def use(store: SqliteStorage) -> Any:
        await store.write(insert("before"))
        with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="locked"):
                await store.write(insert("during"))
            seen = names(store)
            other.execute("ROLLBACK")
        await store.write(insert("after"))
        return seen, names(store)

    assert run(tmp_path / "x.db", use) == (["before"], ["after", "before"])


def test_a_damaged_database_is_unavailable_and_no_mistake_of_the_change(tmp_path: Path) -> None:
    """Pages that another program has overwritten fail the commit as a lock does, so that breakers and probes count it."""
    path = tmp_path / "x.db"

    async def fill(store: SqliteStorage) -> None:
        await store.write(lambda tx: tx.executemany("INSERT INTO things VALUES (?, 1)", [(f"{n:0500}",) for n in range(999)]))

    run(path, fill)
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))

    async def use(store: SqliteStorage) -> None:
        with pytest.raises(StoreUnavailable):
            await store.write(lambda tx: tx.execute("UPDATE things SET amount = 2").rowcount)
        with pytest.raises(StoreUnavailable):
            names(store)

    run(path, use)


def test_only_the_storage_speaks_sqlite() -> None:
    """A store over another database must be one more module: no other one names SQLite or says what only SQLite knows."""
    folder = Path(storage.__file__).parent
    # the store itself and the disk that forgets under it, and what looks into the files of a drill's nodes
    apart = {"storage.py", "unsynced.py", "sightings.py"}
    modules = [path for path in folder.glob("*.py") if path.name not in apart and not path.name.startswith("defects")]
    only = re.compile(r"sqlite3|PRAGMA|INSERT OR|REPLACE INTO|AUTOINCREMENT|\browid\b|json_extract|\bonly INTEGER")
    found = {path.name: only.findall(path.read_text()) for path in modules}
    assert {name: said for name, said in found.items() if said} == {}


HOLDER = """
import fcntl, sys
with open(sys.argv[1], "r+b") as index:
    fcntl.lockf(index, fcntl.LOCK_EX, 8, 120)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the layout of the structure is the system's")
def test_a_database_that_nobody_may_read_refuses_writes_at_once(tmp_path: Path) -> None:
    """Another process that holds all locks of the WAL-index does not hold up the writer for SQLite's ten seconds."""
    path = tmp_path / "x.db"

    async def use(store: SqliteStorage) -> Any:
        command = [sys.executable, "-c", HOLDER, f"{path}-shm"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match="lets nobody read"):
                await store.write(insert("during"))
            with pytest.raises(StoreUnavailable, match="lets nobody read"):
                names(store)
            taken = time.monotonic() - began
            holder.kill()
        await store.write(insert("after"))
        return taken, names(store)

    taken, stored = run(path, use)
    assert stored == ["after"]
    assert taken < 1


def test_a_full_disk_refuses_the_write_and_keeps_what_was_there(tmp_path: Path) -> None:
    """SQLITE_FULL fails the whole commit; nothing of it is there, and the store goes on when there is room again."""
    path = tmp_path / "x.db"

    async def use(store: SqliteStorage) -> Any:
        await store.write(insert("before"))
        (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
        store._writer.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreUnavailable, match="full"):
            await store.write(insert("x" * 100_000))
        store._writer.execute("PRAGMA max_page_count = 1000000")
        await store.write(insert("after"))
        return names(store)

    assert run(path, use) == ["after", "before"]


WRITER = """
import asyncio, sys
from pathlib import Path
from gates.node.storage import SqliteStorage

async def main():
    store = SqliteStorage(Path(sys.argv[1]), (sys.argv[2],))
    store.open()
    store.start()
    async def client(number):
        step = 0
        while True:
            name = f"{number}-{step}"
            rows = [(name + half,) for half in "ab"]
            await store.write(lambda tx: [tx.execute("INSERT INTO things VALUES (?, 1)", row) for row in rows] and 0)
            print(name, flush=True)
            step += 1
    await asyncio.gather(*(client(number) for number in range(8)))

asyncio.run(main())
"""


@pytest.mark.end_to_end
@pytest.mark.parametrize("acknowledged_before", [1, 7, 40, 150, 400, 900])
def test_a_killed_writer_leaves_a_sound_store_with_all_that_was_acknowledged(tmp_path: Path, acknowledged_before: int) -> None:
    """SIGKILL at any point: the database checks clean, holds what was acknowledged, and no half of a change."""
    path = tmp_path / "x.db"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path), TABLE], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(acknowledged_before)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.readlines()

    async def use(store: SqliteStorage) -> Any:
        return store.read("PRAGMA integrity_check"), names(store)

    checked, stored = run(path, use)
    assert checked == [("ok",)]
    whole = {line.strip() for line in told if line.endswith("\n")}
    assert len(whole) >= acknowledged_before
    assert {f"{name}{half}" for name in whole for half in "ab"} <= set(stored)
    assert all(name[:-1] + other in set(stored) for name in stored for other in "ab")
