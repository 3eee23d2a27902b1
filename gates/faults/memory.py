"""Faults of memory: pressure at a limit, and the kernel's kill of a process in a group that has none left.

Root's way is a control group. Without it the address space is limited, which is another fault: allocations fail, nothing is
reclaimed and nothing is killed.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from gates.faults import cgroups
from gates.faults.looker import struck
from gates.faults.node_fault import Neighbour, NodeFault, NodeSettings, limit_shown, process_of
from gates.faults.signals import ANSWER, gone_or_there
from gates.faults.watch import Watch
from gates.faults.workshop import Workshop, group_of
from gates.fields import Size
from gates.leftovers import held, unique
from gates.model import Way
from gates.target import RunningTarget

CGROUP, ADDRESS_SPACE = "cgroup", "address-space"
PATIENCE = 5.0
ANOTHER = Way(
    ADDRESS_SPACE,
    ("kill", "start"),
    summary="RLIMIT_AS, another fault: allocations fail in the process, nothing is reclaimed or killed",
)
CHURN = """
size = int(sys.argv[2])
while True:
    with open(sys.argv[1], "wb", 0) as file:
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
    with open(sys.argv[1], "rb", 0) as file:
        while file.read(1 << 20):
            pass
"""
HOG = """
import time
kept = []
while True:
    kept.append(b"x" * (4 << 20))
    time.sleep(0.005)
"""


class MemorySettings(NodeSettings):
    """`memory-pressure: {node: node-b, room: 32 MiB}`.

    Attributes:
        room: bytes beyond what is used when the fault begins.
    """

    room: Annotated[Size, Field(ge=4 << 20, le=1 << 40)] = float(32 << 20)


class _Memory(NodeFault):
    """What both faults share: the group that the process is started in, and the way without one."""

    settings = MemorySettings

    def fit(self, shop: Workshop, settings: Mapping[str, Any], way: str) -> None:
        """Have the process started in a group whose memory can be limited."""
        if way == CGROUP:
            shop.group(self.nodes(settings)[0], "memory")

    def apply(
        self,
        target: RunningTarget,
        settings: Mapping[str, Any],
        *,
        clock: Callable[[], float] = time.monotonic,
        way: str = CGROUP,
    ) -> AbstractContextManager[Watch]:
        """Take the memory on entering, give it back on leaving."""
        asked = MemorySettings.model_validate(settings)
        if way == ADDRESS_SPACE:
            return _small_address_space(target, asked, clock)
        return self._in_a_group(target, asked, group_of(target, asked.node), clock)

    def _in_a_group(
        self, target: RunningTarget, asked: MemorySettings, group: cgroups.Group, clock: Callable[[], float]
    ) -> AbstractContextManager[Watch]:
        raise NotImplementedError


class MemoryPressure(_Memory):
    """Leaves a process little memory, and a neighbour that uses it up, so that the kernel must reclaim all the time."""

    name = "memory-pressure"
    ways = (
        Way(CGROUP, ("start",), ("cgroup-memory",), summary="a limit on its group, and a neighbour that fills the page cache"),
        ANOTHER,
    )

    @contextmanager
    def _in_a_group(
        self, target: RunningTarget, asked: MemorySettings, group: cgroups.Group, clock: Callable[[], float]
    ) -> Iterator[Watch]:
        path = target.data(asked.node).resolve().parents[1] / unique("churn")
        rising, killed = cgroups.Rising(group, "reclaimed"), group.count("oom")

        def cause() -> None:
            group.limit("memory", group.memory() + asked.room)
            neighbour.start()

        def heal() -> None:
            neighbour.end()
            group.free("memory")

        def how() -> str:
            kills = group.count("oom") - killed
            return f"the kernel's count of reclaims at the limit, which rose by {rising.gained}, and {kills} kills"

        with (
            held("file", str(path)),
            Neighbour(CHURN, str(path), str(4 * int(asked.room)), group=group) as neighbour,
            struck(rising, clock, cause=cause, heal=heal, how=how, steady=0.1, pace=0.05) as watch,
        ):
            yield watch


class OomKill(_Memory):
    """Has the kernel kill a process because its group is out of memory, and starts it again."""

    name = "oom-kill"
    ways = (
        Way(
            CGROUP,
            ("kill", "start"),
            ("cgroup-memory",),
            summary="a limit on its group, and a neighbour that takes all there is; the kernel takes the process first",
        ),
        ANOTHER,
    )

    @contextmanager
    def _in_a_group(
        self, target: RunningTarget, asked: MemorySettings, group: cgroups.Group, clock: Callable[[], float]
    ) -> Iterator[Watch]:
        killed, node = group.count("oom"), asked.node

        def cause() -> None:
            Path(f"/proc/{process_of(target, node)}/oom_score_adj").write_text("1000")
            group.limit("memory", group.memory() + asked.room)
            neighbour.start()
            deadline = time.monotonic() + PATIENCE
            while target.is_running(node) and time.monotonic() < deadline:
                time.sleep(0.005)
            neighbour.end()

        def heal() -> None:
            neighbour.end()
            group.free("memory")
            target.start(node)

        def how() -> str:
            return f"process state, TCP connect and {group.count('oom') - killed} kills by the kernel's own count"

        with (
            Neighbour(HOG, group=group) as neighbour,
            struck(
                lambda: gone_or_there(target.is_running(node), target.listens(node, ANSWER)),
                clock,
                cause=cause,
                heal=heal,
                how=how,
            ) as watch,
        ):
            yield watch
        if group.count("oom") == killed:
            watch.seen_start = None  # whatever ended it, it was not the kernel for want of memory


def _small_address_space(
    target: RunningTarget, asked: MemorySettings, clock: Callable[[], float]
) -> AbstractContextManager[Watch]:
    pid = process_of(target, asked.node)
    before = resource.prlimit(pid, resource.RLIMIT_AS)

    def heal() -> None:
        if target.processes().get(asked.node) == pid:
            resource.prlimit(pid, resource.RLIMIT_AS, before)
        target.start(asked.node)

    return struck(
        lambda: _limited(pid, before[0]),
        clock,
        cause=lambda: resource.prlimit(pid, resource.RLIMIT_AS, (_size(pid) + int(asked.room), before[1])),
        heal=heal,
        how=lambda: "the limit of its address space that the kernel shows (another fault: nothing is reclaimed or killed)",
    )


def _limited(pid: int, before: int) -> bool:
    return limit_shown(pid, "Max address space") != ("unlimited" if before == resource.RLIM_INFINITY else str(before))


def _size(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
