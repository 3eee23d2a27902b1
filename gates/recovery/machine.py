"""The state machine of a circuit breaker. Everything that changes it runs under its lock, for microseconds."""

from __future__ import annotations

from gates.recovery.circuit import (
    CLOSED,
    FOREVER,
    FREE,
    HALF_OPEN,
    ISOLATED,
    METRICS_ONLY,
    NEVER,
    OPEN,
    CircuitState,
    Core,
    Outage,
)
from gates.recovery.classification import PERMANENT, SUCCESS, Outcome, is_failure
from gates.recovery.events import Event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVarTuple

    from gates.recovery.window import Tally

    Arguments = TypeVarTuple("Arguments")


class Machine:
    """The fields of a breaker and how they change.

    Attributes:
        gate: the generation while everybody is admitted and nobody listens, else 0; with a window 0 on alert, too.
        alert: whether a success must be looked at.
        until: when the break ends; minus infinity unless rejecting is all there is to do.
        generation: counts transitions, from 1.
        failures: failures in a row.
    """

    __slots__ = ("alert", "core", "failures", "gate", "generation", "name", "outage", "state", "until", "window")

    def __init__(self, name: str, core: Core) -> None:
        self.core = core
        self.name = name
        self.state = CLOSED
        self.generation = 1
        self.failures = 0
        self.outage: Outage | None = None
        settings = core.config.window
        self.window: Tally | None = None if settings is None else settings.start()
        self.refresh()

    def _under_lock(self, change: Callable[[list[Event], float, *Arguments], int], *args: *Arguments) -> int:
        """Run *change* under the lock, then tell the listeners what it noted."""
        core = self.core
        clock = core.clock
        now = clock()
        events: list[Event] = []
        with core.lock:
            answer = change(events, now, *args)
            self.refresh()
        for event in events:
            core.listeners.tell(event)
        return answer

    def refresh(self) -> None:
        """Set the fields that the woven path reads."""
        watched, free, outage = bool(self.core.listeners.listening), self.state in FREE, self.outage
        hurt = self.failures > 0 if self.window is None else self.window.watchful()
        self.alert = watched or not free or hurt
        # A success under a window compares its permit with the gate anyway, so that says in one look what the alert says.
        self.gate = self.generation if free and not watched and (self.window is None or not hurt) else 0
        self.until = NEVER if outage is None or watched or free or self.state is HALF_OPEN else outage.until

    def _note(self, events: list[Event], kind: str, now: float, **detail: object) -> None:
        if self.core.listeners.listening:
            events.append(Event(kind, self.name, now, detail))

    def _enter(self, events: list[Event], state: CircuitState, now: float) -> None:
        before, self.state = self.state, state
        self.generation += 1
        self.failures = 0
        if self.window is not None:
            self.window.clear()
        if self.outage is not None:
            self.outage.probes = {}
            self.outage.successes = 0
        self._note(events, "transition", now, before=before, after=state, generation=self.generation)

    def _admitting(self, events: list[Event], now: float) -> int:
        outage = self._remembered()
        if self.state is OPEN and now >= outage.until:
            self._enter(events, HALF_OPEN, now)
        if self.state in FREE:
            return self.generation
        if self.state is HALF_OPEN and (permit := self._probe(events, now, outage)):
            return permit
        self._note(events, "rejected", now, state=self.state)
        return 0

    def _probe(self, events: list[Event], now: float, outage: Outage) -> int:
        oldest = next(iter(outage.probes.values()), FOREVER)
        if now >= oldest:
            self._opening(events, now, "a probe that never came back", 0.0)
            return 0
        if len(outage.probes) >= self.core.config.permits(outage.successes):
            return 0
        outage.sequence += 1
        outage.probes[-outage.sequence] = now + self.core.config.half_open_timeout
        return -outage.sequence

    def _outcome(
        self,
        events: list[Event],
        now: float,
        permit: int,
        outcome: Outcome,
        failure: str,
        retry_after: float,
        started: float,
    ) -> int:
        if not self._current(permit):
            self._note(events, "stale", now, outcome=outcome)
            return 0
        limit = self._slow_call_duration()
        slow = limit is not None and now - started >= limit
        self._note(events, "outcome", now, outcome=outcome, state=self.state, slow=slow)
        if is_failure(outcome):
            self._counted(events, now, True, slow, failure, retry_after)
        elif outcome is SUCCESS or outcome is PERMANENT:
            self._counted(events, now, False, slow, "slow calls", 0.0)
        return 0

    def _current(self, permit: int) -> bool:
        """Whether *permit* is of this generation; a probe's is given back by asking."""
        if permit > 0:
            return permit == self.generation
        return self.outage is not None and self.outage.probes.pop(permit, None) is not None

    def _counted(self, events: list[Event], now: float, failed: bool, slow: bool, failure: str, retry_after: float) -> None:
        if self.state is HALF_OPEN:
            self._probed(events, now, failed or slow, failure, retry_after)
        elif self._tripped(now, failed, slow):
            if self.state is CLOSED:
                self._opening(events, now, failure, retry_after)
            elif self.state is METRICS_ONLY:
                self._note(events, "would_open", now, failure=failure)

    def _tripped(self, now: float, failed: bool, slow: bool) -> bool:
        if self.window is not None:
            self.window.record(now, failed, slow)
            return self.window.tripped(now)
        self.failures = self.failures + 1 if failed else 0
        return self.failures >= self.core.config.failure_threshold

    def _probed(self, events: list[Event], now: float, failed: bool, failure: str, retry_after: float) -> None:
        outage = self._remembered()
        if failed:
            self._opening(events, now, failure, retry_after)
            return
        outage.successes += 1
        if outage.successes >= self.core.config.success_threshold:
            outage.closed_at = now
            self._enter(events, CLOSED, now)

    def _opening(self, events: list[Event], now: float, failure: str, retry_after: float) -> None:
        outage = self._remembered()
        if self.state is CLOSED and now - outage.closed_at >= outage.duration:
            outage.trips = 0
        outage.trips += 1
        outage.last_failure = failure
        outage.duration = self.core.config.break_duration(outage.trips, self.core.draw, retry_after)
        outage.until = now + outage.duration
        self._enter(events, OPEN, now)

    def _moved(self, events: list[Event], now: float, state: CircuitState) -> int:
        """Somebody moved it by hand."""
        outage = self._remembered()
        outage.trips = 0
        outage.until = FOREVER if state is ISOLATED else NEVER
        outage.last_failure = "isolated by hand" if state is ISOLATED else ""
        self._enter(events, state, now)
        return 0

    def _remembered(self) -> Outage:
        if self.outage is None:
            self.outage = Outage()
        return self.outage

    def _slow_call_duration(self) -> float | None:
        window = self.core.config.window
        return None if window is None else window.slow_call_duration
