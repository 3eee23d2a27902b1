"""Faults of the processor and of the table of processes."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import Event
from typing import Annotated, Any

from pydantic import Field

from gates.faults import cgroups
from gates.faults.looker import struck
from gates.faults.node_fault import Frozen, Neighbour, NodeFault, NodeSettings, limit_shown, process_of
from gates.faults.signals import repeating
from gates.faults.watch import Watch
from gates.faults.workshop import Workshop, group_of
from gates.fields import Ratio
from gates.model import Way
from gates.target import RunningTarget

CGROUP, SIGNALS, RLIMIT = "cgroup", "signals", "rlimit"
PERIOD = 0.1
FORK = """
import time
while True:
    try:
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
    except OSError:
        pass
    time.sleep(0.05)
"""


class ProcessorSettings(NodeSettings):
    """`cpu: {node: node-b, share: 10 %}`.

    Attributes:
        share: of one processor, that is left to the process.
    """

    share: Annotated[Ratio, Field(ge=0.01, lt=1)] = 0.1


class CpuStarvation(NodeFault):
    """Leaves a process a small share of one processor."""

    name = "cpu-starvation"
    ways = (
        Way(CGROUP, ("start",), ("cgroup-cpu",), summary="a quota on its group"),
        Way(
            SIGNALS,
            ("pause",),
            summary="SIGSTOP and SIGCONT in turn, ten times a second: held up also when it has little to do",
        ),
    )
    settings = ProcessorSettings

    def fit(self, shop: Workshop, settings: Mapping[str, Any], way: str) -> None:
        """Have the process started in a group whose share of the processors can be limited."""
        if way == CGROUP:
            shop.group(self.nodes(settings)[0], "cpu")

    @contextmanager
    def apply(
        self,
        target: RunningTarget,
        settings: Mapping[str, Any],
        *,
        clock: Callable[[], float] = time.monotonic,
        way: str = CGROUP,
    ) -> Iterator[Watch]:
        """Starve on entering, let it have all on leaving."""
        asked = ProcessorSettings.model_validate(settings)
        with (_stopped_in_turn if way == SIGNALS else _with_a_quota)(target, asked, clock) as watch:
            yield watch


@contextmanager
def _with_a_quota(target: RunningTarget, asked: ProcessorSettings, clock: Callable[[], float]) -> Iterator[Watch]:
    group = group_of(target, asked.node)
    rising = cgroups.Rising(group, "throttled")
    with struck(
        rising,
        clock,
        cause=lambda: group.limit("cpu", asked.share),
        heal=lambda: group.free("cpu"),
        how=lambda: f"the kernel's count of periods in which it was held back, which rose by {rising.gained}",
        steady=0.1,
        pace=0.05,
    ) as watch:
        yield watch


@contextmanager
def _stopped_in_turn(target: RunningTarget, asked: ProcessorSettings, clock: Callable[[], float]) -> Iterator[Watch]:
    pid, node = process_of(target, asked.node), asked.node

    def work(stop: Event) -> None:
        while not stop.is_set():
            target.pause(node)
            stop.wait(PERIOD * (1 - asked.share))
            target.resume(node)
            stop.wait(PERIOD * asked.share)

    def heal() -> None:
        end()
        target.resume(node)

    with (
        repeating(work) as (begin, end),
        struck(
            Frozen(pid),
            clock,
            cause=begin,
            heal=heal,
            how=lambda: "state of the process and of what it has started",
            steady=2 * PERIOD,
        ) as watch,
    ):
        yield watch


class PidLimit(NodeFault):
    """Refuses a process every new thread and child."""

    name = "pid-limit"
    ways = (
        Way(CGROUP, ("start",), ("cgroup-pids",), summary="a limit on its group, as many as there are"),
        Way(
            RLIMIT,
            ("kill",),
            ("process-limit",),
            summary="RLIMIT_NPROC, which counts all that its user runs; not for root",
        ),
    )

    def fit(self, shop: Workshop, settings: Mapping[str, Any], way: str) -> None:
        """Have the process started in a group whose processes can be counted."""
        if way == CGROUP:
            shop.group(self.nodes(settings)[0], "pids")

    @contextmanager
    def apply(
        self,
        target: RunningTarget,
        settings: Mapping[str, Any],
        *,
        clock: Callable[[], float] = time.monotonic,
        way: str = CGROUP,
    ) -> Iterator[Watch]:
        """Refuse on entering, allow on leaving."""
        (node,) = self.nodes(settings)
        with _few_for_the_user(target, node, clock) if way == RLIMIT else self._in_a_group(target, node, clock) as watch:
            yield watch

    @contextmanager
    def _in_a_group(self, target: RunningTarget, node: str, clock: Callable[[], float]) -> Iterator[Watch]:
        group = group_of(target, node)
        rising = cgroups.Rising(group, "forks")

        def cause() -> None:
            neighbour.start()
            group.limit("pids", 1)

        def heal() -> None:
            group.free("pids")
            neighbour.end()

        with (
            Neighbour(FORK, group=group) as neighbour,
            struck(
                rising,
                clock,
                cause=cause,
                heal=heal,
                how=lambda: f"the kernel's count of refused forks, which rose by {rising.gained}; a neighbour asks for them",
                steady=0.1,
                pace=0.05,
            ) as watch,
        ):
            yield watch


def _few_for_the_user(target: RunningTarget, node: str, clock: Callable[[], float]) -> AbstractContextManager[Watch]:
    """No process or thread more for *node* than its user has already, by the kernel's own limit."""
    pid = process_of(target, node)
    before = resource.prlimit(pid, resource.RLIMIT_NPROC)

    def limit(limits: tuple[int, int]) -> None:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NPROC, limits)

    return struck(
        lambda: limit_shown(pid, "Max processes") == "1",
        clock,
        cause=lambda: limit((1, before[1])),
        heal=lambda: limit(before),
        how=lambda: "the limit of its user's processes that the kernel shows for it",
    )
