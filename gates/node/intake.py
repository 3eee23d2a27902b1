"""What comes in: bodies bounded in size, time and sum, and requests bounded in number, the least important refused first."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from gates.node.errors import Refusal
from gates.node.http import LARGEST_BODY, QuickRequest, Route
from gates.node.metrics_runtime import RuntimeMetrics
from gates.recovery import AdaptiveLimit, Overloaded, priority

MOST_HELD = 32 * 1024 * 1024
PATIENCE = 10.0
_URGENCY = re.compile(r"(?:^|[,;\s])u=([0-7])(?:$|[,;\s])")
IMPORTANCE = ("critical", "critical", "normal", "normal", "normal", "background", "background", "background")
"""By urgency of RFC 9218, 0 to 7."""


class Bodies:
    """Reads bodies: each at most `LARGEST_BODY`, all that are in memory together at most *most* bytes, each in *patience* s.

    The bytes of a body count until `done`, so that many slow clients can't fill the memory with halves of bodies.
    """

    def __init__(self, metrics: RuntimeMetrics, *, most: int = MOST_HELD, patience: float = PATIENCE) -> None:
        self._metrics, self._most, self._patience = metrics, most, patience
        self.held = 0

    async def read(self, request: QuickRequest) -> bytes:
        """The body of *request*. Raises Refusal: 408 when it is too slow, 413 too long, 503 without room."""
        declared = request.header(b"content-length")
        if declared is None and b"transfer-encoding" not in request.raw:
            return b""
        if declared is not None and declared.isdigit() and int(declared) > LARGEST_BODY:
            raise _too_long()
        body = bytearray()
        try:
            async with asyncio.timeout(self._patience):
                await self._collect(request, body)
        except TimeoutError:
            self.done(len(body))
            self._metrics.interrupted.labels("slow_body").inc()
            raise Refusal(408, f"the body did not come within {self._patience:g} s", close=True) from None
        except BaseException:
            self.done(len(body))
            raise
        self._metrics.bodies.observe(len(body))
        return bytes(body)

    async def _collect(self, request: QuickRequest, body: bytearray) -> None:
        more = True
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk, more = message.get("body", b""), message.get("more_body", False)
            if len(body) + len(chunk) > LARGEST_BODY:
                raise _too_long()
            if self.held + len(chunk) > self._most:
                raise Refusal(503, "too many bodies are being received", retry_after=1)
            body += chunk
            self._hold(len(chunk))

    def done(self, size: int) -> None:
        """A body of *size* bytes is not needed any more."""
        self._hold(-size)

    def _hold(self, size: int) -> None:
        self.held += size


def _too_long() -> Refusal:
    return Refusal(413, f"the body is larger than {LARGEST_BODY} bytes")


class Admission:
    """Bounds the requests under way, reads and writes apart, because what is quick for one is a sign of load for the other.

    Both bounds find themselves. When one is reached, background requests are refused first, and critical ones last.
    """

    def __init__(self, most: int, metrics: RuntimeMetrics, shed: Callable[[str], None]) -> None:
        self._metrics, self._shed = metrics, shed
        lowest = max(1, most // 4)  # a pause of a second at a hundred requests a second is no overload
        self._limits = {
            kind: AdaptiveLimit(most, minimum=lowest, maximum=most, name=f"the node's room for {kind}")
            for kind in ("reads", "writes")
        }
        for kind in self._limits:
            metrics.limit.labels(kind).set(most)

    def begin(self, route: Route, request: QuickRequest, trusted: bool) -> tuple[AdaptiveLimit, float]:
        """Take a place, to be given back by `end`. Raises Refusal with 503 when there is none for its importance."""
        limit = self._limits["reads" if route.method == "GET" else "writes"]
        importance = _importance(route, request, trusted)
        try:
            with priority(importance):
                return limit, limit.enter()
        except Overloaded:
            self._shed(importance)
            raise Refusal(503, "too much is asked of this node at once", retry_after=1) from None

    def end(self, place: tuple[AdaptiveLimit, float], response: Response | None) -> None:
        """Give a place back; an answer that says overload makes the bound smaller."""
        limit, began = place
        if response is None or response.status_code in (503, 504):
            limit.failed(Overloaded(limit.name))
        else:
            limit.answered(began)

    def show(self) -> None:
        """Bring the gauges up to date."""
        for kind, limit in self._limits.items():
            self._metrics.limit.labels(kind).set(limit.limit)


def _importance(route: Route, request: QuickRequest, trusted: bool) -> str:
    """What a request says of itself, or its path; only a node or its operator may say that something is critical."""
    said = request.header(b"priority")
    found = _URGENCY.search(said) if said else None
    urgency = int(found[1]) if found else route.priority
    return IMPORTANCE[urgency if trusted or not found else max(2, urgency)]
