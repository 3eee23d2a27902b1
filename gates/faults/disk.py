"""Faults of the disk under a node's data: full, read-only, and syncs that fail or are slow.

Root's way to a full disk is a small one of its own under the data folder. The library that is preloaded (`shim`) refuses what
the node asks for below its data folder, and needs no rights; a witness with the same library, which has no part in the node,
tries the same.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Event
from typing import Annotated, Any

from pydantic import Field

from gates.faults.looker import struck
from gates.faults.node_fault import Neighbour, NodeFault, NodeSettings, process_of
from gates.faults.signals import repeating
from gates.faults.watch import Watch
from gates.faults.workshop import Workshop, control_of
from gates.fields import Duration, Size
from gates.leftovers import held, mounted, unique
from gates.model import Way
from gates.target import RunningTarget, TargetError

TMPFS, NAMESPACE, PRELOAD = "tmpfs", "user-namespace", "preload"
LIBRARY = Way(PRELOAD, ("data", "start"), ("preload",), summary="a preloaded library refuses it what it asks of its files")

WITNESS = """
import errno, time
path, refused, late = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
while True:
    began, error = time.monotonic(), 0
    try:
        with open(path, "wb", 0) as file:
            file.write(bytes(4096))
            os.fsync(file.fileno())
        os.unlink(path)
    except OSError as problem:
        error = problem.errno
    took = time.monotonic() - began
    told = error and error == refused or not error and late and took >= late
    print("refused" if told else f"odd: {error}" if error else "allowed", flush=True)
    time.sleep(0.02)
"""


class DiskSettings(NodeSettings):
    """`disk-full: {node: node-b, size: 64 MiB}`.

    Attributes:
        size: bytes of the node's own disk, where it gets one.
    """

    size: Annotated[Size, Field(ge=8 << 20, le=1 << 34)] = float(64 << 20)


class DiskFull(NodeFault):
    """Leaves no space on the disk under a node's data."""

    name = "disk-full"
    ways = (
        Way(
            TMPFS,
            ("data", "start"),
            ("tmpfs",),
            summary="a small disk of its own under its data, filled to the last byte",
        ),
        Way(NAMESPACE, ("data", "start"), ("user-namespace",), summary="the same, which only the node sees; needs no rights"),
        LIBRARY,
    )
    settings = DiskSettings

    def fit(self, shop: Workshop, settings: Mapping[str, Any], way: str) -> None:
        """Have the node started on a disk of its own, or with the library."""
        asked = DiskSettings.model_validate(settings)
        if way == TMPFS:
            shop.disk(asked.node, int(asked.size))
        elif way == NAMESPACE:
            shop.private_disk(asked.node, int(asked.size))
        else:
            shop.shim(asked.node)

    def apply(
        self,
        target: RunningTarget,
        settings: Mapping[str, Any],
        *,
        clock: Callable[[], float] = time.monotonic,
        way: str = TMPFS,
    ) -> AbstractContextManager[Watch]:
        """Fill it on entering, make room on leaving."""
        asked = DiskSettings.model_validate(settings)
        if way in (TMPFS, NAMESPACE):
            return _filled(target.data(asked.node).resolve(), asked.node, process_of(target, asked.node), clock)
        return by_library(target, asked.node, "refuse", errno.ENOSPC, clock)


@contextmanager
def _filled(data: Path, node: str, process: int, clock: Callable[[], float]) -> Iterator[Watch]:
    """The disk at *data* full, as the *process* of *node* sees it."""
    if not mounted(str(data), process):
        raise TargetError("its data folder is no disk of its own", location=node)
    if not mounted(str(data)):
        data = Path(f"/proc/{process}/root{data}")
    filler = data / unique("filler")

    def heal() -> None:
        end()
        filler.unlink(missing_ok=True)

    with (
        held("file", str(filler)),
        repeating(lambda stop: _fill(filler, stop)) as (begin, end),
        struck(
            lambda: _is_full(data / unique("probe")),
            clock,
            cause=begin,
            heal=heal,
            how=lambda: "a write of 4096 bytes beside its files",
            steady=0.1,
        ) as watch,
    ):
        yield watch


def _fill(path: Path, stop: Event) -> None:
    """Write until there is no space, and again when there is some, as when a log was cut."""
    with path.open("ab", 0) as file:
        while not stop.is_set():
            try:
                file.write(bytes(1 << 16))
            except OSError:
                stop.wait(0.01)


def _is_full(path: Path) -> bool:
    try:
        path.write_bytes(bytes(4096))
    except OSError as error:
        return error.errno == errno.ENOSPC
    finally:
        path.unlink(missing_ok=True)
    return False


class ReadOnly(NodeFault):
    """Makes the disk under a node's data read-only while the node has its files open."""

    name = "read-only"
    ways = (LIBRARY,)

    def fit(self, shop: Workshop, settings: Mapping[str, Any], way: str) -> None:
        """Have the node started with the library; the kernel itself refuses to remount a disk with files open for writing."""
        shop.shim(self.nodes(settings)[0])

    def apply(
        self,
        target: RunningTarget,
        settings: Mapping[str, Any],
        *,
        clock: Callable[[], float] = time.monotonic,
        way: str = PRELOAD,
    ) -> AbstractContextManager[Watch]:
        """Refuse writes on entering, allow them on leaving."""
        return by_library(target, self.nodes(settings)[0], "refuse", errno.EROFS, clock)


class SyncFails(NodeFault):
    """Lets every sync of a node's files fail."""

    name = "sync-fails"
    ways = (LIBRARY,)

    def fit(self, shop: Workshop, settings: Mapping[str, Any], way: str) -> None:
        """Have the node started with the library."""
        shop.shim(self.nodes(settings)[0])

    def apply(
        self,
        target: RunningTarget,
        settings: Mapping[str, Any],
        *,
        clock: Callable[[], float] = time.monotonic,
        way: str = PRELOAD,
    ) -> AbstractContextManager[Watch]:
        """Fail syncs on entering, let them do their work on leaving."""
        return by_library(target, self.nodes(settings)[0], "unsynced", errno.EIO, clock)


class SlowSyncSettings(NodeSettings):
    """`slow-sync: {node: node-b, by: 100 ms}`.

    Attributes:
        by: how much longer each sync takes.
    """

    by: Annotated[Duration, Field(gt=0, le=60)] = 0.1


class SlowSync(SyncFails):
    """Makes every sync of a node's files take longer."""

    name = "slow-sync"
    settings = SlowSyncSettings

    def apply(
        self,
        target: RunningTarget,
        settings: Mapping[str, Any],
        *,
        clock: Callable[[], float] = time.monotonic,
        way: str = PRELOAD,
    ) -> AbstractContextManager[Watch]:
        """Slow syncs down on entering, let them be on leaving."""
        asked = SlowSyncSettings.model_validate(settings)
        return by_library(target, asked.node, "slow", int(asked.by * 1e6), clock, late=asked.by)


COUNTERS = {"refuse": "refused", "unsynced": "failed", "slow": "slowed"}


@contextmanager
def by_library(
    target: RunningTarget, node: str, what: str, value: int, clock: Callable[[], float], *, late: float = 0.0
) -> Iterator[Watch]:
    """*node* with *what* of its library set to *value*, seen by a witness that writes and syncs a file beside the node's."""
    control = control_of(target, node)
    path, last, tries = target.data(node).resolve() / unique("witness"), False, 0
    odd: set[str] = set()

    def look() -> bool:
        nonlocal last, tries
        for line in witness.lines():
            tries += 1
            if line in ("refused", "allowed"):
                last = line == "refused"
            else:  # it failed for another reason, which says nothing of the fault
                odd.add(line)
        return last

    def how() -> str:
        told = (
            f"{tries} writes of a witness with the same library, which says that it did so {control.get(COUNTERS[what])} times"
        )
        return "; ".join([told, *sorted(odd)])

    arguments = (str(path), str(0 if late else value), str(late))
    with held("file", str(path)), Neighbour(WITNESS, *arguments, env=control.environment()) as witness:
        witness.start()
        with struck(
            look,
            clock,
            cause=lambda: control.set(what, value),
            heal=lambda: control.set(what, 0),
            how=how,
            notice=1.0 + 2 * late,
            patience=3.0 + 2 * late,
        ) as watch:
            yield watch
