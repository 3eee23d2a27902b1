"""The fault `database-locked`: another process holds the write lock of an SQLite database in a node's data folder.

Whoever wants to write waits in vain; what is committed can still be read where the database is in WAL mode. The lock belongs
to a process of its own, so it is released whatever becomes of the gate.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from gates.faults.lock_probe import LockProbe
from gates.faults.watch import Watch
from gates.fields import Settings
from gates.model import Target
from gates.target.error import TargetError

PATIENCE = 5.0
NOTICE = 1.0
HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=rw", uri=True, timeout=float(sys.argv[2]), isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


class LockSettings(Settings):
    """`lock: {node: node-b, file: ledger.db}`.

    Attributes:
        node: whose database it is.
        file: the database, below the node's data folder.
        vital: whether the node can't be ready without it, so that a readiness probe that says yes meanwhile tells a lie.
    """

    node: str
    file: Annotated[str, Field(min_length=1)]
    vital: bool = True

    @field_validator("file")
    @classmethod
    def _inside(cls, value: str) -> str:
        path = Path(value)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"expected a path below the node's data folder (got {value!r})")
        return value


class DatabaseLocked:
    """Holds the write lock of a node's database."""

    name = "database-locked"
    controls = ("data",)
    settings = LockSettings

    def nodes(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The endpoints that the fault strikes."""
        return (LockSettings.model_validate(settings).node,)

    @contextmanager
    def apply(
        self, target: Target, settings: Mapping[str, Any], *, clock: Callable[[], float] = time.monotonic
    ) -> Iterator[Watch]:
        """Lock on entering, release on leaving, also after an error. The watch is filled in by then.

        Raises TargetError when there is no such database, or its lock can't be had.
        """
        asked = LockSettings.model_validate(settings)
        path = _database(target, asked)
        watch, probe = Watch(), LockProbe(path, clock)
        probe.start()
        try:
            probe.free.wait(PATIENCE)
            with _held(path, asked.node):
                watch.caused = clock()
                probe.caused(watch.caused)
                probe.refused.wait(NOTICE)  # a release within the probe's pace would hide the lock from it
                yield watch
                watch.healing = clock()
            probe.granted.wait(PATIENCE)
        finally:
            watch.healing = clock() if watch.caused is not None and watch.healing is None else watch.healing
            probe.finish()
            watch.seen_start, watch.seen_end = probe.refused_at, probe.granted_at
            watch.detail = f"a third connection that asked for the write lock, {probe.looks} times"


def _database(target: Target, asked: LockSettings) -> Path:
    path = target.data(asked.node) / asked.file
    if not path.is_file():
        raise TargetError(f"there is no database {asked.file!r} in its data folder", location=asked.node)
    return path


@contextmanager
def _held(path: Path, node: str) -> Iterator[None]:
    """The write lock of *path* in the hands of another process, which lets go when it is told to, or when we are gone."""
    command = [sys.executable, "-c", HOLDER, str(path), f"{PATIENCE}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stderr is not None
            if holder.stdout.readline().strip() != "held":
                said = (holder.stderr.read().strip().splitlines() or ["it ended"])[-1]
                raise TargetError(f"the lock of {path.name} could not be had: {said}", location=node)
            yield
        finally:
            holder.kill()
