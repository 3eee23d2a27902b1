"""The errors that recovery itself raises; what the operation raised is their cause."""

from __future__ import annotations

from gates.recovery.classification import EXHAUSTED, IGNORED, OVERLOAD, PERMANENT, RETRYABLE, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Generic

    from typing_extensions import TypeVar

    # The default is for `except ExhaustedRetries as error`, where nothing says what the operation raises.
    E = TypeVar("E", covariant=True, default=Exception)
else:
    from gates.recovery.generics import Generic

    E = None


class RecoveryError(Exception, Generic[E]):
    """The base of all; `E` is the type of the operation's own error.

    Attributes:
        recovery_outcome: what the error means to a policy further out.
    """

    recovery_outcome: Outcome = EXHAUSTED


class FailedAttempt(Generic[E]):
    """One attempt of a retried call.

    Attributes:
        error: what the attempt raised, or a ResultRejected.
        delay: seconds waited after it; 0 when there was no further attempt.
    """

    __slots__ = ("delay", "error")

    def __init__(self, error: E, delay: float) -> None:
        self.error = error
        self.delay = delay

    def __repr__(self) -> str:
        return f"FailedAttempt({self.error!r}, delay={self.delay!r})"


class _Ended(RecoveryError[E]):
    """A retried call that came to an end without a result.

    Attributes:
        attempts: how many attempts were made.
        last_error: what the last one raised.
        history: the attempts, at most the last 32.
        service: the name that the caller gave.
    """

    _says = "Operation failed"

    def __init__(self, attempts: int, last_error: E, history: tuple[FailedAttempt[E], ...] = (), service: str = "") -> None:
        super().__init__(attempts, last_error, history, service)
        self.attempts = attempts
        self.last_error = last_error
        self.history = history
        self.service = service

    def __str__(self) -> str:
        where = f" for {self.service}" if self.service else ""
        noun = "attempt" if self.attempts == 1 else "attempts"
        return f"{self._says}{where} after {self.attempts} {noun}: {self.last_error}"


class ExhaustedRetries(_Ended[E]):  # noqa: N818 - the original's name
    """Every attempt that was allowed has failed."""


class Permanent(_Ended[E]):  # noqa: N818 - a sibling of ExhaustedRetries
    """The operation failed in a way that no further attempt can mend."""

    _says = "Operation failed permanently"
    recovery_outcome = PERMANENT


class BudgetExhausted(_Ended[E]):  # noqa: N818 - a sibling of ExhaustedRetries
    """The retry budget was empty, so the attempts that were left were not made."""

    _says = "Retry budget exhausted"


class Cancelled(_Ended[E]):  # noqa: N818 - a sibling of ExhaustedRetries
    """The caller asked the retries to stop between two attempts. A cancelled task raises its own CancelledError instead."""

    _says = "Retries cancelled"
    recovery_outcome = IGNORED


class DeadlineExceeded(_Ended[E]):  # noqa: N818 - a sibling of ExhaustedRetries
    """The total deadline leaves no time for a further attempt, or has interrupted one (then `last_error` is None).

    A retry's own deadline counts the interrupted attempt and tells those before it; one of a step further out knows of none.
    """

    _says = "Deadline exceeded"

    def __str__(self) -> str:
        if self.last_error is not None:
            return super().__str__()
        where = f" for {self.service}" if self.service else ""
        return f"{self._says}{where}" + (f" during attempt {self.attempts}" if self.attempts else "")


class CircuitBreakerOpen(RecoveryError[E]):  # noqa: N818 - the original's name
    """The breaker admits no call now.

    It has no `__init__` of its own: an open breaker raises one for every call, and that is worth 100 ns.
    """

    recovery_outcome = IGNORED

    @property
    def service(self) -> str:
        """The breaker's name."""
        return str(self.args[0]) if self.args else ""

    @property
    def retry_after(self) -> float:
        """Seconds until the breaker may admit a call again, at least 0."""
        return max(0.0, float(self.args[1])) if len(self.args) > 1 else 0.0

    @property
    def last_failure(self) -> str:
        """The failure that opened the breaker, as text: keeping the error itself would keep every frame of its traceback."""
        return str(self.args[2]) if len(self.args) > 2 else ""

    def __str__(self) -> str:
        after = f", after {self.last_failure}" if self.last_failure else ""
        when = f"retry after {self.retry_after:.3g} s" if self.retry_after < float("inf") else "it stays so until it is reset"
        return f"Circuit breaker is open for {self.service or 'an unnamed service'}{after}; {when}"


class Timeout(RecoveryError[E]):  # noqa: N818 - the original's name
    """The operation took too long and was interrupted.

    Attributes:
        duration: the seconds that it had.
    """

    recovery_outcome = RETRYABLE

    def __init__(self, duration: float) -> None:
        super().__init__(duration)
        self.duration = duration

    def __str__(self) -> str:
        return f"Operation timeout after {self.duration:g} s"


class ResultRejected(RecoveryError[E]):  # noqa: N818 - a sibling of the above
    """A result that the classifier calls a failure; it is the `last_error` of a retry over results.

    Attributes:
        value: the result itself.
        recovery_outcome: what the classifier said.
    """

    def __init__(self, value: object, outcome: Outcome = RETRYABLE) -> None:
        super().__init__(value, outcome)
        self.value = value
        self.recovery_outcome = outcome

    def __str__(self) -> str:
        return f"Result rejected as {self.recovery_outcome}: {self.value!r}"


class Overloaded(RecoveryError[E]):  # noqa: N818 - a sibling of the above
    """A limit of this process refused the call before it was made.

    Attributes:
        limit: the name of what refused it.
        retry_after: seconds after which it is worth trying again; 0 when unknown.
    """

    recovery_outcome = OVERLOAD

    def __init__(self, limit: str, retry_after: float = 0.0) -> None:
        super().__init__(limit, retry_after)
        self.limit = limit
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.limit} is full" + (f"; retry after {self.retry_after:.3g} s" if self.retry_after else "")
