"""Permission for one call, for those who guard by hand or with a block."""

from __future__ import annotations

from gates.recovery.classification import IGNORED, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gates.recovery.breaker import CircuitBreaker


class Permit:
    """Permission for one call. The first of `succeeded`, `failed` and `ignored` counts; what comes after changes nothing."""

    __slots__ = ("_breaker", "_permit", "_started")

    def __init__(self, breaker: CircuitBreaker, permit: int) -> None:
        self._breaker = breaker
        self._permit = permit
        self._started = breaker.core.clock()

    def succeeded(self) -> None:
        """The call came back well."""
        if permit := self._taken():
            self._breaker.succeeded(permit, self._started)

    def failed(self, error: BaseException) -> None:
        """The call raised *error*, which the breaker's classifier looks at."""
        if permit := self._taken():
            self._breaker.failed(permit, error, self._started)

    def ignored(self, outcome: Outcome = IGNORED) -> None:
        """The call ended in a way that says nothing about the dependency."""
        if permit := self._taken():
            self._breaker.told(permit, outcome)

    def _taken(self) -> int:
        permit, self._permit = self._permit, 0
        return permit


class Guard:
    """One guarded block."""

    __slots__ = ("_breaker", "_permit")

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker

    def __enter__(self) -> None:
        self._permit = self._breaker.acquire()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            self._permit.succeeded()
        else:
            self._permit.failed(error)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.__exit__(kind, error, traceback)
