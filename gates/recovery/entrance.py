"""The original's entrance, by name: its presets and its functions, for functions and coroutine functions alike."""

from __future__ import annotations

from gates.recovery.backoff import JITTERS, Exponential
from gates.recovery.breaker import CircuitBreaker
from gates.recovery.classification import ErrorClassifier
from gates.recovery.configuration import callable_, choice, instance, number, whole
from gates.recovery.deadline import TimeLimit
from gates.recovery.retry import Retry
from gates.recovery.weaving import SYNC, Awaitable, Step, colour_of, looked_at, waited_for, weave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable as AwaitableOf
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar, overload

    R = TypeVar("R")
else:
    from gates.recovery.generics import overload


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
        self.jitter = choice(f"{name}.jitter", jitter, JITTERS)

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


@overload
def retry_with_backoff(
    operation: Callable[[], AwaitableOf[R]],
    config: ErrorRecoveryConfig | None = None,
    classifier: ErrorClassifier | None = None,
    service_name: str = "",
    **arguments: Any,
) -> AwaitableOf[R]: ...


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

    A coroutine function, or a function that gives an awaitable, gives an awaitable. *arguments* are those of Retry, such as
    `budget`, `deadline`, `random`, `sleep`, `sleep_async`.

    Raises ExhaustedRetries after the last attempt and Permanent for an error that is not retryable, both with the operation's
    error as `last_error` and `__cause__`. A cancelled task's CancelledError, KeyboardInterrupt and SystemExit pass through.
    """
    return _called((_retry(config, classifier, service_name, arguments),), operation)


@overload
def resilient_operation(
    operation: Callable[[], AwaitableOf[R]],
    config: ErrorRecoveryConfig | None,
    circuit_breaker: CircuitBreaker,
    classifier: ErrorClassifier | None = None,
    service_name: str = "",
    **arguments: Any,
) -> AwaitableOf[R]: ...


@overload
def resilient_operation(  # noqa: F811 - an overload, by way of generics.overload
    operation: Callable[[], R],
    config: ErrorRecoveryConfig | None,
    circuit_breaker: CircuitBreaker,
    classifier: ErrorClassifier | None = None,
    service_name: str = "",
    **arguments: Any,
) -> R: ...


def resilient_operation(  # noqa: F811 - what the overloads above stand for
    operation: Callable[[], Any],
    config: ErrorRecoveryConfig | None,
    circuit_breaker: CircuitBreaker,
    classifier: ErrorClassifier | None = None,
    service_name: str = "",
    **arguments: Any,
) -> Any:
    """As retry_with_backoff, with *circuit_breaker* asked before every attempt and told how each one ended.

    The original asked once and told once a sequence: 30 failures on the wire and 33 s of sleep before it opened. Here the
    breaker is inside the retry, and an open breaker ends the retries with CircuitBreakerOpen.
    """
    instance("resilient_operation.circuit_breaker", circuit_breaker, CircuitBreaker, "a CircuitBreaker")
    return _called((_retry(config, classifier, service_name, arguments), circuit_breaker), operation)


async def with_timeout(operation: Callable[[], AwaitableOf[R]], duration: float, service_name: str = "") -> R:
    """Await *operation* for at most *duration* seconds; then it is interrupted and Timeout is raised."""

    callable_("operation", operation)

    async def timed() -> R:
        return await operation()

    timed.__name__ = service_name or timed.__name__
    return await TimeLimit(duration)(timed)()


def _called(steps: Sequence[Step], operation: Callable[[], Any]) -> Any:
    """*operation* called inside *steps*, in whatever colour it turns out to have: `lambda: fetch(url)` does not tell before."""
    callable_("operation", operation)
    if colour_of(operation) != SYNC:
        return weave(steps, operation)()
    try:
        return weave(steps, looked_at)(operation)
    except Awaitable as found:
        first = list(found.args)
    return weave(steps, waited_for)(first, operation)


def _retry(
    config: ErrorRecoveryConfig | None, classifier: ErrorClassifier | None, service_name: str, arguments: dict[str, Any]
) -> Retry:
    figures = ErrorRecoveryConfig() if config is None else config
    instance("config", figures, ErrorRecoveryConfig, "an ErrorRecoveryConfig")
    return Retry(
        figures.max_retries + 1,
        figures.backoff(),
        classifier=classifier,
        service=service_name,
        wraps_permanent=True,
        **arguments,
    )
