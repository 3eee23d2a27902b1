"""Looks at the target's processes four times a second while load is offered. It imports with base dependencies alone.

A thread beside the generator's, because a look is a dozen small reads of /proc that give the interpreter back meanwhile; what
it cost in processor time is told with what it took.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

PERIOD = 0.25
_BYTES_IN, _BYTES_OUT = 0, 8
_LINUX = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class Sample:
    """A process and all that descends from it at one moment. What can't be told is None.

    Attributes:
        at: seconds from the start of load.
        pid: of the process itself.
        cpu: processor seconds since it was started, with those of descendants that it has outlived.
        rss: bytes of resident memory; pages that descendants share count in each.
        files, sockets: open file descriptors, and those of them that are sockets.
        read, written: bytes to and from the storage since it was started.
        received, sent: bytes over the interfaces of its own network namespace, without its loopback; None in a shared one.
    """

    at: float
    pid: int
    cpu: float
    rss: int
    threads: int
    files: int | None = None
    sockets: int | None = None
    read: int | None = None
    written: int | None = None
    received: int | None = None
    sent: int | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """All samples, by process.

    Attributes:
        names: of all processes that there should be.
        shared: those in the same network namespace as we, so that their bytes can't be told.
        cost: processor seconds that sampling took, and *looks* how many looks that was for.
    """

    names: tuple[str, ...] = ()
    samples: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()
    cost: float = 0.0
    looks: int = 0


class Sampler:
    """Samples *processes* (name to process id, asked at every look) from entering until leaving."""

    def __init__(
        self,
        processes: Callable[[], Mapping[str, int]],
        *,
        clock: Callable[[], float] = time.monotonic,
        period: float = PERIOD,
    ) -> None:
        self._processes = processes
        self._clock = clock
        self._period = period
        self._samples: dict[str, list[Sample]] = {name: [] for name in processes()}
        self._known: dict[int, psutil.Process] = {}
        self._shared: set[str] = set()
        self._own_network = _network_of(os.getpid())
        self._cost = 0.0
        self._looks = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resources", daemon=True)

    def __enter__(self) -> Sampler:
        if self._samples:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._samples:
            self._thread.join()

    def taken(self, zero: float) -> Taken:
        """All samples; *zero* is what the clock said when the load began."""
        samples = {name: tuple(replace(each, at=each.at - zero) for each in samples) for name, samples in self._samples.items()}
        return Taken(tuple(samples), samples, frozenset(self._shared), self._cost, self._looks)

    def _run(self) -> None:
        due = self._clock()
        while True:
            before = time.thread_time()
            self.look()
            self._cost += time.thread_time() - before
            due = max(due + self._period, self._clock())
            if self._over.wait(due - self._clock()):
                return

    def look(self) -> None:
        """Take one sample of each process that is there."""
        now = self._clock()
        self._looks += 1
        before, self._known = self._known, {}
        for name, pid in self._processes().items():
            sample = self._sampled(name, pid, now, before)
            if sample is not None:
                self._samples.setdefault(name, []).append(sample)

    def _sampled(self, name: str, pid: int, now: float, before: Mapping[int, psutil.Process]) -> Sample | None:
        import psutil

        members = []
        for each in _family(pid) if _LINUX else _family_by_psutil(pid):
            with contextlib.suppress(psutil.Error, OSError):
                process = before.get(each) or psutil.Process(each)
                found = _member(process, now, pid)
                self._known[each] = process
                members.append(found)
        if pid not in self._known:
            return None
        received, sent = self._traffic(name, pid)
        return replace(_added(members), received=received, sent=sent)

    def _traffic(self, name: str, pid: int) -> tuple[int | None, int | None]:
        """Bytes in and out of the network namespace of *pid*, where it is its own."""
        network = _network_of(pid)
        if not network or network == self._own_network:
            self._shared.add(name)
            return None, None
        with contextlib.suppress(OSError, ValueError, IndexError):
            rows = [line.partition(":") for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]]
            counters = [text.split() for interface, _, text in rows if interface.strip() != "lo"]
            return sum(int(row[_BYTES_IN]) for row in counters), sum(int(row[_BYTES_OUT]) for row in counters)
        return None, None


def _member(process: psutil.Process, now: float, root: int) -> Sample:
    """One process alone. Raises psutil.Error when it is gone, or has only its exit code left."""
    import psutil

    with process.oneshot():
        if process.status() == psutil.STATUS_ZOMBIE:
            raise psutil.ZombieProcess(process.pid)
        times, memory, threads = process.cpu_times(), process.memory_info(), process.num_threads()
    cpu = times.user + times.system + getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    files, sockets = _files(process)
    read, written = _storage(process)
    return Sample(now, root, cpu, memory.rss, threads, files, sockets, read, written)


def _files(process: psutil.Process) -> tuple[int | None, int | None]:
    import psutil

    if not _LINUX:
        with contextlib.suppress(psutil.Error, OSError, AttributeError):
            return process.num_fds(), None
        return None, None
    folder = f"/proc/{process.pid}/fd"
    try:
        names = os.listdir(folder)
    except PermissionError:
        return None, None
    sockets = 0
    for name in names:
        with contextlib.suppress(OSError):  # closed meanwhile
            sockets += os.readlink(f"{folder}/{name}").startswith("socket:")
    return len(names), sockets


def _storage(process: psutil.Process) -> tuple[int | None, int | None]:
    import psutil

    with contextlib.suppress(psutil.Error, OSError, AttributeError):
        counters = process.io_counters()
        return counters.read_bytes, counters.write_bytes
    return None, None


def _added(members: list[Sample]) -> Sample:
    """A process and its descendants as one."""

    def added(column: str) -> int | None:
        values = [getattr(each, column) for each in members]
        return None if None in values else sum(values)

    return replace(
        members[0],
        # the same ticks added in another order are the same time
        cpu=round(sum(each.cpu for each in members), 6),
        rss=sum(each.rss for each in members),
        threads=sum(each.threads for each in members),
        files=added("files"),
        sockets=added("sockets"),
        read=added("read"),
        written=added("written"),
    )


def _family(pid: int) -> Iterator[int]:
    """*pid* and all that descend from it. The kernel's own list costs a read a thread; a walk over /proc one a process."""
    found = [pid]
    for each in found:
        yield each
        try:
            tasks = os.listdir(f"/proc/{each}/task")
        except OSError:
            continue
        for task in tasks:
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{each}/task/{task}/children").read_text().split())


def _family_by_psutil(pid: int) -> Iterator[int]:
    import psutil

    yield pid
    with contextlib.suppress(psutil.Error):
        yield from (each.pid for each in psutil.Process(pid).children(recursive=True))


def _network_of(pid: int) -> str:
    """The network namespace of *pid*; empty where there is no such thing."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""
