"""One keep-alive connection: writes a request, reads its response, and names whatever goes wrong.

Most responses repeat: the same bytes as the last time, or the same head (within the second of its Date) over another body. Both
are recognised by comparing bytes, which gives what parsing them again would give, since a parse depends on nothing but the
bytes. Whatever is new, comes in pieces or is odd goes through the parser.
"""

from __future__ import annotations

import asyncio
import os
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, cast

import httptools

from gates.load.failure import Failure
from gates.load.template import UnfillableError

if TYPE_CHECKING:
    from gates.load.dialer import Dialer
    from gates.load.program import Program, Request

IDLE = -1
MOST_HEAD = 64 * 1024
MOST_BODY = 64 * 1024 * 1024
MOST_HELD = 256 * 1024 * 1024
MOST_REPEATED = 64 * 1024
MOST_HEADS = 64
NO_DESCRIPTOR = -1
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_END_OF_HEAD = b"\r\n\r\n"
_NO_HEADERS: dict[str, str] = {}
_NO_VALUES: dict[str, str] = {}


class Head(NamedTuple):
    """What the parser made of a head over a body of *length* bytes on a connection that stays open."""

    length: int
    code: int
    headers: dict[str, str]


class _Framing:
    """Whether a head gives its body a length: a second look with a parser that is told the headers, which the first spares."""

    def __init__(self) -> None:
        self.found = self._looking = True
        self._parser = httptools.HttpResponseParser(self)

    @classmethod
    def of(cls, head: bytes) -> bool:
        look = cls()
        look._parser.feed_data(head)
        return look.found

    def on_message_begin(self) -> None:
        # an interim response may come before
        self.found = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.found |= self._looking and name.lower() in _FRAMING

    def on_headers_complete(self) -> None:
        self._looking = self._parser.get_status_code() < 200


class Connection(asyncio.Protocol):
    """Serves one arrival after another. All state of the current one is in its attributes; *n* is IDLE between two.

    *began* is when the arrival's first request was written, *asked* when the latest was or will be; *thought* is for how long
    its user thought, by which *began* is later. httptools calls `on_...`; what completes is looked at after the whole chunk was
    parsed, since bytes beyond a message's end make it wrong.
    """

    __slots__ = (
        "_body", "_complete", "_descriptor", "_expected", "_head", "_headers_complete", "_heads", "_held", "_keeps", "_parser",
        "_received", "_since", "_thinking",
        "asked", "began", "idle_since", "n", "pool", "program", "request", "step", "thought", "transport", "values",
    )  # fmt: skip

    def __init__(self, pool: Dialer) -> None:
        self.pool = pool
        self.n = IDLE
        self.step = 0
        self.began = self.asked = 0.0
        self.idle_since = 0.0
        self.program: Program = pool.programs[0]
        self.request: Request = self.program.requests[0]
        self.values = _NO_VALUES
        self._heads = pool.heads
        self._expected: bytes | None = None
        self._descriptor = NO_DESCRIPTOR
        self._held = 0
        self._thinking: asyncio.TimerHandle | None = None
        self._since = self.thought = 0.0
        self._new_message()
        self._parser = httptools.HttpResponseParser(self)

    def _new_message(self) -> None:
        self._received = 0
        self._head = b""
        self._body: bytes | bytearray = b""
        self._complete = self._headers_complete = self._keeps = False
        if self._held:
            self._let_go()

    def _let_go(self) -> None:
        self.pool.held -= self._held
        self._held = 0

    # --- requests

    def begin(self, n: int, program: Program, now: float) -> None:
        """Start arrival *n*, which does *program*."""
        self.n = n
        self.step = 0
        self.program = program
        self.request = program.requests[0]
        # without a capture nothing is ever put into the one that all share
        self.values = program.values(n) if program.wants_values else _NO_VALUES
        self.began = now
        self._ask(now)

    def _ask(self, now: float) -> None:
        request = self.request
        self.asked = now
        self._expected = request.right
        data = request.static
        if data is None:
            try:
                data = request.encode(self.values)
            except UnfillableError as error:
                self._over(now, Failure.HEADER, 0, str(error), keeps=False)
                return
        self._write(data)

    def _write(self, data: bytes) -> None:
        """Write now, and not when the loop gets round to it; what does not fit, and all that goes wrong, is the transport's."""
        if self._descriptor != NO_DESCRIPTOR:
            try:
                written = os.write(self._descriptor, data)
            except OSError:
                written = 0
            if written == len(data):
                return
            # from now on bytes may wait in the transport, and others must not overtake them
            self._descriptor = NO_DESCRIPTOR
            data = data[written:]
        self.transport.write(data)

    # --- responses

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if not self.pool.is_encrypted:
            self._descriptor = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        if data == self._expected:
            self.pool.served(self, monotonic(), self.request.right_code)
            return
        if not self._received and self.n != IDLE:
            end = data.find(_END_OF_HEAD) + 4
            head = self._heads.get(data[:end])
            if head is not None and head.length == len(data) - end and self._thinking is None:
                self._look(head.code, head.headers, data[end:], keeps=True, whole=data)
                return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        if self.n == IDLE:
            # nobody asked: what comes next on this connection can't be trusted
            self.transport.abort()
            return
        if self._thinking is not None:
            self._give_up(Failure.GARBAGE, "an answer to no request")
            return
        self._expected = None
        self._received += len(data)
        if not self._headers_complete:
            # the head may come in pieces, and whether it gives a length is asked for when the connection ends
            self._head += data
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._give_up(Failure.GARBAGE, f"{error} in {data[:60]!r}")
            return
        if self._complete:
            self._completed(data)
        elif self._received > (MOST_BODY if self._headers_complete else MOST_HEAD):
            self._give_up(Failure.OVERSIZED, f"{self._received:,} bytes and no end")
        elif self._held and self.pool.held > MOST_HELD:
            self._give_up(Failure.OVERSIZED, f"{self._received:,} bytes, and together with others more than {MOST_HELD:,}")

    def _completed(self, data: bytes) -> None:
        code, headers, body, keeps = self._parser.get_status_code(), self.headers(), bytes(self._body), self._keeps
        whole = data if len(data) == self._received <= MOST_REPEATED else None
        self._new_message()
        if whole is not None and keeps:
            end = whole.find(_END_OF_HEAD) + 4
            # neither chunks nor an interim response: the head alone said how long the body is
            if whole[end:] == body:
                self.pool.learn(whole[:end], Head(len(body), code, headers))
        self._look(code, headers, body, keeps=keeps, whole=whole)

    def on_headers_complete(self) -> None:
        self._headers_complete = True

    def on_body(self, body: bytes) -> None:
        if not self._body:
            self._body = body
            return
        if not self.request.checker.needs_body:
            return
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body)
        self._body += body
        self._held += len(body)
        self.pool.held += len(body)

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

    def _look(self, code: int, headers: dict[str, str], body: bytes, *, keeps: bool, whole: bytes | None) -> None:
        now, request = monotonic(), self.request
        found = request.checker.look(code, headers, body, self.values)
        if found is not None:
            self._over(now, found[0], code, found[1], keeps=keeps)
        elif self.step + 1 < len(self.program.requests):
            self._next_step(now, code, keeps)
        elif keeps:
            if whole is not None and request.repeats:
                request.right, request.right_code = whole, code
            self.pool.served(self, now, code)
        else:
            self._over(now, Failure.NONE, code, keeps=False)

    def _next_step(self, now: float, code: int, keeps: bool) -> None:
        if not keeps:
            self._over(now, Failure.CLOSED, code, "closed between two steps", keeps=False)
            return
        self.step += 1
        self.request = self.program.requests[self.step]
        pause = self.program.thought(self.n, self.step) if self.program.thinks else 0.0
        if pause:
            self._expected = None
            self._since, self.asked = now, now + pause
            self._thinking = asyncio.get_running_loop().call_later(pause, self._go_on)
        else:
            self._ask(now)

    def _go_on(self) -> None:
        """The user has thought enough."""
        now = monotonic()
        self._rouse(now)
        self._ask(now)

    def _rouse(self, now: float) -> None:
        self._thinking = None
        self.thought += now - self._since
        self.began += now - self._since

    def _over(self, now: float, failure: Failure, code: int, text: str = "", *, keeps: bool) -> None:
        self._record(now, failure, code, text)
        if keeps and not self.transport.is_closing():
            self.pool.free(self, now)
        else:
            self.transport.close()

    def rest(self, now: float) -> None:
        """Nothing to do since *now*."""
        self.n = IDLE
        self.idle_since = now
        self._expected = None

    # --- what goes wrong

    def expire(self, now: float) -> None:
        """The latest request has waited too long."""
        self._record(now, Failure.TIMEOUT, 0, f"no whole answer within {self.pool.timeout:g} s")
        self.transport.abort()

    def abandon(self, now: float) -> None:
        """The run ends itself; what would have become of the current arrival nobody knows."""
        self._record(now, Failure.ABANDONED, 0, "")
        self.transport.abort()

    def _give_up(self, failure: Failure, text: str) -> None:
        self._record(monotonic(), failure, 0, text)
        self.transport.abort()

    def _record(self, now: float, failure: Failure, code: int, text: str) -> None:
        n, self.n = self.n, IDLE
        self._expected = None
        if self._thinking is not None:
            self._thinking.cancel()
            self._rouse(now)
        self.pool.finish(n, now, failure, code, text, self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._descriptor = NO_DESCRIPTOR
        if self.n != IDLE:
            self._lost(exc)
        self._let_go()
        self.pool.lost(self)

    def _lost(self, exc: Exception | None) -> None:
        if self._thinking is not None:
            self._record(monotonic(), Failure.CLOSED, 0, "closed while the user was thinking")
        elif exc is None and self._ends_with_connection():
            self._parser_ended()
        elif exc is not None:
            self._record(monotonic(), Failure.RESET, 0, str(exc))
        elif self._received:
            self._record(monotonic(), Failure.TRUNCATED, 0, f"closed after {self._received:,} bytes")
        else:
            self._record(monotonic(), Failure.CLOSED, 0, "closed without an answer")

    def _ends_with_connection(self) -> bool:
        """Whether the response has no length, so that the end of the connection is its end."""
        return self._headers_complete and not _Framing.of(self._head)

    def _parser_ended(self) -> None:
        now, code = monotonic(), self._parser.get_status_code()
        found = self.request.checker.look(code, self.headers(), bytes(self._body), self.values)
        is_last = self.step + 1 == len(self.program.requests)
        failure, text = found or ((Failure.NONE, "") if is_last else (Failure.CLOSED, "closed between two steps"))
        self._record(now, failure, code, text)


class HeaderConnection(Connection):
    """A connection that keeps the response's headers, for flows that look at them."""

    __slots__ = ("_kept",)

    def _new_message(self) -> None:
        super()._new_message()
        self._kept: dict[str, str] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        # trailers come after the head, and without a bound of their own
        if not self._headers_complete:
            self._kept[name.decode("latin-1").lower()] = value.decode("latin-1")

    def headers(self) -> dict[str, str]:
        return self._kept
