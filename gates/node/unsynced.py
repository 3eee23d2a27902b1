"""A disk that forgets at a power cut: what a database writes is held in memory until it is synced, so SIGKILL loses the rest.

A killed process loses nothing that it has written, since the kernel keeps it; so SIGKILL alone says nothing of a power cut.
With READINESS_UNSYNCED set, the store is opened by apsw over a VFS that keeps every write to itself until SQLite asks for a
sync of the file. The variable names a file of three counters, which whoever cuts the power can read afterwards: bytes held,
writes, syncs.

All that was not synced is lost, in every file: the worst that a disk without a cache of its own may do. What a disk does that
tears or reorders single sectors, or lies about syncs, is not imitated, nor what becomes of names that were not synced.
"""

from __future__ import annotations

import mmap
import sqlite3
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

PAGE = 4096
NAME = "gates-unsynced"
_KEPT = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL
_MISTAKES = {
    apsw.ConstraintError: sqlite3.IntegrityError,
    apsw.MismatchError: sqlite3.IntegrityError,
    apsw.TooBigError: sqlite3.DataError,
    apsw.BindingsError: sqlite3.ProgrammingError,
}


class Counters:
    """The file of counters; every process that has it mapped sees the same."""

    _FORM = struct.Struct("=qqq")

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(PAGE))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), PAGE)
        self._lock = threading.Lock()
        self.add(held=-self.read()[0])  # what a killed process held is gone

    def add(self, held: int = 0, writes: int = 0, syncs: int = 0) -> None:
        with self._lock:
            before = self._FORM.unpack_from(self._page)
            self._FORM.pack_into(self._page, 0, before[0] + held, before[1] + writes, before[2] + syncs)

    def read(self) -> tuple[int, int, int]:
        found: tuple[int, int, int] = self._FORM.unpack_from(self._page)
        return found


class Held:
    """A file as its process sees it: dirty pages over what is on the disk, of which only *solid* bytes still count."""

    def __init__(self, counters: Counters) -> None:
        self.lock = threading.RLock()
        self.openings = 0
        self.size = self._solid = 0
        self._dirty: dict[int, bytearray] = {}
        self._counters = counters

    def opened(self, file: _File) -> None:
        """One more connection has it open."""
        if self.openings == 0:
            self.size = self._solid = file.disk_size()
        self.openings += 1

    def read(self, file: _File, amount: int, offset: int) -> bytes:
        """What the process has written, or else the disk."""
        amount = max(0, min(amount, self.size - offset))
        pages = (self._page(file, number) for number in _pages(offset, amount))
        start = offset % PAGE
        return b"".join(pages)[start : start + amount]

    def write(self, file: _File, data: bytes, offset: int) -> None:
        """Hold *data*."""
        before = len(self._dirty)
        position = 0
        for number in _pages(offset, len(data)):
            start = max(offset - number * PAGE, 0)
            part = data[position : position + PAGE - start]
            page = self._dirty.setdefault(number, bytearray(self._page(file, number)))
            page[start : start + len(part)] = part
            position += len(part)
        self.size = max(self.size, offset + len(data))
        self._counters.add(PAGE * (len(self._dirty) - before), writes=1)

    def cut(self, file: _File, size: int) -> None:
        """Make the file *size* bytes long."""
        if size < self.size:
            last = size // PAGE
            if size % PAGE:
                self._dirty.setdefault(last, bytearray(self._page(file, last)))[size % PAGE :] = bytes(PAGE - size % PAGE)
            for number in [number for number in self._dirty if number * PAGE >= size]:
                del self._dirty[number]
            self._solid = min(self._solid, size)
        self.size = size

    def flush(self, file: _File) -> None:
        """Give the disk all that is held."""
        if self._solid < file.disk_size():
            file.disk_truncate(self._solid)
        for number in sorted(self._dirty):
            offset = number * PAGE
            file.disk_write(bytes(self._dirty[number][: max(0, self.size - offset)]), offset)
        if file.disk_size() != self.size:
            file.disk_truncate(self.size)
        self._counters.add(-PAGE * len(self._dirty))
        self._dirty.clear()
        self._solid = self.size

    def _page(self, file: _File, number: int) -> bytes | bytearray:
        if number in self._dirty:
            return self._dirty[number]
        amount = max(0, min(PAGE, self._solid - number * PAGE))
        return (file.disk_read(amount, number * PAGE) if amount else b"").ljust(PAGE, b"\0")


def _pages(offset: int, amount: int) -> range:
    return range(offset // PAGE, -(-(offset + amount) // PAGE))


class _File(apsw.VFSFile):
    """A file of a database, over the file of the system's VFS."""

    def __init__(self, held: Held, counters: Counters, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._held, self._counters = held, counters
        with held.lock:
            held.opened(self)

    def disk_read(self, amount: int, offset: int) -> bytes:
        return super().xRead(amount, offset)

    def disk_write(self, data: bytes, offset: int) -> None:
        if data:
            super().xWrite(data, offset)

    def disk_truncate(self, size: int) -> None:
        super().xTruncate(size)

    def disk_size(self) -> int:
        return super().xFileSize()

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 -- SQLite's names
        with self._held.lock:
            return self._held.read(self, amount, offset)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        with self._held.lock:
            self._held.write(self, bytes(data), offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        with self._held.lock:
            self._held.cut(self, newsize)

    def xFileSize(self) -> int:  # noqa: N802
        with self._held.lock:
            return self._held.size

    def xSync(self, flags: int) -> None:  # noqa: N802
        with self._held.lock:
            self._held.flush(self)
            super().xSync(flags)
        self._counters.add(syncs=1)

    def xClose(self) -> None:  # noqa: N802
        with self._held.lock:
            self._held.openings -= 1
            if self._held.openings == 0:
                self._held.flush(self)  # to the kernel, which keeps it: closing a file is no power cut
            super().xClose()


class _Disk(apsw.VFS):
    def __init__(self, counters: Counters) -> None:
        super().__init__(NAME, "")
        self._counters = counters
        self._files: dict[str, Held] = {}
        self._lock = threading.Lock()

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        if not flags[0] & _KEPT or name is None:
            return apsw.VFSFile("", name, flags)
        path = name if isinstance(name, str) else name.filename()
        with self._lock:
            if flags[0] & apsw.SQLITE_OPEN_WAL:
                path = path if path.endswith("-wal") else f"{path}-wal"
            held = self._files.setdefault(path, Held(self._counters))
        return _File(held, self._counters, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        with self._lock:
            self._files.pop(filename, None)
        super().xDelete(filename, syncdir)


_disk: _Disk | None = None


def connect(path: Path, counters: Path, *, busy: float) -> Connection:
    """A connection to the database at *path* that holds what is not synced; *counters* is the file that says how much."""
    global _disk
    if _disk is None:
        _disk = _Disk(Counters(counters))
    with _translated():
        connection = apsw.Connection(str(path), vfs=NAME)
        connection.set_busy_timeout(int(busy * 1000))
    return Connection(connection)


class Rows:
    """What a statement gave, as `sqlite3.Cursor` says it."""

    def __init__(self, cursor: apsw.Cursor, rowcount: int) -> None:
        self._cursor, self.rowcount = cursor, rowcount

    def fetchone(self) -> Any:
        with _translated():
            return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        with _translated():
            return self._cursor.fetchall()


class Connection:
    """As much of `sqlite3.Connection` as the store uses, with its errors."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, parameters: Sequence[Any] = (), /) -> Rows:
        with _translated():
            cursor = self._connection.execute(statement, parameters or None)
            return Rows(cursor, self._connection.changes())

    def executemany(self, statement: str, parameters: Iterable[Sequence[Any]], /) -> Rows:
        with _translated():
            before = self._connection.total_changes()
            cursor = self._connection.executemany(statement, parameters)
            return Rows(cursor, self._connection.total_changes() - before)

    def executescript(self, script: str) -> None:
        self.execute(script).fetchall()

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def close(self) -> None:
        with _translated():
            self._connection.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        kind = next((ours for theirs, ours in _MISTAKES.items() if isinstance(error, theirs)), sqlite3.OperationalError)
        raise kind(str(error)) from error


__all__ = ["Connection", "Counters", "connect"]
