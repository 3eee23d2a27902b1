"""A small HTTP server in a thread that answers each path in its own way, rightly or oddly."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

Writer = asyncio.StreamWriter
RIGHT = b'{"ok": true, "id": "job-1", "numbers": [1, 2]}'


def _answer(body: bytes, *, head: str = "200 OK", length: int | None = None, extra: str = "") -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {head}\r\nContent-Type: application/json\r\n{extra}Content-Length: {size}\r\n\r\n".encode() + body


def _reset(writer: Writer) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _half_close(writer: Writer) -> None:
    writer.write_eof()
    await asyncio.sleep(3600)


async def _endless(writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    while not writer.transport.is_closing():
        writer.write(b"x" * 65_536)
        await writer.drain()


async def _silence(writer: Writer) -> None:
    await asyncio.sleep(3600)


async def _drip(writer: Writer) -> None:
    for byte in _answer(RIGHT):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


async def _interim_for_ever(writer: Writer) -> None:
    while not writer.transport.is_closing():
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
        await writer.drain()


async def _endless_chunks(writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not writer.transport.is_closing():
        writer.write((b"10000\r\n" + b"x" * 65_536 + b"\r\n") * 16)
        await writer.drain()


async def _in_pieces(writer: Writer) -> None:
    """The head and the body come in pieces that the client can't get at once, and the end is missing."""
    for piece in (b"HTTP/1.1 200 OK\r\nX: 1\r\n", b"Content-Length: 99\r\n\r\n", b'{"ok": true}'):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.05)
    writer.close()


async def _until_the_end_in_pieces(writer: Writer) -> None:
    for piece in (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: content-length:\r\n\r\n", b'{"ok"', b": true}"):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.05)
    writer.close()


async def _large(writer: Writer) -> None:
    writer.write(_answer(b'{"ok": true, "filler": "' + b"x" * 3_000_000 + b'"}'))
    await writer.drain()


async def _reset_in_the_middle(writer: Writer) -> None:
    writer.write(_answer(RIGHT, length=len(RIGHT) + 5))
    await writer.drain()
    await asyncio.sleep(0.05)
    _reset(writer)


async def _long(writer: Writer) -> None:
    writer.write(_answer(RIGHT, length=len(RIGHT) + 5))
    await asyncio.sleep(3600)


def _once(raw: bytes, *, close: bool = False) -> Callable[[Writer], None]:
    def answer(writer: Writer) -> None:
        writer.write(raw)
        if close:
            writer.close()

    return answer


ANSWERS: dict[str, Callable[[Writer], Awaitable[None] | None]] = {
    "/right": _once(_answer(RIGHT)),
    "/chunked": _once(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"ok\r\n8\r\n": true}\r\n0\r\n\r\n'),
    "/until-the-end": _once(b'HTTP/1.1 200 OK\r\n\r\n{"ok": true}', close=True),
    "/continue": _once(b"HTTP/1.1 100 Continue\r\n\r\n" + _answer(RIGHT)),
    "/last": _once(_answer(RIGHT, extra="Connection: close\r\n"), close=True),
    "/refused": _once(_answer(b'{"error": "full"}', head="503 Busy")),
    "/later": _once(_answer(b'{"error": "full"}', head="503 Busy", extra="Retry-After: 2\r\n")),
    "/broken": _once(_answer(b'{"error": "oops"}', head="500 Oops")),
    "/other": _once(_answer(b'{"ok": false}')),
    "/not-json": _once(_answer(b"<html>")),
    "/nan": _once(_answer(b'{"ok": true, "total": NaN}')),
    "/infinite": _once(_answer(b'{"ok": true, "total": -Infinity}')),
    "/ones": _once(_answer(b'{"ok": true, "flags": [1, {"a": 0}]}')),
    "/half-a-pair": _once(_answer(b'{"ok": true, "id": "\\ud800"}')),
    "/garbage": _once(b"\x00\x01 what is this\r\n\r\n"),
    "/short-length": _once(_answer(RIGHT, length=len(RIGHT) - 5)),
    "/long-length": _long,
    "/truncated": _once(_answer(RIGHT, length=len(RIGHT) + 5), close=True),
    "/closed": _once(b"", close=True),
    "/half-closed": _half_close,
    "/reset": _reset,
    "/endless-headers": _endless,
    "/silent": _silence,
    "/drip": _drip,
    "/interim-for-ever": _interim_for_ever,
    "/endless-chunks": _endless_chunks,
    "/in-pieces": _in_pieces,
    "/until-the-end-in-pieces": _until_the_end_in_pieces,
    "/large": _large,
    "/reset-in-the-middle": _reset_in_the_middle,
    "/two-answers": _once(_answer(RIGHT) * 2),
    "/bad-chunk": _once(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
    "/upgrade": _once(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: odd\r\nConnection: upgrade\r\n\r\n\x00\x01"),
}


CONNECTIONS: Counter[int] = Counter()


def connections_of(url: str) -> int:
    """How many connections the server at *url* has accepted."""
    return CONNECTIONS[int(url.rpartition(":")[2])]


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body


async def _serve(reader: asyncio.StreamReader, writer: Writer) -> None:
    CONNECTIONS[writer.get_extra_info("sockname")[1]] += 1
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next((int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")), 0)
            chunked = "transfer-encoding: chunked" in head.lower()
            body = await _chunks(reader) if chunked else await reader.readexactly(length)
            path = head.split(" ")[1]
            if path.startswith("/size"):
                writer.write(_answer(b'{"size": %d, "chunked": %s}' % (len(body), b"true" if chunked else b"false")))
            elif path.startswith("/echo"):
                writer.write(_answer(body or b"null", extra=f"X-Path: {path}\r\n"))
            elif (waiting := ANSWERS[path](writer)) is not None:
                await waiting
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


@contextmanager
def odd_server(tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The server's URL while it runs."""
    ready = threading.Event()
    told: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = []

    async def main() -> None:
        ended = asyncio.Event()
        server = await asyncio.start_server(_serve, "127.0.0.1", 0, ssl=tls)
        told.append((asyncio.get_running_loop(), ended, server.sockets[0].getsockname()[1]))
        ready.set()
        await ended.wait()
        server.close()

    # asyncio.run cancels what is still being served
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    ready.wait()
    loop, ended, port = told[0]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
