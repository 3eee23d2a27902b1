"""Flows in Python: a coroutine function that does an arrival with httpx, for what no list of steps can say.

    # flows.py of a distribution, with the entry point  [project.entry-points."gates.flows"]  vote = "flows:vote"
    async def vote(client, arrival):
        \"\"\"A member reads what is open and votes for the newest.\"\"\"       # the first line is the flow's summary
        answer = await client.get("/governance/proposals")
        answer.raise_for_status()                                          # an error of class `wrong status`
        assert answer.json(), "no proposal is open"                        # any other exception: `wrong body`
        await client.post("/governance/vote", json={"id": answer.json()[-1]["id"], "key": arrival.key})

    vote.tags = ("write",)                                                 # optional

*client* is an `httpx.AsyncClient` with the endpoint as its base URL and the target's headers: one virtual user with one
connection. A pool that many share looks at all of its connections for each request, so each user has a client of their own.
*arrival* is a `gates.load.arrival.Arrival`. The scenario's `timeout` is for the whole arrival. Latency runs from the intended
start as everywhere; an arrival that finds no user free waits.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import httpx

from gates.load.arrival import Arrival
from gates.load.failure import Failure
from gates.load.pool import Pool
from gates.load.program import Program
from gates.load.recorder import Recorder

LONGEST_GOODBYE = 1.0


class User:
    """A virtual user: a client with one connection, and the status of its last answer."""

    __slots__ = ("client", "code")

    def __init__(self, url: str, headers: Mapping[str, str], timeout: float, context: ssl.SSLContext) -> None:
        self.code = 0
        self.client = httpx.AsyncClient(
            base_url=url,
            headers=dict(headers),
            timeout=timeout,
            limits=httpx.Limits(max_connections=1),
            trust_env=False,
            verify=context,
            event_hooks={"response": [self._answered]},
        )

    async def _answered(self, response: httpx.Response) -> None:
        self.code = response.status_code


class PoolWithUsers(Pool):
    """A pool that leaves flows in Python to virtual users, as many as it may have connections."""

    def __init__(self, name: str, url: str, programs: Sequence[Program], recorder: Recorder[object], **more: Any) -> None:
        super().__init__(name, url, programs, recorder, **more)
        self._url = url
        # one for all, since making one takes longer than a request; without TLS it is not used
        self._context = self._tls or ssl.create_default_context()
        # httpx takes a tenth of a second for what it imports with its first request, unless that was done before
        anyio.current_time()
        self._free: list[User] = []
        self._made = 0
        self._queue: deque[int] = deque()
        self._doing: dict[int, asyncio.Task[None]] = {}
        self._left: list[asyncio.Task[None]] = []

    def dispatch(self, n: int, now: float) -> None:
        if self.programs[self._flow_of[n]].doing is None:
            super().dispatch(n, now)
        else:
            self._queue.append(n)
            self._start()

    def _start(self) -> None:
        """Give what waits to users that are free, or new."""
        while self._queue and (self._free or self._made < self._limit):
            n = self._queue.popleft()
            program = self.programs[self._flow_of[n]]
            if self._free:
                user = self._free.pop()
            else:
                user = User(self._url, program.headers, self.timeout, self._context)
                self._made += 1
            self._doing[n] = asyncio.get_running_loop().create_task(self._do(n, program, user))

    async def _do(self, n: int, program: Program, user: User) -> None:
        arrival = program.arrival(n, self.name)
        user.code = 0
        failure, text = Failure.NONE, ""
        self.recorder.sent[n] = time.monotonic()
        try:
            assert program.doing is not None
            async with asyncio.timeout(self.timeout):
                await program.doing(user.client, arrival)
        except asyncio.CancelledError:
            await user.client.aclose()
            raise
        except (Exception, SystemExit) as error:
            failure, text = named(error, self.timeout)
        if self._doing.pop(n, None) is not None:
            self._ended(n, failure, user.code, text, program, arrival)
            if failure is not Failure.NONE:
                # whatever is left of a failed journey must not meet the next
                await user.client.aclose()
                user = User(self._url, program.headers, self.timeout, self._context)
            self._free.append(user)
            self._start()

    def _ended(self, n: int, failure: Failure, code: int, text: str, program: Program, arrival: Arrival | None) -> None:
        now = time.monotonic()
        self.recorder.finish(n, now, failure, code, f"{program.name} on {self.name}: {text}" if text else "")
        if self.recorder.records:
            value, answer = (arrival.value, arrival.answer) if arrival else (None, None)
            # how far it came nobody knows, so an error may have had an effect
            self.recorder.operation(n, program.key(n), arrival is not None, value, answer)
        self._over(n, now, failure)

    def close(self, now: float, *, abandon: bool = False) -> None:
        super().close(now, abandon=abandon)
        late = (Failure.ABANDONED, "") if abandon else (Failure.TIMEOUT, "not over at the end")
        never = (Failure.ABANDONED, "") if abandon else (Failure.UNSENT, "no user became free before the end")
        doing, self._doing = self._doing, {}
        for n, task in doing.items():
            task.cancel()
            self._left.append(task)
            self._ended(n, late[0], 0, late[1], self.programs[self._flow_of[n]], None)
        while self._queue:
            n = self._queue.popleft()
            self._ended(n, never[0], 0, never[1], self.programs[self._flow_of[n]], None)

    async def shut(self) -> None:
        if self._left:
            # a flow that takes its cancellation for nothing is left behind
            await asyncio.wait(self._left, timeout=LONGEST_GOODBYE)
        for user in self._free:
            await user.client.aclose()


_TRANSPORT: tuple[tuple[type[BaseException], Failure], ...] = (
    (httpx.ConnectTimeout, Failure.UNREACHABLE),
    (httpx.PoolTimeout, Failure.UNREACHABLE),
    (httpx.TimeoutException, Failure.TIMEOUT),
    (httpx.NetworkError, Failure.RESET),
    (httpx.TransportError, Failure.GARBAGE),
    (httpx.DecodingError, Failure.GARBAGE),
)


def named(error: BaseException, timeout: float) -> tuple[Failure, str]:
    """The class of *error*, which a flow in Python raised, and its text."""
    if isinstance(error, httpx.HTTPStatusError):
        return Failure.STATUS, f"status {error.response.status_code} of {error.request.url.path}"
    if isinstance(error, TimeoutError):
        return Failure.TIMEOUT, f"not over within {timeout:g} s"
    if isinstance(error, httpx.ConnectError):
        return _of_connecting(error)
    if isinstance(error, httpx.RemoteProtocolError):
        return _of_protocol(str(error))
    text = str(error) or type(error).__name__
    for kind, failure in _TRANSPORT:
        if isinstance(error, kind):
            return failure, text
    return Failure.BODY, text if isinstance(error, AssertionError) else f"{type(error).__name__}: {text}"


def _of_connecting(error: httpx.ConnectError) -> tuple[Failure, str]:
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if any(isinstance(each, ssl.SSLError) for each in causes):
        return Failure.TLS, str(error)
    # the loop that connects to several addresses raises one error for all of them, which only its text tells apart
    refused = any(isinstance(each, ConnectionRefusedError) or "refused" in str(each) for each in causes)
    refused = refused or str(error) == "All connection attempts failed"
    return (Failure.REFUSED, "connection refused") if refused else (Failure.UNREACHABLE, str(error))


def _of_protocol(text: str) -> tuple[Failure, str]:
    if "without sending a response" in text:
        return Failure.CLOSED, text
    return (Failure.TRUNCATED if "complete message" in text else Failure.GARBAGE), text
