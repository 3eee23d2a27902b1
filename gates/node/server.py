"""The node's one way in: a table of routes, and what every request goes through before its handler and after.

In this order: the client's pace, read-only mode, the body with its bounds, proof of who asks, room for one more request, and
the deadline that the client has. What a handler or a dependency refuses has the interface's shape; nothing is answered with a
trace.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from gates.node.auth import Principal
from gates.node.errors import PeerUnavailable, Refusal, StoreUnavailable, Undecided
from gates.node.http import Call, QuickRequest, Route, refused
from gates.node.intake import Admission, Bodies
from gates.node.traffic import Entry, Traffic
from gates.recovery import CircuitBreakerOpen, Deadline, DeadlineExceeded, Overloaded, RecoveryError
from gates.recovery.deadline import bound

CORRELATION = b"x-correlation-id"
DEADLINE = b"x-request-deadline-ms"
LONGEST_DEADLINE = 3_600_000
_ID = re.compile(r"[\x21-\x7e]{1,128}")
_LOG = logging.getLogger(__name__)
_ANONYMOUS = Principal("", "anonymous")

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Table:
    """Routes by path and method. Raises Refusal: 404 for an unknown path, 405 for another method."""

    def __init__(self, routes: Iterable[Route], traffic: Traffic) -> None:
        self._plain: dict[str, dict[str, Entry]] = {}
        self._named: dict[str, dict[str, Entry]] = {}
        for route in routes:
            where = self._named if "{" in route.path else self._plain
            entries = where.setdefault(route.path, {})
            if route.method in entries:
                raise ValueError(f"{route.method} {route.path} is there twice")
            entries[route.method] = traffic.entry(route)
        self._patterns = [(_pattern(path), entries) for path, entries in self._named.items()]

    def find(self, scope: Scope) -> Entry:
        """The entry for the request; the named parts of its path go into the scope."""
        entries = self._plain.get(scope["path"]) or self._match(scope)
        entry = entries.get(scope["method"])
        if entry is None:
            raise Refusal(405, f"this path has another method: {', '.join(sorted(entries))}", allow=sorted(entries))
        return entry

    def _match(self, scope: Scope) -> dict[str, Entry]:
        for pattern, entries in self._patterns:
            if (found := pattern.fullmatch(scope["path"])) is not None:
                scope["path_params"] = found.groupdict()
                return entries
        raise Refusal(404, "no such path")


class Server:
    """The ASGI application of one node.

    Attributes:
        in_flight: requests that were accepted and not answered to their end.
    """

    def __init__(self, node: Any, routes: Iterable[Route]) -> None:
        self._node = node
        self._metrics = node.metrics.runtime
        self._traffic = Traffic()
        node.metrics.registry.register(self._traffic)
        self._table = Table(routes, self._traffic)
        self._other = self._traffic.entry(Route("", "other", _nothing))
        self.bodies = Bodies(self._metrics)
        self.admission = Admission(node.settings.max_in_flight, self._metrics, node.degradation.shed)
        self.in_flight = 0
        self.last = time.monotonic()
        self._metrics.in_flight.set_function(lambda: self.in_flight)
        self._metrics.held.set_function(lambda: self.bodies.held)
        prefix = secrets.token_hex(6)
        self._ids = (f"{prefix}-{number}" for number in itertools.count(1))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the life of the whole application."""
        if scope["type"] == "lifespan":
            await self._life(receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        request = QuickRequest(scope, receive)
        correlation = self._correlation(request)
        self._count(1)
        try:
            entry, response = await self._answer(request, correlation)
            response.raw_headers.append((CORRELATION, correlation.encode()))
            if self._node.draining:
                response.headers["connection"] = "close"
            await response(scope, receive, send)  # type: ignore[arg-type]
            entry.answered(response.status_code, time.perf_counter() - began, len(response.body))
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self.in_flight += change
        self.last = time.monotonic()

    def _correlation(self, request: QuickRequest) -> str:
        """The id that the client gave to its request, or one of our own."""
        given = request.header(CORRELATION)
        return given if given is not None and _ID.fullmatch(given) else next(self._ids)

    def opened(self, change: int) -> None:
        """A connection was opened, or lost."""
        self._metrics.connections.inc(change)
        if change > 0:
            self._metrics.opened.inc()

    # --- from the request to its answer -------------------------------------------------------------------------------

    async def _answer(self, request: QuickRequest, correlation: str) -> tuple[Entry, Response]:
        """The response, whatever happens, with every refusal in the interface's shape."""
        entry = self._other
        try:
            entry = self._table.find(request.scope)  # type: ignore[arg-type]
            return entry, await self._handle(entry, request)
        except Refusal as refusal:
            return entry, _refused(refusal)
        except ClientDisconnect:
            return entry, refused(Refusal(400, "the request was not sent to its end"))
        except Exception as error:
            return entry, refused(self._failure(error, correlation))

    async def _handle(self, entry: Entry, request: QuickRequest) -> Response:
        node, route = self._node, entry.route
        if entry.open:
            return await route.handler(Call(node, request, _ANONYMOUS, b""))
        node.gatekeeper.pace(request)
        if not node.started:
            raise Refusal(503, "this node is starting", retry_after=1)
        if route.changes and node.degradation.read_only:
            self._metrics.refused_writes.inc()
            raise Refusal(503, "the ledger takes no writes now; this node is read-only", retry_after=1, read_only=True)
        body = await self.bodies.read(request)
        try:
            principal = _ANONYMOUS if route.public else node.gatekeeper.prove(request, body, peer=route.peer)
            return await self._admitted(entry.route, request, Call(node, request, principal, body))
        finally:
            self.bodies.done(len(body))

    async def _admitted(self, route: Route, request: QuickRequest, call: Call) -> Response:
        """The handler's answer; other nodes are let in anyway, since what they ask for is bounded by itself."""
        allowed = request.header(DEADLINE)
        if call.principal.peer:
            return await self._timely(route, call, allowed)
        trusted = call.principal.did == self._node.identity.did
        place = self.admission.begin(route, request, trusted)
        response = None
        try:
            response = await self._timely(route, call, allowed)
            return response
        except Refusal as refusal:
            response = refused(refusal)
            raise
        finally:
            self.admission.end(place, response)

    async def _timely(self, route: Route, call: Call, allowed: str | None) -> Response:
        """The handler's answer within the milliseconds that the client has, which everything further in keeps to."""
        if allowed is None:
            return await route.handler(call)
        seconds = _milliseconds(allowed) / 1000
        late = Refusal(
            504, f"not done within the {seconds:g} s of X-Request-Deadline-Ms; with the same key, asking again tells"
        )
        if seconds == 0:
            raise late
        token = Deadline(seconds).begin()
        try:
            async with asyncio.timeout(seconds):
                return await route.handler(call)
        except (TimeoutError, DeadlineExceeded):
            self._metrics.interrupted.labels("deadline").inc()
            raise late from None
        finally:
            bound.reset(token)

    def _failure(self, error: Exception, correlation: str) -> Refusal:
        """What is said of a dependency that is not there, and of a mistake of our own."""
        if isinstance(error, Undecided):
            return Refusal(500, str(error))
        if isinstance(error, DeadlineExceeded):
            return Refusal(504, str(error))
        if isinstance(error, (StoreUnavailable, PeerUnavailable, CircuitBreakerOpen, Overloaded)):
            return Refusal(503, str(error), retry_after=max(1.0, getattr(error, "retry_after", None) or 1.0))
        if isinstance(error, RecoveryError):
            return Refusal(503, str(error), retry_after=1)
        _LOG.error("request %s failed", correlation, exc_info=error)
        return Refusal(500, f"this node made a mistake; its log says more under {correlation}")

    # --- the whole application's life ---------------------------------------------------------------------------------

    async def _life(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            starting = message["type"] == "lifespan.startup"
            try:
                await (self._node.start() if starting else self._node.stop())
            except Exception as error:
                _LOG.exception("the node can't %s", "start" if starting else "stop")
                await send({"type": f"{message['type']}.failed", "message": str(error)})
                return
            await send({"type": f"{message['type']}.complete"})
            if not starting:
                return


async def _nothing(_call: Call) -> Response:
    raise Refusal(404, "no such path")


def _refused(refusal: Refusal) -> Response:
    details = dict(refusal.details)
    close, allow = details.pop("close", False), details.pop("allow", None)
    response = refused(Refusal(refusal.code, str(refusal), retry_after=refusal.retry_after, **details))
    if close:
        response.headers["connection"] = "close"
    if allow is not None:
        response.headers["allow"] = ", ".join(allow)
    return response


def _milliseconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Refusal(400, f"X-Request-Deadline-Ms: expected a whole number of milliseconds up to {LONGEST_DEADLINE}")
    return min(int(text), LONGEST_DEADLINE)


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", path)
    return re.compile("".join(f"(?P<{part}>[^/]+)" if index % 2 else re.escape(part) for index, part in enumerate(parts)))
