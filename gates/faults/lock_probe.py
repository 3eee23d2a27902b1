"""The probe of a locked database: is another connection refused the write lock? It has no part in holding it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

PACE = 0.02
ROW = 0.2


class LockProbe(threading.Thread):
    """Asks for the write lock of the database at *path* every 20 ms until `finish`, and gives it back at once.

    The node holds the lock itself while it commits, so one refusal means nothing: *refused* is a row of them that began after
    the fault was caused and lasts for 0.2 s without a lock between. *granted* is the first lock after that.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        super().__init__(name=f"probe-{path.name}", daemon=True)
        self._path, self._clock = path, clock
        self._finish = threading.Event()
        self._after: float | None = None
        self._row: float | None = None
        self.free, self.refused, self.granted = threading.Event(), threading.Event(), threading.Event()
        self.refused_at: float | None = None
        self.granted_at: float | None = None
        self.looks = 0

    def caused(self, when: float) -> None:
        """The fault was caused at *when*: from now on refusals count."""
        self._after = when

    def run(self) -> None:
        with closing(sqlite3.connect(self._path, timeout=0.0, isolation_level=None)) as connection:
            while not self._finish.is_set():
                self._look(connection)
                self._finish.wait(PACE)

    def _look(self, connection: sqlite3.Connection) -> None:
        asked = self._clock()
        locked = self._is_locked(connection)
        self.looks += 1
        if locked:
            self._saw_a_lock(asked)
            return
        self._row = None
        self.free.set()
        if self.refused_at is not None and self.granted_at is None:
            self.granted_at = self._clock()
            self.granted.set()

    def _saw_a_lock(self, asked: float) -> None:
        # what was asked before may have been refused by the fault, but its start would lie before the cause
        if self._after is None or asked < self._after or not self.free.is_set():
            return
        self._row = asked if self._row is None else self._row
        if self.refused_at is None and asked - self._row >= ROW:
            self.refused_at = self._row
            self.refused.set()

    def _is_locked(self, connection: sqlite3.Connection) -> bool:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
        return False

    def finish(self) -> None:
        """End the thread."""
        self._finish.set()
        self.join()
