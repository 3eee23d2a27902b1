"""Trees of processes: who belongs to a gate, and ending all of them.

A process belongs to a tree when READINESS_TREE in its environment holds the tree's token, when it is in the session or group of
one of the tree's leaders, or when it descends from such a process. So a grandchild that made itself a daemon is found as well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "READINESS_TREE"
STUBBORN = 5.0
_SUBREAPER, _DEATH_SIGNAL = 36, 1  # PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG of <linux/prctl.h>


def nested(token: str, outer: str) -> str:
    """The value of READINESS_TREE for a tree *token* that grows inside *outer*, the value in our own environment."""
    return f"{outer}:{token}" if outer else token


@dataclass(frozen=True, slots=True)
class Process:
    """A living process as /proc shows it; *started* is in clock ticks since boot, so pid and it name one process for good."""

    pid: int
    parent: int
    group: int
    session: int
    started: int
    name: str


def read_process(pid: int) -> Process | None:
    """The process *pid*; None when it is gone or only waits to be reaped."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    head, _, tail = text.rpartition(")")
    state, parent, group, session, *rest = tail.split()
    if state in "ZX":
        return None
    return Process(pid, int(parent), int(group), int(session), int(rest[15]), head.partition("(")[2])


def ancestors() -> set[int]:
    """Our parent, its parent and so on; our parent alone where there is no /proc."""
    pid, found = os.getppid(), set[int]()
    while pid > 0 and pid not in found:
        found.add(pid)
        process = read_process(pid)
        pid = process.parent if process is not None else 0
    return found


def all_processes() -> list[Process]:
    """Every living process that /proc shows; none where there is no /proc."""
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    return [process for process in map(read_process, pids) if process is not None]


def _carries(pid: int, token: bytes) -> bool:
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    marker = f"{VARIABLE}=".encode()
    return token in content and any(
        token in item[len(marker) :].split(b":") for item in content.split(b"\0") if item.startswith(marker)
    )


def find(token: str, leaders: Collection[int] = (), spare: Collection[int] = ()) -> list[Process]:
    """The living processes of the tree *token*, without ourselves and those in *spare*."""
    everyone, needle = all_processes(), token.encode()
    spared = {os.getpid(), *spare}
    members = {p.pid for p in everyone if p.session in leaders or p.group in leaders or _carries(p.pid, needle)} - spared
    growing = True
    while growing:
        children = {p.pid for p in everyone if p.parent in members} - members - spared
        members |= children
        growing = bool(children)
    return [p for p in everyone if p.pid in members]


def end(
    token: str,
    leaders: Collection[int] = (),
    spare: Collection[int] = (),
    *,
    grace: float = 3.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> list[Process]:
    """End the tree: TERM, after *grace* seconds KILL, until nothing of it lives; what was there at first.

    Gives up on processes that live on after `STUBBORN` seconds of KILL: they are another user's, or the kernel holds them.
    """
    first = find(token, leaders, spare)
    _signal(first, leaders, signal.SIGTERM if grace > 0 else signal.SIGKILL)
    patience, pause = clock() + grace, 0.002
    while left := find(token, leaders, spare):
        if clock() >= patience + STUBBORN:
            break
        if clock() >= patience:
            _signal(left, leaders, signal.SIGKILL)
        reap()
        sleep(pause)
        pause = min(pause * 2, 0.05)
    reap()
    return first


def _signal(processes: Iterable[Process], leaders: Collection[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, number)
    if not sys.platform.startswith("linux"):
        for leader in leaders:  # without /proc the group is all that is known
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(leader, number)


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a child of ours in its own session, so that `reap` leaves its exit status to who waits for it."""
    with _starting:
        process = subprocess.Popen(command, start_new_session=True, **options)
        _own.add(process.pid)
    return process


def adopted() -> list[int]:
    """Our children, dead ones too, that we did not start: orphans that came to us because we asked for them."""
    with _starting:
        if not _adopting:
            return []
        return [pid for pid, parent in _parents() if parent == os.getpid() and pid not in _own]


def end_adopted(*, sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.monotonic) -> list[Process]:
    """End the orphans that came to us and what descends from them: daemons that shed every other mark of their tree."""
    orphans = [process for process in map(read_process, adopted()) if process is not None]
    patience = clock() + STUBBORN
    while (living := [process for process in map(read_process, adopted()) if process is not None]) and clock() < patience:
        _signal(living, (), signal.SIGKILL)
        sleep(0.005)
        reap()
    reap()
    return orphans


def reap() -> None:
    """Bury the dead among the adopted."""
    for pid in adopted():
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _parents() -> Iterator[tuple[int, int]]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                yield int(name), int(Path(f"/proc/{name}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])


_adopting = False
_own: set[int] = set()
_starting = threading.Lock()


def adopt_orphans() -> None:
    """Become the parent of every orphan below us (Linux), so that no daemon gets away."""
    global _adopting
    _adopting = _prctl(_SUBREAPER, 1)


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Ask the kernel to send us *number* when our parent ends (Linux)."""
    _prctl(_DEATH_SIGNAL, int(number))


def _prctl(option: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    return bool(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0)
