"""The connections of an open loop to one endpoint: idle ones on a stack, arrivals that wait in a queue."""

from __future__ import annotations

import ssl
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

from gates.load.connection import Connection
from gates.load.dialer import Dialer
from gates.load.failure import Failure
from gates.load.program import Program
from gates.load.recorder import Recorder

# Servers close what is idle (uvicorn after 5 s); a request that meets such a close would be counted as an error of theirs.
LONGEST_IDLE = 3.0


class Pool(Dialer):
    """Serves arrivals as they come. *over* is called after each that ended."""

    def __init__(
        self,
        name: str,
        url: str,
        programs: Sequence[Program],
        recorder: Recorder[object],
        *,
        limit: int,
        timeout: float,
        over: Callable[[int, float, Failure], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(name, url, programs, limit=limit, timeout=timeout, tls=tls)
        self.recorder = recorder
        self.waiting: deque[int] = deque()
        self._flow_of = array("h", recorder.schedule.flow.tobytes())
        self._sent = recorder.sent
        self._over = over
        self._idle: list[Connection] = []

    def dispatch(self, n: int, now: float) -> None:
        """Serve arrival *n* now, or when a connection is free."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                self._sent[n] = now
                connection.begin(n, self.programs[self._flow_of[n]], now)
                return
        self.waiting.append(n)
        self.grow()

    def served(self, connection: Connection, now: float, code: int) -> None:
        self.finish(connection.n, now, Failure.NONE, code, "", connection)
        self.free(connection, now)

    def free(self, connection: Connection, now: float) -> None:
        if self.waiting:
            n = self.waiting.popleft()
            self._sent[n] = now
            connection.begin(n, self.programs[self._flow_of[n]], now)
        else:
            connection.rest(now)
            self._idle.append(connection)

    def finish(self, n: int, now: float, failure: Failure, code: int, text: str, connection: Connection | None) -> None:
        recorder = self.recorder
        if text:
            text = f"{self.programs[self._flow_of[n]].name} on {self.name}: {text}"
        thought = 0.0
        if connection is not None and connection.program.thinks:
            thought, connection.thought = connection.thought, 0.0
            recorder.think(n, thought)
        recorder.finish(n, now, failure, code, text)
        if recorder.records:
            self._keep(n, connection)
        self._over(n, now - thought, failure)

    def _keep(self, n: int, connection: Connection | None) -> None:
        """What a history needs of arrival *n*."""
        program = self.programs[self._flow_of[n]]
        values = connection.values if connection else program.values(n)
        answer = program.answer(values) if connection else None
        later_step = bool(connection and connection.step)
        self.recorder.operation(n, program.key(n), later_step, program.recorded_value(values), answer)

    async def shut(self) -> None:
        """Wait for what `close` left to be gone; connections of ours leave nothing."""

    def failed(self, failure: Failure, text: str) -> None:
        # the attempt was made for the arrival that has waited longest; others get attempts of their own
        if self.waiting:
            self.finish(self.waiting.popleft(), monotonic(), failure, 0, text, None)

    def missing(self) -> int:
        return len(self.waiting) - self.attempts

    def lost(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
        super().lost(connection)

    def sweep(self, now: float) -> None:
        super().sweep(now)
        while self._idle and now - self._idle[0].idle_since > LONGEST_IDLE:
            self._idle.pop(0).transport.close()

    def close(self, now: float, *, abandon: bool = False) -> None:
        """End everything: what is on its way has timed out, what waits was never sent; or both are abandoned."""
        super().close(now, abandon=abandon)
        failure, text = (Failure.ABANDONED, "") if abandon else (Failure.UNSENT, "no connection became free before the end")
        while self.waiting:
            self.finish(self.waiting.popleft(), now, failure, 0, text, None)
