"""The coordinator's end of a worker: started, spoken to, waited for with a limit, and ended whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Message = dict[str, Any]
WORKER = Path(__file__).with_name("worker.py")
_STRIPPED = ("PYTEST_", "COV_", "COVERAGE_", "GATES_", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE", "PYTHONSAFEPATH")


class WorkerError(Exception):
    """A worker that died, hung or said what nobody expected; the message says which, for people."""

    def __init__(self, side: str, why: str) -> None:
        super().__init__(f"the process of the {side} {why}")
        self.side = side
        self.why = why


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two trees.

    Attributes:
        name: `base` or `candidate`.
        tree: the folder of its checkout.
        python: the interpreter of its environment.
    """

    name: str
    tree: Path
    python: str


@dataclass(frozen=True, slots=True)
class Suite:
    """What is run on both sides.

    Attributes:
        paths: files or folders of benchmarks, relative to a tree.
        packages: the top-level names that a tree provides, which must come from it.
        folders: where a tree keeps them, relative to it: `.`, `src`.
        overlaid: the folder that is the candidate's on both sides, relative to a tree.
        options: what pytest is told besides.
    """

    paths: tuple[str, ...]
    packages: tuple[str, ...] = ()
    folders: tuple[str, ...] = (".",)
    overlaid: str = ""
    options: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The folders and files of what is measured, relative to a tree; one that is not there is harmless to git."""
        names = [each for name in self.packages for each in (name, f"{name}.py")]
        return tuple(os.path.normpath(os.path.join(folder, name)) for folder in self.folders for name in names)

    def arguments(self, tree: Path) -> list[str]:
        """pytest's command line: nothing but what the coordinator needs, whatever the repository's own settings are."""
        plain = (
            "no:cacheprovider",
            "no:warnings",
            "no:faulthandler",
            "no:junitxml",
            "no:terminal",
            "no:stepwise",
            "no:doctest",
        )
        switched_off = [part for name in plain for part in ("-p", name)]
        return [
            *(str(tree / path) for path in self.paths),
            *(f"--rootdir={tree}", "--assert=plain", "-o", "addopts=", "-o", "required_plugins="),
            *switched_off,
            *self.options,
        ]


@dataclass(slots=True)
class Worker:
    """A process of one side. Ends with `close`, and with this process (Linux: by the kernel, elsewhere at its next message)."""

    side: Side
    process: subprocess.Popen[bytes]
    line: socket.socket
    log: Path
    _rest: bytearray = field(default_factory=bytearray)

    def send(self, **message: Any) -> None:
        try:
            self.line.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            raise WorkerError(self.side.name, self._death()) from None

    def receive(self, within: float) -> Message:
        """The next message. Raises WorkerError when the process ends first, or says nothing for *within* seconds."""
        until = time.monotonic() + within
        while b"\n" not in self._rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.line], [], [], left)[0]:
                raise WorkerError(self.side.name, f"did not answer within {within:g} s")
            try:
                part = self.line.recv(1 << 16)
            except OSError:
                part = b""
            if not part:
                raise WorkerError(self.side.name, self._death())
            self._rest += part
        text, _, rest = bytes(self._rest).partition(b"\n")
        self._rest[:] = rest
        return self._read(text)

    def _read(self, text: bytes) -> Message:
        message: Message = json.loads(text)
        if message["at"] == "over":
            raise WorkerError(self.side.name, f"ended too early, pytest with exit code {message['code']}{self._said()}")
        return message

    def _death(self) -> str:
        """How it ended, once its line is closed."""
        try:
            code = self.process.wait(2.0)
        except subprocess.TimeoutExpired:
            return "closed its line"
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return how + self._said()

    def _said(self) -> str:
        lines = (
            [line for line in self.log.read_text("utf-8", "replace").splitlines() if line.strip()] if self.log.exists() else []
        )
        return ":\n" + "\n".join(lines[-6:]) if lines else ""

    def close(self, grace: float = 0.0) -> None:
        """End the process and what it started; it may take *grace* seconds to end by itself."""
        with contextlib.suppress(WorkerError, OSError):
            while grace:
                self.receive(grace)
        self.line.close()
        # its group is its own, and may outlive it; it is not buried before, so that the number is nobody else's
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()


def start(side: Side, other: Side, suite: Suite, log: Path, *, hash_seed: int, compiled: bool = True) -> Worker:
    """Start a worker; it imports and collects by itself. *compiled*: it may leave compiled files beside the sources.

    Raises WorkerError when its interpreter can't be started.
    """
    ours, theirs = socket.socketpair()
    environment = {**_environment(os.environ), "PYTHONHASHSEED": f"{hash_seed:010d}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    if not compiled:
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
    with theirs, log.open("wb") as output:
        try:
            process = subprocess.Popen(
                [side.python, str(WORKER)],
                cwd=side.tree,
                env=environment,
                stdin=theirs.fileno(),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise WorkerError(side.name, f"can't be started with {side.python!r}: {error.strerror or error}") from None
    worker = Worker(side, process, ours, log)
    with contextlib.suppress(WorkerError):  # its death is told by the first `receive`
        worker.send(
            parent=os.getpid(),
            tree=str(side.tree),
            other=str(other.tree),
            packages=suite.packages,
            overlaid=suite.overlaid,
            paths=[os.path.normpath(side.tree / folder) for folder in suite.folders],
            arguments=suite.arguments(side.tree),
        )
    return worker


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what would make pytest another one."""
    return {name: value for name, value in environ.items() if not name.startswith(_STRIPPED)}


def end(workers: Sequence[Worker], grace: float = 0.0) -> None:
    """Close all of *workers*, also when one of them makes trouble."""
    with contextlib.ExitStack() as stack:
        for worker in workers:
            stack.callback(worker.close, grace)
