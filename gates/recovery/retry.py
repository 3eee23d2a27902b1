"""Try again, with a pause between."""

from __future__ import annotations

import time
from _random import Random

from gates.recovery.backoff import Constant, Exponential, schedule
from gates.recovery.budget import RetryBudget, budgets, shared
from gates.recovery.classification import (
    EXHAUSTED,
    IGNORED,
    OVERLOAD,
    RETRYABLE,
    DefaultErrorClassifier,
    ErrorClassifier,
    Outcome,
)
from gates.recovery.configuration import ConfigurationError, callable_, flag, instance, number, text, whole
from gates.recovery.deadline import Deadline, TimeLimit, bound, deadlines
from gates.recovery.errors import (
    BudgetExhausted,
    Cancelled,
    DeadlineExceeded,
    ExhaustedRetries,
    FailedAttempt,
    Permanent,
    RecoveryError,
    ResultRejected,
)
from gates.recovery.events import Event, Listeners
from gates.recovery.weaving import GENERATOR, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, TypeAlias

    from gates.recovery.backoff import Backoff
    from gates.recovery.events import Listener
    from gates.recovery.weaving import Source

    # The attempts made, no delay before the first one, and then error and delay of each failed attempt in turn.
    Story: TypeAlias = "list[Any]"
    End: TypeAlias = (
        "type[ExhaustedRetries[Any] | Permanent[Any] | BudgetExhausted[Any] | DeadlineExceeded[Any] | Cancelled[Any]]"
    )

HISTORY = 32
"""How many attempts an error remembers at most, beside the last."""

FOREVER = float("inf")

RAISE = -1.0
"""The delay that means: the error itself comes out."""


class Retry(Step):
    """Calls again after a failure that may pass.

    Errors that are not retryable come out as they are. When the attempts end, ExhaustedRetries is raised from the last error
    (the budget is empty: BudgetExhausted; no time is left: DeadlineExceeded); with `reraise` the last error itself. An
    error's `retry_after` in seconds lengthens the pause, up to `max_retry_after`. An open breaker further in is not retried,
    unless `wait_for_breaker` lets it wait until the breaker admits a probe.

    Attributes:
        attempts: how many calls at most, the first included; None for no limit (then give a deadline).
        backoff: the schedule of pauses.
        classifier: says what is retryable; everything by default.
        budget: what retries are paid from; by default the one shared by a step further out, if any.
        deadline: seconds for everything together.
        attempt_timeout: seconds for each attempt of a coroutine function.
        cancelled: asked before every further attempt; True ends with Cancelled.
        service: a name for messages and events.
    """

    __slots__ = (
        "_deadline",
        "_limit",
        "_listeners",
        "_wraps_permanent",
        "attempts",
        "backoff",
        "budget",
        "cancelled",
        "classifier",
        "clock",
        "draw",
        "max_retry_after",
        "reraise",
        "service",
        "sleep",
        "sleep_async",
        "wait_for_breaker",
    )

    def __init__(
        self,
        attempts: int | None = 4,
        backoff: Backoff | None = None,
        *,
        classifier: ErrorClassifier | None = None,
        budget: RetryBudget | None = None,
        deadline: float | None = None,
        attempt_timeout: float | None = None,
        max_retry_after: float = 60.0,
        wait_for_breaker: bool = False,
        cancelled: Callable[[], bool] | None = None,
        service: str = "",
        reraise: bool = False,
        wraps_permanent: bool = False,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] | None = None,
        sleep: Callable[[float], object] = time.sleep,
        sleep_async: Callable[[float], Awaitable[object]] | None = None,
    ) -> None:
        self.attempts = None if attempts is None else whole("Retry.attempts", attempts, 1)
        self.backoff: Backoff = Exponential() if backoff is None else schedule("Retry.backoff", backoff)
        self.classifier = _custom(classifier)
        if budget is not None:
            instance("Retry.budget", budget, RetryBudget, "a RetryBudget")
        self.budget = budget
        self._deadline = None if deadline is None else _named("Retry.deadline", deadline, Deadline, clock=clock)
        self._limit = None if attempt_timeout is None else _named("Retry.attempt_timeout", attempt_timeout, TimeLimit)
        self.max_retry_after = number("Retry.max_retry_after", max_retry_after, 0.0)
        self.wait_for_breaker = flag("Retry.wait_for_breaker", wait_for_breaker)
        self.cancelled = cancelled
        self.clock = clock
        self.service = text("Retry.service", service)
        self.reraise = flag("Retry.reraise", reraise)
        self._wraps_permanent = flag("Retry.wraps_permanent", wraps_permanent)
        self.draw: Callable[[], float] = Random().random if random is None else random
        self.sleep = sleep
        self.sleep_async = _sleep if sleep_async is None else sleep_async
        self._listeners = Listeners()
        optional = (("cancelled", cancelled),) if cancelled is not None else ()
        for field, value in (
            ("clock", clock),
            ("random", self.draw),
            ("sleep", sleep),
            ("sleep_async", self.sleep_async),
            *optional,
        ):
            callable_(f"Retry.{field}", value)

    keeps_tail = True

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tell *listener* every `retry` and every `gave_up`; the answer ends that. Success without failure tells nothing."""
        callable_("Retry.listen", listener)
        self._listeners.add(listener)
        return lambda: self._listeners.remove(listener)

    def weave(self, source: Source, inner: Callable[[], None]) -> None:
        """Write the loop, the limit of each attempt inside it and the deadline around it."""
        if source.colour == GENERATOR or source.block_only:
            raise ConfigurationError(
                "Retry", source.name, "a function or coroutine function: what was yielded can't be taken back"
            )
        limit, deadline = self._limit, self._deadline
        source.tail = source.tail and limit is None and deadline is None
        attempt = inner if limit is None else lambda: limit.weave(source, inner)
        if deadline is None:
            self._weave_loop(source, attempt)
        else:
            told = source.local("told")
            source.line(f"{told} = None")
            deadline.weave_telling(source, lambda: self._weave_loop(source, attempt, told), self._interrupted, told)

    def _weave_loop(self, source: Source, attempt: Callable[[], None], told: str = "") -> None:
        """Write the first attempt by itself, which is all that runs while nothing fails, and then the loop.

        What has happened is left in *told* for the deadline around it, if there is one.
        """
        story, delay, failed = source.local("story"), source.local("delay"), source.bind(self.teller(), "failed")
        source.tail = source.tail and self.budget is None and not self._judges_results()
        first = source.block("try:")
        with first:
            self._weave_attempt(source, attempt)
        if not source.returned:
            first.before(f"{story} = None")
        with source.block("except Exception as _r_error:"):
            source.line(f"{story} = [0, 0.0]", f"{delay} = {failed}({story}, _r_error)")
            with source.block(f"if {delay} < 0.0:"):
                source.line("raise")
        if source.returned:
            self._weave_further(source, attempt, (story, delay, failed), told)
        else:
            with source.block(f"if {story} is not None:"):
                self._weave_further(source, attempt, (story, delay, failed), told)
        if self.budget is not None:
            self.budget.weave_deposit(source)

    def _weave_further(self, source: Source, attempt: Callable[[], None], names: tuple[str, str, str], told: str) -> None:
        """Write the pauses and the attempts after the first."""
        story, delay, failed = names
        sleep = source.bind(self.sleep_async if source.waits else self.sleep, "sleep")
        with source.block("try:"), source.block("while True:"):
            with source.block(f"if {delay}:"):
                source.line(f"{source.waits}{sleep}({delay})")
            with source.block("try:"):
                self._weave_attempt(source, attempt)
                if not source.returned:
                    source.line("break")
            with source.block("except Exception as _r_error:"):
                source.line(f"{delay} = {failed}({story}, _r_error)")
                with source.block(f"if {delay} < 0.0:"):
                    source.line("raise")
        with source.block("finally:"):
            # The story holds errors whose tracebacks hold this frame: forgetting it leaves no cycle for the collector.
            source.line(*([f"{told} = {story}"] if told else []), f"{story} = None")

    def _weave_attempt(self, source: Source, attempt: Callable[[], None]) -> None:
        attempt()
        if self.classifier is not None and self.classifier.results is not None:
            source.line(f"{source.bind(reject(self.classifier.results), 'reject')}(_r_result)")

    def _judges_results(self) -> bool:
        return self.classifier is not None and self.classifier.results is not None

    def teller(self) -> Callable[[Story, Exception], float]:
        """The function that is told a failure and says how long to wait; its figures are in its cells, for speed."""
        attempts, draw = self.attempts or FOREVER, self.draw
        delay_of, widths, evenly = self._schedule()
        # There are as many known pauses as errors to remember, so too many are looked for after them only.
        known, full = len(widths), HISTORY + 1
        classify = self._classify if self.classifier is not None or self.wait_for_breaker else None
        listeners, most, limited = self._listeners, self.max_retry_after, self._limited()
        forbidden = self._forbidder()

        def failed(story: Story, error: Exception) -> float:
            made: int = story[0] + 1
            story[0] = made
            outcome = getattr(error, "recovery_outcome", RETRYABLE) if classify is None else classify(error)
            if outcome is not RETRYABLE and outcome is not OVERLOAD:
                return self._permanent(story, error)
            if made >= attempts:
                return self._end(ExhaustedRetries, story, error)
            if made < known:
                delay = draw() * widths[made] if evenly else widths[made]
            else:
                # The story ends with the delay before.
                delay = delay_of(made, story[-1], draw)
                if made > full:
                    del story[2:4]
            asked = getattr(error, "retry_after", None)
            if asked is not None:
                delay = _at_least(delay, asked, most)
            if (limited or deadlines or budgets) and (end := forbidden(delay)) is not None:
                return self._end(end, story, error)
            story.append(error)
            story.append(delay)
            if listeners.listening:
                listeners.tell(
                    Event("retry", self.service, self.clock(), {"attempt": made, "delay": delay, "outcome": outcome})
                )
            return delay

        return failed

    def _limited(self) -> bool:
        """Whether anything of its own but the attempts may forbid a retry."""
        return self.cancelled is not None or self.budget is not None

    def _forbidder(self) -> Callable[[float], End | None]:
        """The function that says why no attempt may follow after a pause, or None; a token of the budget is taken last."""
        own_budget, cancelled = self.budget, self.cancelled
        outer_budget, outer_bound = shared.get, bound.get

        def forbidden(delay: float) -> End | None:
            if deadlines and (limit := outer_bound()) is not None and delay >= limit.remaining():
                return DeadlineExceeded
            if cancelled is not None and cancelled():
                return Cancelled
            budget = own_budget or (outer_budget() if budgets else None)
            return BudgetExhausted if budget is not None and not budget.withdraw() else None

        return forbidden

    def _schedule(self) -> tuple[Callable[[int, float, Callable[[], float]], float], tuple[float, ...], bool]:
        """What computes a pause; the widths of the first pauses where that is all there is to know, and whether to draw."""
        backoff = self.backoff
        # A class made from these may compute otherwise.
        if type(backoff) is Exponential:
            return backoff.drawn, backoff.widths, backoff.evenly
        if type(backoff) is Constant:
            return backoff.delay, backoff.widths, backoff.evenly
        return backoff.delay, (), False

    def _classify(self, error: Exception) -> Outcome:
        outcome: Outcome = getattr(error, "recovery_outcome", RETRYABLE)
        if self.classifier is not None:
            outcome = self.classifier.classify(error)
        if outcome is IGNORED and self.wait_for_breaker and hasattr(error, "retry_after"):
            return RETRYABLE
        return outcome

    def _permanent(self, story: Story, error: Exception) -> float:
        name = type(error).__name__
        if self._wraps_permanent and not isinstance(error, RecoveryError):
            return self._end(Permanent, story, error)
        self._gave_up(story, name)
        return RAISE

    def _end(self, kind: End, story: Story, error: Exception) -> float:
        """Raise what the call ends with; RAISE when that is *error* itself, so that no frame of ours keeps it alive."""
        self._gave_up(story, kind.__name__)
        if self.reraise:
            _mark(error)
            return RAISE
        raise kind(story[0], error, (*_history(story), FailedAttempt(error, 0.0)), self.service) from error

    def _interrupted(self, story: Story | None) -> DeadlineExceeded[Any]:
        """What the call ends with when its deadline interrupts an attempt."""
        told: Story = [0, 0.0] if story is None else story
        told[0] += 1
        self._gave_up(told, DeadlineExceeded.__name__)
        return DeadlineExceeded(told[0], None, _history(told), self.service)

    def _gave_up(self, story: Story, why: str) -> None:
        if self._listeners.listening:
            self._listeners.tell(Event("gave_up", self.service, self.clock(), {"attempts": story[0], "why": why}))


def _history(story: Story) -> tuple[FailedAttempt[Any], ...]:
    """The failed attempts that *story* remembers, without the last where its error has ended everything."""
    pairs = story[2:][-2 * HISTORY :]
    return tuple(FailedAttempt(pairs[index], pairs[index + 1]) for index in range(0, len(pairs), 2))


def _at_least(delay: float, asked: object, most: float) -> float:
    """*delay*, or the seconds that were *asked* for up to *most*; what is no number of at least 0 was not asked."""
    if isinstance(asked, (int, float)) and 0.0 <= asked < FOREVER:
        return max(delay, min(float(asked), most))
    return delay


def _mark(error: Exception) -> None:
    """Tell policies further out that *error* was retried already. Errors without a `__dict__` can't be told."""
    try:
        error.recovery_outcome = EXHAUSTED  # type: ignore[attr-defined]  # a mark on somebody else's error
    except AttributeError:
        return


def reject(results: Callable[[object], Outcome | None]) -> Callable[[object], None]:
    """A function that raises ResultRejected for results that are failures."""

    def check(value: object) -> None:
        outcome = results(value)
        if outcome is not None and (outcome is RETRYABLE or outcome is OVERLOAD):
            raise ResultRejected(value, outcome)

    return check


def _custom(classifier: ErrorClassifier | None) -> ErrorClassifier | None:
    """*classifier*, or None when it is the default one, which needs no call."""
    if classifier is None or type(classifier) is DefaultErrorClassifier:
        return None
    instance("Retry.classifier", classifier, ErrorClassifier, "an ErrorClassifier")
    return classifier


def _named(field: str, seconds: float, step: Any, **arguments: Any) -> Any:
    """*step* of *seconds*, whose error names *field*."""
    number(field, seconds, 0.0, above=True)
    return step(seconds, **arguments)


async def _sleep(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(seconds)
