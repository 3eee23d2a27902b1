"""The machine lock: what measures is alone on the machine, all else may share it.

Two files of one folder a user, locked by descriptor, so that the kernel lets go when a process dies: `machine` is taken alone
or shared; who wants it first passes the `turnstile` and keeps it while waiting, so that newcomers queue behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from gates.errors import Exit, GatesError

VARIABLE = "READINESS_LOCK"
PLACE = "READINESS_LOCK_FOLDER"
PATIENCE = 30 * 60.0
ALONE, SHARED = "alone", "shared"


class LockRefusedError(GatesError):
    """A request to be alone inside something that shares the machine: it could never be granted."""

    code = Exit.INCONCLUSIVE


class LockTimeoutError(GatesError):
    """Nobody let us in for 30 minutes."""

    code = Exit.INCONCLUSIVE


class LockCancelledError(GatesError):
    """The run was ended while it waited."""

    code = Exit.INTERRUPTED


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock, for those who wait."""

    run: str
    gate: str
    pid: int
    mode: str

    def __str__(self) -> str:
        return f"run {self.run}, gate {self.gate} (pid {self.pid})"


@dataclass(frozen=True, slots=True)
class Held:
    """A lock that is held. *descriptors* are handed on to the gate, so that the lock outlives a killed engine; *inherit* is
    the value of READINESS_LOCK for processes below."""

    inherit: str
    descriptors: tuple[int, ...] = ()
    waited: float = 0.0


def lock_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of the lock: the same for every session of a user, so it does not follow TMPDIR."""
    return Path(environ.get(PLACE) or f"/tmp/readiness-gates-{os.getuid()}")


@dataclass(frozen=True, slots=True)
class MachineLock:
    """The lock in *folder*, as one inside *inherited* (READINESS_LOCK of our own environment) sees it."""

    folder: Path
    inherited: str = ""
    patience: float = PATIENCE
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    @contextlib.contextmanager
    def hold(
        self,
        alone: bool,
        run: str,
        gate: str,
        *,
        waiting: Callable[[tuple[Holder, ...]], None] = lambda holders: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Held]:
        """Hold the lock *alone* or shared for *gate* of *run*; *waiting* is told whom for, once a change.

        Raises LockRefusedError, LockTimeoutError, LockCancelledError.
        """
        if self.inherited:
            yield self._within(alone, gate)
            return
        self._prepare()
        with contextlib.ExitStack() as held:
            waited, machine = self._enter(held, alone, waiting, cancelled)
            mode = ALONE if alone else SHARED
            held.enter_context(self._announced(Holder(run, gate, os.getpid(), mode)))
            yield Held(f"{mode} {run} {gate}", (machine,), waited)

    def _within(self, alone: bool, gate: str) -> Held:
        mode, _, holder = self.inherited.partition(" ")
        if alone and mode != ALONE:
            run, _, outer = holder.partition(" ")
            raise LockRefusedError(
                f"the gate {gate} measures and must be alone on the machine, but it runs inside the gate {outer} of run {run}, "
                "which shares it",
                hint="run it from a gate that measures, or outside of any gate",
            )
        return Held(self.inherited)

    def _prepare(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise GatesError("the folder of the machine lock belongs to somebody else", location=str(self.folder))

    def _enter(
        self,
        held: contextlib.ExitStack,
        alone: bool,
        waiting: Callable[[tuple[Holder, ...]], None],
        cancelled: Callable[[], bool],
    ) -> tuple[float, int]:
        """Pass the turnstile and take the machine; the seconds that it took, and the machine's descriptor."""
        begin, seen, pause = self.clock(), None, 0.005
        turnstile, machine = (_opened(held, self.folder / name) for name in ("turnstile", "machine"))
        steps = [(turnstile, fcntl.LOCK_EX), (machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)]
        while steps:
            if _try(*steps[0]):
                del steps[0]
                continue
            if cancelled():
                raise LockCancelledError("the run was ended while it waited for the machine")
            if (holders := self.holders()) and holders != seen:
                seen = holders
                waiting(holders)
            if self.clock() - begin > self.patience:
                raise LockTimeoutError(f"waited {self.patience / 60:g} minutes for the machine, held by {_names(holders)}")
            self.sleep(pause)
            pause = min(pause * 2, 0.1)
        fcntl.flock(turnstile, fcntl.LOCK_UN)
        held.callback(fcntl.flock, machine, fcntl.LOCK_UN)
        return self.clock() - begin, machine

    @contextlib.contextmanager
    def _announced(self, holder: Holder) -> Iterator[None]:
        """Leave a locked note of who holds the machine; it tells nothing any more once its lock is gone."""
        note = self.folder / f"holder-{os.getpid()}-{secrets.token_hex(4)}"
        descriptor = os.open(note, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.write(descriptor, json.dumps(asdict(holder)).encode())
            yield
        finally:
            note.unlink(missing_ok=True)
            os.close(descriptor)

    def holders(self) -> tuple[Holder, ...]:
        """Who holds the machine now. The notes of the dead are removed."""
        found = []
        for note in sorted(self.folder.glob("holder-*")):
            with contextlib.suppress(OSError, ValueError, TypeError), note.open("rb") as file:
                content = file.read()
                if _try(file.fileno(), fcntl.LOCK_SH):
                    if content:
                        note.unlink(missing_ok=True)
                    continue
                found.append(Holder(**json.loads(content)))
        return tuple(found)


def _names(holders: tuple[Holder, ...]) -> str:
    return " and ".join(map(str, holders)) or "nobody that can be named"


def _opened(held: contextlib.ExitStack, path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    held.callback(os.close, descriptor)
    return descriptor


def _try(descriptor: int, mode: int) -> bool:
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
