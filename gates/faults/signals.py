"""Faults by signals to the target's processes, which are direct children."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated, Any

from pydantic import Field

from gates.errors import GatesError
from gates.faults.looker import Look, struck
from gates.faults.node_fault import Frozen, NodeFault, NodeSettings, process_of
from gates.faults.partition import Partition
from gates.faults.watch import Watch
from gates.fields import Duration
from gates.model import Way
from gates.target import RunningTarget

ANSWER = 0.05
STOP, PAUSE, PROXY = "stop", "pause", "proxy"


class Pause(NodeFault):
    """Freezes a process: it keeps its connections and answers nothing."""

    name = "pause"
    ways = (Way("signals", ("pause",), summary="SIGSTOP, and SIGCONT in the end"),)

    def apply(
        self, target: RunningTarget, settings: Mapping[str, Any], *, clock: Callable[[], float] = time.monotonic, way: str = ""
    ) -> AbstractContextManager[Watch]:
        """Freeze on entering, let go on on leaving."""
        (node,) = self.nodes(settings)
        return paused(target, node, clock)


def paused(target: RunningTarget, node: str, clock: Callable[[], float]) -> AbstractContextManager[Watch]:
    """*node* frozen, seen by the state that the kernel gives."""
    pid = process_of(target, node)
    return struck(
        Frozen(pid),
        clock,
        cause=lambda: target.pause(node),
        heal=lambda: target.resume(node),
        how=lambda: "state of the process and of what it has started",
    )


class SlowStart(NodeFault):
    """Kills a process and holds its successor for a while, before it listens."""

    name = "slow-start"
    ways = (Way("signals", ("kill", "pause", "start"), summary="SIGKILL, a start, and SIGSTOP before it listens"),)

    def apply(
        self, target: RunningTarget, settings: Mapping[str, Any], *, clock: Callable[[], float] = time.monotonic, way: str = ""
    ) -> AbstractContextManager[Watch]:
        """Kill, start and hold on entering; let go on and wait until it is ready on leaving."""
        (node,) = self.nodes(settings)

        def cause() -> None:
            target.kill(node)
            target.spawn(node)
            target.pause(node)

        def heal() -> None:
            target.resume(node)
            target.start(node)
            target.wait(node)

        return struck(_there_but_deaf(target, node), clock, cause=cause, heal=heal, how=lambda: "process state and TCP connect")


def _there_but_deaf(target: RunningTarget, node: str) -> Look:
    def look() -> bool | None:
        listens, process = target.listens(node, ANSWER), target.is_running(node)
        return None if not process else not listens

    return look


class LoopSettings(NodeSettings):
    """`crash-loop: {node: node-b, lives: 500 ms}`.

    Attributes:
        lives: how long each new process lives before it is killed.
    """

    lives: Annotated[Duration, Field(gt=0, le=60)] = 0.5


class CrashLoop(NodeFault):
    """Kills a process again and again, soon after each start."""

    name = "crash-loop"
    ways = (Way("signals", ("kill", "start"), summary="SIGKILL a while after each start"),)
    settings = LoopSettings

    @contextmanager
    def apply(
        self, target: RunningTarget, settings: Mapping[str, Any], *, clock: Callable[[], float] = time.monotonic, way: str = ""
    ) -> Iterator[Watch]:
        """Begin on entering; on leaving end the loop and wait until the last one is ready. Less than two deaths are no loop."""
        asked = LoopSettings.model_validate(settings)
        pids: set[int] = set()

        def heal() -> None:
            end()
            target.start(asked.node)
            target.wait(asked.node)

        def look() -> bool:
            pids.update(pid for pid in (target.processes().get(asked.node, 0),) if pid)
            return not (target.is_running(asked.node) and target.listens(asked.node, ANSWER))

        with (
            repeating(lambda stop: _die_young(target, asked, stop)) as (begin, end),
            struck(
                look,
                clock,
                cause=begin,
                heal=heal,
                how=lambda: f"process state and TCP connect: {len(pids)} processes",
                steady=min(2 * asked.lives, 1.0),
            ) as watch,
        ):
            yield watch
        if len(pids) < 3:
            watch.seen_start = None


def _die_young(target: RunningTarget, asked: LoopSettings, stop: threading.Event) -> None:
    while not stop.is_set():
        target.kill(asked.node)
        target.spawn(asked.node)
        stop.wait(asked.lives)


@contextmanager
def repeating(work: Callable[[threading.Event], None]) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """*work* in a thread, from when the first function is called until the second is; the second raises what *work* raised."""
    stop, problems = threading.Event(), list[GatesError]()

    def body() -> None:
        try:
            work(stop)
        except GatesError as error:
            problems.append(error)

    thread = threading.Thread(target=body, name="fault", daemon=True)

    def end() -> None:
        stop.set()
        if thread.ident is not None:
            thread.join()
        if problems:
            raise problems[0]

    try:
        yield thread.start, end
    finally:
        stop.set()


class DependencyDown(NodeFault):
    """Takes down a process that others need: they are what the fault is about."""

    name = "dependency-down"
    ways = (
        Way(STOP, ("kill", "start"), summary="SIGTERM, and a start in the end: connections are refused"),
        Way(PAUSE, ("pause",), summary="SIGSTOP: connections are taken and nothing is answered"),
        Way(PROXY, ("links",), links=PROXY, summary="nothing passes to it or from it; it does not know"),
    )

    def apply(
        self,
        target: RunningTarget,
        settings: Mapping[str, Any],
        *,
        clock: Callable[[], float] = time.monotonic,
        way: str = STOP,
    ) -> AbstractContextManager[Watch]:
        """Stop or freeze it on entering, have it back on leaving."""
        (node,) = self.nodes(settings)
        if way == PAUSE:
            return paused(target, node, clock)
        if way == PROXY:
            return Partition().apply(target, {"nodes": [node], "with": "all"}, clock=clock, way=PROXY)
        return struck(
            lambda: not target.listens(node, ANSWER),  # a process that ends politely may live on for a while
            clock,
            cause=lambda: target.end(node),
            heal=lambda: target.start(node),
            how=lambda: "TCP connect",
        )


def gone_or_there(process: bool, listens: bool) -> bool | None:
    """Gone is neither process nor listener, there is both; in between it is neither."""
    return None if process != listens else not process
