"""A store behind breakers: one that counts failed writes and one that counts failed reads, because they fail apart.

A database that another process has locked takes no writes and still answers reads. With one breaker for both, the node would
stop reading what it can read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gates.node.errors import FAILURES, StoreUnavailable
from gates.node.storage import Storage, Transaction
from gates.recovery import CircuitBreaker, CircuitBreakerOpen, Exponential, Outcome

T = TypeVar("T")
_BACKOFF = Exponential(0.05, 0.5, jitter="none")


class StoreBroken(StoreUnavailable):
    """The store was not asked, because it did not answer before.

    Attributes:
        retry_after: seconds until it is asked again.
        recovery_outcome: it says nothing about the store, and asking again at once does not help.
    """

    recovery_outcome = Outcome.IGNORED

    def __init__(self, error: CircuitBreakerOpen[Any]) -> None:
        super().__init__(str(error))
        self.retry_after = error.retry_after


class GuardedStorage:
    """*store* with its writes behind the breaker *writes* and its reads behind the breaker *reads*."""

    def __init__(self, store: Storage, *, writes: CircuitBreaker, reads: CircuitBreaker) -> None:
        self.store = store
        self.writes, self.reads = writes, reads

    def open(self) -> None:
        """Open the store."""
        self.store.open()

    def start(self) -> None:
        """Begin to write."""
        self.store.start()

    def close(self) -> None:
        """Write what is queued, then close."""
        self.store.close()

    async def write(self, change: Callable[[Transaction], T]) -> T:
        """As the store's; raises StoreBroken without asking it while its breaker is open."""
        breaker = self.writes
        try:
            permit = breaker.gate or breaker.admit()
        except CircuitBreakerOpen as error:
            raise StoreBroken(error) from None
        try:
            answer = await self.store.write(change)
        except BaseException as error:
            breaker.failed(permit, error)
            raise
        breaker.succeeded(permit)
        return answer

    def read(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """As the store's; raises StoreBroken without asking it while its breaker is open."""
        breaker = self.reads
        try:
            permit = breaker.gate or breaker.admit()
        except CircuitBreakerOpen as error:
            raise StoreBroken(error) from None
        try:
            rows = self.store.read(statement, parameters)
        except BaseException as error:
            breaker.failed(permit, error)
            raise
        breaker.succeeded(permit)
        return rows

    async def try_write(self) -> None:
        """A real write, past the breaker: it is what finds out whether the store is back."""
        await self.store.try_write()

    async def try_read(self) -> None:
        """A real read, past the breaker."""
        await self.store.try_read()


async def persistently(store: Storage, change: Callable[[Transaction], T]) -> T:
    """Apply *change*, which may be applied twice, again and again while *store* is down."""
    attempt = 0
    while True:
        try:
            return await store.write(change)
        except FAILURES:
            attempt += 1
        await asyncio.sleep(_BACKOFF.delay(attempt, 0.0, lambda: 1.0))
