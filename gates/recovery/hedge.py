"""Hedging: when the answer takes long, ask a second time and take the first answer."""

from __future__ import annotations

from gates.recovery.budget import RetryBudget, shared
from gates.recovery.classification import OVERLOAD, RETRYABLE, DefaultErrorClassifier, ErrorClassifier
from gates.recovery.configuration import ConfigurationError, instance, number, whole
from gates.recovery.weaving import ASYNC, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Callable, Coroutine
    from typing import Any

    from gates.recovery.weaving import Source


class Hedge(Step):
    """Starts the call again after *delay* without an answer, up to *extra* times, and takes the first answer.

    A failure that is retryable starts the next at once; one that is not ends everything. The others are cancelled and
    awaited, so nothing goes on when the call has returned. For idempotent coroutine functions only.

    Attributes:
        delay: seconds, or a function that gives them, such as the 95th percentile of late.
        extra: calls beside the first.
        budget: what extra calls are paid from; by default the one shared by a step further out, if any.
        classifier: says which failures are retryable.
    """

    __slots__ = ("budget", "classifier", "delay", "extra")

    def __init__(
        self,
        delay: float | Callable[[], float],
        extra: int = 1,
        *,
        budget: RetryBudget | None = None,
        classifier: ErrorClassifier | None = None,
    ) -> None:
        self.delay = delay if callable(delay) else number("Hedge.delay", delay, 0.0)
        self.extra = whole("Hedge.extra", extra, 1, 10)
        if budget is not None:
            instance("Hedge.budget", budget, RetryBudget, "a RetryBudget")
        self.budget = budget
        self.classifier = DefaultErrorClassifier() if classifier is None else classifier
        instance("Hedge.classifier", self.classifier, ErrorClassifier, "an ErrorClassifier")

    def weave(self, source: Source, inner: Callable[[], None]) -> None:
        """Write the call as a coroutine function of its own, and the race between several of it."""
        if source.colour != ASYNC or source.block_only:
            raise ConfigurationError("Hedge", source.name, "a coroutine function: nothing else can be cancelled")
        call = source.local("call")
        with source.block(f"async def {call}():"):
            inner()
            source.line("return _r_result")
        source.line(f"_r_result = await {source.bind(self.race, 'race')}({call})")
        if self.budget is not None:
            self.budget.weave_deposit(source)

    async def race(self, call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """The first answer of *call*, started up to `extra` times more."""
        import asyncio

        order: list[Task[Any]] = [asyncio.ensure_future(call())]
        running, left = set(order), self.extra
        try:
            while True:
                delay = number("Hedge.delay()", self.delay(), 0.0) if callable(self.delay) else self.delay
                done, running = await asyncio.wait(
                    running, timeout=delay if left else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in sorted(done, key=order.index):
                    if task.exception() is None or not self._retryable(task):
                        return task.result()
                left = left if self._paid(left) else 0
                if left:
                    left -= 1
                    order.append(asyncio.ensure_future(call()))
                    running.add(order[-1])
                elif not running:
                    return max(done, key=order.index).result()
        finally:
            await _ended(order)
            # An error's traceback holds this frame, so the frame must not hold the tasks that hold the error.
            order, running, done, task = [], set(), set(), None  # type: ignore[assignment]

    def _retryable(self, task: Task[Any]) -> bool:
        error = task.exception()
        return isinstance(error, Exception) and self.classifier.classify(error) in (RETRYABLE, OVERLOAD)

    def _paid(self, left: int) -> bool:
        budget = self.budget or shared.get()
        return left > 0 and (budget is None or budget.withdraw())


async def _ended(tasks: list[Task[Any]]) -> None:
    """Cancel *tasks* and wait until each has ended, even when whoever waits is cancelled meanwhile."""
    import asyncio

    interrupted, running = False, {task for task in tasks if not task.done()}
    for task in running:
        task.cancel()
    while running:
        try:
            _, running = await asyncio.wait(running)
        except asyncio.CancelledError:
            interrupted = True
    for task in tasks:
        # Looked at, so that the loop does not complain about an error that nobody wants.
        _ = task.cancelled() or task.exception()
    if interrupted:
        raise asyncio.CancelledError
