"""The fault `power-cut`: a process ends, and with it everything that it wrote and did not sync.

Proven is that nothing which was acknowledged waits for a sync. A disk that tears sectors or lies about syncs is another matter.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gates.faults.looker import struck
from gates.faults.node_fault import NodeFault
from gates.faults.signals import ANSWER, gone_or_there
from gates.faults.watch import Watch
from gates.faults.workshop import FOLDER, Workshop
from gates.model import Way
from gates.target import RunningTarget, TargetError

VARIABLE = "READINESS_UNSYNCED"
COUNTERS = struct.Struct("=qqq")


class PowerCut(NodeFault):
    """Kills a process whose unsynced writes are lost with it, and starts it on what is left."""

    name = "power-cut"
    ways = (
        Way(
            "held-writes",
            ("kill", "start", "data", "power"),
            ("held-writes",),
            summary="SIGKILL to a process that holds back what its database has not synced",
        ),
    )

    def fit(self, shop: Workshop, settings: Mapping[str, Any], way: str) -> None:
        """Have the process started so that it holds unsynced writes in its memory."""
        (node,) = self.nodes(settings)
        shop.environment(node, {VARIABLE: str(_counters(shop.home, node))})

    @contextmanager
    def apply(
        self, target: RunningTarget, settings: Mapping[str, Any], *, clock: Callable[[], float] = time.monotonic, way: str = ""
    ) -> Iterator[Watch]:
        """Cut the power on entering, restart on leaving."""
        (node,) = self.nodes(settings)
        path = _counters(target.data(node).resolve().parents[1], node)
        if not path.exists():
            raise TargetError("it does not hold back what it has not synced", location=node)
        lost = writes = 0

        def cause() -> None:
            nonlocal lost, writes
            target.kill(node)
            lost, writes, _ = COUNTERS.unpack_from(path.read_bytes())

        with struck(
            lambda: gone_or_there(target.is_running(node), target.listens(node, ANSWER)),
            clock,
            cause=cause,
            heal=lambda: target.start(node),
            how=lambda: f"process state and TCP connect; {lost:,} bytes of its {writes:,} writes were not synced and are lost",
        ) as watch:
            yield watch
        if not writes:
            watch.seen_start = None  # it held nothing back, so this was a crash


def _counters(home: Path, node: str) -> Path:
    return home / FOLDER / f"{node}.unsynced"
