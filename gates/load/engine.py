"""The open loop: every arrival starts at its time, whatever the answers do, and is accounted for at the end.

Latency is the end of an arrival minus its *intended* start. A generator that waits for answers before it sends, or starts its
clock when it gets round to sending, hides exactly the requests that suffered; this one never skips an arrival.
"""

from __future__ import annotations

import asyncio
import gc
import math
import ssl
import sys
import threading
import time
from array import array
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Generic, TypeVar

import numpy as np
import uvloop

from gates.load.breach import Guard
from gates.load.dialer import LoadError, trusting
from gates.load.failure import Failure
from gates.load.machine import Reading, health
from gates.load.outcome import LoadOutcome, SecondReport
from gates.load.pacing import pacer
from gates.load.plan import LoadPlan
from gates.load.pool import Pool
from gates.load.preparation import prepared
from gates.load.program import programs
from gates.load.recorder import Recorder, RowRecorder
from gates.load.schedule import Schedule, schedule
from gates.load.tally import Tally, grid
from gates.load.tally_recorder import TallyRecorder
from gates.load.variables import Variables

HEAD_START = 0.05
SWEEP = 0.05
MOST_AT_ONCE = 256
SWITCH_INTERVAL = 0.0005
LOOK = 0.25
"""Seconds between two looks at whether a criterion is broken for good, and for which answers are awaited when one is."""

OnStart = Callable[[float], None]
OnSecond = Callable[[SecondReport], None]
Guarded = Callable[[Schedule], Guard]
Left = TypeVar("Left")


def run_load(
    plan: LoadPlan,
    endpoints: Mapping[str, str],
    *,
    seed: int,
    record: bool = False,
    on_start: OnStart | None = None,
    on_second: OnSecond | None = None,
    stop: threading.Event | None = None,
    abandon: threading.Event | None = None,
    headers: Mapping[str, str] | None = None,
    guarded: Guarded | None = None,
    drag: float = 0.0,
    given: Mapping[str, str] | None = None,
) -> LoadOutcome:
    """Run *plan* against *endpoints* (name to base URL) and return when every arrival is accounted for.

    That is at the latest `plan.timeout` seconds, and the longest time to think, after the last arrival. *record* keeps a
    `model.Operation` an arrival. *headers* go with every request. *on_start* gets `time.monotonic()` of second 0 just before
    it; *on_second* a `SecondReport` each second; both are called in the loop's thread and must be quick. When *stop* is set no
    more arrivals start, and every answer is awaited as long as any may take; when *abandon* is set it goes on as at a breach.
    *guarded* makes of the arrivals the guard that may end the run: then no more start, and a moment later what has no answer is
    abandoned. *drag* is a seeded defect: seconds of processor time that every arrival costs the generator. The plan's set-up
    runs first and its teardown last, unless *given* is what another's set-up has captured. Raises LoadError when a flow names
    an endpoint that is not there, a host has no address, or the set-up fails.
    """
    arrivals = _scheduled(plan, endpoints, seed)
    keep, guard = partial(RowRecorder, record=record), guarded(arrivals) if guarded else None
    with prepared(plan, endpoints, seed=seed, headers=headers or {}, given=given) as preparation:
        variables = Variables(plan, seed=seed, given=preparation.captured)
        outcome = _ran(
            _Run(
                plan, endpoints, arrivals, seed, keep, on_start, on_second, stop, headers or {}, guard, variables, drag,
                abandon=abandon,
            )
        )  # fmt: skip
    return replace(outcome, given=preparation.captured, problems=tuple(preparation.problems))


def tally_load(
    plan: LoadPlan,
    endpoints: Mapping[str, str],
    *,
    seed: int,
    on_start: OnStart | None = None,
    on_second: OnSecond | None = None,
    stop: threading.Event | None = None,
    abandon: threading.Event | None = None,
    headers: Mapping[str, str] | None = None,
    guarded: Guarded | None = None,
    drag: float = 0.0,
    part: tuple[int, int] = (0, 1),
    start: Callable[[], float] | None = None,
    given: Mapping[str, str] | None = None,
) -> Tally:
    """As `run_load`, and keep counts in place of rows: for runs of any length. `plan.phases` can be measured.

    *part* is k, n for worker k of n, who takes every n-th arrival and its share of the connections. *start* is called when
    all is ready, and returns the `time.monotonic()` of second 0.
    """
    whole = _scheduled(plan, endpoints, seed)
    divided = grid(float(whole.intended[-1]), plan.phases, whole.flows, whole.endpoints)
    arrivals = whole if part == (0, 1) else whole.slice(*part)
    keep, guard = partial(TallyRecorder, grid=divided), guarded(arrivals) if guarded else None
    with prepared(plan, endpoints, seed=seed, headers=headers or {}, given=given) as preparation:
        variables = Variables(plan, seed=seed, given=preparation.captured)
        run = _Run(
            plan, endpoints, arrivals, seed, keep, on_start, on_second, stop, headers or {}, guard, variables, drag, start,
            abandon=abandon,
        )  # fmt: skip
        run.shares = shares(arrivals, whole)
        tally = _ran(run)
    return replace(tally, problems=tuple(preparation.problems))


def shares(arrivals: Schedule, whole: Schedule) -> list[float]:
    """Which part of each endpoint's arrivals, and so of its connections, is this slice's.

    Endpoints take turns, so of two endpoints each of two workers may have one for itself.
    """
    mine, all_of_them = (np.bincount(each.endpoint, minlength=len(whole.endpoints)) for each in (arrivals, whole))
    return [float(part) for part in mine / np.maximum(all_of_them, 1)]


def _ran(run: _Run[Left]) -> Left:
    with uvloop_runner() as runner, undisturbed():
        return runner.run(run.run())


def _scheduled(plan: LoadPlan, endpoints: Mapping[str, str], seed: int) -> Schedule:
    names = checked(plan, endpoints)
    if not plan.arrivals:
        raise LoadError(f"no request at all comes in {plan.seconds:g} s at {plan.rate:g}/s", location=plan.scenario)
    return schedule(plan, names, seed=seed)


def checked(plan: LoadPlan, endpoints: Mapping[str, str]) -> tuple[str, ...]:
    """The names of *endpoints*. Raises LoadError when *plan* can't be run on them."""
    if not endpoints:
        raise LoadError("the target has no endpoint to send to")
    once = {"set-up": plan.setup or {}, "teardown": plan.teardown or {}}
    for flow, definition in {**plan.flows, **once}.items():
        wanted = definition.get("endpoint", "any")
        if wanted != "any" and wanted not in endpoints:
            raise LoadError(
                f"flow {flow!r} goes to endpoint {wanted!r}, which the target does not have; it has {', '.join(endpoints)}",
                location=plan.scenario,
            )
    return tuple(endpoints)


class _Run(Generic[Left]):
    """One run, from the first arrival to the last answer."""

    def __init__(
        self,
        plan: LoadPlan,
        endpoints: Mapping[str, str],
        arrivals: Schedule,
        seed: int,
        keep: Callable[[Schedule, float], Recorder[Left]],
        on_start: OnStart | None,
        on_second: OnSecond | None,
        stop: threading.Event | None,
        headers: Mapping[str, str],
        guard: Guard | None,
        variables: Variables,
        drag: float = 0.0,
        start: Callable[[], float] | None = None,
        *,
        abandon: threading.Event | None = None,
    ) -> None:
        self._plan = plan
        self._start = start
        self.shares = [1.0] * len(endpoints)
        self._endpoints = endpoints
        self._arrivals = arrivals
        self._programs = programs(
            plan.flows, endpoints, arrivals.flows, seed=seed, headers=headers, variables=variables, number=arrivals.number
        )
        self._keep = keep
        self._on_start = on_start
        self._on_second = on_second
        self._stop = stop
        self._abandon = abandon
        self._tls = tls(plan, endpoints)
        self._guard = guard if guard is not None and guard.watches else None
        self._look_at = LOOK
        self._broken = math.inf
        self._drag = drag
        self._next = 0
        self._open = 0
        self._second: list[tuple[int, float, Failure]] = []
        self._late = 0.0
        self._seconds_told = 0

    async def run(self) -> Left:
        loop = asyncio.get_running_loop()
        self._finished = asyncio.Event()
        self._zero = zero = time.monotonic() + HEAD_START if self._start is None else self._start()
        if self._start is not None:
            await asyncio.sleep(zero - HEAD_START - time.monotonic())
        # an array takes a quarter of the memory of a list of as many floats
        self._due = array("d", (self._arrivals.intended + zero).tobytes())
        self._endpoint_of = array("h", self._arrivals.endpoint.tobytes())
        self._recorder = self._keep(self._arrivals, zero)
        self._pools = self._made_pools()
        self._pacer = pacer(loop, self._tick, self._plan.pacing)
        before = self._read = Reading.now()
        if self._on_start is not None:
            self._on_start(zero)
        try:
            self._pacer.wake_at(self._due[0])
            await self._watch()
        finally:
            self._pacer.close()
            end = time.monotonic()
            for pool in self._pools:
                pool.close(end, abandon=self._broken < math.inf)
        after = Reading.now()
        self._count_the_rest(end)
        for pool in self._pools:
            await pool.shut()
        # one turn of the loop lets the aborted connections report, so that no transport is left to the collector
        await asyncio.sleep(0)
        stopped = self._next < len(self._due)
        return self._recorder.outcome(self._next, end, health(before, after, self._pacer.name), stopped=stopped)

    def _made_pools(self) -> list[Pool]:
        share = self._plan.connections // len(self._endpoints)
        limits = [max(1, round(share * part)) for part in self.shares]
        kind = _kind_of_pool(self._plan)
        return [
            kind(name, url, made, self._recorder, limit=limit, timeout=self._plan.timeout, over=self._over, tls=self._tls)
            for (name, url), made, limit in zip(self._endpoints.items(), self._programs, limits, strict=True)
        ]

    # --- arrivals

    def _tick(self) -> None:
        """Start all arrivals that are due, and sleep until the next."""
        due, pools, endpoint_of, dispatched = self._due, self._pools, self._endpoint_of, self._recorder.dispatched
        n = self._next
        last = min(len(due), n + MOST_AT_ONCE)
        if self._broken < math.inf or self._told_to_stop():
            return
        watched, dispatched_at = self._on_second is not None, time.monotonic()
        while n < last and due[n] <= (now := time.monotonic()):
            dispatched[n] = now
            self._open += 1
            if self._drag:
                _waste(self._drag)
            pools[endpoint_of[n]].dispatch(n, now)
            n += 1
        if watched and n > self._next:
            self._late = max(self._late, dispatched_at - due[self._next])
        self._next = n
        if n < len(due):
            self._pacer.wake_at(due[n])

    def _count_the_rest(self, end: float) -> None:
        """What a generator that was too slow never came to was never sent; what it was told to leave is not counted."""
        told = self._broken < math.inf or self._told_to_stop()
        while not told and self._next < len(self._due):
            self._recorder.dispatched[self._next] = end
            self._recorder.finish(self._next, end, Failure.UNSENT, 0, "the generator did not come to it before the end")
            self._next += 1

    def _over(self, n: int, now: float, failure: Failure) -> None:
        self._open -= 1
        if self._guard is not None:
            self._guard.over(n, now - self._due[n], failure)
        if self._on_second is not None:
            self._second.append((n, now - self._due[n], failure))
        if not self._open and self._next == len(self._due):
            self._finished.set()

    # --- time

    async def _watch(self) -> None:
        """Sweep until every arrival is over, or until waiting for the rest has taken as long as one may."""
        patience = self._plan.timeout + max(program.thinks for made in self._programs for program in made)
        latest = self._due[-1] + patience
        while not self._finished.is_set():
            try:
                async with asyncio.timeout(SWEEP):
                    await self._finished.wait()
            except TimeoutError:
                now = time.monotonic()
                for pool in self._pools:
                    pool.sweep(now)
                self._tell(now)
                if now > latest or self._given_up(now):
                    return
                if self._told_to_stop():
                    latest = min(latest, now + patience)
                    if not self._open:
                        return

    def _given_up(self, now: float) -> bool:
        """Whether the run is over before its time, and the last answers had theirs."""
        if self._abandon is not None and self._abandon.is_set():
            self._broken = min(self._broken, now)
        if self._broken < math.inf:
            return now > self._broken + LOOK or not self._open
        if self._guard is not None and self._next < len(self._due) and now - self._zero >= self._look_at:
            self._look_at = now - self._zero + LOOK
            if self._guard.look(self._next, now - self._zero) is not None:
                self._broken = now
        return False

    def _told_to_stop(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    def _tell(self, now: float) -> None:
        second = int(now - self._zero)
        if self._on_second is None or second <= self._seconds_told:
            return
        self._seconds_told = second
        ended, self._second = self._second, []
        late, self._late = self._late, 0.0
        before, self._read = self._read, Reading.now()
        failures = Counter(failure for _, _, failure in ended)
        right = failures.pop(Failure.NONE, 0)
        latencies = tuple(latency for _, latency, _ in ended)
        scheduled, flows = bisect(self._due, self._zero + second - 1e-6), self._by_flow(ended)
        state = health(before, self._read, self._pacer.name)
        self._on_second(
            SecondReport(second, self._next, len(ended), len(ended) - right, latencies, scheduled, failures, flows, late, state)
        )

    def _by_flow(self, ended: list[tuple[int, float, Failure]]) -> dict[str, tuple[int, int]]:
        """How many of *ended* there were of each flow, and how many in an error."""
        names, of = self._arrivals.flows, self._arrivals.flow
        counted = Counter((int(of[n]), failure is Failure.NONE) for n, _, failure in ended)
        return {name: (counted[i, True] + counted[i, False], counted[i, False]) for i, name in enumerate(names)}


def _waste(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def _kind_of_pool(plan: LoadPlan) -> type[Pool]:
    """Virtual users, and with them httpx, are there only where a flow needs them."""
    if not any("python" in flow for flow in plan.flows.values()):
        return Pool
    from gates.load.users import PoolWithUsers

    return PoolWithUsers


def tls(plan: LoadPlan, endpoints: Mapping[str, str]) -> ssl.SSLContext | None:
    """Whom *plan* trusts, where one of *endpoints* speaks TLS. Raises LoadError when its authorities can't be read."""
    return trusting(plan.ca) if any(url.startswith("https:") for url in endpoints.values()) else None


def uvloop_runner() -> asyncio.Runner:
    """A runner on uvloop, which halves the processor time of a request."""
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the collector from walking over what was there before, and other threads from holding the interpreter for 5 ms."""
    interval = sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.unfreeze()
