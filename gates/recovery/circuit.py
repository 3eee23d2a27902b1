"""The figures and the memory of a circuit breaker."""

from __future__ import annotations

from gates.recovery.configuration import MOST, flag, number, whole
from gates.recovery.events import Listeners
from gates.recovery.locks import shared_lock
from gates.recovery.window import window_or_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gates.recovery.breaker import CircuitBreaker
    from gates.recovery.classification import ErrorClassifier
    from gates.recovery.window import Window

HIGHEST_EXPONENT = 64
"""Growth of the break duration ends here; every maximum is reached long before."""

NEVER = float("-inf")
FOREVER = float("inf")


_states: dict[str, CircuitState] = {}


class CircuitState(str):
    """What a breaker does with the next call.

    | state | admits | measures | leaves by itself |
    |---|---|---|---|
    | CLOSED | everybody | yes | to OPEN, at its threshold |
    | OPEN | nobody | no | to HALF_OPEN, when its time is up |
    | HALF_OPEN | a few probes | the probes | to CLOSED or OPEN |
    | ISOLATED | nobody | no | never |
    | DISABLED | everybody | yes | never |
    | METRICS_ONLY | everybody | yes, and tells when it would have opened | never |
    """

    __slots__ = ()

    # The same text is the same object, also after a copy or a way between processes: states are compared by identity.
    def __new__(cls, name: str) -> CircuitState:
        return _states.setdefault(str(name), str.__new__(cls, name))

    CLOSED: CircuitState
    OPEN: CircuitState
    HALF_OPEN: CircuitState
    ISOLATED: CircuitState
    DISABLED: CircuitState
    METRICS_ONLY: CircuitState

    def __repr__(self) -> str:
        return f"CircuitState.{self.upper()}"


CLOSED = CircuitState.CLOSED = CircuitState("closed")
OPEN = CircuitState.OPEN = CircuitState("open")
HALF_OPEN = CircuitState.HALF_OPEN = CircuitState("half_open")
ISOLATED = CircuitState.ISOLATED = CircuitState("isolated")
DISABLED = CircuitState.DISABLED = CircuitState("disabled")
METRICS_ONLY = CircuitState.METRICS_ONLY = CircuitState("metrics_only")
STATES = (CLOSED, OPEN, HALF_OPEN, ISOLATED, DISABLED, METRICS_ONLY)
FREE = (CLOSED, DISABLED, METRICS_ONLY)


class CircuitBreakerConfig:
    """When a breaker opens, for how long, and what closes it.

    Attributes:
        failure_threshold: so many failures in a row open it; not looked at when there is a window.
        recovery_timeout: seconds that it stays open at first.
        success_threshold: so many successful probes close it.
        window: a CountWindow or a TimeWindow with the rates that open it.
        half_open_permits: the most probes at the same time.
        half_open_timeout: seconds after which a probe that never came back counts as lost; by default recovery_timeout.
        ramp: begin with one probe at a time and double with every success, up to half_open_permits.
        break_multiplier: what the time open is multiplied by every time that probes fail.
        max_recovery_timeout: the most seconds open; by default ten times recovery_timeout.
        break_jitter: how far the time open is shortened at random, so that a fleet does not come back as one: 0.1 is up to 10
            %.
    """

    __slots__ = (
        "break_jitter",
        "break_multiplier",
        "failure_threshold",
        "half_open_permits",
        "half_open_timeout",
        "max_recovery_timeout",
        "ramp",
        "recovery_timeout",
        "success_threshold",
        "window",
    )

    def __init__(
        self,
        failure_threshold: int = 5,
        recovery_timeout: float = 60.0,
        success_threshold: int = 3,
        *,
        window: Window | None = None,
        half_open_permits: int = 1,
        half_open_timeout: float | None = None,
        ramp: bool = False,
        break_multiplier: float = 1.0,
        max_recovery_timeout: float | None = None,
        break_jitter: float = 0.0,
    ) -> None:
        name = type(self).__name__
        self.failure_threshold = whole(f"{name}.failure_threshold", failure_threshold, 1)
        self.recovery_timeout = number(f"{name}.recovery_timeout", recovery_timeout, 0.0, above=True)
        self.success_threshold = whole(f"{name}.success_threshold", success_threshold, 1)
        self.window = window_or_none(f"{name}.window", window)
        self.half_open_permits = whole(f"{name}.half_open_permits", half_open_permits, 1)
        patience = self.recovery_timeout if half_open_timeout is None else half_open_timeout
        self.half_open_timeout = number(f"{name}.half_open_timeout", patience, 0.0, above=True)
        self.ramp = flag(f"{name}.ramp", ramp)
        self.break_multiplier = number(f"{name}.break_multiplier", break_multiplier, 1.0)
        most = min(10 * self.recovery_timeout, MOST) if max_recovery_timeout is None else max_recovery_timeout
        self.max_recovery_timeout = number(f"{name}.max_recovery_timeout", most, self.recovery_timeout)
        self.break_jitter = number(f"{name}.break_jitter", break_jitter, 0.0, 1.0)

    def break_duration(self, trips: int, draw: Callable[[], float], retry_after: float) -> float:
        """Seconds open after *trips* openings in a row without a healthy time between; never less than *retry_after*."""
        try:
            grown = self.recovery_timeout * self.break_multiplier ** min(trips - 1, HIGHEST_EXPONENT)
        except OverflowError:
            grown = self.max_recovery_timeout
        duration = min(self.max_recovery_timeout, grown)
        if self.break_jitter:
            duration *= 1.0 - self.break_jitter * draw()
        return max(duration, retry_after)

    def permits(self, successes: int) -> int:
        """How many probes may be out at the same time after *successes* good ones."""
        return min(self.half_open_permits, 1 << min(successes, 30)) if self.ramp else self.half_open_permits

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


class Core:
    """What the breakers of one registry have in common: figures, clock, lock, listeners."""

    __slots__ = ("classifier", "clock", "config", "draw", "listeners", "lock")

    def __init__(
        self,
        config: CircuitBreakerConfig,
        classifier: ErrorClassifier,
        clock: Callable[[], float],
        draw: Callable[[], float],
    ) -> None:
        self.config = config
        self.classifier = classifier
        self.clock = clock
        self.draw = draw
        self.lock = shared_lock()
        self.listeners = Listeners()


class Outage:
    """What a breaker remembers once it has opened; a breaker that never did has none, which keeps keyed ones small.

    Attributes:
        trips: openings without a healthy time between.
        duration: seconds of the present or last break.
        until: the time at which the present break ends.
        closed_at: when it closed last.
        sequence: the probes admitted ever.
        successes: good probes of this half-open time.
        probes: permit to the time at which the probe counts as lost; in order of admission, so the first is the oldest.
        last_failure: the failure that opened it, as text.
    """

    __slots__ = ("closed_at", "duration", "last_failure", "probes", "sequence", "successes", "trips", "until")

    def __init__(self) -> None:
        self.trips = 0
        self.duration = 0.0
        self.until = NEVER
        self.closed_at = NEVER
        self.sequence = 0
        self.successes = 0
        self.last_failure = ""
        self.probes: dict[int, float] = {}


class Snapshot:
    """A breaker at one instant. Taking it changes nothing.

    Attributes:
        state: the state, as it is, even when the time open has run out and nobody has called since.
        generation: counts transitions, from 1.
        failures: failures in a row; with a window, the failures in it.
        calls: the calls in the window; 0 without one.
        slow_calls: the slow calls in the window.
        in_flight: half-open probes that are out.
        successes: half-open probes that came back well.
        retry_after: seconds until an open breaker admits a probe; 0 otherwise.
        trips: openings without a healthy time between.
        last_failure: the failure that opened it last, as text.
    """

    __slots__ = (
        "calls",
        "failures",
        "generation",
        "in_flight",
        "last_failure",
        "retry_after",
        "slow_calls",
        "state",
        "successes",
        "trips",
    )

    def __init__(self, breaker: CircuitBreaker, now: float) -> None:
        outage, window = breaker.outage, breaker.window
        self.state = breaker.state
        self.generation = breaker.generation
        totals: tuple[int, int, int] = window.totals(now) if window else (0, breaker.failures, 0)
        self.calls, self.failures, self.slow_calls = totals
        self.retry_after = max(0.0, outage.until - now) if outage and breaker.state is OPEN else 0.0
        if breaker.state is ISOLATED:
            self.retry_after = FOREVER
        self.in_flight = len(outage.probes) if outage else 0
        self.successes = outage.successes if outage else 0
        self.trips = outage.trips if outage else 0
        self.last_failure = outage.last_failure if outage else ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Snapshot) and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]  # equal by value

    def __repr__(self) -> str:
        return f"Snapshot({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"
