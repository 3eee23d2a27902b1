"""The guardian: a process outside of every gate's group that tidies up when the engine dies without a word."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gates import codec, leftovers
from gates.errors import GatesError
from gates.model import Execution, Plan
from gates.pipeline import tree
from gates.pipeline.alive import EngineNote, working
from gates.pipeline.close import close
from gates.pipeline.folder import RunFolder, all_runs, stamp, utc_now
from gates.pipeline.results import set_aside, without_result

CLOSED = "closed"
REASON = "the run was killed before this gate had ended"


@dataclass(frozen=True, slots=True)
class Heal:
    """A command that undoes a fault, left by a gate in `heal/NAME.json` before it causes the fault and removed afterwards."""

    command: tuple[str, ...]


class Guard:
    """The engine's end of the pipe to its guardian."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def tell(self, line: str) -> None:
        """Tell the guardian; it may be gone, which must not hurt the run."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()

    def dismiss(self) -> None:
        """The engine has ended everything itself."""
        self.tell(CLOSED)
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()


@contextlib.contextmanager
def guarded(folder: RunFolder, note: EngineNote, environ: Mapping[str, str]) -> Iterator[Guard]:
    """Have a guardian for as long as the engine with *note* works on the run in *folder*."""
    codec.write(folder.engine, note)
    environment = {name: value for name, value in environ.items() if name != tree.VARIABLE}
    outer = environ.get(tree.VARIABLE)
    guard = Guard(
        tree.start(
            [sys.executable, "-m", "gates", "_guardian", str(folder.path.resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment | ({tree.VARIABLE: outer} if outer else {}),
        )
    )
    try:
        yield guard
    finally:
        folder.engine.unlink(missing_ok=True)
        guard.dismiss()


def watch(path: Path) -> None:
    """The guardian's life: read what the engine tells until the pipe ends; tidy up unless it said that all is closed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    folder, leaders, said = RunFolder(path), set[int](), ""
    for line in sys.stdin:
        said, _, rest = line.strip().partition(" ")
        if said == "began":
            leaders.add(int(rest))
        elif said == "ended":
            leaders.discard(int(rest))  # the kernel may give the number to somebody else
    if said != CLOSED:
        # Wait: the kernel may close the dead engine's pipe before it lets go of its lock. Whoever has tidied up meanwhile has
        # left nothing to do.
        with working(folder, wait=True):
            tidy(folder, leaders)


def tidy(folder: RunFolder, leaders: Collection[int] = (), *, grace: float = 2.0) -> None:
    """End what a dead engine left running, heal its faults, and close its run as inconclusive."""
    if not folder.engine.exists():
        return
    note = codec.read(folder.engine, EngineNote)
    tree.end(note.token, leaders, grace=grace)
    heal(folder)
    with contextlib.suppress(GatesError, OSError):
        leftovers.clean()
    folder.reserve.unlink(missing_ok=True)  # the disk may be why the engine died
    _cancel(folder, note)
    close(folder.path)
    folder.engine.unlink(missing_ok=True)


def heal(folder: RunFolder) -> None:
    """Run the commands that undo the faults which gates of the run still had in force."""
    for path in sorted(folder.path.glob("*/heal/*.json")):
        with contextlib.suppress(GatesError, OSError, subprocess.TimeoutExpired):
            subprocess.run(codec.read(path, Heal).command, timeout=5, check=False, stdin=subprocess.DEVNULL)
        path.unlink(missing_ok=True)


def _cancel(folder: RunFolder, note: EngineNote) -> None:
    plan = codec.read(folder.plan, Plan)
    for gate in plan.gates:
        place = folder.gate(gate.name)
        if gate.name in note.gates and (place.unfinished.exists() or not place.result.exists()):
            place.path.mkdir(exist_ok=True)
            set_aside(place)
            result = without_result(gate, Execution.CANCELLED, REASON, started=stamp(utc_now()), log=place.output)
            codec.write(place.result, result)
            place.unfinished.unlink(missing_ok=True)


def tidy_all(runs: Path) -> tuple[str, ...]:
    """Tidy up after every engine in *runs* that died together with its guardian; the runs that this closed."""
    tidied = []
    for folder in all_runs(runs):
        if folder.engine.exists():
            with contextlib.suppress(GatesError, OSError), working(folder):
                tidy(folder)
                tidied.append(folder.run)
    return tuple(tidied)
