"""What an outcome means: whether to try again, and whether it speaks against the dependency."""

from __future__ import annotations

from gates.recovery.configuration import ConfigurationError, callable_

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeAlias

    Kinds: TypeAlias = "type[BaseException] | Iterable[type[BaseException]]"


_meanings: dict[str, Outcome] = {}


class Outcome(str):
    """The meaning of one result or error.

    | outcome | retried | breaker |
    |---|---|---|
    | SUCCESS | - | success |
    | RETRYABLE | yes | failure |
    | OVERLOAD | yes | failure |
    | EXHAUSTED | no: a policy further in has tried for long enough | failure |
    | PERMANENT | no | success: the dependency gave an answer |
    | IGNORED | no | nothing |
    | CANCELLED | no | nothing |
    """

    __slots__ = ()

    # The same text is the same object, also after a copy or a way between processes: outcomes are compared by identity.
    def __new__(cls, meaning: str) -> Outcome:
        return _meanings.setdefault(str(meaning), str.__new__(cls, meaning))

    SUCCESS: Outcome
    RETRYABLE: Outcome
    OVERLOAD: Outcome
    EXHAUSTED: Outcome
    PERMANENT: Outcome
    IGNORED: Outcome
    CANCELLED: Outcome

    def __repr__(self) -> str:
        return f"Outcome.{self.upper()}"


SUCCESS = Outcome.SUCCESS = Outcome("success")
RETRYABLE = Outcome.RETRYABLE = Outcome("retryable")
OVERLOAD = Outcome.OVERLOAD = Outcome("overload")
EXHAUSTED = Outcome.EXHAUSTED = Outcome("exhausted")
PERMANENT = Outcome.PERMANENT = Outcome("permanent")
IGNORED = Outcome.IGNORED = Outcome("ignored")
CANCELLED = Outcome.CANCELLED = Outcome("cancelled")
OUTCOMES = (SUCCESS, RETRYABLE, OVERLOAD, EXHAUSTED, PERMANENT, IGNORED, CANCELLED)


def is_failure(outcome: Outcome) -> bool:
    """Whether *outcome* speaks against the dependency."""
    return outcome is RETRYABLE or outcome is OVERLOAD or outcome is EXHAUSTED


class ErrorClassifier:
    """Says what an error or a result means, by type, predicate or result.

    An error that is no `Exception` (KeyboardInterrupt, SystemExit, a cancelled task) is CANCELLED, and one that a policy
    further in has given up on is EXHAUSTED, whatever is configured. Otherwise the first that answers wins: *predicate*, the
    most specific type of *permanent*, *ignored*, *overload* and *retryable*, the error's own `recovery_outcome`, what the
    errors of an ExceptionGroup mean together, and *otherwise*.

    Attributes:
        predicate: takes the error, gives an Outcome or None for "ask on".
        results: takes a returned value, gives an Outcome or None for success.
        otherwise: the outcome of errors that nothing else speaks for.
    """

    __slots__ = ("_types", "otherwise", "predicate", "results")

    def __init__(
        self,
        *,
        retryable: Kinds = (),
        permanent: Kinds = (),
        ignored: Kinds = (),
        overload: Kinds = (),
        predicate: Callable[[Exception], Outcome | None] | None = None,
        results: Callable[[object], Outcome | None] | None = None,
        otherwise: Outcome = RETRYABLE,
    ) -> None:
        if not isinstance(otherwise, Outcome) or otherwise not in OUTCOMES:
            raise ConfigurationError("ErrorClassifier.otherwise", otherwise, "a member of Outcome")
        for field, value in (("predicate", predicate), ("results", results)):
            if value is not None:
                callable_(f"ErrorClassifier.{field}", value)
        self._types: dict[type[BaseException], Outcome] = {}
        groups = (("retryable", retryable, RETRYABLE), ("overload", overload, OVERLOAD))
        for field, kinds, outcome in (*groups, ("ignored", ignored, IGNORED), ("permanent", permanent, PERMANENT)):
            for kind in _types(f"ErrorClassifier.{field}", kinds):
                if self._types.setdefault(kind, outcome) is not outcome:
                    raise ConfigurationError(f"ErrorClassifier.{field}", kind, "a type in one group only")
        self.predicate = predicate
        self.results = results
        self.otherwise = otherwise

    def classify(self, error: BaseException) -> Outcome:
        """The outcome that *error* means."""
        if not isinstance(error, Exception):
            return CANCELLED
        own: Outcome | None = getattr(error, "recovery_outcome", None)
        if own is EXHAUSTED:
            return EXHAUSTED
        if self.predicate is not None and (outcome := self.predicate(error)) is not None:
            return outcome
        if self._types:
            for kind in type(error).__mro__:
                if kind in self._types:
                    return self._types[kind]
        if own is None and issubclass(type(error), ExceptionGroup):
            return self._together(getattr(error, "exceptions", ()))
        return own or self.otherwise

    def _together(self, errors: tuple[Exception, ...]) -> Outcome:
        """What a group of *errors* means: what all do; a failure that another attempt can't mend where they disagree."""
        meanings = {self.classify(error) for error in errors}
        if len(meanings) == 1:
            return meanings.pop()
        if meanings == {RETRYABLE, OVERLOAD}:
            return OVERLOAD
        if any(is_failure(outcome) for outcome in meanings):
            return EXHAUSTED
        return PERMANENT if PERMANENT in meanings else IGNORED

    def is_recoverable(self, error: BaseException) -> bool:
        """Whether another attempt may help."""
        return self.classify(error) in (RETRYABLE, OVERLOAD)

    def is_permanent(self, error: BaseException) -> bool:
        """Whether no further attempt can help."""
        return self.classify(error) is PERMANENT


class DefaultErrorClassifier(ErrorClassifier):
    """Every error is retryable, except those that say otherwise by themselves (rejections, exhausted retries)."""

    __slots__ = ()


def _types(field: str, kinds: Kinds) -> tuple[type[BaseException], ...]:
    if isinstance(kinds, str) or not (isinstance(kinds, type) or hasattr(kinds, "__iter__")):
        raise ConfigurationError(field, kinds, "an exception type or several")
    found = (kinds,) if isinstance(kinds, type) else tuple(kinds)
    for kind in found:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise ConfigurationError(field, kind, "an exception type or several")
    return found
