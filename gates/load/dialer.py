"""Opening and closing the connections to one endpoint, and what it means when that fails."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Sequence
from time import monotonic
from urllib.parse import urlsplit

from gates.errors import GatesError
from gates.load.connection import IDLE, MOST_HEADS, Connection, Head, HeaderConnection
from gates.load.failure import Failure
from gates.load.program import Program


class LoadError(GatesError):
    """A load that can't start."""


class Dialer(ABC):
    """At most *limit* connections to *url*. What they serve, and who is told what became of it, is a subclass's.

    Attributes:
        name: the endpoint's.
        timeout: seconds that a connection or an answer may take.
        is_encrypted: whether bytes go through TLS.
        heads: heads of responses that were parsed before, each with what they said.
        held: bytes of bodies that all connections hold while more of them is to come.
    """

    def __init__(
        self,
        name: str,
        url: str,
        programs: Sequence[Program],
        *,
        limit: int,
        timeout: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self.programs = programs
        self.timeout = timeout
        self.heads: dict[bytes, Head] = {}
        self.held = 0
        self._limit = limit
        self._address = _address(name, url)
        self._all: set[Connection] = set()
        self._attempts: set[asyncio.Task[None]] = set()
        self._class = HeaderConnection if any(program.wants_headers for program in programs) else Connection
        parts = urlsplit(url)
        self.is_encrypted = parts.scheme == "https"
        self._tls = (tls or ssl.create_default_context()) if self.is_encrypted else None
        self._host = parts.hostname if self._tls else None
        self._closed = False

    # --- what a subclass does

    @abstractmethod
    def served(self, connection: Connection, now: float, code: int) -> None:
        """*connection* has ended its arrival rightly, and can take another."""

    @abstractmethod
    def free(self, connection: Connection, now: float) -> None:
        """*connection* has ended its arrival somehow, was told so, and can take another."""

    @abstractmethod
    def finish(self, n: int, now: float, failure: Failure, code: int, text: str, connection: Connection | None) -> None:
        """Arrival *n* is over, on *connection* if it got one."""

    @abstractmethod
    def failed(self, failure: Failure, text: str) -> None:
        """An attempt at a connection has failed."""

    @abstractmethod
    def missing(self) -> int:
        """How many connections could be used besides those that there are and the attempts at others."""

    # --- connections

    def learn(self, head: bytes, made: Head) -> None:
        """Keep what the parser *made* of *head*."""
        if len(self.heads) >= MOST_HEADS:
            self.heads.clear()
        self.heads[head] = made

    def lost(self, connection: Connection) -> None:
        """*connection* is gone."""
        self._all.discard(connection)
        self.grow()

    def sweep(self, now: float) -> None:
        """End what is overdue."""
        asked_before = now - self.timeout
        for connection in [each for each in self._all if each.n != IDLE and each.asked < asked_before]:
            connection.expire(now)

    def close(self, now: float, *, abandon: bool = False) -> None:
        """End everything: what is on its way has timed out, or is abandoned."""
        self._closed = True
        for attempt in list(self._attempts):
            attempt.cancel()
        for connection in list(self._all):
            if connection.n == IDLE:
                connection.transport.abort()
            elif abandon:
                connection.abandon(now)
            else:
                connection.expire(now)

    def grow(self) -> None:
        """Open connections that could be used, up to the limit."""
        if self._closed:
            return
        for _ in range(min(self._limit - len(self._all) - len(self._attempts), self.missing())):
            attempt = asyncio.get_running_loop().create_task(self._open())
            self._attempts.add(attempt)
            attempt.add_done_callback(self._attempts.discard)

    @property
    def attempts(self) -> int:
        """Connections that are being opened."""
        return len(self._attempts)

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
        self.free(connection, monotonic())

    def _failed(self, error: Exception) -> None:
        attempt = asyncio.current_task()
        assert attempt is not None
        self._attempts.discard(attempt)
        if not self._closed:
            self.failed(*self._named(error))
        self.grow()

    def _named(self, error: Exception) -> tuple[Failure, str]:
        if isinstance(error, ssl.SSLError):
            return Failure.TLS, str(error)
        if isinstance(error, ConnectionRefusedError):
            return Failure.REFUSED, "connection refused"
        if isinstance(error, TimeoutError) or getattr(error, "errno", None) == errno.ETIMEDOUT:
            return Failure.UNREACHABLE, f"no connection within {self.timeout:g} s"
        if self.is_encrypted and isinstance(error, ConnectionError):
            return Failure.TLS, f"closed in the middle of the handshake: {error}"
        return Failure.UNREACHABLE, str(error)


def _address(name: str, url: str) -> tuple[str, int]:
    """Address and port of *url*, looked up once so that no lookup is part of a latency. Raises LoadError."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise LoadError(f"{url} has no address: {error}", location=name, hint="mend the URL") from None
    return str(found[0][4][0]), port


def trusting(ca: str) -> ssl.SSLContext:
    """TLS that trusts the authorities in the PEM file *ca*, and those of the system when it is empty. Raises LoadError."""
    try:
        return ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        raise LoadError(f"its certificates can't be read: {error}", location=ca, hint="expected a file in PEM") from None
