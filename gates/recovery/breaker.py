"""The circuit breaker: it stops calling what does not answer, and lets few callers find out when it does again.

Every admission carries a *permit*, a whole number: the breaker's generation while calls pass freely, a negative number of its
own for each half-open probe. Every transition starts a new generation, so a result that comes late belongs to a generation
that is gone, and changes nothing.

The woven path reads two fields. `gate` is the generation while everybody is admitted, else 0; `alert` says that a success
must be looked at. Everything else happens under a lock that is never held while the operation or a listener runs.
"""

from __future__ import annotations

import time
from _random import Random
from _thread import allocate_lock

from gates.recovery.classification import (
    CANCELLED,
    IGNORED,
    OVERLOAD,
    PERMANENT,
    RETRYABLE,
    SUCCESS,
    DefaultErrorClassifier,
    ErrorClassifier,
    Outcome,
)
from gates.recovery.configuration import callable_, instance, number, whole
from gates.recovery.errors import CircuitBreakerOpen
from gates.recovery.events import Event, Listeners
from gates.recovery.weaving import Step, caller, colour_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Concatenate, ParamSpec, TypeVar

    from gates.recovery.events import Listener
    from gates.recovery.weaving import Source

    P = ParamSpec("P")
    R = TypeVar("R")

HIGHEST_EXPONENT = 64
"""Growth of the break duration ends here; every maximum is reached long before."""


class CircuitState(str):
    """CLOSED admits all, OPEN nobody, HALF_OPEN a few probes."""

    __slots__ = ()

    CLOSED: CircuitState
    OPEN: CircuitState
    HALF_OPEN: CircuitState

    def __repr__(self) -> str:
        return f"CircuitState.{self.upper()}"


CLOSED = CircuitState.CLOSED = CircuitState("closed")
OPEN = CircuitState.OPEN = CircuitState("open")
HALF_OPEN = CircuitState.HALF_OPEN = CircuitState("half_open")


class CircuitBreakerConfig:
    """When a breaker opens, for how long, and what closes it.

    Attributes:
        failure_threshold: so many failures in a row open it.
        recovery_timeout: seconds that it stays open at first.
        success_threshold: so many successful probes close it.
        half_open_permits: the most probes at the same time.
        half_open_timeout: seconds after which a probe that never came back counts as lost; by default recovery_timeout.
        break_multiplier: what the time open is multiplied by every time that probes fail.
        max_recovery_timeout: the most seconds open; by default ten times recovery_timeout.
        break_jitter: how far the time open is lengthened at random, so that a fleet does not come back as one: 0.1 is up to
            10 %.
    """

    __slots__ = (
        "break_jitter",
        "break_multiplier",
        "failure_threshold",
        "half_open_permits",
        "half_open_timeout",
        "max_recovery_timeout",
        "recovery_timeout",
        "success_threshold",
    )

    def __init__(
        self,
        failure_threshold: int = 5,
        recovery_timeout: float = 60.0,
        success_threshold: int = 3,
        *,
        half_open_permits: int = 1,
        half_open_timeout: float | None = None,
        break_multiplier: float = 1.0,
        max_recovery_timeout: float | None = None,
        break_jitter: float = 0.0,
    ) -> None:
        name = type(self).__name__
        self.failure_threshold = whole(f"{name}.failure_threshold", failure_threshold, 1)
        self.recovery_timeout = number(f"{name}.recovery_timeout", recovery_timeout, 0.0, above=True)
        self.success_threshold = whole(f"{name}.success_threshold", success_threshold, 1)
        self.half_open_permits = whole(f"{name}.half_open_permits", half_open_permits, 1)
        patience = self.recovery_timeout if half_open_timeout is None else half_open_timeout
        self.half_open_timeout = number(f"{name}.half_open_timeout", patience, 0.0, above=True)
        self.break_multiplier = number(f"{name}.break_multiplier", break_multiplier, 1.0)
        most = 10 * self.recovery_timeout if max_recovery_timeout is None else max_recovery_timeout
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
            duration *= 1.0 + self.break_jitter * draw()
        return max(duration, retry_after)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


class Core:
    """What breakers of one registry have in common: figures, clock, lock, listeners."""

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
        self.lock = allocate_lock()
        self.listeners = Listeners()


class Outage:
    """What a breaker remembers once it has opened; a breaker that never did has none, which keeps keyed ones small."""

    __slots__ = ("closed_at", "duration", "last_failure", "probes", "sequence", "successes", "trips")

    def __init__(self) -> None:
        self.trips = 0
        self.duration = 0.0
        self.closed_at = 0.0
        self.sequence = 0
        self.successes = 0
        self.last_failure = ""
        # Permit to the time at which the probe counts as lost; in order of admission, so the first is the oldest.
        self.probes: dict[int, float] = {}


class Snapshot:
    """A breaker at one instant. Taking it changes nothing.

    Attributes:
        state: the state, as it is, even when the time open has run out and nobody has called since.
        generation: counts transitions, from 1.
        failures: failures in a row while closed.
        in_flight: half-open probes that are out.
        successes: half-open probes that came back well.
        retry_after: seconds until an open breaker admits a probe; 0 otherwise.
        trips: openings without a healthy time between.
        last_failure: the failure that opened it last, as text.
    """

    __slots__ = ("failures", "generation", "in_flight", "last_failure", "retry_after", "state", "successes", "trips")

    def __init__(self, breaker: CircuitBreaker, now: float) -> None:
        outage = breaker.outage
        self.state = breaker.state
        self.generation = breaker.generation
        self.failures = breaker.failures
        self.retry_after = max(0.0, breaker.until - now) if breaker.state is OPEN else 0.0
        self.in_flight = len(outage.probes) if outage else 0
        self.successes = outage.successes if outage else 0
        self.trips = outage.trips if outage else 0
        self.last_failure = outage.last_failure if outage else ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Snapshot) and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]  # equal by value

    def __repr__(self) -> str:
        return f"Snapshot({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


class CircuitBreaker(Step):
    """A breaker around calls to one dependency.

    As a decorator (`@breaker`), a call (`breaker.call(fetch, url)`), a context manager (`with breaker.guard():`) or by hand
    (`permit = breaker.acquire()`). Raises CircuitBreakerOpen instead of calling. Errors that are permanent count as an answer
    of the dependency; ignored ones, cancelled calls and anything that is no Exception count as nothing.

    Attributes:
        name: what it guards, for messages and events.
        state: the state now; reading it changes nothing.
    """

    __slots__ = ("alert", "core", "failures", "gate", "generation", "name", "outage", "state", "until")

    def __init__(
        self,
        name: str = "",
        config: CircuitBreakerConfig | None = None,
        *,
        classifier: ErrorClassifier | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] | None = None,
        core: Core | None = None,
    ) -> None:
        if core is None:
            figures = CircuitBreakerConfig() if config is None else config
            meaning = DefaultErrorClassifier() if classifier is None else classifier
            instance("CircuitBreaker.name", name, str, "a text")
            instance("CircuitBreaker.config", figures, CircuitBreakerConfig, "a CircuitBreakerConfig")
            instance("CircuitBreaker.classifier", meaning, ErrorClassifier, "an ErrorClassifier")
            callable_("CircuitBreaker.clock", clock)
            core = Core(figures, meaning, clock, random or Random().random)
        self.core = core
        self.name = name
        self.state = CLOSED
        self.generation = 1
        self.failures = 0
        self.until = 0.0
        self.outage: Outage | None = None
        self._refresh()

    @property
    def config(self) -> CircuitBreakerConfig:
        """The figures that it was made with."""
        return self.core.config

    def snapshot(self) -> Snapshot:
        """The breaker at this instant. Nothing changes by looking."""
        with self.core.lock:
            return Snapshot(self, self.core.clock())

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tell *listener* every transition, outcome, rejection and stale result; the answer ends that.

        While anybody listens every call takes the lock, so that every outcome can be told.
        """
        callable_("CircuitBreaker.listen", listener)

        def watch(change: Callable[[Listener], None]) -> None:
            with self.core.lock:
                change(listener)
                self._refresh()

        watch(self.core.listeners.add)
        return lambda: watch(self.core.listeners.remove)

    def force_close(self) -> None:
        """Close at once and forget all failures."""
        self._told(self._closing)

    def reset(self) -> None:
        """The same as force_close."""
        self.force_close()

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call *function* under the breaker; a coroutine function gives its awaitable."""
        guarded: Callable[Concatenate[Callable[P, R], P], R] = caller((self,), colour_of(function))
        return guarded(function, *args, **kwargs)

    def guard(self) -> Guard:
        """A context for `with` and `async with`, good for one use."""
        return Guard(self)

    def acquire(self) -> Permit:
        """Permission for one call, to be given back exactly once. Raises CircuitBreakerOpen."""
        return Permit(self, self.gate or self.admit())

    def try_acquire(self) -> Permit | None:
        """Permission for one call, or None."""
        if self.state is OPEN and self.core.clock() < self.until:
            return None
        try:
            return self.acquire()
        except CircuitBreakerOpen:
            return None

    def weave(self, source: Source, inner: Callable[[], None]) -> None:
        """Write the guarded call: two reads on success."""
        breaker, permit = source.bind(self, "breaker"), source.local("permit")
        admit, failed = source.bind(self.admit, "admit"), source.bind(self.failed, "failed")
        source.line(f"{permit} = {breaker}.gate or {admit}()")
        with source.block("try:"):
            inner()
        with source.block("except BaseException as _r_error:"):
            source.line(f"{failed}({permit}, _r_error)", "raise")
        if self.core.classifier.results is not None:
            source.line(f"{source.bind(self.returned, 'returned')}({permit}, _r_result)")
        else:
            with source.block(f"if {breaker}.alert:"):
                source.line(f"{source.bind(self.succeeded, 'succeeded')}({permit})")

    def admit(self) -> int:
        """A permit by the long way, when not everybody is admitted or somebody listens. Raises CircuitBreakerOpen."""
        core = self.core
        if self.state is OPEN and (left := self.until - core.clock()) > 0.0 and not core.listeners:
            raise CircuitBreakerOpen(self.name, left, self._last_failure())
        permit = self._told(self._admitting)
        if not permit:
            raise CircuitBreakerOpen(self.name, self.snapshot().retry_after, self._last_failure())
        return permit

    def succeeded(self, permit: int) -> None:
        """The call of *permit* came back well."""
        self._told(self._outcome, permit, SUCCESS, "", 0.0)

    def failed(self, permit: int, error: BaseException) -> None:
        """The call of *permit* raised *error*; what that means is the classifier's to say."""
        outcome = self._meaning(error)
        if outcome is RETRYABLE or outcome is OVERLOAD:
            self._told(self._outcome, permit, outcome, _text(error), _retry_after(error))
        elif permit < 0 or self.alert or permit != self.gate:
            self._told(self._outcome, permit, outcome, "", 0.0)

    def returned(self, permit: int, value: object) -> None:
        """The call of *permit* returned *value*, which the classifier looks at."""
        judge = self.core.classifier.results
        outcome = (judge(value) if judge else None) or SUCCESS
        self._told(self._outcome, permit, outcome, f"result {outcome}" if outcome is not SUCCESS else "", 0.0)

    def _meaning(self, error: BaseException) -> Outcome:
        if not isinstance(error, Exception):
            return CANCELLED
        try:
            return self.core.classifier.classify(error)
        except Exception:
            # A classifier with a mistake in it must not hide the error that it was asked about, nor keep a probe's permit.
            return RETRYABLE

    def _last_failure(self) -> str:
        return self.outage.last_failure if self.outage else ""

    # Below this line everything runs under the lock.

    def _told(self, change: Callable[Concatenate[list[Event], float, P], int], *args: P.args, **kwargs: P.kwargs) -> int:
        """Run *change* under the lock, then tell the listeners what it noted."""
        core = self.core
        events: list[Event] = []
        with core.lock:
            answer = change(events, core.clock(), *args, **kwargs)
            self._refresh()
        for event in events:
            core.listeners.tell(event)
        return answer

    def _refresh(self) -> None:
        watched = bool(self.core.listeners)
        free = self.state is CLOSED
        self.gate = self.generation if free and not watched else 0
        self.alert = watched or not free or self.failures > 0

    def _note(self, events: list[Event], kind: str, now: float, **detail: object) -> None:
        if self.core.listeners:
            events.append(Event(kind, self.name, now, detail))

    def _enter(self, events: list[Event], state: CircuitState, now: float) -> None:
        before, self.state = self.state, state
        self.generation += 1
        self.failures = 0
        if self.outage:
            self.outage.probes = {}
            self.outage.successes = 0
        self._note(events, "transition", now, before=before, after=state, generation=self.generation)

    def _admitting(self, events: list[Event], now: float) -> int:
        if self.state is OPEN and now >= self.until:
            self._enter(events, HALF_OPEN, now)
        if self.state is CLOSED:
            return self.generation
        if self.state is HALF_OPEN and (permit := self._probe(events, now)):
            return permit
        self._note(events, "rejected", now, state=self.state)
        return 0

    def _probe(self, events: list[Event], now: float) -> int:
        outage = self._remembered()
        oldest = next(iter(outage.probes.values()), None)
        if oldest is not None and now >= oldest:
            self._opening(events, now, "a probe that never came back", 0.0)
            return 0
        if len(outage.probes) >= self.core.config.half_open_permits:
            return 0
        outage.sequence += 1
        outage.probes[-outage.sequence] = now + self.core.config.half_open_timeout
        return -outage.sequence

    def _outcome(self, events: list[Event], now: float, permit: int, outcome: Outcome, failure: str, retry_after: float) -> int:
        if not self._current(permit):
            self._note(events, "stale", now, outcome=outcome)
            return 0
        self._note(events, "outcome", now, outcome=outcome, state=self.state)
        if outcome is RETRYABLE or outcome is OVERLOAD:
            self._failure(events, now, failure, retry_after)
        elif outcome is SUCCESS or outcome is PERMANENT:
            self._success(events, now)
        return 0

    def _current(self, permit: int) -> bool:
        """Whether *permit* is of this generation; a probe's is given back by asking."""
        if permit > 0:
            return permit == self.generation
        return self.outage is not None and self.outage.probes.pop(permit, None) is not None

    def _success(self, events: list[Event], now: float) -> None:
        if self.state is CLOSED:
            self.failures = 0
            return
        outage = self._remembered()
        outage.successes += 1
        if outage.successes >= self.core.config.success_threshold:
            self._closing(events, now)

    def _failure(self, events: list[Event], now: float, failure: str, retry_after: float) -> None:
        self.failures += 1
        if self.state is HALF_OPEN or self.failures >= self.core.config.failure_threshold:
            self._opening(events, now, failure, retry_after)

    def _opening(self, events: list[Event], now: float, failure: str, retry_after: float) -> None:
        outage = self._remembered()
        if self.state is CLOSED and now - outage.closed_at >= outage.duration:
            outage.trips = 0
        outage.trips += 1
        outage.last_failure = failure
        outage.duration = self.core.config.break_duration(outage.trips, self.core.draw, retry_after)
        self.until = now + outage.duration
        self._enter(events, OPEN, now)

    def _closing(self, events: list[Event], now: float) -> int:
        if self.outage:
            self.outage.closed_at = now
        self._enter(events, CLOSED, now)
        return 0

    def _remembered(self) -> Outage:
        if self.outage is None:
            self.outage = Outage()
        return self.outage


class Permit:
    """Permission for one call. The first of `succeeded`, `failed` and `ignored` counts; what comes after changes nothing."""

    __slots__ = ("_breaker", "_permit")

    def __init__(self, breaker: CircuitBreaker, permit: int) -> None:
        self._breaker = breaker
        self._permit = permit

    def succeeded(self) -> None:
        """The call came back well."""
        if permit := self._taken():
            self._breaker.succeeded(permit)

    def failed(self, error: BaseException) -> None:
        """The call raised *error*, which the breaker's classifier looks at."""
        if permit := self._taken():
            self._breaker.failed(permit, error)

    def ignored(self, outcome: Outcome = IGNORED) -> None:
        """The call ended in a way that says nothing about the dependency."""
        if permit := self._taken():
            self._breaker._told(self._breaker._outcome, permit, outcome, "", 0.0)

    def _taken(self) -> int:
        permit, self._permit = self._permit, 0
        return permit


class Guard:
    """One guarded block."""

    __slots__ = ("_breaker", "_permit")

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._permit = 0

    def __enter__(self) -> None:
        self._permit = self._breaker.gate or self._breaker.admit()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            self._breaker.failed(self._permit, error)
        elif self._breaker.alert:
            self._breaker.succeeded(self._permit)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.__exit__(kind, error, traceback)


def _text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def _retry_after(error: BaseException) -> float:
    """The seconds that *error* asks to be left alone for; 0 when it does not say."""
    seconds = getattr(error, "retry_after", None)
    return float(seconds) if isinstance(seconds, (int, float)) and 0 < seconds < float("inf") else 0.0
