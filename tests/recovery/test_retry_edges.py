"""Retry at its edges: the figures of every pause, what is handed on, and where a bound is met exactly."""

from __future__ import annotations

import asyncio

import pytest

from gates.recovery import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitState,
    ConfigurationError,
    Constant,
    Custom,
    DeadlineExceeded,
    DefaultErrorClassifier,
    ErrorClassifier,
    ExhaustedRetries,
    Exponential,
    Outcome,
    Policy,
    ResultRejected,
    Retry,
    RetryBudget,
)
from gates.recovery.testing import VirtualClock, run, seeded


class BusyError(ConnectionError):
    """An error that asks for a pause."""

    def __init__(self, retry_after: float, outcome: Outcome = Outcome.RETRYABLE) -> None:
        super().__init__("busy")
        self.retry_after = retry_after
        self.recovery_outcome = outcome


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that moves only when somebody sleeps on it."""
    return VirtualClock(0.0)


def raising(error: Exception):
    """An operation that raises *error*, and the list of its calls."""
    calls = []

    def operation() -> None:
        calls.append(1)
        raise error

    return operation, calls


def test_a_retry_makes_four_attempts_unless_told_otherwise(clock):
    """The first and three more."""
    operation, calls = raising(ConnectionError())
    with pytest.raises(ExhaustedRetries):
        Retry(sleep=clock.sleep)(operation)()
    assert len(calls) == 4


class Doubled(Constant):
    """A schedule made from one of ours, which computes otherwise."""

    def delay(self, attempt, previous, draw):
        return 2 * super().delay(attempt, previous, draw)


@pytest.mark.parametrize(
    "schedule",
    [
        *(Exponential(0.1, 30.0, 1.5, jitter) for jitter in ("full", "equal", "decorrelated", "proportional", "none")),
        *(Constant(0.5, jitter) for jitter in ("full", "equal", "none")),
        Doubled(0.5),
        Custom(lambda attempt: attempt / 8),
    ],
)
def test_every_pause_is_the_one_of_the_schedule(schedule, clock):
    """Over fifty attempts, with the draws and the pause before it handed on."""
    operation, calls = raising(ConnectionError())
    with pytest.raises(ExhaustedRetries):
        Retry(50, schedule, sleep=clock.sleep, random=seeded(7))(operation)()
    draw, expected = seeded(7), [0.0]
    for attempt in range(1, 50):
        expected.append(schedule.delay(attempt, expected[-1], draw))
    assert len(calls) == 50
    assert clock.sleeps == pytest.approx(expected[1:])


def test_a_retry_without_end_remembers_no_more_errors_than_it_tells():
    """While it goes on, too: the story of thousands of attempts is as long as that of 33."""
    told, story = Retry(None, deadline=9.0).teller(), [0, 0.0]
    for _ in range(5000):
        told(story, ConnectionError())
    assert (story[0], len(story)) == (5000, 2 + 2 * 33)


@pytest.mark.parametrize(("asked", "pause"), [(0.5, 0.5), (0.0, 0.25), (45.0, 45.0), (90.0, 60.0), (float("inf"), 0.25)])
def test_what_an_error_asks_for_lengthens_the_pause_up_to_a_minute(asked, pause, clock):
    """A pause without end is no request."""
    operation, _ = raising(BusyError(asked))
    with pytest.raises(ExhaustedRetries):
        Retry(2, Constant(0.25), sleep=clock.sleep)(operation)()
    assert clock.sleeps == [pause]


def test_a_pause_that_takes_all_the_time_that_is_left_is_not_begun(clock):
    """Where the pause ends at the deadline exactly, the call ends at once, with the last error."""
    error = ConnectionError("the last")
    operation, calls = raising(error)
    with pytest.raises(DeadlineExceeded) as caught:
        Retry(9, Constant(1.0), deadline=3.0, clock=clock, sleep=clock.sleep)(operation)()
    assert (len(calls), clock.now, caught.value.last_error) == (3, 2.0, error)
    assert caught.value.history[-1].error is error


def test_waiting_for_the_breaker_retries_nothing_else_that_is_final():
    """A permanent error is final even when it names a time, and an ignored one when it does not."""
    for error in (BusyError(1.0, Outcome.PERMANENT), marked(ValueError(), Outcome.IGNORED)):
        operation, calls = raising(error)
        with pytest.raises(type(error)):
            Retry(3, Constant(0), wait_for_breaker=True)(operation)()
        assert len(calls) == 1


def test_an_ignored_error_is_final_unless_a_retry_waits_for_the_breaker():
    """Also when it says when to come back."""
    classifier = ErrorClassifier(ignored=BusyError)
    operation, calls = raising(BusyError(1.0, Outcome.IGNORED))
    with pytest.raises(BusyError):
        Retry(3, Constant(0), classifier=classifier)(operation)()
    assert len(calls) == 1


def marked(error: Exception, outcome: Outcome) -> Exception:
    """*error* with an outcome of its own."""
    error.recovery_outcome = outcome
    return error


def test_a_listener_hears_why_a_final_error_was_not_retried(clock):
    """The name of its type, after one attempt."""
    told = []
    retry = Retry(3, classifier=ErrorClassifier(permanent=ValueError), service="api", clock=clock)
    retry.listen(lambda event: told.append((event.kind, event.source, event.detail)))
    operation, _ = raising(ValueError())
    with pytest.raises(ValueError, match="^$"):
        retry(operation)()
    assert told == [("gave_up", "api", {"attempts": 1, "why": "ValueError"})]


def test_an_error_that_was_retried_to_the_end_says_so_itself():
    """With `reraise` it comes out as it is, marked, so that nobody further out begins again."""
    operation, _ = raising(error := ConnectionError())
    with pytest.raises(ConnectionError) as caught:
        Retry(2, Constant(0), reraise=True)(operation)()
    assert caught.value is error
    assert error.recovery_outcome is Outcome.EXHAUSTED


def test_a_rejected_result_keeps_what_the_classifier_said():
    """Value and outcome are in the error of each attempt."""
    classifier = ErrorClassifier(results=lambda value: Outcome.OVERLOAD)
    with pytest.raises(ExhaustedRetries) as caught:
        Retry(2, Constant(0), classifier=classifier)(lambda: 503)()
    last = caught.value.last_error
    assert isinstance(last, ResultRejected)
    assert (last.value, last.recovery_outcome) == (503, Outcome.OVERLOAD)


def test_the_default_classifier_costs_no_call():
    """It is as if there were none."""
    assert Retry(classifier=DefaultErrorClassifier()).classifier is None


def test_a_probe_that_answers_through_a_retry_closes_the_breaker_around_it(clock):
    """What an outer step writes after the call is not skipped by the inner one's return."""
    breaker = CircuitBreaker("api", CircuitBreakerConfig(1, 1.0, 1), clock=clock)
    breaker.acquire().failed(ConnectionError())
    clock.advance(1.0)
    assert Policy(breaker, Retry(2))(lambda: "answer")() == "answer"
    assert breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize("limits", [{"attempt_timeout": 1.0}, {"deadline": 1.0}, {"attempt_timeout": 1.0, "deadline": 1.0}])
def test_an_answer_in_time_leaves_no_alarm_behind(limits, clock):
    """What the task does afterwards may take as long as it likes."""

    async def answer() -> str:
        return "answer"

    call = Retry(2, clock=clock, **limits)(answer)

    async def scene() -> str:
        given = await call()
        await asyncio.sleep(10.0)
        return given

    assert run(scene, clock) == "answer"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Retry(budget=5), "Retry.budget is 5; allowed: a RetryBudget"),
        (lambda: Retry(deadline=0), "Retry.deadline is 0; allowed: a number above 0"),
        (lambda: Retry(attempt_timeout=0), "Retry.attempt_timeout is 0; allowed: a number above 0"),
        (lambda: Retry(classifier=5), "Retry.classifier is 5; allowed: an ErrorClassifier"),
        (lambda: Retry(cancelled=5), "Retry.cancelled is 5; allowed: something callable"),
        (lambda: Retry(clock=5), "Retry.clock is 5; allowed: something callable"),
        (lambda: Retry(random=5), "Retry.random is 5; allowed: something callable"),
        (lambda: Retry(sleep=5), "Retry.sleep is 5; allowed: something callable"),
        (lambda: Retry(sleep_async=5), "Retry.sleep_async is 5; allowed: something callable"),
        (lambda: Retry().listen(5), "Retry.listen is 5; allowed: something callable"),
        (lambda: RetryBudget(clock=5), "RetryBudget.clock is 5; allowed: something callable"),
        (lambda: CircuitBreaker(5), "CircuitBreaker.name is 5; allowed: a text"),
        (lambda: CircuitBreaker(config=5), "CircuitBreaker.config is 5; allowed: a CircuitBreakerConfig"),
        (lambda: CircuitBreaker(classifier=5), "CircuitBreaker.classifier is 5; allowed: an ErrorClassifier"),
        (lambda: CircuitBreaker(clock=5), "CircuitBreaker.clock is 5; allowed: something callable"),
        (lambda: CircuitBreaker(random=5), "CircuitBreaker.random is 5; allowed: something callable"),
        (lambda: CircuitBreaker().listen(5), "CircuitBreaker.listen is 5; allowed: something callable"),
        (
            lambda: CircuitBreakerConfig(window=5),
            "CircuitBreakerConfig.window is 5; allowed: a CountWindow, a TimeWindow or None",
        ),
        (lambda: CircuitBreakerConfig(ramp=1), "CircuitBreakerConfig.ramp is 1; allowed: True or False"),
        (
            lambda: CircuitBreakerConfig(recovery_timeout=0),
            "CircuitBreakerConfig.recovery_timeout is 0; allowed: a number above 0",
        ),
        (
            lambda: CircuitBreakerConfig(half_open_timeout=0),
            "CircuitBreakerConfig.half_open_timeout is 0; allowed: a number above 0",
        ),
        (lambda: CircuitBreakerConfig(success_threshold=0), "CircuitBreakerConfig.success_threshold is 0; allowed: a whole"),
        (lambda: CircuitBreakerConfig(half_open_permits=0), "CircuitBreakerConfig.half_open_permits is 0; allowed: a whole"),
        (
            lambda: CircuitBreakerConfig(break_multiplier=0),
            "CircuitBreakerConfig.break_multiplier is 0; allowed: a number at least 1",
        ),
        (
            lambda: CircuitBreakerConfig(max_recovery_timeout=0),
            "CircuitBreakerConfig.max_recovery_timeout is 0; allowed: a number",
        ),
        (
            lambda: CircuitBreakerConfig(break_jitter=-1),
            "CircuitBreakerConfig.break_jitter is -1; allowed: a number at least 0",
        ),
    ],
)
def test_every_setting_is_refused_by_its_own_name(make, text):
    """Field, value and what would be accepted, in one sentence that begins with them."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert str(caught.value).startswith(text)


def test_a_refused_generator_is_named_and_told_why():
    """In whole, because there is no line that says it better."""

    def items():
        yield 1

    with pytest.raises(ConfigurationError) as caught:
        Retry(2)(items)
    allowed = "a function or coroutine function: what was yielded can't be taken back"
    assert str(caught.value) == f"Retry is 'items'; allowed: {allowed}"
