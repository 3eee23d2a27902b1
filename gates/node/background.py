"""A part of the node that works by itself: one task, from `start` to `stop`."""

from __future__ import annotations

import asyncio
import logging
from typing import ClassVar

_LOG = logging.getLogger(__name__)


class Background:
    """What has a task. A subclass says in `_run` what the task does, which is cancelled by `stop`, and gives it a name."""

    task_name: ClassVar[str]
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running event loop; nothing when the task is at work."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=self.task_name)
            self._task.add_done_callback(_tell)

    async def stop(self) -> None:
        """Stop, and wait for the end: what is being written is written. Never an error of the task; that was told."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        raise NotImplementedError


def _tell(task: asyncio.Task[None]) -> None:
    """Log a task that ended by a mistake when it does, since nobody waits for it before the node stops."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOG.error("the node's task %r has ended by a mistake", task.get_name(), exc_info=error)


__all__ = ["Background"]
