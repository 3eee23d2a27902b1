"""Ending without dropping a request.

On the first SIGTERM or SIGINT `/ready` says no at once. New connections are answered on as long as requests are under way, each
answer with `Connection: close`. Then the node listens no more, answers what comes on the connections that are open until none
has asked for a moment, and ends; all of it within the seconds that the settings give. A second signal ends it at once.
"""

from __future__ import annotations

import asyncio
import socket
import time
from types import FrameType
from typing import Any

import uvicorn

PACE = 0.01
QUIET = 0.25
ACCEPTING = 0.05


class DrainingServer(uvicorn.Server):
    """uvicorn that drains before it shuts down."""

    def __init__(self, config: uvicorn.Config, node: Any, listener: socket.socket) -> None:
        super().__init__(config)
        self._node, self._listener = node, listener
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain, or end at once when it is the second signal."""
        if self._node.draining or self._loop is None:
            super().handle_exit(sig, frame)
            self.force_exit = self._node.draining
            return
        self._node.draining = True
        self._loop.call_soon_threadsafe(self._begin, sig)

    def _begin(self, sig: int) -> None:
        self._task = asyncio.create_task(self._drain(sig), name="drain")

    async def _drain(self, sig: int) -> None:
        until = time.monotonic() + self._node.settings.drain_s
        server = self._node.server
        while server.in_flight and time.monotonic() < until - self._node.settings.drain_s / 2:
            await asyncio.sleep(PACE)
        await self._listen_no_more()
        while time.monotonic() < until and (server.in_flight or time.monotonic() - server.last < QUIET):
            await asyncio.sleep(PACE)
        super().handle_exit(sig, None)

    async def _listen_no_more(self) -> None:
        """Let nobody in any more, and answer those who are in the queue already."""
        self._listener.listen(0)
        await asyncio.sleep(ACCEPTING)
        for listening in self.servers:
            listening.close()
