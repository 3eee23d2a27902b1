"""One direction of a connection through the proxy, and what all connections of that direction of a link share.

While nothing is asked for, bytes are written on as they come. Otherwise they wait in a queue, in their order, each piece until
its time has come.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random

from gates.model import Traffic

SEGMENT = 1448
FIRST_TIMEOUT, LAST_TIMEOUT = 0.2, 60.0
BUFFER = 256 * 1024
GRAIN = 0.01
"""Bytes under a rate are sent in pieces of at most so many seconds, and each only when its time on the line has passed."""
End = Callable[[], None]


class Line:
    """One direction of a link: how it is *traffic* now, and when it is free of what was sent before."""

    def __init__(self, generator: Random) -> None:
        self.traffic = Traffic()
        self.plain = True
        self.flows: set[Flow] = set()
        self.carried = 0
        self._generator = generator
        self._free = 0.0

    def shape(self, traffic: Traffic) -> None:
        """From now on the line is like that, also for what waits on it."""
        self.traffic, self.plain = traffic, traffic == Traffic()
        self._free = 0.0
        for flow in tuple(self.flows):
            flow.changed()

    def delay(self, size: int) -> float:
        """For how many seconds *size* bytes that come now are under way."""
        asked = self.traffic
        late = asked.latency + (self._generator.uniform(-asked.jitter, asked.jitter) if asked.jitter else 0.0)
        return max(0.0, late) + (self._stall(-(-size // SEGMENT)) if asked.loss else 0.0)

    def _stall(self, segments: int) -> float:
        """A lost segment comes with the first repetition that is not lost: after 0.2 s, 0.6 s, 1.4 s and so on."""
        stalled = 0.0
        for _ in range(segments):
            timeout = FIRST_TIMEOUT
            while timeout < LAST_TIMEOUT and self._generator.random() < self.traffic.loss:
                stalled, timeout = stalled + timeout, 2 * timeout
        return stalled

    def piece(self, size: int) -> int:
        """How many of *size* bytes are sent together."""
        asked = self.traffic
        most = asked.slice or size
        if asked.rate:
            most = min(most, max(1, int(asked.rate * GRAIN)))
        return min(size, most)

    def charge(self, size: int, since: float) -> float:
        """When *size* bytes that are sent from *since* on have passed the line, after all that was sent before."""
        if not self.traffic.rate:
            return since
        self._free = max(self._free, since) + size / self.traffic.rate
        return self._free


class Flow:
    """The bytes from *source* to *sink* of one connection."""

    def __init__(self, line: Line, loop: asyncio.AbstractEventLoop) -> None:
        self.line = line
        self.source: asyncio.Transport | None = None
        self.sink: asyncio.Transport | None = None
        self.waiting = 0
        self.deaf = False
        self._loop = loop
        self._queue: deque[tuple[float, bytes | End]] = deque()
        self._last = 0.0
        self._next: tuple[int, float] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._choked = self._full = False
        self._continued = 0.0
        line.flows.add(self)

    def feed(self, data: bytes) -> None:
        """*data* came from the source."""
        line = self.line
        line.carried += len(data)
        if line.plain and not self._queue and self.sink is not None:
            self.sink.write(data)
            return
        self._enqueue(data, len(data))

    def end(self, what: End) -> None:
        """The source has ended: *what* happens when all that came before has been written."""
        self._enqueue(what, 0)

    def _enqueue(self, item: bytes | End, size: int) -> None:
        if self.deaf:
            return
        self._last = max(self._last, self._loop.time() + self.line.delay(size))
        self._queue.append((self._last, item))
        self.waiting += size
        if self.waiting >= (self.line.traffic.buffer or BUFFER) and not self._full:
            self._full = True
            self._regulate()
        self._pump()

    def connected(self, source: asyncio.Transport, sink: asyncio.Transport, late: float) -> None:
        """Both ends are there; who opened the connection could have sent nothing for *late* seconds if it were not for us."""
        self.source, self.sink = source, sink
        if late:
            self._queue = deque((ready + late, item) for ready, item in self._queue)
            self._last += late
        self._regulate()
        self._pump()

    def choke(self, choked: bool) -> None:
        """Whether the sink takes no more for now."""
        self._choked, self._continued = choked, 0.0
        self._regulate()
        self._pump()

    def changed(self) -> None:
        """The line carries its traffic otherwise from now on; what waits is not later than it would be if it came now."""
        self._next, self._continued = None, 0.0
        latest = self._loop.time() + self.line.traffic.latency + self.line.traffic.jitter
        self._queue = deque((min(ready, latest), item) for ready, item in self._queue)
        self._last = min(self._last, latest)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pump()

    def close(self) -> None:
        """Nothing flows any more; what still comes leads nowhere."""
        self.deaf, self.sink = True, None
        self.line.flows.discard(self)
        self._queue.clear()
        self.waiting = 0
        if self._timer is not None:
            self._timer.cancel()

    def _regulate(self) -> None:
        if self.source is None or self.source.is_closing():
            return
        if self._choked or self._full:
            self.source.pause_reading()
        else:
            self.source.resume_reading()

    def _pump(self) -> None:
        while self._queue and self._timer is None and not self._held():
            ready, item = self._queue[0]
            if ready > self._loop.time():
                self._wait(ready)
            elif isinstance(item, bytes):
                self._send(item, ready)
            else:
                self._queue.popleft()
                item()

    def _held(self) -> bool:
        return self.line.traffic.cut or self._choked or self.sink is None

    def _send(self, data: bytes, ready: float) -> None:
        """Send the next piece of *data*, which is at the line since *ready*, or wait until it has passed the line."""
        now = self._loop.time()
        if self._next is None:
            size = self.line.piece(len(data))
            self._next = size, self.line.charge(size, max(self._continued, ready) if self._continued else now)
        size, due = self._next
        if due > now:
            self._wait(due)
            return
        self._next = None
        assert self.sink is not None
        self.sink.write(data[:size])
        self._sent(data, size, due)

    def _sent(self, data: bytes, size: int, due: float) -> None:
        self.waiting -= size
        ready, _ = self._queue.popleft()
        if size < len(data):
            self._queue.appendleft((ready, data[size:]))
        # a late timer makes no slower line: the next piece is on it since this one was due
        self._continued = due if self._queue and self.line.traffic.rate else 0.0
        if self._full and self.waiting < (self.line.traffic.buffer or BUFFER) / 2:
            self._full = False
            self._regulate()
        if self.line.traffic.pause:
            self._wait(self._loop.time() + self.line.traffic.pause)

    def _wait(self, until: float) -> None:
        self._timer = self._loop.call_at(until, self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        self._pump()
