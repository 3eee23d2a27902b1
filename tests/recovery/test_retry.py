"""Retry: how often, how long between, and what comes out at the end."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from gates.recovery import (
    Cancelled,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerOpen,
    ConfigurationError,
    Constant,
    ErrorClassifier,
    ErrorRecoveryConfig,
    ExhaustedRetries,
    Outcome,
    Permanent,
    ResultRejected,
    Retry,
    resilient_operation,
    retry_with_backoff,
)
from gates.recovery.testing import VirtualClock, seeded


class Failing:
    """An operation that fails so many times before it answers."""

    def __init__(self, times: int, error: type[Exception] = ConnectionError) -> None:
        self.left = times
        self.calls = 0
        self.error = error

    def __call__(self) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error(f"failure {self.calls}")
        return "answer"

    async def later(self) -> str:
        await asyncio.sleep(0)
        return self()


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that moves only when somebody sleeps on it."""
    return VirtualClock()


def test_the_presets_have_the_figures_of_the_original(clock):
    """Default, production, development and testing sleep as the original's table says, jitter aside."""
    expected = {
        "production": [0.5, 0.75, 1.125, 1.6875, 2.53125],
        "development": [0.1, 0.2, 0.4],
        "testing": [0.01, 0.02],
    }
    for preset, delays in expected.items():
        config = getattr(ErrorRecoveryConfig, preset)()
        sleeps: list[float] = []
        with pytest.raises(ExhaustedRetries):
            retry_with_backoff(Failing(99), config, sleep=sleeps.append, random=lambda: 0.0)
        assert sleeps == pytest.approx(delays)
    assert ErrorRecoveryConfig() == ErrorRecoveryConfig(3, 0.1, 30.0, 2.0, 0.1)


def test_an_operation_that_recovers_gives_its_answer(clock):
    """Two failures and an answer make three calls and two sleeps."""
    operation = Failing(2)
    assert retry_with_backoff(operation, ErrorRecoveryConfig.testing(), sleep=clock.sleep) == "answer"
    assert (operation.calls, clock.sleeps) == (3, [0.01, 0.02])


def test_a_coroutine_function_is_retried_in_its_own_colour(clock):
    """The same entrance takes a coroutine function and gives an awaitable."""
    operation = Failing(2)
    answer = retry_with_backoff(operation.later, ErrorRecoveryConfig.testing(), sleep_async=clock.sleep_async)
    assert inspect.isawaitable(answer)
    assert asyncio.run(answer) == "answer"
    assert (operation.calls, clock.sleeps) == (3, [0.01, 0.02])


def test_exhaustion_tells_attempts_history_and_cause(clock):
    """The error names the service, carries every attempt with its delay, and has the last error as its cause."""
    with pytest.raises(ExhaustedRetries, match=r"failed for prices after 3 attempts: failure 3") as caught:
        retry_with_backoff(Failing(9), ErrorRecoveryConfig.testing(), service_name="prices", sleep=clock.sleep)
    error = caught.value
    assert error.attempts == 3
    assert error.__cause__ is error.last_error
    assert [(str(attempt.error), attempt.delay) for attempt in error.history] == [
        ("failure 1", 0.01),
        ("failure 2", 0.02),
        ("failure 3", 0.0),
    ]


def test_a_permanent_error_is_not_retried_and_comes_apart_from_exhaustion(clock):
    """The original called it ExhaustedRetries; ours says Permanent, after one call and no sleep."""
    operation = Failing(9, ValueError)
    with pytest.raises(Permanent) as caught:
        retry_with_backoff(operation, classifier=ErrorClassifier(permanent=ValueError), sleep=clock.sleep)
    assert isinstance(caught.value.last_error, ValueError)
    assert (operation.calls, clock.sleeps) == (1, [])


def test_a_decorated_function_raises_a_permanent_error_as_it_is(clock):
    """The decorator does not wrap what it does not retry: it is the same object."""
    error = ValueError("bad input")

    @Retry(classifier=ErrorClassifier(permanent=ValueError), sleep=clock.sleep)
    def operation() -> None:
        raise error

    with pytest.raises(ValueError, match="bad input") as caught:
        operation()
    assert caught.value is error


def test_reraise_gives_the_last_error_itself(clock):
    """With `reraise` callers keep catching what the operation raises."""
    with pytest.raises(ConnectionError, match="failure 2"):
        Retry(2, Constant(0.1), reraise=True, sleep=clock.sleep)(Failing(9))()


@pytest.mark.parametrize("failures", [0, 1])
@pytest.mark.parametrize("classifier", [None, ErrorClassifier(retryable=BaseException)])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_what_is_no_exception_is_never_retried_and_passes_as_the_same_object(kind, classifier, failures, clock):
    """A cancelled task or a Ctrl-C ends the call at once, in any attempt and whatever the classifier says."""
    error = kind()
    calls = []

    @Retry(9, Constant(1), classifier=classifier, sleep=clock.sleep)
    def operation() -> None:
        calls.append(1)
        raise ConnectionError if len(calls) <= failures else error

    with pytest.raises(kind) as caught:
        operation()
    assert caught.value is error
    assert (len(calls), clock.sleeps) == (1 + failures, [1.0] * failures)


def test_a_delay_of_nothing_does_not_sleep(clock):
    """sleep(0) costs 100 µs, so it is not called."""
    operation = Failing(2)
    assert Retry(3, Constant(0), sleep=clock.sleep)(operation)() == "answer"
    assert clock.sleeps == []


def test_a_result_can_be_a_failure(clock):
    """A classifier of results makes a retry of an answer such as 503; exhaustion carries the value."""
    classifier = ErrorClassifier(results=lambda status: Outcome.RETRYABLE if status == 503 else None)
    answers = [503, 503, 200]
    assert Retry(3, classifier=classifier, sleep=clock.sleep)(lambda: answers.pop(0))() == 200
    with pytest.raises(ExhaustedRetries) as caught:
        Retry(3, classifier=classifier, sleep=clock.sleep)(lambda: 503)()
    assert isinstance(caught.value.last_error, ResultRejected)
    assert caught.value.last_error.value == 503


def test_a_retried_function_keeps_its_signature_defaults_and_name():
    """The wrapper has the parameters of the callee, in every way that Python can declare them."""

    @Retry(2)
    def operation(a: int, /, b: int = 2, *rest: int, c: int, d: int = 4, **more: int) -> tuple[object, ...]:
        """Give back what came."""
        return a, b, rest, c, d, more

    assert str(inspect.signature(operation)) == (
        "(a: 'int', /, b: 'int' = 2, *rest: 'int', c: 'int', d: 'int' = 4, **more: 'int') -> 'tuple[object, ...]'"
    )
    assert operation(1, c=3) == (1, 2, (), 3, 4, {})
    assert operation(1, 5, 6, 7, c=3, d=8, e=9) == (1, 5, (6, 7), 3, 8, {"e": 9})
    assert (operation.__name__, operation.__doc__) == ("operation", "Give back what came.")
    with pytest.raises(TypeError, match=r"operation\(\) missing 1 required keyword-only argument|call\(\) missing"):
        operation(1)


def test_a_method_keeps_its_self(clock):
    """A decorated method is a method."""

    class Client:
        calls = 0

        @Retry(3, Constant(0), sleep=clock.sleep)
        def ask(self, question: str) -> str:
            self.calls += 1
            if self.calls < 3:
                raise ConnectionError
            return question

    client = Client()
    assert client.ask("why") == "why"
    assert client.calls == 3


def test_a_generator_function_is_refused_when_it_is_decorated():
    """What was yielded can't be taken back, so the refusal comes at once and says so."""
    with pytest.raises(ConfigurationError, match="can't be taken back"):

        @Retry(2)
        def items():
            yield 1


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Retry(0), "Retry.attempts is 0; allowed: a whole number at least 1"),
        (lambda: ErrorRecoveryConfig(max_retries=-1), "ErrorRecoveryConfig.max_retries is -1"),
        (lambda: ErrorRecoveryConfig(jitter_factor=1.5), "jitter_factor is 1.5; allowed: a number at least 0 and at most 1"),
        (lambda: ErrorRecoveryConfig(backoff_multiplier=0.5), "backoff_multiplier is 0.5"),
        (lambda: ErrorRecoveryConfig(initial_delay=5, max_delay=1), "max_delay is 1; allowed: a number at least 5"),
        (lambda: ErrorRecoveryConfig(initial_delay=float("nan")), "initial_delay is nan"),
        (lambda: Constant(float("inf")), "Constant.seconds is inf"),
        (lambda: Retry(2, 5), "Retry.backoff is 5; allowed: Exponential, Constant, Custom"),
        (lambda: Retry(2, classifier=ValueError), "an ErrorClassifier"),
        (lambda: Retry(2)(5), "the decorated object is 5; allowed: something callable"),
    ],
)
def test_a_wrong_setting_is_named_with_value_and_range_at_construction(make, text):
    """ConfigurationError comes before any call and says what would be accepted."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert text in str(caught.value)


@pytest.mark.parametrize("backoff", [Constant(0), Constant(0, "equal")])
@pytest.mark.parametrize(("attempts", "kept"), [(32, 32), (33, 33), (34, 33), (1000, 33)])
def test_an_error_carries_at_most_the_last_32_attempts(backoff, attempts, kept, clock):
    """Beside the one that ended it; a retry of thousands of attempts does not keep thousands of tracebacks."""
    numbers = iter(range(1, attempts + 1))

    def operation():
        raise ConnectionError(next(numbers))

    with pytest.raises(ExhaustedRetries) as caught:
        Retry(attempts, backoff, sleep=clock.sleep, random=seeded(1))(operation)()
    assert caught.value.attempts == attempts
    assert [each.error.args[0] for each in caught.value.history] == list(range(attempts + 1 - kept, attempts + 1))


def test_decorators_may_be_stacked(clock):
    """A guarded function can be guarded again: each attempt is then one call of the breaker."""
    breaker = CircuitBreaker("prices", CircuitBreakerConfig(3))
    guarded = Retry(3, Constant(0), sleep=clock.sleep)(breaker(Failing(9)))
    with pytest.raises(ExhaustedRetries):
        guarded()
    assert breaker.snapshot().trips == 1


def test_a_function_that_gives_an_awaitable_is_retried_as_a_coroutine(clock):
    """`lambda: fetch(url)` shows its colour only when it is called; it is guarded all the same, and nothing is called twice."""
    operation = Failing(2)

    def later() -> object:
        return operation.later()

    answer = retry_with_backoff(later, ErrorRecoveryConfig.testing(), sleep_async=clock.sleep_async)
    assert asyncio.run(answer) == "answer"
    assert (operation.calls, clock.sleeps) == (3, [0.01, 0.02])


def test_the_breaker_is_inside_the_retry_of_the_originals_entrance(clock):
    """`resilient_operation` asks the breaker before every attempt and tells it how each one ended."""
    breaker = CircuitBreaker("prices", CircuitBreakerConfig(2), clock=clock)
    operation = Failing(9)
    with pytest.raises(CircuitBreakerOpen):
        resilient_operation(operation, ErrorRecoveryConfig.production(), breaker, sleep=clock.sleep)
    assert operation.calls == 2
    healthy = CircuitBreaker("prices", clock=clock)
    assert asyncio.run(resilient_operation(Failing(0).later, None, healthy)) == "answer"


def test_what_is_in_the_way_of_the_function_is_refused():
    """A guard above @staticmethod would lose it; it says where the guard belongs."""
    with pytest.raises(ConfigurationError, match="the function below @staticmethod"):
        Retry(2)(staticmethod(len))


def test_a_caller_can_ask_the_retries_to_stop(clock):
    """Asked between attempts, it ends with Cancelled, apart from exhaustion, without another pause."""
    stopping = []

    def operation() -> None:
        stopping.append(1)
        raise ConnectionError("no answer")

    with pytest.raises(Cancelled, match="Retries cancelled after 2 attempts: no answer"):
        Retry(9, Constant(1.0), cancelled=lambda: len(stopping) == 2, sleep=clock.sleep)(operation)()
    assert clock.sleeps == [1.0]


def test_positional_only_parameters_stay_so(clock):
    """On functions and on bound methods, a keyword is refused where the callee refuses it."""

    def operation(a: int, /) -> int:
        return a

    class Client:
        def ask(self, a: int, /, b: int = 0) -> int:
            return a + b

    assert Retry(2)(Client().ask)(3, b=4) == 7
    for guarded in (Retry(2)(operation), Retry(2)(Client().ask)):
        assert guarded(3) == 3
        with pytest.raises(TypeError):
            guarded(a=3)


def test_a_classifier_that_retries_everything_does_not_multiply_layers(clock):
    """What an inner layer has given up on stays so, even when every Exception is called retryable."""
    operation = Failing(99)
    retry = Retry(4, Constant(0), classifier=ErrorClassifier(retryable=Exception))
    with pytest.raises(ExhaustedRetries):
        retry(retry(operation))()
    assert operation.calls == 4


def test_a_listener_hears_every_pause_and_the_end(clock):
    """Attempt, delay and meaning of each retry, and at the end how many attempts there were and why no more."""
    events = []
    retry = Retry(3, Constant(2.0), service="orders", clock=clock, sleep=clock.sleep)
    stop = retry.listen(events.append)
    with pytest.raises(ExhaustedRetries):
        retry(Failing(9))()
    assert [(event.kind, event.source, event.at - 1000.0, event.detail) for event in events] == [
        ("retry", "orders", 0.0, {"attempt": 1, "delay": 2.0, "outcome": Outcome.RETRYABLE}),
        ("retry", "orders", 2.0, {"attempt": 2, "delay": 2.0, "outcome": Outcome.RETRYABLE}),
        ("gave_up", "orders", 4.0, {"attempts": 3, "why": "ExhaustedRetries"}),
    ]
    stop()
    with pytest.raises(ExhaustedRetries):
        retry(Failing(9))()
    assert len(events) == 3


def test_only_results_that_may_get_better_are_retried(clock):
    """An overload is asked again, a permanent answer is an answer."""
    outcomes = {429: Outcome.OVERLOAD, 404: Outcome.PERMANENT}
    classifier = ErrorClassifier(results=outcomes.get)
    for first, given in ((429, 200), (404, 404)):
        answers = [first, 200]
        assert Retry(2, Constant(0), classifier=classifier)(lambda answers=answers: answers.pop(0))() == given


def test_retry_after_may_be_switched_off(clock):
    """With a maximum of 0 the computed pause is all there is; below that is no maximum."""

    class BusyError(Exception):
        retry_after = 30.0

    with pytest.raises(ExhaustedRetries):
        Retry(2, Constant(1.0), max_retry_after=0, sleep=clock.sleep)(Failing(9, BusyError))()
    assert clock.sleeps == [1.0]
    with pytest.raises(ConfigurationError, match=r"Retry.max_retry_after is -1; allowed: a number at least 0"):
        Retry(2, max_retry_after=-1)
