"""The circuit breaker: it stops calling what does not answer, and lets few callers find out when it does again.

Every admission carries a *permit*, a whole number: the breaker's generation while calls pass freely, a negative number of its
own for each half-open probe. Every transition starts a new generation, so a result that comes late belongs to a generation
that is gone, and changes nothing.

The woven path reads few fields. `gate` is the generation while everybody is admitted, else 0; `alert` says that a success
must be looked at, which under a window the gate says as well; `until` is when an open breaker admits a probe, minus infinity
unless rejecting is all there is to do. Everything else happens under a lock, in `machine.py`.
"""

from __future__ import annotations

import time
from _random import Random

from gates.recovery.circuit import (
    CLOSED,
    DISABLED,
    FOREVER,
    FREE,
    ISOLATED,
    METRICS_ONLY,
    CircuitBreakerConfig,
    Core,
    Snapshot,
)
from gates.recovery.classification import (
    CANCELLED,
    IGNORED,
    SUCCESS,
    DefaultErrorClassifier,
    ErrorClassifier,
    Outcome,
    is_failure,
)
from gates.recovery.configuration import callable_, instance
from gates.recovery.errors import CircuitBreakerOpen
from gates.recovery.events import Event
from gates.recovery.machine import Machine
from gates.recovery.permit import Guard, Permit
from gates.recovery.weaving import SYNC, Step, colour_of
from gates.recovery.window import CountTally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import ParamSpec, TypeVar

    from gates.recovery.events import Listener
    from gates.recovery.weaving import Source

    P = ParamSpec("P")
    R = TypeVar("R")


_ANSWERED: dict[str, object] = {"outcome": SUCCESS, "state": CLOSED, "slow": False}


class CircuitBreaker(Step, Machine):
    """A breaker around calls to one dependency.

    As a decorator (`@breaker`), a call (`breaker.call(fetch, url)`), a context manager (`with breaker.guard():`) or by hand
    (`permit = breaker.acquire()`). Raises CircuitBreakerOpen instead of calling. Errors that are permanent count as an answer
    of the dependency; ignored ones, cancelled calls and anything that is no Exception count as nothing.

    Attributes:
        name: what it guards, for messages and events.
        state: the state now; reading it changes nothing.
    """

    __slots__ = ()

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
        Machine.__init__(self, name, _core(name, config, classifier, clock, random) if core is None else core)

    @property
    def config(self) -> CircuitBreakerConfig:
        """The figures that it was made with."""
        return self.core.config

    def snapshot(self) -> Snapshot:
        """The breaker at this instant. Nothing changes by looking."""
        now = self.core.clock()
        with self.core.lock:
            return Snapshot(self, now)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tell *listener* every transition, outcome, rejection and stale result; the answer ends that.

        While anybody listens every call takes the lock, so that every outcome can be told.
        """
        callable_("CircuitBreaker.listen", listener)

        def watch(change: Callable[[Listener], None]) -> None:
            with self.core.lock:
                change(listener)
                self.refresh()

        watch(self.core.listeners.add)
        return lambda: watch(self.core.listeners.remove)

    def reset(self) -> None:
        """Close at once, from every state, and forget everything."""
        self._under_lock(self._moved, CLOSED)

    def force_close(self) -> None:
        """The original's name of `reset`."""
        self.reset()

    def isolate(self) -> None:
        """Admit nobody until `reset`."""
        self._under_lock(self._moved, ISOLATED)

    def disable(self) -> None:
        """Admit everybody until `reset`, and go on measuring."""
        self._under_lock(self._moved, DISABLED)

    def metrics_only(self) -> None:
        """Admit everybody until `reset`, go on measuring, and tell listeners `would_open` where it would have opened."""
        self._under_lock(self._moved, METRICS_ONLY)

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call *function* under the breaker; what gives an awaitable gives one here. The decorator is the fast form."""
        if colour_of(function) != SYNC:
            return self(function)(*args, **kwargs)
        started = self.core.clock()
        permit = self.gate or self.admit()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            self.failed(permit, error, started)
            raise
        if hasattr(result, "__await__"):
            self.told(permit, IGNORED)
            answer: R = self(_waited_for)(result)  # type: ignore[assignment]  # R is awaitable
            return answer
        if self.alert or self.window is not None or self.core.classifier.results is not None:
            self.returned(permit, result, started)
        return result

    def guard(self) -> Guard:
        """A context for `with` and `async with`, good for one use."""
        return Guard(self)

    def acquire(self) -> Permit:
        """Permission for one call, to be given back exactly once. Raises CircuitBreakerOpen."""
        return Permit(self, self.gate or self.admit())

    def try_acquire(self) -> Permit | None:
        """Permission for one call, or None; asking an open breaker raises nothing inside either."""
        # In two steps, because CPython 3.11 looks a method up in a slot by its slowest way.
        clock = self.core.clock
        if clock() < self.until:
            return None
        permit = self.gate or self._under_lock(self._admitting)
        return Permit(self, permit) if permit else None

    def weave(self, source: Source, inner: Callable[[], None]) -> None:
        """Write the guarded call: two reads on success, one clock reading on rejection."""
        # What is rarely called is asked of the breaker: every value that is bound costs each call a nanosecond or two.
        breaker, permit = source.bind(self, "breaker"), source.local("permit")
        clock, slow = source.bind(self.core.clock, "clock"), self._slow_call_duration()
        source.line(f"{permit} = {breaker}.gate")
        with source.block(f"if not {permit}:"):
            with source.block(f"if (_r_left := {breaker}.until - {clock}()) > 0.0:"):
                error = source.bind(CircuitBreakerOpen, "open")
                source.line(f"raise {error}({breaker}.name, _r_left, {breaker}.outage.last_failure)")
            source.line(f"{permit} = {breaker}.admit()")
        started = ""
        if slow is not None:
            started = source.local("started")
            source.line(f"{started} = {clock}()")
        with source.block("try:"):
            inner()
        with source.block("except BaseException as _r_error:"):
            arguments = ", ".join(filter(None, (permit, "_r_error", started)))
            source.line(f"{breaker}.failed({arguments})", "raise")
        self._weave_success(source, breaker, permit, clock, started)

    def _weave_success(self, source: Source, breaker: str, permit: str, clock: str, started: str) -> None:
        after = f", {started}" if started else ""
        if self.core.classifier.results is not None:
            source.line(f"{breaker}.returned({permit}, _r_result{after})")
            return
        tally = source.bind(self.window, "window") if self.window is not None else ""
        timed = self.window is not None and not isinstance(self.window, CountTally)
        # The clock first: after it there is no call, so no other thread comes between looking and counting.
        reading = f"(_r_now := {clock}())" if started else f"{clock}()"
        conditions = [f"{reading} >= {tally}.edge"] if timed else []
        if started:
            now = "_r_now" if timed else f"{clock}()"
            conditions.append(f"{now} - {started} >= {self._slow_call_duration()!r}")
        conditions.append(f"{permit} != {breaker}.gate" if tally else f"{breaker}.alert")
        with source.block(f"if {' or '.join(conditions)}:"):
            source.line(f"{breaker}.succeeded({permit}{after})")
        if timed:
            with source.block("else:"):
                source.line(f"{tally}.current += 1")
        elif isinstance(self.window, CountTally):
            # Neither branch has a call in it, so no other thread runs between reading and writing a number.
            with source.block("else:"):
                with source.block(f"if {tally}.calls < {self.window.limits.size}:"):
                    source.line(f"{tally}.calls += 1")
                with source.block(f"if {tally}.bits:"):
                    mask = source.bind(self.window.limits.mask, "mask")
                    source.line(f"{tally}.bits = {tally}.bits << 2 & {mask}")

    def admit(self) -> int:
        """A permit by the long way, when not everybody is admitted or somebody listens. Raises CircuitBreakerOpen."""
        if self.state in FREE:
            return self.generation
        permit = self._under_lock(self._admitting)
        if not permit:
            seen = self.snapshot()
            raise CircuitBreakerOpen(self.name, seen.retry_after, seen.last_failure)
        return permit

    def succeeded(self, permit: int, started: float = FOREVER) -> None:
        """The call of *permit*, begun at *started*, came back well."""
        if permit == self.generation and not self.failures and self.window is None and self.state is CLOSED:
            # Only somebody who listens brought us here, and there is nothing to change.
            core = self.core
            core.listeners.tell(Event("outcome", self.name, core.clock(), _ANSWERED))
            return
        self.told(permit, SUCCESS, "", 0.0, started)

    def failed(self, permit: int, error: BaseException, started: float = FOREVER) -> None:
        """The call of *permit* raised *error*; what that means is the classifier's to say."""
        outcome = self._meaning(error)
        if is_failure(outcome):
            self.told(permit, outcome, _text(error), _retry_after(error), started)
        else:
            self.told(permit, outcome, "", 0.0, started)

    def returned(self, permit: int, value: object, started: float = FOREVER) -> None:
        """The call of *permit* returned *value*, which the classifier looks at if it looks at results."""
        judge = self.core.classifier.results
        try:
            outcome = (judge(value) if judge else None) or SUCCESS
        except Exception:
            # The same mistake about a result must not hide the result, nor keep a probe's permit.
            outcome = SUCCESS
        self.told(permit, outcome, f"result {outcome}" if outcome is not SUCCESS else "", 0.0, started)

    def told(
        self, permit: int, outcome: Outcome, failure: str = "", retry_after: float = 0.0, started: float = FOREVER
    ) -> None:
        """The call of *permit* ended with *outcome*."""
        self._under_lock(self._outcome, permit, outcome, failure, retry_after, started)

    def _meaning(self, error: BaseException) -> Outcome:
        if not isinstance(error, Exception):
            return CANCELLED
        try:
            return self.core.classifier.classify(error)
        except Exception:
            # A classifier with a mistake in it must not hide the error that it was asked about, nor keep a probe's permit.
            return Outcome.RETRYABLE


def _core(
    name: str,
    config: CircuitBreakerConfig | None,
    classifier: ErrorClassifier | None,
    clock: Callable[[], float],
    random: Callable[[], float] | None,
) -> Core:
    """What a breaker that belongs to no registry has for itself alone."""
    figures = CircuitBreakerConfig() if config is None else config
    meaning = DefaultErrorClassifier() if classifier is None else classifier
    instance("CircuitBreaker.name", name, str, "a text")
    instance("CircuitBreaker.config", figures, CircuitBreakerConfig, "a CircuitBreakerConfig")
    instance("CircuitBreaker.classifier", meaning, ErrorClassifier, "an ErrorClassifier")
    callable_("CircuitBreaker.clock", clock)
    draw = Random().random if random is None else random
    callable_("CircuitBreaker.random", draw)
    return Core(figures, meaning, clock, draw)


def _text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


async def _waited_for(result: Awaitable[object]) -> object:
    return await result


def _retry_after(error: BaseException) -> float:
    """The seconds that *error* asks to be left alone for; 0 when it does not say."""
    try:
        seconds = getattr(error, "retry_after", None)
    except Exception:
        return 0.0
    return float(seconds) if isinstance(seconds, (int, float)) and 0 < seconds < FOREVER else 0.0
