"""Whether somebody works on a run: the engine or its guardian, or the Nox that starts one engine after the other."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gates import codec
from gates.errors import BadFileError, Exit, GatesError
from gates.pipeline.folder import RunFolder
from gates.pipeline.tree import ancestors, read_process

SESSION = ".session.json"
PATIENCE = 15.0


@dataclass(frozen=True, slots=True)
class Session:
    """The process that hands the same run to one engine after the other; *started* tells it from a later one of its pid."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class EngineNote:
    """What an engine leaves while it works: the token of its processes and the gates that it executes."""

    pid: int
    token: str
    gates: tuple[str, ...]


@contextlib.contextmanager
def working(folder: RunFolder, *, wait: bool = False) -> Iterator[None]:
    """Be the one who works on the run, *wait*ing until nobody else does. Raises GatesError when somebody does, without."""
    descriptor = os.open(folder.alive, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if wait:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        elif not _locked(descriptor):
            raise GatesError(
                f"another process works on the run {folder.run}", location=str(folder.path), hint="wait until it ends"
            )
        yield
    finally:
        os.close(descriptor)


def is_alive(folder: RunFolder) -> bool:
    """Whether an engine or a guardian works on the run, or a Nox that will come back to it lives."""
    return is_worked_on(folder) or _session(folder) is not None


def is_worked_on(folder: RunFolder) -> bool:
    """Whether an engine or a guardian works on the run right now."""
    try:
        descriptor = os.open(folder.alive, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _locked(descriptor)
    finally:
        os.close(descriptor)


def refuse_going_on(
    folder: RunFolder, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Raise GatesError when somebody still works on the run, or will come back to it, and it is not who started us.

    Waits for a guardian that tidies up after a dead engine.
    """
    session = _session(folder)
    if _goes_on(folder, clock, sleep) or (session is not None and session.pid not in ancestors()):
        who = f" (pid {session.pid})" if session is not None else ""
        raise GatesError(
            f"the run {folder.run} is still going on{who}; a report would close it",
            location=str(folder.path),
            hint="wait until it ends",
            code=Exit.INCONCLUSIVE,
        )


def _goes_on(folder: RunFolder, clock: Callable[[], float], sleep: Callable[[float], None]) -> bool:
    patience = clock() + PATIENCE
    while is_worked_on(folder):
        if _engine_lives(folder) or clock() > patience:
            return True
        sleep(0.05)
    return False


def _engine_lives(folder: RunFolder) -> bool:
    try:
        return read_process(codec.read(folder.engine, EngineNote).pid) is not None
    except BadFileError:
        return False


def note_session(folder: RunFolder, pid: int) -> None:
    """Remember that the process *pid* hands this run from engine to engine."""
    process = read_process(pid)
    if process is not None:
        codec.write(folder.path / SESSION, Session(pid, process.started))


def _session(folder: RunFolder) -> Session | None:
    """Who hands the run from engine to engine, as long as that process lives."""
    path: Path = folder.path / SESSION
    try:
        session = codec.read(path, Session)
    except BadFileError:
        return None
    process = read_process(session.pid)
    return session if process is not None and process.started == session.started else None


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
