"""A link: a port whose connections lead to one address, with a line in each direction."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import cast

from gates.target.proxy.flow import Flow, Line

BACKLOG = 1024
NONE, RESET, HALF_OPEN = "none", "reset", "half-open"
DISTURBANCES = (NONE, RESET, HALF_OPEN)


class Link:
    """Takes connections on a port and leads them to *host* and *port*; *there* carries what is sent, *back* the answers."""

    def __init__(self, host: str, port: int, there: Line, back: Line) -> None:
        self.host, self.port = host, port
        self.there, self.back = there, back
        self.connections: set[Connection] = set()
        self.accepted = 0
        self.how = NONE
        self._open = asyncio.Event()
        self._open.set()

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Take connections on *host* and *port*."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: Connection(self, loop).near, host, port, backlog=BACKLOG)

    def disturb(self, how: str) -> None:
        """See `gates.model.Links.disturb`."""
        self.how = how
        for connection in tuple(self.connections):
            if how == RESET or (how == NONE and connection.stranded):
                connection.reset()
            elif how == HALF_OPEN:
                connection.strand()

    def shaped(self) -> None:
        """One of its lines has changed."""
        if self.there.traffic.cut or self.back.traffic.cut:
            self._open.clear()
        else:
            self._open.set()

    @property
    def is_cut(self) -> bool:
        """Whether no handshake passes."""
        return not self._open.is_set()

    async def handshake(self) -> float:
        """Wait for as long as a handshake takes, and say how long that is without a cut."""
        await self._open.wait()
        if self.there.plain and self.back.plain:
            return 0.0
        took = self.there.delay(1) + self.back.delay(1)
        await asyncio.sleep(took)
        return took

    @property
    def waiting(self) -> int:
        """Bytes that are held or under way."""
        return sum(each.there.waiting + each.back.waiting for each in self.connections)


class Connection:
    """A connection through a link: *near* is the end of who opened it, *far* the other."""

    def __init__(self, link: Link, loop: asyncio.AbstractEventLoop) -> None:
        self.link, self._loop = link, loop
        self.there, self.back = Flow(link.there, loop), Flow(link.back, loop)
        self.near, self.far = Side(self, self.there, self.back), Side(self, self.back, self.there)
        self.stranded = False
        self._connecting: asyncio.Task[None] | None = None

    def opened(self) -> None:
        """Somebody has opened it: go on to where the link leads, unless new connections are ended by RST."""
        self.link.accepted += 1
        self.link.connections.add(self)
        if self.link.how == RESET:
            self.reset()
            return
        self.there.source = self.near.transport
        self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        late = 0.0
        with suppress(OSError):
            late = await self.link.handshake()
            await self._loop.create_connection(lambda: self.far, self.link.host, self.link.port)
        if self.near.transport is None or self.far.transport is None or self.stranded:
            self.reset()
            return
        self._fit()
        self.there.connected(self.near.transport, self.far.transport, late)
        self.back.connected(self.far.transport, self.near.transport, 0.0)

    def _fit(self) -> None:
        for flow, side in ((self.there, self.near), (self.back, self.far)):
            if flow.line.traffic.buffer and side.transport is not None:
                side.transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_RCVBUF, flow.line.traffic.buffer
                )

    def strand(self) -> None:
        """Forget the far end without a word to the near one."""
        self.stranded = True
        self.there.close()
        self.back.close()
        self.far.reset()

    def reset(self) -> None:
        """End both ends by RST."""
        self.near.reset()
        self.far.reset()
        self.closed()

    def closed(self) -> None:
        """Both ends are gone."""
        self.there.close()
        self.back.close()
        self.link.connections.discard(self)
        if self._connecting is not None and self._connecting is not asyncio.current_task(self._loop):
            self._connecting.cancel()

    def lost(self, side: Side, *, rudely: bool) -> None:
        """The end *side* is gone; so is the other, once what came before has been written."""
        other = self.far if side is self.near else self.near
        if self.stranded and side is self.far:
            return  # who opened it is not told
        if self.stranded or other.transport is None:
            self.reset()
        elif side.passed and not rudely:
            other.close()
        else:
            side.out.end(self.reset)

    def given_up(self) -> bool:
        """Whether who opened it has ended it before it passed the cut: then nothing was ever sent."""
        return self.near.finished and self.far.transport is None and self.link.is_cut

    def ended(self, side: Side) -> None:
        """All that *side* ever said has been written to the other end."""
        other = self.far if side is self.near else self.near
        side.passed = True
        if other.passed:
            other.close()
            side.close()
        elif other.transport is not None and not other.transport.is_closing():
            other.transport.write_eof()


class Side(asyncio.Protocol):
    """One end of a connection; *out* is what comes from it, *into* what goes to it."""

    def __init__(self, connection: Connection, out: Flow, into: Flow) -> None:
        self._connection, self.out, self._into = connection, out, into
        self.data_received = out.feed  # type: ignore[method-assign]  # a frame less for every piece that passes
        self.transport: asyncio.Transport | None = None
        self.finished = self.passed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self is self._connection.near:
            self._connection.opened()

    def eof_received(self) -> bool:
        self.finished = True
        if self._connection.given_up():
            self._connection.reset()
            return False
        self.out.end(lambda: self._connection.ended(self))
        return True

    def pause_writing(self) -> None:
        self._into.choke(True)

    def resume_writing(self) -> None:
        self._into.choke(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._connection.lost(self, rudely=exc is not None)

    def close(self) -> None:
        """End it when all has been written."""
        if self.transport is not None:
            self.transport.close()

    def reset(self) -> None:
        """End it by RST."""
        transport, self.transport = self.transport, None
        if transport is not None and not transport.is_closing():
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
