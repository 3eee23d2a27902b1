"""What the engine tells while a run goes on, and the recorder that keeps a row for each arrival."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np

from gates.load.failure import NEVER_SENT, REFUSALS, Failure
from gates.load.outcome import Health, LoadOutcome
from gates.load.schedule import Schedule
from gates.model import Operation

NAN = float("nan")
EXAMPLES = 5
Outcome = TypeVar("Outcome", covariant=True)


class Times(Protocol):
    """Absolute monotonic seconds by number of the arrival."""

    def __setitem__(self, n: int, when: float, /) -> None: ...


class Recorder(Protocol[Outcome]):
    """What is told of each arrival, from the moment that it was taken up to its end, and what becomes of it all.

    Attributes:
        schedule: the arrivals; what is told of is a number in it.
        dispatched: when the generator took an arrival up; set before anything else of it.
        sent: when its first request was written; not set when there was no connection for it.
    """

    schedule: Schedule

    @property
    def dispatched(self) -> Times: ...

    @property
    def sent(self) -> Times: ...

    @property
    def records(self) -> bool:
        """Whether `operation` is wanted."""

    def think(self, n: int, seconds: float) -> None:
        """Of the time of arrival *n*, which is about to be over, its user thought *seconds*; they are no latency."""

    def finish(self, n: int, now: float, failure: Failure, code: int, text: str = "") -> None:
        """Arrival *n* is over, in *failure* with status *code*; *text* is an example of what went wrong."""

    def operation(self, n: int, key: str, later_step: bool, value: Any, answer: Any) -> None:
        """What a history needs of arrival *n*; *later_step* says that an earlier step had succeeded."""

    def outcome(self, due: int, end: float, health: Health, *, stopped: bool) -> Outcome:
        """What was recorded of the first *due* arrivals; what is not finished was never sent."""


class Examples:
    """A few different messages of each class of failure."""

    def __init__(self) -> None:
        self._texts: dict[Failure, list[str]] = {}

    def add(self, failure: Failure, text: str) -> None:
        found = self._texts.setdefault(failure, [])
        # a target may send characters that have no bytes, and the report of them must be written
        text = text.encode(errors="backslashreplace").decode()
        if len(found) < EXAMPLES and text not in found:
            found.append(text)

    def all(self) -> dict[Failure, tuple[str, ...]]:
        return {kind: tuple(texts) for kind, texts in self._texts.items()}


class RowRecorder:
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
        self._thought = array("d")
        self._examples = Examples()
        self._answers: dict[int, tuple[str, bool, Any, Any]] | None = {} if record else None

    @property
    def records(self) -> bool:
        """Whether a history is wanted."""
        return self._answers is not None

    def think(self, n: int, seconds: float) -> None:
        """The user of arrival *n* thought for *seconds*; most loads have none who thinks."""
        self._thought = self._thought or array("d", bytes(8 * len(self.completed)))
        self._thought[n] = seconds

    def finish(self, n: int, now: float, failure: Failure, code: int, text: str = "") -> None:
        """Arrival *n* is over."""
        self.completed[n] = now
        self.failure[n] = failure
        self.code[n] = code
        if text:
            self._examples.add(failure, text)

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
            examples=self._examples.all(),
            thought=np.frombuffer(self._thought, dtype=np.float64)[:due].copy() if self._thought else None,
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
