"""The breaker written as plainly as it can be, to hold a fast one against.

It keeps every outcome of the present generation in a list and counts anew every time. It knows no lock, no listener and no
woven path.
"""

from __future__ import annotations

from gates.recovery.circuit import CLOSED, HALF_OPEN, OPEN, CircuitBreakerConfig, CircuitState
from gates.recovery.classification import IGNORED, RETRYABLE, SUCCESS, Outcome
from gates.recovery.window import CountWindow, TimeWindow


class ReferencePermit:
    """One admission: of which generation, when, and whether it was given back."""

    __slots__ = ("admitted", "generation", "released")

    def __init__(self, generation: int, admitted: float) -> None:
        self.generation = generation
        self.admitted = admitted
        self.released = False


class ReferenceBreaker:
    """A model of a breaker without jitter: the same figures, the same decisions.

    Attributes:
        state: the state now.
        permits: everything that was ever admitted and not given back.
    """

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self.config = config
        self.state: CircuitState = CLOSED
        self.generation = 1
        self.outcomes: list[tuple[float, bool]] = []
        self.permits: list[ReferencePermit] = []
        self.opened_at = self.duration = 0.0
        self.closed_at = float("-inf")
        self.trips = 0

    def acquire(self, now: float) -> ReferencePermit | None:
        """Permission at *now*, or None."""
        if self.state is OPEN and now >= self.opened_at + self.duration:
            self._enter(HALF_OPEN)
        if self.state is OPEN:
            return None
        if self.state is HALF_OPEN:
            out = self.probes()
            if any(now - permit.admitted >= self.config.half_open_timeout for permit in out):
                self._open(now)
                return None
            if len(out) >= self.config.permits(len(self.outcomes)):
                return None
        permit = ReferencePermit(self.generation, now)
        self.permits.append(permit)
        return permit

    def release(self, permit: ReferencePermit, outcome: Outcome, now: float) -> None:
        """The call of *permit* ended."""
        if permit.released:
            return
        permit.released = True
        self.permits.remove(permit)
        if permit.generation != self.generation or outcome not in (SUCCESS, RETRYABLE):
            return
        failed = outcome is RETRYABLE
        self.outcomes.append((now, failed))
        if self.state is HALF_OPEN:
            if failed:
                self._open(now)
            elif len(self.outcomes) >= self.config.success_threshold:
                self.closed_at = now
                self._enter(CLOSED)
        elif self.state is CLOSED and self.must_open(now):
            self._open(now)

    def probes(self) -> list[ReferencePermit]:
        """The probes that are out."""
        return [permit for permit in self.permits if permit.generation == self.generation] if self.state is HALF_OPEN else []

    def must_open(self, now: float) -> bool:
        """Whether the outcomes of this generation are too bad."""
        window = self.config.window
        if window is None:
            tail = self.outcomes[-self.config.failure_threshold :]
            return len(tail) == self.config.failure_threshold and all(failed for _, failed in tail)
        calls = counted(window, self.outcomes, now)
        failures = sum(failed for _, failed in calls)
        # In thousandths, as whole numbers: the rates of the tests have no more digits.
        return len(calls) >= window.minimum_calls and 1000 * failures >= round(1000 * window.failure_rate) * len(calls)

    def _open(self, now: float) -> None:
        if self.state is CLOSED and now - self.closed_at >= self.duration:
            self.trips = 0
        self.trips += 1
        grown = self.config.recovery_timeout * self.config.break_multiplier ** (self.trips - 1)
        self.opened_at, self.duration = now, min(self.config.max_recovery_timeout, grown)
        self._enter(OPEN)

    def _enter(self, state: CircuitState) -> None:
        self.state = state
        self.generation += 1
        self.outcomes = []


def counted(window: CountWindow | TimeWindow, outcomes: list[tuple[float, bool]], now: float) -> list[tuple[float, bool]]:
    """The *outcomes*, oldest first, that *window* looks at when it is *now*."""
    if isinstance(window, CountWindow):
        return outcomes[-window.size :]
    newest = now // window.width
    return [(at, failed) for at, failed in outcomes if at // window.width > newest - window.buckets]


RELEASES = (SUCCESS, RETRYABLE, IGNORED, Outcome.CANCELLED)
"""The ways in which a call ends, as far as a breaker can tell them apart."""
