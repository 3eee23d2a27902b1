"""The forms of a guard: a call by hand counts as the decorated one does, and what is woven can be read in a debugger."""

from __future__ import annotations

import asyncio
import re

import pytest

from gates.recovery import CircuitBreaker, CircuitBreakerConfig, CountWindow, ErrorClassifier, Retry, RetryBudget, TimeWindow
from gates.recovery.testing import VirtualClock


def both(breaker: CircuitBreaker, function):
    """The two ways of calling *function* under *breaker*."""
    return [breaker(function), lambda *args, **kwargs: breaker.call(function, *args, **kwargs)]


def test_a_call_passes_its_arguments_in_every_colour():
    """By position and by name, to functions and coroutine functions."""
    breaker = CircuitBreaker()

    def plain(first: int, *, second: int) -> tuple[int, int]:
        return first, second

    async def later(first: int, *, second: int) -> tuple[int, int]:
        return first, second

    assert breaker.call(plain, 1, second=2) == (1, 2)
    assert asyncio.run(breaker.call(later, 1, second=2)) == (1, 2)


@pytest.mark.parametrize("results", [None, lambda value: None])
@pytest.mark.parametrize("window", [CountWindow(10, slow_call_duration=1.0), TimeWindow(60.0, slow_call_duration=1.0)])
@pytest.mark.parametrize("form", [0, 1])
def test_a_window_counts_calls_failures_and_slow_calls_of_every_form(form, window, results):
    """Two quick answers, a slow one, a quick failure and a slow one."""
    clock = VirtualClock()
    config = CircuitBreakerConfig(window=window)
    breaker = CircuitBreaker("api", config, clock=clock, classifier=ErrorClassifier(results=results))

    def work(seconds: float, fails: bool = False) -> None:
        clock.advance(seconds)
        if fails:
            raise ConnectionError

    call = both(breaker, work)[form]
    for seconds in (0.5, 0.5, 1.0):
        call(seconds)
    for seconds in (0.5, 1.0):
        with pytest.raises(ConnectionError):
            call(seconds, fails=True)
    seen = breaker.snapshot()
    assert (seen.calls, seen.failures, seen.slow_calls) == (5, 2, 2)


def names(guarded) -> set[str]:
    """The names of its own that a wrapper shows in a debugger, without their numbers."""
    code = guarded.__code__
    return {re.sub(r"\d+$", "", name).removeprefix("_r_") for name in (*code.co_varnames, *code.co_freevars)}


def test_what_a_wrapper_holds_is_named_for_those_who_step_through_it():
    """Every local and every bound value of breaker and retry says what it is."""

    def operation() -> None: ...

    def results(value: object) -> None: ...

    plain = {"breaker", "permit", "clock", "open", "error", "left", "result", "callee"}
    counted = CircuitBreakerConfig(window=CountWindow(slow_call_duration=1.0))
    timed = CircuitBreakerConfig(window=TimeWindow(slow_call_duration=1.0))
    judging = ErrorClassifier(results=results)
    assert names(CircuitBreaker()(operation)) == plain
    assert names(CircuitBreaker(config=counted)(operation)) == plain | {"window", "mask", "started"}
    assert names(CircuitBreaker(config=timed)(operation)) == plain | {"window", "started", "now"}
    assert names(CircuitBreaker(classifier=judging)(operation)) == plain
    retried = {"story", "delay", "failed", "sleep", "error", "callee"}
    assert names(Retry()(operation)) == retried
    assert names(Retry(classifier=judging)(operation)) == retried | {"reject", "result"}
    assert names(RetryBudget()(operation)) == {"shared", "budget", "variable", "deposit", "result", "callee"}
    assert names(Retry(budget=RetryBudget())(operation)) == retried | {"budget", "deposit", "result"}
