"""The fault `crash`: SIGKILL to a node, and a restart on the same data and port.

It proves what a process crash leaves behind and no more: what was written but not synced survives in the page cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gates.faults.probe import CrashProbe
from gates.faults.watch import Watch
from gates.fields import Settings
from gates.model import Target

PATIENCE = 2.0
NOTICE = 0.5


class CrashSettings(Settings):
    """`crash: {node: node-b}`."""

    node: str


class Crash:
    """Kills a node and starts it again."""

    name = "crash"
    controls = ("kill", "start")
    settings = CrashSettings

    def nodes(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The endpoints that the fault strikes."""
        return (CrashSettings.model_validate(settings).node,)

    @contextmanager
    def apply(
        self, target: Target, settings: Mapping[str, Any], *, clock: Callable[[], float] = time.monotonic
    ) -> Iterator[Watch]:
        """Kill on entering, restart on leaving, also after an error. The watch is filled in by then.

        Raises what `target.start` raises when the node does not get ready again.
        """
        (node,) = self.nodes(settings)
        watch, probe = Watch(), CrashProbe(target, node, clock)
        probe.start()
        try:
            probe.up.wait(PATIENCE)
            watch.caused = clock()
            try:
                target.kill(node)
                probe.gone.wait(NOTICE)  # a restart within the probe's pace would hide the crash from it
                yield watch
            finally:
                watch.healing = clock()
                target.start(node)
                if probe.gone.is_set():
                    probe.back.wait(PATIENCE)
        finally:
            probe.finish()
            watch.seen_start, watch.seen_end = probe.gone_at, probe.back_at
            watch.detail = f"process state and TCP connect, {probe.looks} looks"
