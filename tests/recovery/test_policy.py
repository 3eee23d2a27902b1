"""Policies: several primitives in one frame, and the order in which they stand."""

from __future__ import annotations

import asyncio
import inspect
import itertools

import pytest

from gates.recovery import (
    AdaptiveLimit,
    Bulkhead,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerOpen,
    CircuitState,
    ConfigurationError,
    Constant,
    Deadline,
    ErrorClassifier,
    ExhaustedRetries,
    Fallback,
    Hedge,
    Policy,
    RateLimiter,
    RecoveryError,
    Retry,
    RetryBudget,
    TimeLimit,
)
from gates.recovery.testing import VirtualClock, run


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that moves only when somebody sleeps on it."""
    return VirtualClock(0.0)


def failing(calls):
    """An operation that always fails and counts."""

    def operation() -> None:
        calls.append(1)
        raise ConnectionError("no answer")

    return operation


def test_retry_outside_a_breaker_makes_each_attempt_one_call_of_it(clock):
    """Five attempts, threshold 3: after the third the breaker is open, and an open breaker is not retried."""
    calls: list[int] = []
    breaker = CircuitBreaker("b", CircuitBreakerConfig(3), clock=clock)
    with pytest.raises(CircuitBreakerOpen):
        Policy(Retry(5, Constant(0)), breaker)(failing(calls))()
    assert len(calls) == 3


def test_breaker_outside_retry_counts_one_outcome_a_sequence(clock):
    """Three sequences of five attempts each are three failures."""
    calls: list[int] = []
    breaker = CircuitBreaker("b", CircuitBreakerConfig(3), clock=clock)
    call = Policy(breaker, Retry(5, Constant(0)))(failing(calls))
    for _ in range(3):
        assert breaker.state is CircuitState.CLOSED
        with pytest.raises(ExhaustedRetries):
            call()
    assert (len(calls), breaker.state) == (15, CircuitState.OPEN)


def test_a_retry_may_wait_for_the_breaker(clock):
    """With `wait_for_breaker` it sleeps until the breaker admits a probe, and no longer than it must."""
    answers = iter([ConnectionError(), "answer"])

    def operation() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    breaker = CircuitBreaker("b", CircuitBreakerConfig(1, 10.0, 1), clock=clock)
    retry = Retry(4, Constant(0.5), wait_for_breaker=True, sleep=clock.sleep)
    assert Policy(retry, breaker)(operation)() == "answer"
    assert clock.sleeps == [0.5, 9.5]


@pytest.mark.parametrize(("outside", "state"), [("bulkhead", CircuitState.CLOSED), ("breaker", CircuitState.OPEN)])
def test_a_crowd_opens_a_breaker_only_when_the_bulkhead_is_inside_it(clock, outside, state):
    """What a limit of this process refuses is a failure to a breaker around it, and nothing to one inside."""
    breaker, bulkhead = CircuitBreaker("b", CircuitBreakerConfig(3), clock=clock), Bulkhead(2)

    @Policy(*((bulkhead, breaker) if outside == "bulkhead" else (breaker, bulkhead)))
    async def healthy():
        await asyncio.sleep(1)

    async def crowd():
        return await asyncio.gather(*(healthy() for _ in range(10)), return_exceptions=True)

    run(crowd, clock)
    assert breaker.state is state


def test_with_a_retry_whatever_the_policy_gives_up_on_is_a_recovery_error(clock):
    """A fallback for RecoveryError answers for every way in which an outage ends, and passes a business error on."""
    retry = Retry(2, Constant(1), classifier=ErrorClassifier(permanent=LookupError), sleep=clock.sleep)
    unpaid, taken, broken = Retry(2, budget=RetryBudget(burst=0)), Bulkhead(1), CircuitBreaker("b", clock=clock)
    broken.isolate()
    with Policy(taken).guard():
        for steps in ((retry,), (unpaid,), (Deadline(0.5, clock=clock), retry), (retry, broken), (retry, taken)):
            guarded = Policy(Fallback.value("stale", on=RecoveryError), *steps)
            assert guarded(failing([]))() == "stale"
    with pytest.raises(KeyError):
        Policy(Fallback.value("stale", on=RecoveryError), retry).call({}.__getitem__, "no such item")


def test_everything_fits_into_one_frame(clock):
    """A function inside six primitives is called from one frame of ours, and not from six."""
    depth = []

    def operation() -> None:
        depth.append(len(inspect.stack()))

    operation()
    Policy(
        RetryBudget(),
        Deadline(5),
        Retry(3, budget=RetryBudget()),
        CircuitBreaker(),
        Bulkhead(3),
        RateLimiter(1000.0),
        AdaptiveLimit(),
    )(operation)()
    assert depth[1] - depth[0] == 1


def test_a_policy_in_a_policy_is_taken_apart(clock):
    """Policies are put together from policies."""
    retry, breaker, bulkhead = Retry(), CircuitBreaker(), Bulkhead(1)
    assert Policy(Policy(retry, breaker), bulkhead).steps == (retry, breaker, bulkhead)


def test_every_order_of_the_primitives_works_in_both_colours(clock):
    """All 120 orders of five of them answer, sync and async, and a failure comes out of each as it should."""
    for steps in itertools.permutations([0, 1, 2, 3, 4]):
        made = [Retry(2, Constant(0)), CircuitBreaker(), Bulkhead(2), Deadline(5), RetryBudget()]
        policy = Policy(*(made[index] for index in steps))

        @policy
        def operation(value: int) -> int:
            return 10 // value

        @policy
        async def operation_async(value: int) -> int:
            return 10 // value

        assert operation(5) == 2
        assert asyncio.run(operation_async(5)) == 2 if steps < (1,) else True
        with pytest.raises(ExhaustedRetries) as caught:
            operation(0)
        assert isinstance(caught.value.last_error, ZeroDivisionError)
        assert made[2].free == 2


def test_sync_and_async_tell_the_same_story(clock):
    """The same commands through a function and a coroutine function give the same events, at the same times."""
    script = [True, False, False, True, False, False, False, True, True, True, False, True]

    def story(drive) -> list[str]:
        own = VirtualClock(0.0)
        breaker = CircuitBreaker("b", CircuitBreakerConfig(3, 2.0, 2, break_multiplier=2), clock=own, random=lambda: 0.5)
        retry = Retry(2, Constant(0.5), clock=own, sleep=own.sleep, sleep_async=own.sleep_async)
        events: list[object] = []
        breaker.listen(events.append)
        retry.listen(events.append)
        drive(Policy(retry, breaker), iter(script), events)
        return [repr(event) for event in events]

    def sync(policy, answers, events) -> None:
        @policy
        def operation() -> None:
            if not next(answers):
                raise ConnectionError

        for _ in range(7):
            events.append(end_of(operation))

    def end_of(operation) -> str:
        try:
            operation()
        except Exception as error:
            return type(error).__name__
        return "answer"

    def coroutines(policy, answers, events) -> None:
        @policy
        async def operation() -> None:
            if not next(answers):
                raise ConnectionError

        for _ in range(7):
            events.append(end_of(lambda: run(operation)))

    assert story(sync) == story(coroutines)
    assert len(story(sync)) > 20


def test_a_block_is_guarded_by_the_whole_policy(clock):
    """`with policy.guard():` counts failures, holds the bulkhead's permit, and passes the error on as it is."""
    breaker, bulkhead = CircuitBreaker("b", CircuitBreakerConfig(2)), Bulkhead(1)
    policy = Policy(breaker, bulkhead)
    with policy.guard():
        assert bulkhead.free == 0
    error = ConnectionError()
    for _ in range(2):
        with pytest.raises(ConnectionError) as caught, policy.guard():
            raise error
        assert caught.value is error
    assert (bulkhead.free, breaker.state) == (1, CircuitState.OPEN)
    with pytest.raises(CircuitBreakerOpen), policy.guard():
        pytest.fail("it must not be entered")


def test_an_async_block_is_interrupted_by_its_limit(clock):
    """`async with policy.guard():` has limits and waits, too."""
    breaker = CircuitBreaker("b", CircuitBreakerConfig(1), clock=clock)

    async def scene() -> None:
        async with Policy(breaker, TimeLimit(1.0)).guard():
            await asyncio.sleep(0.5)
        with pytest.raises(Exception, match="Operation timeout after 1 s"):
            async with Policy(breaker, TimeLimit(1.0)).guard():
                await asyncio.sleep(3600)

    run(scene, clock)
    assert breaker.state is CircuitState.OPEN


def test_call_takes_either_colour(clock):
    """The same policy calls a function and gives the awaitable of a coroutine function, with arguments."""
    policy = Policy(Retry(2), CircuitBreaker())

    async def later(left: int, *, right: int) -> int:
        return left + right

    assert policy.call(divmod, 7, 2) == (3, 1)
    assert asyncio.run(policy.call(later, 1, right=2)) == 3


def test_a_fallback_answers_for_what_it_names(clock):
    """It gets the error; what it does not name, and what is no Exception, passes."""
    policy = Policy(Fallback(lambda error: f"cached, after {error}", on=ConnectionError), CircuitBreaker())

    @policy
    def operation(error: BaseException) -> str:
        raise error

    assert operation(ConnectionError("no answer")) == "cached, after no answer"
    for error in (ValueError("other"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught:
            operation(error)
        assert caught.value is error
    assert Fallback.value(7)(lambda: 1 / 0)() == 7


def test_a_fallback_may_be_a_coroutine_function(clock):
    """Around a coroutine function either colour will do; around a function only a function."""

    async def cached(error: Exception) -> str:
        await asyncio.sleep(0)
        return "cached"

    async def broken() -> str:
        raise ConnectionError

    assert run(Fallback(cached)(broken)) == "cached"
    assert run(Fallback.value("stale")(broken)) == "stale"
    with pytest.raises(ConfigurationError, match="a sync function"):
        Fallback(cached)(lambda: 1)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Policy(Retry(), len), "Policy.steps is <built-in function len>; allowed: primitives such as"),
        (lambda: Policy(Retry()).guard().__enter__(), "Retry is 'a block'"),
        (lambda: Policy(Hedge(1)).guard().__enter__(), "Hedge is 'a block'; allowed: a coroutine function"),
        (lambda: Policy(Fallback.value(1)).guard().__enter__(), "a block has no answer"),
        (lambda: Hedge(1)(len), "Hedge is 'len'; allowed: a coroutine function"),
        (lambda: Hedge(1, 0), "Hedge.extra is 0"),
        (lambda: Fallback(1), "Fallback.function is 1; allowed: something callable"),
        (lambda: Fallback(len, on=KeyboardInterrupt), "Fallback.on is <class 'KeyboardInterrupt'>"),
        (lambda: Bulkhead(0), "Bulkhead.limit is 0"),
        (lambda: RateLimiter(0), "RateLimiter.rate is 0; allowed: a number at least 1e-09 and at most 1e+09"),
        (lambda: AdaptiveLimit(5, minimum=6), "AdaptiveLimit.initial is 5"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_call(make, text):
    """With field, value and what would be accepted."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert text in str(caught.value)
