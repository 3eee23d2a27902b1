"""One process of a target: started as a direct child of the gate, in its group, and gone when the gate is."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gates.model import LogTail
from gates.target.error import TargetError
from gates.target.family import born, family, freeze, send
from gates.target.network import enter

TAIL_LINES = 40
TAIL_BYTES = 64 * 1024
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\r")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with(parent: int) -> None:
    """In the child before exec: ask the kernel to kill it when *parent* ends, which may have happened already."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


class Process:
    """A supervised process. *spawner* is one thread that outlives it, since the kernel counts the thread as the parent.

    *namespace* is the file of the network namespace that it is started in; empty for the gate's own.
    """

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], *, log: Path, spawner: ThreadPoolExecutor
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.log = log
        self.log_offset = 0
        self.namespace = ""
        self._env = {**os.environ, "PATH": _path(), **env}
        self._spawner = spawner
        self._popen: subprocess.Popen[bytes] | None = None
        self._asked = True

    @property
    def pid(self) -> int:
        return self._popen.pid if self._popen else 0

    def start(self) -> None:
        """Start it; its output is added to the log. Raises TargetError when the program is not there."""
        with self.log.open("ab") as log:
            self.log_offset = log.tell()
            try:
                self._popen = self._spawner.submit(self._spawn, log.fileno()).result()
            except (OSError, subprocess.SubprocessError) as error:
                raise TargetError(
                    f"can't be started: {error}", location=self.name, hint=f"its command is: {' '.join(self.command)}"
                ) from None
        self._asked = False

    def _spawn(self, log: int) -> subprocess.Popen[bytes]:
        parent = os.getpid()

        def prepare() -> None:
            _die_with(parent)
            if self.namespace:
                enter(os.open(self.namespace, os.O_RDONLY | os.O_CLOEXEC))

        return subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=self._env,
            preexec_fn=prepare,  # noqa: PLW1509 -- two or three system calls, no locks
        )

    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs or before it was started."""
        return self._popen.poll() if self._popen else None

    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def died(self) -> bool:
        """Whether it ended though nobody asked it to."""
        return not self._asked and self.exit_code() is not None

    def kill(self) -> None:
        """SIGKILL to it and to what it has started, and wait until it is gone."""
        self._asked = True
        if self._popen is not None:
            if self.is_running():
                send(freeze(self._popen.pid), signal.SIGKILL)
            self._popen.wait()

    def freeze(self) -> None:
        """SIGSTOP to it and to what it has started, when it runs."""
        if self.is_running():
            freeze(self.pid)

    def thaw(self) -> None:
        """SIGCONT to it and to what it has started, when it runs."""
        if self.is_running():
            send(family(self.pid), signal.SIGCONT)

    def stop(self, patience: float) -> None:
        """SIGTERM, and SIGKILL after *patience* seconds; then SIGKILL to what it has started and left behind."""
        if self.died() or self._popen is None:
            return
        self._asked = True
        started = born(family(self.pid)[1:]) if self.is_running() else {}  # nobody knows whose they were afterwards
        self.thaw()
        self._popen.terminate()
        try:
            self._popen.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
        send((pid for pid, when in born(started).items() if when == started[pid]), signal.SIGKILL)

    def tail(self) -> LogTail:
        """The last lines of its log, without terminal escapes."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            text = ""
        return LogTail(f"Log of {self.name}", tuple(_ESCAPES.sub("", text).splitlines()[-TAIL_LINES:]))


def _path() -> str:
    return os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
