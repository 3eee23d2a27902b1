"""The two processes of a pair while they measure: one benchmark after the other, round against round."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, log

from gates.regression.processes import Message, Worker, WorkerError

CONTROL = "control"


class BenchmarkError(Exception):
    """A benchmark ended or broke its process on one side; the message says how.

    Attributes:
        only_base: the candidate's test went well as far as it got, so that only the base is to blame.
    """

    def __init__(self, name: str, why: str, *, fatal: bool, only_base: bool = False) -> None:
        super().__init__(why)
        self.name, self.why, self.fatal, self.only_base = name, why, fatal, only_base


@dataclass(frozen=True, slots=True)
class Rounds:
    """How a benchmark is measured in a pair.

    Attributes:
        count: rounds of each side.
        seconds: about how long a round takes; a call that takes longer is a round by itself.
        parts: looks at the clock in a round, so that a part in which the machine did something else can be told.
        patience: the longest that a process may say nothing.
    """

    count: int = 8
    seconds: float = 0.004
    parts: int = 10
    patience: float = 60.0

    def of(self, call: float) -> Plan:
        """The plan for a benchmark of *call* seconds."""
        if call > 2 * self.seconds:
            return Plan(max(2, self.count // 2) if call < 20 * self.seconds else 2, 1, 1, warm=False)
        times = max(1, ceil(self.seconds / self.parts / max(call, 1e-9)))
        return Plan(self.count, max(1, ceil(self.seconds / (times * call))), times, warm=True)


@dataclass(frozen=True, slots=True)
class Plan:
    """So many rounds, of so many parts, of so many calls; *warm*: a call that does not count goes before each round."""

    rounds: int
    parts: int
    times: int
    warm: bool

    @property
    def told(self) -> Message:
        return {"do": "run", "parts": self.parts, "times": self.times, "warm": self.warm}


@dataclass(slots=True)
class Session:
    """The two processes of one pair while they measure."""

    workers: Mapping[str, Worker]
    rounds: Rounds
    cpus: tuple[int, ...]
    generator: random.Random
    calls: dict[str, float]
    logs: dict[str, tuple[float, ...]] = field(default_factory=dict)
    cpu: dict[str, tuple[float, ...]] = field(default_factory=dict)
    seconds: dict[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._pin()

    def control(self) -> None:
        """The same code on both sides."""
        self.benchmark(CONTROL, {side: {"do": "control"} for side in self.workers}, at_once=False)

    def benchmark(self, name: str, told: Mapping[str, Message], *, at_once: bool) -> None:
        """Measure one benchmark. Raises BenchmarkError when a side fails at it."""
        for side, worker in self.workers.items():
            self._send(name, worker, told[side])
        for worker in self.workers.values():
            self._expect(name, worker, "ready")
        if name not in self.calls:
            self.calls[name] = max(self._call_time(name, worker) for worker in self.workers.values())
        try:
            measured = [self._round(name, order, at_once) for order in self._orders(name)]
            self._end(name)
        except BenchmarkError as error:
            if at_once and not error.fatal:
                self._pin()
            raise
        if at_once:
            self._pin()
        self._keep(name, measured)

    def _end(self, name: str) -> None:
        """Both tests go on to their own end, in which a check of theirs may still fail."""
        for worker in self.workers.values():
            self._send(name, worker, {"do": "enough"})
        ended = {side: self._next(name, worker) for side, worker in self.workers.items()}
        if bad := {side: message for side, message in ended.items() if message.get("outcome") != "passed"}:
            raise failure(name, bad, fatal=any(message["at"] != "ended" for message in bad.values()))

    def _orders(self, name: str) -> Iterator[tuple[str, str]]:
        """Who goes first: ABBA over each two rounds, the first by lot."""
        for _ in range(self.rounds.of(self.calls[name]).rounds // 2):
            one, other = self.generator.sample(("base", "candidate"), 2)
            yield one, other
            yield other, one

    def _round(self, name: str, order: tuple[str, str], at_once: bool) -> dict[str, tuple[float, float]]:
        plan = self.rounds.of(self.calls[name])
        if at_once:
            found = self._both(name, order, plan.told)
        else:
            found = {side: self._one(name, self.workers[side], plan.told) for side in order}
        return {side: (each["wall"] / plan.times, each["cpu"] / plan.times) for side, each in found.items()}

    def _one(self, name: str, worker: Worker, told: Message) -> Message:
        self._send(name, worker, told)
        return self._expect(name, worker, "ran")

    def _both(self, name: str, order: tuple[str, str], told: Message) -> dict[str, Message]:
        """Both at the same time, each on CPUs of its own, which they swap with the order."""
        for side, share in zip(order, halves(self.cpus), strict=True):
            self._send(name, self.workers[side], {**told, "cpus": share})
        return {side: self._expect(name, self.workers[side], "ran") for side in order}

    def _call_time(self, name: str, worker: Worker) -> float:
        """About how long a call takes: twice as many, until a quarter of a round is full."""
        times = 1
        while True:
            wall = float(self._one(name, worker, Plan(1, 1, times, warm=False).told)["wall"])
            if wall >= self.rounds.seconds / 4 or times >= 1 << 24:
                return max(wall, 1e-9) / times
            times *= 2 if wall > self.rounds.seconds / 40 else 8

    def _keep(self, name: str, measured: Sequence[Mapping[str, tuple[float, float]]]) -> None:
        pairs = [(each["base"], each["candidate"]) for each in measured]
        # a clock that saw nothing pass says nothing of a round
        self.logs[name] = tuple(log(max(new[0], 1e-12) / max(old[0], 1e-12)) for old, new in pairs)
        self.cpu[name] = tuple(log(new[1] / old[1]) for old, new in pairs if old[1] > 0 and new[1] > 0)
        self.seconds[name] = tuple((old[0], new[0]) for old, new in pairs)

    def _pin(self) -> None:
        """Both sides to the same CPU."""
        if self.cpus:
            for worker in self.workers.values():
                self._send(CONTROL, worker, {"do": "pin", "cpus": self.cpus[:1]})

    def _send(self, name: str, worker: Worker, message: Message) -> None:
        try:
            worker.send(**message)
        except WorkerError as error:
            raise BenchmarkError(name, str(error), fatal=True) from None

    def _next(self, name: str, worker: Worker) -> Message:
        try:
            return worker.receive(self.rounds.patience)
        except WorkerError as error:
            raise BenchmarkError(name, str(error), fatal=True) from None

    def _expect(self, name: str, worker: Worker, what: str) -> Message:
        """The worker's next message, of the kind *what*. When its test has ended instead, the other's is ended as well."""
        message = self._next(name, worker)
        if message["at"] == what:
            return message
        bad = {worker.side.name: message}
        other = next(each for each in self.workers.values() if each is not worker)
        theirs = self._finished(other) if message["at"] == "ended" else None
        if theirs and theirs["outcome"] != "passed":
            bad[other.side.name] = theirs
        raise failure(name, bad, fatal=theirs is None)

    def _finished(self, worker: Worker) -> Message | None:
        """What *worker* says at the end of its test, to which it is brought from anywhere in it; None when it does not come."""
        try:
            worker.send(do="enough")
            while (message := worker.receive(self.rounds.patience))["at"] != "ended":
                pass
        except WorkerError:
            return None
        return message


def failure(name: str, bad: Mapping[str, Message], *, fatal: bool) -> BenchmarkError:
    """What the sides said that failed at the benchmark *name*; of two it is the candidate's, whichever was first."""
    side = "candidate" if "candidate" in bad else "base"
    only_base = side == "base" and bad[side]["at"] == "ended" and bad[side]["outcome"] != "passed"
    return BenchmarkError(name, told_of(side, bad[side]), fatal=fatal, only_base=only_base)


def told_of(side: str, message: Message) -> str:
    """Why a benchmark was not measured, from what its side said instead."""
    if message["at"] != "ended":
        return f"the process of the {side} said {message['at']!r} out of turn"
    outcome = "never used the fixture `benchmark`" if message["outcome"] == "passed" else message["outcome"]
    return f"{outcome} on the {side}" + (f": {message['why']}" if message["why"] else "")


def cpus(generator: random.Random) -> tuple[int, ...]:
    """The CPUs that we may use, in an order by lot; none where the system does not let us choose."""
    if not hasattr(os, "sched_getaffinity"):
        return ()
    usable = sorted(os.sched_getaffinity(0))
    return tuple(generator.sample(usable, len(usable)))


def halves(cpus: Sequence[int]) -> tuple[list[int], list[int]]:
    """Two halves of *cpus*, in their own order so that the halves are the same whatever the lot; one CPU is shared."""
    ordered = sorted(cpus)
    middle = len(ordered) // 2
    return (ordered[:middle], ordered[middle : 2 * middle]) if middle else (ordered, ordered)
