"""The closed loop: every connection asks again as soon as it was answered, as fast as both sides can.

It finds what a target does at most, and what a request costs the generator. It says nothing about latency: a client that waits
for its answer before it asks again asks less while the target is slow, and so never sees most of what users would have seen.
What it measures is named *service time*, and no gate compares it with anything.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import resource
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from gates.load.connection import Connection
from gates.load.dialer import Dialer, LoadError
from gates.load.engine import OnSecond, checked, tls, undisturbed, uvloop_runner
from gates.load.failure import Failure
from gates.load.histogram import Histogram
from gates.load.machine import Reading, health
from gates.load.outcome import Health, SecondReport
from gates.load.plan import LoadPlan
from gates.load.preparation import prepared
from gates.load.program import Program, programs
from gates.load.recorder import Examples
from gates.load.variables import Variables

# Often enough that counting a batch holds nobody up, seldom enough that numpy gets batches.
COUNTED_EVERY = 0.02
SWEPT_EVERY = 0.05
PAUSE_AFTER_FAILURE = 0.01
TURNS = 10_000


@dataclass(frozen=True, slots=True)
class ClosedOutcome:
    """What was answered in the time that was measured; what was on its way at its end is not in it.

    Attributes:
        seconds: how long that was; the warm-up is not in it.
        service: histogram of the service times of right answers in microseconds, by flow and endpoint.
        errors: how many requests ended in each class of failure, by flow.
        examples: a few messages of each class of failure.
        processor: seconds of processor time of this whole process meanwhile.
        stopped: whether it was ended early.
    """

    seconds: float
    service: Mapping[tuple[str, str], Histogram]
    errors: Mapping[tuple[str, Failure], int]
    examples: Mapping[Failure, tuple[str, ...]]
    processor: float
    health: Health
    stopped: bool = False

    @property
    def right(self) -> int:
        return sum(histogram.total for histogram in self.service.values())

    @property
    def failures(self) -> Mapping[Failure, int]:
        """How many requests ended in each class of failure."""
        found: Counter[Failure] = Counter()
        for (_, failure), count in self.errors.items():
            found[failure] += count
        return found

    @property
    def requests(self) -> int:
        return self.right + sum(self.errors.values())


def run_closed(
    plan: LoadPlan,
    endpoints: Mapping[str, str],
    *,
    seed: int,
    on_second: OnSecond | None = None,
    stop: threading.Event | None = None,
    headers: Mapping[str, str] | None = None,
) -> ClosedOutcome:
    """Keep the connections of *plan* busy with its mix for its time; its rate says nothing here.

    Arguments and errors are those of `run_load`; flows in Python, and a feed whose rows are used once, are another error.
    """
    names = checked(plan, endpoints)
    _check_closed(plan)
    with prepared(plan, endpoints, seed=seed, headers=headers or {}) as preparation:
        variables = Variables(plan, seed=seed, given=preparation.captured)
        made = _Run(plan, endpoints, names, seed, on_second, stop, headers or {}, variables)
        with uvloop_runner() as runner, undisturbed():
            return runner.run(made.run())


def _check_closed(plan: LoadPlan) -> None:
    for name, flow in plan.flows.items():
        if "python" in flow:
            raise LoadError(f"a closed loop has no flows in Python (got {name!r})", location=plan.scenario)
    for name, feed in plan.feeds.items():
        if feed.order == "once":
            raise LoadError(f"a closed loop has no end of rows to take once (got {name!r})", location=plan.scenario)


class Answers:
    """Counts what ended since the measured time began."""

    def __init__(self, made: Sequence[Sequence[Program]], names: Sequence[str]) -> None:
        self._programs = [(program, endpoint) for endpoint, group in zip(names, made, strict=True) for program in group]
        self.begin()

    def begin(self) -> None:
        """Forget what was counted."""
        self.service = {(program.name, endpoint): Histogram() for program, endpoint in self._programs}
        self.errors: Counter[tuple[str, Failure]] = Counter()
        self.examples = Examples()
        for program, _ in self._programs:
            program.times.clear()

    def error(self, flow: str, endpoint: str, failure: Failure, text: str) -> None:
        """A request of *flow* went wrong."""
        self.errors[flow, failure] += 1
        self.examples.add(failure, f"{flow} on {endpoint}: {text}")

    def count(self) -> list[float]:
        """Put the times of right answers into the histograms, and return them in seconds."""
        taken: list[float] = []
        for program, endpoint in self._programs:
            if program.times:
                self.service[program.name, endpoint].record_seconds(program.times)
                taken += program.times
                program.times.clear()
        return taken


class Ring(Dialer):
    """Connections to one endpoint that are never idle."""

    def __init__(
        self,
        name: str,
        url: str,
        turns: Sequence[Program],
        numbers: Iterator[int],
        answers: Answers,
        *,
        limit: int,
        timeout: float,
        tls: ssl.SSLContext | None,
    ) -> None:
        super().__init__(name, url, turns, limit=limit, timeout=timeout, tls=tls)
        self._turn: Callable[[], Program] = itertools.cycle(turns).__next__
        self._number: Callable[[], int] = numbers.__next__
        self._answers = answers
        self._resting_until = 0.0

    def served(self, connection: Connection, now: float, code: int) -> None:
        connection.program.took(now - connection.began)
        program = self._turn()
        connection.begin(self._number() if program.wants_values else 0, program, now)

    def free(self, connection: Connection, now: float) -> None:
        program = self._turn()
        connection.begin(self._number(), program, now)

    def finish(self, n: int, now: float, failure: Failure, code: int, text: str, connection: Connection | None) -> None:
        assert connection is not None
        program = connection.program
        if failure is Failure.NONE:
            program.took(now - connection.began)
        else:
            self._answers.error(program.name, self.name, failure, text)

    def failed(self, failure: Failure, text: str) -> None:
        self._answers.error(self._turn().name, self.name, failure, text)
        # who is refused at once would otherwise do nothing but ask again
        self._resting_until = monotonic() + PAUSE_AFTER_FAILURE

    def missing(self) -> int:
        return 0 if monotonic() < self._resting_until else self._limit

    def sweep(self, now: float) -> None:
        super().sweep(now)
        self.grow()

    def close(self, now: float, *, abandon: bool = False) -> None:
        """End everything; what is on its way is counted no more."""
        for connection in self._all:
            connection.rest(now)
        super().close(now, abandon=abandon)


class _Run:
    """One run, from the first connection to the end of its time."""

    def __init__(
        self,
        plan: LoadPlan,
        endpoints: Mapping[str, str],
        names: Sequence[str],
        seed: int,
        on_second: OnSecond | None,
        stop: threading.Event | None,
        headers: Mapping[str, str],
        variables: Variables,
    ) -> None:
        self._plan = plan
        self._stop = stop
        self._on_second = on_second
        self._tls = tls(plan, endpoints)
        self._second: list[float] = []
        self._told = (0, 0)
        made = programs(plan.flows, endpoints, tuple(plan.mix), seed=seed, headers=headers, variables=variables)
        self._answers = Answers(made, names)
        self._rings = self._made_rings(endpoints, made, seed)

    def _made_rings(self, endpoints: Mapping[str, str], made: Sequence[Sequence[Program]], seed: int) -> list[Ring]:
        plan, numbers = self._plan, itertools.count()
        limit = max(1, plan.connections // len(endpoints))
        found = []
        for (name, url), here in zip(endpoints.items(), made, strict=True):
            weights = [_weight(plan, program.name, name) for program in here]
            if any(weights):
                turns = _turns(here, weights, random.Random(seed))
                found.append(Ring(name, url, turns, numbers, self._answers, limit=limit, timeout=plan.timeout, tls=self._tls))
        return found

    async def run(self) -> ClosedOutcome:
        self._zero = monotonic()
        for ring in self._rings:
            ring.grow()
        try:
            await self._until(self._zero + self._plan.warmup)
            self._answers.begin()
            before, spent, began = Reading.now(), _processor(), monotonic()
            await self._until(self._zero + self._plan.seconds)
            self._answers.count()
            after, processor, ended = Reading.now(), _processor() - spent, monotonic()
        finally:
            for ring in self._rings:
                ring.close(monotonic())
        # one turn of the loop lets the aborted connections report, so that no transport is left to the collector
        await asyncio.sleep(0)
        answers = self._answers
        return ClosedOutcome(
            seconds=ended - began,
            service=answers.service,
            errors=dict(answers.errors),
            examples=answers.examples.all(),
            processor=processor,
            health=health(before, after, "closed"),
            stopped=ended < self._zero + self._plan.seconds,
        )

    async def _until(self, end: float) -> None:
        swept = 0.0
        while (now := monotonic()) < end and not (self._stop is not None and self._stop.is_set()):
            await asyncio.sleep(min(COUNTED_EVERY, end - now))
            taken = self._answers.count()
            if now - swept > SWEPT_EVERY:
                swept = now
                for ring in self._rings:
                    ring.sweep(now)
            if self._on_second is not None:
                self._second += taken
                self._tell(now)

    def _tell(self, now: float) -> None:
        second, errors = int(now - self._zero), sum(self._answers.errors.values())
        told, errors_told = self._told
        if second <= told or self._on_second is None:
            return
        self._told = second, errors
        latencies, self._second = self._second, []
        new = max(0, errors - errors_told)
        self._on_second(SecondReport(second, 0, len(latencies) + new, new, tuple(latencies)))


def _weight(plan: LoadPlan, flow: str, endpoint: str) -> int:
    return plan.mix[flow] if plan.flows[flow].get("endpoint", "any") in ("any", endpoint) else 0


def _turns(made: Sequence[Program], weights: Sequence[int], generator: random.Random) -> list[Program]:
    """Some stretches of the mix, each with its weights in an order of its own, to be gone through again and again."""
    least = math.gcd(*weights)
    stretch = [program for program, weight in zip(made, weights, strict=True) for _ in range(weight // least)]
    return [program for _ in range(max(1, TURNS // len(stretch))) for program in generator.sample(stretch, len(stretch))]


def _processor() -> float:
    """Seconds of processor time that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
