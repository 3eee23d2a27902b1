"""A client that keeps a number of connections busy, for what a server does at most, never for how long it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import cast

import uvloop

CONNECTIONS = 64


def post(path: str, body: bytes, headers: str = "") -> bytes:
    """The bytes of one POST of JSON."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: node\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode() + body


def get(path: str, headers: str = "") -> bytes:
    """The bytes of one GET."""
    return f"GET {path} HTTP/1.1\r\nHost: node\r\n{headers}\r\n".encode()


def ceiling(port: int, requests: Iterator[bytes], *, seconds: float, connections: int = CONNECTIONS) -> float:
    """Good answers a second, each connection asking again when it was answered. Raises RuntimeError for other answers."""
    done, took = uvloop.run(_run(port, requests, connections, lambda _, spent: spent >= seconds))
    return done / took


def send_all(port: int, requests: Iterator[bytes], *, count: int, connections: int = CONNECTIONS) -> float:
    """Send *count* requests and return the seconds that it took."""
    return uvloop.run(_run(port, requests, connections, lambda sent, _: sent >= count))[1]


class _Client(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], over: Callable[[], bool], answered: Callable[[], None]) -> None:
        self._requests, self._over, self._answered = requests, over, answered
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports have its methods and not its class
        self._next()

    def _next(self) -> None:
        request = None if self._over() else next(self._requests, None)
        if request is None:
            self._transport.close()
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self._end(RuntimeError(self._buffer[:300].decode(errors="replace")))
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._buffer = b""
            self._answered()
            self._next()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


async def _run(port: int, requests: Iterator[bytes], connections: int, over: Callable[[int, float], bool]) -> tuple[int, float]:
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    sent = done = 0

    def ended() -> bool:
        nonlocal sent
        if over(sent, time.perf_counter() - started):
            return True
        sent += 1
        return False

    def answered() -> None:
        nonlocal done
        done += 1

    pairs = [
        await loop.create_connection(lambda: _Client(requests, ended, answered), "127.0.0.1", port) for _ in range(connections)
    ]
    await asyncio.gather(*(client.ended for _, client in pairs))
    return done, time.perf_counter() - started
