"""The connections to one endpoint: idle ones on a stack, arrivals that wait in a queue, new ones up to a limit."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from gates.load.connection import Connection, HeaderConnection
from gates.load.failure import Failure
from gates.load.program import Program
from gates.load.recorder import Recorder

# Servers close what is idle (uvicorn after 5 s); a request that meets such a close would be counted as an error of theirs.
LONGEST_IDLE = 3.0


class Pool:
    """At most *limit* connections to *url*. *over* is called after each arrival that ended."""

    def __init__(
        self,
        name: str,
        url: str,
        address: tuple[str, int],
        programs: Sequence[Program],
        recorder: Recorder[object],
        *,
        limit: int,
        timeout: float,
        over: Callable[[int, float, Failure], None],
    ) -> None:
        self.name = name
        self.programs = programs
        self.recorder = recorder
        self.flow_of = recorder.schedule.flow.tolist()
        self.timeout = timeout
        self.waiting: deque[int] = deque()
        self._address = address
        self._limit = limit
        self._over = over
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._attempts: set[asyncio.Task[None]] = set()
        self._class = HeaderConnection if any(program.wants_headers for program in programs) else Connection
        parts = urlsplit(url)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname if self._tls else None
        self._closed = False

    def dispatch(self, n: int) -> None:
        """Serve arrival *n* now, or when a connection is free."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                connection.begin(n)
                return
        self.waiting.append(n)
        self._grow()

    def free(self, connection: Connection, now: float) -> None:
        """*connection* has ended its arrival and can take another."""
        if self.waiting:
            connection.begin(self.waiting.popleft())
        else:
            connection.idle_since = now
            self._idle.append(connection)

    def finish(self, n: int, now: float, failure: Failure, code: int, text: str, connection: Connection | None) -> None:
        """Arrival *n* is over, on *connection* if it got one."""
        recorder = self.recorder
        program = self.programs[self.flow_of[n]]
        if text:
            text = f"{program.name} on {self.name}: {text}"
        recorder.finish(n, now, failure, code, text)
        if recorder.records:
            values = connection.values if connection else program.values(n)
            answer = program.answer(values) if connection else None
            recorder.operation(n, program.key(n), bool(connection and connection.step), program.recorded_value(values), answer)
        self._over(n, now, failure)

    def lost(self, connection: Connection) -> None:
        """*connection* is gone."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._grow()

    def sweep(self, now: float) -> None:
        """End what is overdue, and close what nobody has used for long."""
        for connection in [each for each in self._all if each.n >= 0 and now > each.deadline]:
            connection.expire(now)
        while self._idle and now - self._idle[0].idle_since > LONGEST_IDLE:
            self._idle.pop(0).transport.close()

    def close(self, now: float) -> None:
        """End everything: what is on its way has timed out, what waits was never sent."""
        self._closed = True
        for attempt in list(self._attempts):
            attempt.cancel()
        for connection in list(self._all):
            if connection.n >= 0:
                connection.expire(now)
            else:
                connection.transport.abort()
        while self.waiting:
            n = self.waiting.popleft()
            self.finish(n, now, Failure.UNSENT, 0, "no connection became free before the end", None)

    # --- opening connections

    def _grow(self) -> None:
        """Open connections for arrivals that wait, one each, up to the limit."""
        room = self._limit - len(self._all) - len(self._attempts)
        missing = len(self.waiting) - len(self._attempts)
        for _ in range(0 if self._closed else min(room, missing)):
            attempt = asyncio.get_running_loop().create_task(self._open())
            self._attempts.add(attempt)
            attempt.add_done_callback(self._attempts.discard)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.timeout):
                _, connection = await loop.create_connection(
                    lambda: self._class(self), *self._address, ssl=self._tls, server_hostname=self._host
                )
        except (OSError, TimeoutError) as error:
            self._failed(error)
            return
        if self._closed:
            connection.transport.abort()
            return
        self._all.add(connection)
        self.free(connection, time.monotonic())

    def _failed(self, error: Exception) -> None:
        """An attempt was made for the arrival that has waited longest: it is over. Others get attempts of their own."""
        attempt = asyncio.current_task()
        assert attempt is not None
        self._attempts.discard(attempt)
        if self.waiting and not self._closed:
            failure, text = _named(error, self.timeout)
            self.finish(self.waiting.popleft(), time.monotonic(), failure, 0, text, None)
        self._grow()


def _named(error: Exception, timeout: float) -> tuple[Failure, str]:
    if isinstance(error, ssl.SSLError):
        return Failure.TLS, str(error)
    if isinstance(error, ConnectionRefusedError):
        return Failure.REFUSED, "connection refused"
    if isinstance(error, TimeoutError) or getattr(error, "errno", None) == errno.ETIMEDOUT:
        return Failure.UNREACHABLE, f"no connection within {timeout:g} s"
    return Failure.UNREACHABLE, str(error)


def resolved(url: str) -> tuple[str, int]:
    """Address and port of *url*, looked up once so that no lookup is part of a latency. Raises OSError."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    return str(found[0][4][0]), port
