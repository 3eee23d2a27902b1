"""Whether somebody works on a run: the engine or its guardian, or the Nox that starts one engine after the other."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gates import codec
from gates.errors import BadFileError, GatesError
from gates.pipeline.folder import RunFolder
from gates.pipeline.tree import read_process

SESSION = ".session.json"


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
def working(folder: RunFolder) -> Iterator[None]:
    """Be the one who works on the run. Raises GatesError when somebody else does."""
    descriptor = os.open(folder.alive, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _locked(descriptor):
            raise GatesError(
                f"another process works on the run {folder.run}", location=str(folder.path), hint="wait until it ends"
            )
        yield
    finally:
        os.close(descriptor)


def is_alive(folder: RunFolder) -> bool:
    """Whether an engine or a guardian works on the run, or a Nox that will come back to it lives."""
    return is_worked_on(folder) or _session_lives(folder)


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


def note_session(folder: RunFolder, pid: int) -> None:
    """Remember that the process *pid* hands this run from engine to engine."""
    process = read_process(pid)
    if process is not None:
        codec.write(folder.path / SESSION, Session(pid, process.started))


def _session_lives(folder: RunFolder) -> bool:
    path: Path = folder.path / SESSION
    try:
        session = codec.read(path, Session)
    except BadFileError:
        return False
    process = read_process(session.pid)
    return process is not None and process.started == session.started


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
