"""What a load run leaves: a row for each arrival, in columns, and the health of the generator."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gates.load.failure import NEVER_SENT, REFUSALS, WAITED, Failure
from gates.load.schedule import Schedule
from gates.model import Operation

NAN = float("nan")
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the generator itself could keep up.

    Attributes:
        cpu: processor time of the generator's thread divided by wall time.
        steal: part of the machine's processor time that the hypervisor took; None where it can't be read.
        clock_jump: how far the wall clock moved against the monotonic one, in seconds.
        pacing: `timerfd` or `timer`.
    """

    cpu: float
    steal: float | None
    clock_jump: float
    pacing: str


@dataclass(frozen=True, slots=True)
class SecondReport:
    """One second of a run, for people who watch: latencies in seconds of what was answered in it."""

    second: int
    due: int
    done: int
    errors: int
    latencies: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    """Columns over the arrivals that became due; times in seconds from the start of load, NaN where it did not happen.

    Attributes:
        intended: when it should start; latency counts from here.
        dispatched: when the generator took it up; the difference is its lateness.
        sent: when its first request was written to a connection.
        completed: when it was over, one way or the other; for UNSENT the end of the run.
        flow, endpoint: indices into *flows* and *endpoints*.
        code: status of the last response, 0 without one.
        failure: a `Failure`.
        planned: arrivals of the schedule; more than there are rows when the run was stopped.
        end: when the run was over.
        examples: a few messages of each class of failure.
        operations: one for each row, when the run recorded them.
    """

    intended: NDArray[np.float64]
    dispatched: NDArray[np.float64]
    sent: NDArray[np.float64]
    completed: NDArray[np.float64]
    flow: NDArray[np.int16]
    endpoint: NDArray[np.int16]
    code: NDArray[np.int16]
    failure: NDArray[np.int8]
    flows: tuple[str, ...]
    endpoints: tuple[str, ...]
    planned: int
    end: float
    health: Health
    schedule_hash: str
    stopped: bool = False
    examples: Mapping[Failure, tuple[str, ...]] = field(default_factory=dict)
    operations: tuple[Operation, ...] = ()

    @property
    def latency(self) -> NDArray[np.float64]:
        """From the intended start to the end, for every row."""
        return np.asarray(self.completed - self.intended)

    @property
    def service(self) -> NDArray[np.float64]:
        """From the first byte sent to the end, for every row; NaN for what was never sent."""
        return np.asarray(self.completed - self.sent)

    @property
    def lateness(self) -> NDArray[np.float64]:
        """How late the generator took each arrival up."""
        return np.asarray(self.dispatched - self.intended)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Rows in which every check held."""
        return np.asarray(self.failure == Failure.NONE)

    @property
    def timed(self) -> NDArray[np.bool_]:
        """Rows whose latency counts: right answers, and waits that ended without one, which bound it from below."""
        return np.isin(self.failure, [Failure.NONE, *WAITED])

    @property
    def unsent(self) -> int:
        return int(np.count_nonzero(self.failure == Failure.UNSENT))

    @property
    def failures(self) -> Mapping[Failure, int]:
        """How many rows ended in each class of failure."""
        counted = Counter(self.failure.tolist())
        return {kind: counted[kind] for kind in Failure if kind is not Failure.NONE and counted[kind]}


class Recorder:
    """Collects the rows while a run goes on. Times are absolute monotonic seconds; *zero* is the start of load."""

    def __init__(self, schedule: Schedule, zero: float, *, record: bool) -> None:
        count = len(schedule.intended)
        self.schedule = schedule
        self.zero = zero
        self.dispatched = array("d", [NAN]) * count
        self.sent = array("d", [NAN]) * count
        self.completed = array("d", [NAN]) * count
        self.code = array("h", [0]) * count
        self.failure = array("b", [Failure.UNSENT]) * count
        self.examples: dict[Failure, list[str]] = {}
        self._answers: dict[int, tuple[str, bool, Any, Any]] | None = {} if record else None

    @property
    def records(self) -> bool:
        """Whether a history is wanted."""
        return self._answers is not None

    def finish(self, n: int, now: float, failure: Failure, code: int, text: str = "") -> None:
        """Arrival *n* is over."""
        self.completed[n] = now
        self.failure[n] = failure
        self.code[n] = code
        if text:
            found = self.examples.setdefault(failure, [])
            if len(found) < EXAMPLES and text not in found:
                found.append(text)

    def operation(self, n: int, key: str, later_step: bool, value: Any, answer: Any) -> None:
        """Keep what a history needs of arrival *n*; *later_step* says that an earlier step had succeeded."""
        if self._answers is not None:
            self._answers[n] = (key, later_step, value, answer)

    def outcome(self, due: int, end: float, health: Health, *, stopped: bool) -> LoadOutcome:
        """The rows of the first *due* arrivals; what is not finished was never sent."""
        schedule, zero = self.schedule, self.zero
        failure = np.frombuffer(self.failure, dtype=np.int8)[:due].copy()
        completed = np.frombuffer(self.completed, dtype=np.float64)[:due] - zero
        completed[np.isnan(completed)] = end - zero
        outcome = LoadOutcome(
            intended=schedule.intended[:due],
            dispatched=np.frombuffer(self.dispatched, dtype=np.float64)[:due] - zero,
            sent=np.frombuffer(self.sent, dtype=np.float64)[:due] - zero,
            completed=completed,
            flow=schedule.flow[:due],
            endpoint=schedule.endpoint[:due],
            code=np.frombuffer(self.code, dtype=np.int16)[:due].copy(),
            failure=failure,
            flows=schedule.flows,
            endpoints=schedule.endpoints,
            planned=len(schedule.intended),
            end=end - zero,
            health=health,
            schedule_hash=schedule.hash,
            stopped=stopped,
            examples={kind: tuple(texts) for kind, texts in self.examples.items()},
        )
        return outcome if self._answers is None else _with_operations(outcome, self._answers)


def status_of(failure: Failure, code: int, *, later_step: bool) -> str:
    """`ok`, `fail` when surely nothing was done, else `unknown`."""
    if failure is Failure.NONE:
        return "ok"
    surely_nothing = failure in NEVER_SENT or (failure is Failure.STATUS and code in REFUSALS)
    return "fail" if surely_nothing and not later_step else "unknown"


def _with_operations(outcome: LoadOutcome, answers: Mapping[int, tuple[str, bool, Any, Any]]) -> LoadOutcome:
    rows = zip(
        outcome.flow.tolist(),
        outcome.endpoint.tolist(),
        outcome.failure.tolist(),
        outcome.code.tolist(),
        outcome.dispatched.tolist(),
        outcome.completed.tolist(),
        strict=True,
    )
    operations = []
    for n, (flow, endpoint, failure, code, invoked, completed) in enumerate(rows):
        key, later_step, value, answer = answers.get(n, ("", False, None, None))
        status = status_of(Failure(failure), code, later_step=later_step)
        kind, name = outcome.flows[flow], outcome.endpoints[endpoint]
        operations.append(Operation(n, kind, name, key, status, invoked, completed, code, value, answer))
    return replace(outcome, operations=tuple(operations))
