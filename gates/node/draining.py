"""Ending without dropping a request.

On the first SIGTERM or SIGINT `/ready` says no at once. New connections are answered on as long as requests are under way, each
answer with `Connection: close`. Then the node listens no more, answers what comes on the connections that are open until none
has asked for a moment, and ends; all of it within the seconds that the settings give. A second signal ends it at once.

A socket that is closed resets who waits in its queue, and there is always somebody under load. So the kernel is told first to
take no more into it: who comes now is not answered, tries again, and finds nobody there. Where it may not be told, the queue is
as short as can be, and who comes in the instant of the closing is reset before a request of theirs was taken.
"""

from __future__ import annotations

import asyncio
import ctypes
import select
import socket
import struct
import sys
import time
from types import FrameType
from typing import Any

import uvicorn

PACE = 0.01
QUIET = 0.25
ACCEPTING = 0.05
_NOBODY_NEW = struct.pack("=" + "HBBI" * 4, *(0x30, 0, 0, 13), *(0x45, 0, 1, 2), *(0x06, 0, 0, 0), *(0x06, 0, 0, 0xFFFF))
"""A filter of packets for Linux: load the byte with the flags of TCP; if SYN is among them, keep nothing, else the packet."""
_SO_ATTACH_FILTER = 26


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
        try:
            await self._finish_work()
        finally:  # whatever went wrong, a node that was told to end must end
            super().handle_exit(sig, None)

    async def _finish_work(self) -> None:
        until = time.monotonic() + self._node.settings.drain_s
        server = self._node.server
        while server.in_flight and time.monotonic() < until - self._node.settings.drain_s / 2:
            await asyncio.sleep(PACE)
        await self._listen_no_more(until)
        while time.monotonic() < until and (server.in_flight or time.monotonic() - server.last < QUIET):
            await asyncio.sleep(PACE)

    async def _listen_no_more(self, until: float) -> None:
        """Let nobody in any more, and answer those who are in the queue already."""
        self._listener.listen(0)
        turn_away(self._listener)
        await asyncio.sleep(ACCEPTING)
        while time.monotonic() < until and select.select([self._listener], [], [], 0)[0]:
            await asyncio.sleep(PACE)
        for listening in self.servers:
            listening.close()


def turn_away(listener: socket.socket) -> bool:
    """Have the kernel drop what would open a connection; False where it may not be told: some let only root attach a filter."""
    if sys.platform != "linux":
        return False
    program = ctypes.create_string_buffer(_NOBODY_NEW)
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", 4, ctypes.addressof(program)))
    except OSError:
        return False
    return True
