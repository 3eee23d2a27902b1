"""Try again, with a pause between: the original's entrance and the step `Retry`."""

from __future__ import annotations

import time
from _random import Random

from gates.recovery.backoff import Exponential, schedule
from gates.recovery.classification import CANCELLED, OVERLOAD, RETRYABLE, DefaultErrorClassifier, ErrorClassifier, Outcome
from gates.recovery.configuration import ConfigurationError, callable_, choice, instance, number, whole
from gates.recovery.errors import ExhaustedRetries, FailedAttempt, Permanent, RecoveryError, ResultRejected
from gates.recovery.weaving import GENERATOR, Step, weave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, TypeVar, overload

    from gates.recovery.backoff import Backoff
    from gates.recovery.weaving import Source

    R = TypeVar("R")
else:
    from gates.recovery.generics import overload

HISTORY = 32
"""How many attempts an error remembers at most."""


class ErrorRecoveryConfig:
    """The figures of a retry, as the original names them. The jitter is inside the cap, which the original's was not.

    Attributes:
        max_retries: attempts after the first.
        initial_delay: seconds before the first retry.
        max_delay: the most seconds before any retry.
        backoff_multiplier: what every delay is multiplied by to get the next.
        jitter_factor: how far a delay is lengthened at random with `proportional` jitter: 0.1 is up to 10 %.
        jitter: the kind of jitter, as in `backoff.Exponential`.
    """

    __slots__ = ("backoff_multiplier", "initial_delay", "jitter", "jitter_factor", "max_delay", "max_retries")

    def __init__(
        self,
        max_retries: int = 3,
        initial_delay: float = 0.1,
        max_delay: float = 30.0,
        backoff_multiplier: float = 2.0,
        jitter_factor: float = 0.1,
        jitter: str = "proportional",
    ) -> None:
        name = type(self).__name__
        self.max_retries = whole(f"{name}.max_retries", max_retries, 0)
        self.initial_delay = number(f"{name}.initial_delay", initial_delay, 0.0)
        self.max_delay = number(f"{name}.max_delay", max_delay, self.initial_delay)
        self.backoff_multiplier = number(f"{name}.backoff_multiplier", backoff_multiplier, 1.0)
        self.jitter_factor = number(f"{name}.jitter_factor", jitter_factor, 0.0, 1.0)
        self.jitter = choice(f"{name}.jitter", jitter, ("full", "equal", "decorrelated", "proportional", "none"))

    @classmethod
    def production(cls) -> ErrorRecoveryConfig:
        """Six attempts from 500 ms, by 1.5, up to 60 s, 20 % jitter."""
        return cls(5, 0.5, 60.0, 1.5, 0.2)

    @classmethod
    def development(cls) -> ErrorRecoveryConfig:
        """Four attempts from 100 ms, doubling, up to 10 s, 10 % jitter."""
        return cls(3, 0.1, 10.0, 2.0, 0.1)

    @classmethod
    def testing(cls) -> ErrorRecoveryConfig:
        """Three attempts from 10 ms, doubling, up to 100 ms, no jitter."""
        return cls(2, 0.01, 0.1, 2.0, 0.0)

    def backoff(self) -> Exponential:
        """The schedule of these figures."""
        return Exponential(self.initial_delay, self.max_delay, self.backoff_multiplier, self.jitter, factor=self.jitter_factor)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ErrorRecoveryConfig) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


class Retry(Step):
    """Calls again after a failure that may pass.

    Errors that are not retryable come out as they are. When the attempts end, ExhaustedRetries is raised from the last error;
    with `reraise` the last error itself.

    Attributes:
        attempts: how many calls at most, the first included.
        backoff: the schedule of pauses.
        classifier: says what is retryable; everything by default.
        service: a name for messages and events.
    """

    __slots__ = (
        "_permanent_is_wrapped",
        "attempts",
        "backoff",
        "classifier",
        "draw",
        "reraise",
        "service",
        "sleep",
        "sleep_async",
    )

    def __init__(
        self,
        attempts: int = 4,
        backoff: Backoff | None = None,
        *,
        classifier: ErrorClassifier | None = None,
        service: str = "",
        reraise: bool = False,
        random: Callable[[], float] | None = None,
        sleep: Callable[[float], object] = time.sleep,
        sleep_async: Callable[[float], Awaitable[object]] | None = None,
    ) -> None:
        self.attempts = whole("Retry.attempts", attempts, 1)
        self.backoff: Backoff = Exponential() if backoff is None else schedule("Retry.backoff", backoff)
        self.classifier = _custom(classifier)
        self.service = service
        self.reraise = reraise
        self.draw = random or Random().random
        self.sleep = sleep
        self.sleep_async = sleep_async or _sleep
        for field, value in (("random", self.draw), ("sleep", sleep), ("sleep_async", self.sleep_async)):
            callable_(f"Retry.{field}", value)
        self._permanent_is_wrapped = False

    def weave(self, source: Source, inner: Callable[[], None]) -> None:
        """Write the loop. On success without a failure before, all that runs is one assignment and one comparison."""
        if source.colour == GENERATOR:
            raise ConfigurationError(
                "Retry", source.name, "a function or coroutine function: what was yielded can't be taken back"
            )
        story, delay, begin = source.local("story"), source.local("delay"), source.bind(self.begin, "begin")
        sleep = source.bind(self.sleep_async if source.waits else self.sleep, "sleep")
        source.line(f"{story} = None")
        with source.block("while True:"):
            with source.block("try:"):
                inner()
                self._weave_result(source)
            with source.block("except Exception as _r_error:"):
                with source.block(f"if {story} is None:"):
                    source.line(f"{story} = {begin}()")
                source.line(f"{delay} = {story}.failed(_r_error)")
            with source.block("else:"):
                # The story holds errors whose tracebacks hold this frame: forgetting it leaves no cycle for the collector.
                source.line(f"{story} = None", "break")
            with source.block(f"if {delay}:"):
                source.line(f"{source.waits}{sleep}({delay})")

    def _weave_result(self, source: Source) -> None:
        if self.classifier is not None and self.classifier.results is not None:
            source.line(f"{source.bind(reject(self.classifier.results), 'reject')}(_r_result)")

    def begin(self) -> Story:
        """The story of one call whose first attempt has failed."""
        return Story(self)

    def wrapping_permanent(self) -> Retry:
        """The same retry, with Permanent around errors that are not retryable, as the original's entrance has it."""
        self._permanent_is_wrapped = True
        return self


class Story:
    """The failed attempts of one call."""

    __slots__ = ("attempts", "delay", "failures", "retry")

    def __init__(self, retry: Retry) -> None:
        self.retry = retry
        self.attempts = 0
        self.delay = 0.0
        self.failures: list[FailedAttempt[Exception]] = []

    def failed(self, error: Exception) -> float:
        """Note *error*; the seconds to wait before the next attempt. Raises what the call ends with when there is none."""
        retry = self.retry
        self.attempts += 1
        outcome = _meaning(retry.classifier, error)
        if outcome is not RETRYABLE and outcome is not OVERLOAD:
            self._end_permanent(error)
        if self.attempts >= retry.attempts:
            self._end(ExhaustedRetries, error)
        self.delay = delay = retry.backoff.delay(self.attempts, self.delay, retry.draw)
        self.failures.append(FailedAttempt(error, delay))
        if len(self.failures) > HISTORY:
            del self.failures[0]
        return delay

    def _end_permanent(self, error: Exception) -> None:
        if self.retry._permanent_is_wrapped and not isinstance(error, RecoveryError):
            self._end(Permanent, error)
        self.failures = []
        try:
            raise error
        finally:
            del error

    def _end(self, kind: type[ExhaustedRetries[Exception]] | type[Permanent[Exception]], error: Exception) -> None:
        history = (*self.failures, FailedAttempt(error, 0.0))
        self.failures = []
        try:
            if self.retry.reraise:
                _mark(error)
                raise error
            raise kind(self.attempts, error, history, self.retry.service) from error
        finally:
            # Without these the error, its traceback and this frame would keep each other alive.
            del error, history


def _meaning(classifier: ErrorClassifier | None, error: Exception) -> Outcome:
    """What *error* means to a retry: what layers further in have given up on is left alone."""
    if getattr(error, "recovery_final", False):
        return CANCELLED
    if classifier is not None:
        return classifier.classify(error)
    return getattr(error, "recovery_outcome", RETRYABLE)


def _mark(error: Exception) -> None:
    """Tell layers further out that *error* was retried already. Errors without a `__dict__` can't be told."""
    try:
        error.recovery_final = True  # type: ignore[attr-defined]  # a mark on somebody else's error
    except AttributeError:
        return


def reject(results: Callable[[object], Outcome | None]) -> Callable[[object], None]:
    """A function that raises ResultRejected for results that are failures."""

    def check(value: object) -> None:
        outcome = results(value)
        if outcome is RETRYABLE or outcome is OVERLOAD:
            raise ResultRejected(value, outcome)

    return check


def _custom(classifier: ErrorClassifier | None) -> ErrorClassifier | None:
    """*classifier*, or None when it is the default one, which needs no call."""
    if classifier is None or type(classifier) is DefaultErrorClassifier:
        return None
    instance("Retry.classifier", classifier, ErrorClassifier, "an ErrorClassifier")
    return classifier


async def _sleep(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(seconds)


@overload
def retry_with_backoff(
    operation: Callable[[], Awaitable[R]],
    config: ErrorRecoveryConfig | None = None,
    classifier: ErrorClassifier | None = None,
    service_name: str = "",
    **arguments: Any,
) -> Awaitable[R]: ...


@overload
def retry_with_backoff(  # noqa: F811 - an overload, by way of generics.overload
    operation: Callable[[], R],
    config: ErrorRecoveryConfig | None = None,
    classifier: ErrorClassifier | None = None,
    service_name: str = "",
    **arguments: Any,
) -> R: ...


def retry_with_backoff(  # noqa: F811 - what the overloads above stand for
    operation: Callable[[], Any],
    config: ErrorRecoveryConfig | None = None,
    classifier: ErrorClassifier | None = None,
    service_name: str = "",
    **arguments: Any,
) -> Any:
    """Call *operation* until it succeeds, fails permanently or has used up its attempts; the original's entrance.

    A coroutine function gives an awaitable. *arguments* are those of Retry: `random`, `sleep`, `sleep_async`.

    Raises ExhaustedRetries after the last attempt and Permanent for an error that is not retryable, both with the operation's
    error as `last_error` and `__cause__`. A cancelled task's CancelledError, KeyboardInterrupt and SystemExit pass through.
    """
    figures = config or ErrorRecoveryConfig()
    instance("retry_with_backoff.config", figures, ErrorRecoveryConfig, "an ErrorRecoveryConfig")
    retry = Retry(
        figures.max_retries + 1, figures.backoff(), classifier=classifier, service=service_name, **arguments
    ).wrapping_permanent()
    return weave((retry,), operation)()
