"""uvicorn's HTTP protocol with bounds: on a request's head, on the time that it takes, and on the time that an answer waits."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 64 * 1024
HEAD_PATIENCE = 15.0
ANSWER_PATIENCE = 30.0
LINGER = 5.0
MOST_STALLED = 128
MOST_PIPELINED = 16
_NO_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request's head is longer than `LARGEST_HEAD` or not whole within `HEAD_PATIENCE` seconds.

    One that does not take its answer for `ANSWER_PATIENCE` seconds is closed as well, and when more than `MOST_STALLED` are
    that slow, the one that has been for longest: nobody makes the node keep many answers in memory. Nor many requests: one that
    is sent while `MOST_PIPELINED` wait for the answers before theirs ends the connection. The rest of a body that is refused
    already is taken for `LINGER` seconds more, since closing at once could take the answer away from its sender.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head = 0
        self._in_head = True
        self._patience: asyncio.TimerHandle | None = None
        self._reader: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._patience = self.loop.call_later(HEAD_PATIENCE, self._too_slow)
        self._opened(1)

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._patience)
        _cancel(self._reader)
        _STALLED.pop(self, None)
        self._opened(-1)
        super().connection_lost(exc)

    def _opened(self, change: int) -> None:
        if (told := getattr(self.app, "opened", None)) is not None:
            told(change)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head:
            if self._head > LARGEST_HEAD:
                self.transport.abort()
            elif self._patience is None:
                self._patience = self.loop.call_later(HEAD_PATIENCE, self._too_slow)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MOST_PIPELINED:
            raise ValueError(f"more than {MOST_PIPELINED} requests wait for their answers")
        self._in_head = False
        _cancel(self._patience)
        self._patience = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head, self._in_head = 0, True
        _cancel(self._patience)
        self._patience = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._in_head and self.cycle.response_complete and not self.transport.is_closing():
            self._patience = self.loop.call_later(LINGER, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        content = json.dumps({"error": msg}).encode()
        self.transport.write(_NO_REQUEST % len(content) + content)
        self.transport.close()

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            if self._head:
                self.transport.write(_TOO_SLOW)
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reader = self.loop.call_later(ANSWER_PATIENCE, self.transport.abort)
        _STALLED[self] = None
        if len(_STALLED) > MOST_STALLED:
            next(iter(_STALLED)).transport.abort()

    def resume_writing(self) -> None:
        _cancel(self._reader)
        self._reader = None
        _STALLED.pop(self, None)
        super().resume_writing()


_STALLED: dict[BoundedProtocol, None] = {}
"""Connections that do not take their answers, the oldest first."""


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
