"""Forwarding between a client and an endpoint, message by message, with the injection between."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

from gates.target.proxy.injection import STALE, TRUNCATED, Injection
from gates.target.proxy.message import Cutter, Message, UncutError


class ClientSide(asyncio.Protocol):
    """The client's connection. It opens one to the endpoint and keeps what comes before that is there."""

    def __init__(self, host: str, port: int, injection: Injection) -> None:
        self._address = (host, port)
        self._injection = injection
        self._requests = Cutter(responses=False)
        self._early: list[bytes] = []
        self.waiting: deque[tuple[Message, str]] = deque()
        self.transport: asyncio.Transport | None = None
        self.upstream: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_connection(lambda: ServerSide(self, self._injection), *self._address)
        except OSError:
            self.abort()
            return
        if self.transport is None or self.transport.is_closing():
            transport.abort()
            return
        # only now: requests that came while we connected would otherwise be lost or overtaken
        self.upstream = transport
        for raw in self._early:
            transport.write(raw)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        self._requests.feed(data)
        try:
            while (request := self._requests.next()) is not None:
                self._forward(request)
        except UncutError:
            self.abort()

    def _forward(self, request: Message) -> None:
        self.waiting.append((request, self._injection.draw(request.method, request.path)))
        if self.upstream is None:
            self._early.append(request.raw)
        else:
            self.upstream.write(request.raw)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.upstream is not None:
            self.upstream.abort()

    def abort(self) -> None:
        """Reset the client's connection, as a dead endpoint would."""
        if self.transport is not None:
            self.transport.abort()


class ServerSide(asyncio.Protocol):
    """The connection to the endpoint; its responses go to the client in the order of the requests."""

    def __init__(self, client: ClientSide, injection: Injection) -> None:
        self._client = client
        self._injection = injection
        self._responses = Cutter(responses=True)
        self._held: deque[tuple[Message, Message, str]] = deque()
        self._holding = False
        self._ended = False

    def data_received(self, data: bytes) -> None:
        self._responses.feed(data)
        self._cut(ended=False)

    def eof_received(self) -> None:
        self._cut(ended=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._deliver()

    def _cut(self, *, ended: bool) -> None:
        waiting = self._client.waiting
        try:
            while waiting:
                response = self._responses.next(without_body=waiting[0][0].method == "HEAD", ended=ended)
                if response is None:
                    break
                if 100 <= response.status < 200:
                    continue
                request, kind = waiting.popleft()
                self._held.append((request, response, kind))
        except UncutError:
            self._client.abort()
        self._deliver()

    def _deliver(self) -> None:
        while self._held and not self._holding:
            request, response, drawn = self._held.popleft()
            kind, seconds = self._injection.hold(drawn)
            if seconds > 0:
                self._holding = True
                asyncio.get_running_loop().call_later(seconds, self._release, request, response, kind)
                return
            self._send(request, response, kind)
        if self._ended and not self._holding and self._client.transport is not None:
            self._client.transport.close()

    def _release(self, request: Message, response: Message, kind: str) -> None:
        self._holding = False
        self._send(request, response, kind)
        self._deliver()

    def _send(self, request: Message, response: Message, kind: str) -> None:
        client = self._client.transport
        if client is None or client.is_closing():
            return
        self._injection.forwarded += 1
        raw = self._injection.replaced(kind, request, response)
        client.write(raw)
        if kind and not (kind == STALE and raw == response.raw):
            self._injection.note(kind, request.method, request.path)
        if response.close or kind == TRUNCATED:
            client.close()
