"""One keep-alive connection: writes a request, reads its response, and names whatever goes wrong."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, cast

import httptools

from gates.load.failure import Failure
from gates.load.template import UnfillableError

if TYPE_CHECKING:
    from gates.load.pool import Pool
    from gates.load.program import Program

IDLE = -1
MOST_HEAD = 64 * 1024
MOST_BODY = 64 * 1024 * 1024
_FRAMED = re.compile(rb"^(content-length|transfer-encoding)\s*:", re.IGNORECASE | re.MULTILINE)
_NO_HEADERS: dict[str, str] = {}


class Connection(asyncio.Protocol):
    """Serves one arrival after another. All state of the current one is in its attributes; *n* is IDLE between two.

    httptools calls `on_...`; what completes is looked at after the whole chunk was parsed, since bytes beyond a message's end
    make it wrong.
    """

    __slots__ = (
        "_chunks", "_complete", "_first", "_headers_complete", "_keeps", "_parser", "_received",
        "deadline", "idle_since", "n", "pool", "program", "step", "transport", "values",
    )  # fmt: skip

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.n = IDLE
        self.step = 0
        self.deadline = 0.0
        self.idle_since = 0.0
        self.program: Program = pool.programs[0]
        self.values: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._received = 0
        self._first = b""
        self._complete = False
        self._keeps = False
        self._headers_complete = False
        self._parser = httptools.HttpResponseParser(self)

    # --- requests

    def begin(self, n: int) -> None:
        """Start arrival *n*."""
        pool = self.pool
        self.n = n
        self.step = 0
        self.program = program = pool.programs[pool.flow_of[n]]
        self.values = program.values(n) if program.wants_values else {}
        self._write()
        pool.recorder.sent[n] = self.deadline - pool.timeout

    def _write(self) -> None:
        request = self.program.requests[self.step]
        self._chunks.clear()
        self._received = 0
        self._complete = self._headers_complete = False
        now = time.monotonic()
        self.deadline = now + self.pool.timeout
        try:
            self.transport.write(request.static if request.static is not None else request.encode(self.values))
        except UnfillableError as error:
            self._over(now, Failure.HEADER, 0, str(error))

    # --- responses

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.n == IDLE:
            # nobody asked: what comes next on this connection can't be trusted
            self.transport.abort()
            return
        if not self._received:
            self._first = data
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._give_up(Failure.GARBAGE, f"{error} in {data[:60]!r}")
            return
        if self._complete:
            self._look()
        elif self._received > (MOST_BODY if self._headers_complete else MOST_HEAD):
            self._give_up(Failure.OVERSIZED, f"{self._received:,} bytes and no end")

    def on_headers_complete(self) -> None:
        self._headers_complete = True

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        if self._complete:
            raise ValueError("a second response to one request")
        if self._parser.get_status_code() >= 200:
            self._complete = True
            # the parser forgets the framing, and with it this, as soon as the callback returns
            self._keeps = self._parser.should_keep_alive()
        else:
            self._headers_complete = False

    def headers(self) -> dict[str, str]:
        """Headers of the response, by lower-case name; only `HeaderConnection` keeps them."""
        return _NO_HEADERS

    def _look(self) -> None:
        now = time.monotonic()
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        code = self._parser.get_status_code()
        found = self.program.requests[self.step].checker.look(code, self.headers(), body, self.values)
        if found is not None:
            self._over(now, found[0], code, found[1])
        elif self.step + 1 == len(self.program.requests):
            self._over(now, Failure.NONE, code)
        elif self._keeps:
            self.step += 1
            self._write()
        else:
            self._over(now, Failure.CLOSED, code, "closed between two steps")

    def _over(self, now: float, failure: Failure, code: int, text: str = "") -> None:
        self._record(now, failure, code, text)
        if self._complete and self._keeps and not self.transport.is_closing():
            self.pool.free(self, now)
        else:
            self.transport.close()

    # --- what goes wrong

    def expire(self, now: float) -> None:
        """The deadline of the current arrival has passed."""
        self._record(now, Failure.TIMEOUT, 0, f"no whole answer within {self.pool.timeout:g} s")
        self.transport.abort()

    def _give_up(self, failure: Failure, text: str) -> None:
        self._record(time.monotonic(), failure, 0, text)
        self.transport.abort()

    def _record(self, now: float, failure: Failure, code: int, text: str) -> None:
        n, self.n = self.n, IDLE
        self.pool.finish(n, now, failure, code, text, self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.n != IDLE:
            self._lost(exc)
        self.pool.lost(self)

    def _lost(self, exc: Exception | None) -> None:
        if exc is None and self._ends_with_connection():
            self._parser_ended()
        elif exc is not None:
            self._record(time.monotonic(), Failure.RESET, 0, str(exc))
        elif self._received:
            self._record(time.monotonic(), Failure.TRUNCATED, 0, f"closed after {self._received:,} bytes")
        else:
            self._record(time.monotonic(), Failure.CLOSED, 0, "closed without an answer")

    def _ends_with_connection(self) -> bool:
        """Whether the response has no length, so that the end of the connection is its end."""
        return self._headers_complete and not _FRAMED.search(self._first.partition(b"\r\n\r\n")[0])

    def _parser_ended(self) -> None:
        now, code = time.monotonic(), self._parser.get_status_code()
        body = b"".join(self._chunks)
        found = self.program.requests[self.step].checker.look(code, self.headers(), body, self.values)
        is_last = self.step + 1 == len(self.program.requests)
        failure, text = found or ((Failure.NONE, "") if is_last else (Failure.CLOSED, "closed between two steps"))
        self._record(now, failure, code, text)


class HeaderConnection(Connection):
    """A connection that keeps the response's headers, for flows that look at them."""

    __slots__ = ("_kept",)

    def __init__(self, pool: Pool) -> None:
        self._kept: dict[str, str] = {}
        super().__init__(pool)

    def _write(self) -> None:
        self._kept = {}
        super()._write()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._kept[name.decode("latin-1").lower()] = value.decode("latin-1")

    def headers(self) -> dict[str, str]:
        return self._kept
