"""What listeners of breakers are told, word for word, and what a breaker says about why it is open."""

from __future__ import annotations

import pytest

from gates.recovery import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerOpen,
    CircuitState,
    CountWindow,
    ErrorClassifier,
    Outcome,
)
from gates.recovery.testing import VirtualClock

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
SUCCESS, RETRYABLE = Outcome.SUCCESS, Outcome.RETRYABLE


def heard(config: CircuitBreakerConfig):
    """A breaker named `api`, its clock at 100 s, and the list of what it tells."""
    clock = VirtualClock(100.0)
    breaker, told = CircuitBreaker("api", config, clock=clock), []
    breaker.listen(lambda event: told.append((event.kind, event.source, event.at, event.detail)))
    return breaker, clock, told


def transition(at: float, before: CircuitState, after: CircuitState, generation: int):
    """The event of one transition of `api`."""
    return "transition", "api", at, {"before": before, "after": after, "generation": generation}


def outcome(at: float, meaning: Outcome, state: CircuitState, slow: bool = False):
    """The event of one result of a call of `api`."""
    return "outcome", "api", at, {"outcome": meaning, "state": state, "slow": slow}


def test_a_listener_hears_an_outage_from_its_first_failure_to_its_end():
    """Kind, name, time and detail of every event: answers, failures, the opening, rejections, the probe, the closing."""
    breaker, clock, told = heard(CircuitBreakerConfig(2, 10.0, 1))
    call = breaker(lambda fails: 1 / 0 if fails else "answer")
    for fails in (False, True, False, True, True):
        clock.advance(1.0)
        try:
            call(fails)
        except ZeroDivisionError:
            assert fails
    clock.advance(4.0)
    with pytest.raises(CircuitBreakerOpen):
        call(False)
    assert breaker.try_acquire() is None
    clock.advance(6.0)
    call(False)
    assert told == [
        outcome(101.0, SUCCESS, CLOSED),
        outcome(102.0, RETRYABLE, CLOSED),
        outcome(103.0, SUCCESS, CLOSED),
        outcome(104.0, RETRYABLE, CLOSED),
        outcome(105.0, RETRYABLE, CLOSED),
        transition(105.0, CLOSED, OPEN, 2),
        ("rejected", "api", 109.0, {"state": OPEN}),
        ("rejected", "api", 109.0, {"state": OPEN}),
        transition(115.0, OPEN, HALF_OPEN, 3),
        outcome(115.0, SUCCESS, HALF_OPEN),
        transition(115.0, HALF_OPEN, CLOSED, 4),
    ]


def test_a_listener_hears_of_a_probe_that_never_came_back():
    """At the expiry of its permit: the breaker opens again, says why, for its own time; the probe's late result is stale."""
    breaker, clock, told = heard(CircuitBreakerConfig(1, 0.5, 1, half_open_timeout=3.0))
    breaker.acquire().failed(ConnectionError("refused"))
    clock.advance(0.5)
    probe = breaker.acquire()
    assert breaker.try_acquire() is None
    clock.advance(3.0)
    del told[:]
    assert breaker.try_acquire() is None
    seen = breaker.snapshot()
    assert (seen.last_failure, seen.retry_after) == ("a probe that never came back", 0.5)
    clock.advance(0.25)
    probe.succeeded()
    assert told == [
        transition(103.5, HALF_OPEN, OPEN, 4),
        ("rejected", "api", 103.5, {"state": OPEN}),
        ("stale", "api", 103.75, {"outcome": SUCCESS}),
    ]


def test_a_listener_hears_of_a_rejection_half_open():
    """The state in it is the one in which the caller was turned away."""
    breaker, clock, told = heard(CircuitBreakerConfig(1, 0.5, 1))
    breaker.acquire().failed(ConnectionError("refused"))
    clock.advance(0.5)
    breaker.acquire()
    assert breaker.try_acquire() is None
    assert told[-1] == ("rejected", "api", 100.5, {"state": HALF_OPEN})


def test_a_listener_hears_which_calls_were_slow():
    """From the limit on a call is slow; slow calls open the breaker for its own time, and it says so."""
    breaker, clock, told = heard(
        CircuitBreakerConfig(recovery_timeout=0.5, window=CountWindow(2, 1.0, 2, slow_call_duration=1.0))
    )
    call = breaker(clock.sleep)
    call(0.5)
    call(1.0)
    call(1.0)
    assert told == [
        outcome(100.5, SUCCESS, CLOSED, slow=False),
        outcome(101.5, SUCCESS, CLOSED, slow=True),
        outcome(102.5, SUCCESS, CLOSED, slow=True),
        transition(102.5, CLOSED, OPEN, 2),
    ]
    seen = breaker.snapshot()
    assert (seen.last_failure, seen.retry_after) == ("slow calls", 0.5)


def test_a_listener_hears_what_is_moved_by_hand():
    """Isolated, disabled, metrics-only and reset are transitions like others; where it would have opened it says so."""
    breaker, clock, told = heard(CircuitBreakerConfig(1, 10.0, 1))
    breaker.isolate()
    assert (breaker.snapshot().last_failure, breaker.try_acquire()) == ("isolated by hand", None)
    clock.advance(1.0)
    breaker.disable()
    assert breaker.snapshot().last_failure == ""
    clock.advance(1.0)
    breaker.metrics_only()
    breaker.acquire().failed(ConnectionError("refused"))
    clock.advance(1.0)
    breaker.force_close()
    isolated, disabled, metrics_only = CircuitState.ISOLATED, CircuitState.DISABLED, CircuitState.METRICS_ONLY
    assert told == [
        transition(100.0, CLOSED, isolated, 2),
        ("rejected", "api", 100.0, {"state": isolated}),
        transition(101.0, isolated, disabled, 3),
        transition(102.0, disabled, metrics_only, 4),
        outcome(102.0, RETRYABLE, metrics_only),
        ("would_open", "api", 102.0, {"failure": "ConnectionError: refused"}),
        transition(103.0, metrics_only, CLOSED, 5),
    ]


def test_who_is_rejected_is_told_the_failure_of_the_last_probe():
    """And not the one that opened it first."""
    clock = VirtualClock()
    breaker = CircuitBreaker("api", CircuitBreakerConfig(1, 1.0, 1), clock=clock)
    for text in ("first", "second"):
        breaker.acquire().failed(ConnectionError(text))
        with pytest.raises(CircuitBreakerOpen, match=rf"api, after ConnectionError: {text}; retry after 1 s"):
            breaker.acquire()
        clock.advance(1.0)


def test_an_isolated_breaker_rejects_by_one_look_at_the_clock():
    """Its `until` is for ever, so the woven path needs no lock to turn callers away."""
    breaker = CircuitBreaker("api", clock=VirtualClock())
    breaker.isolate()
    assert breaker.until == float("inf")
    breaker.reset()
    assert breaker.until == float("-inf")


def test_a_clock_that_steps_back_shuts_neither_a_half_open_breaker_nor_a_closed_one():
    """The end of the break is behind us once it was seen; a reading before it rejects nobody."""
    clock = VirtualClock(100.0)
    breaker = CircuitBreaker("api", CircuitBreakerConfig(1, 10.0, 2, half_open_permits=2), clock=clock)
    breaker.acquire().failed(ConnectionError())
    clock.advance(10.0)
    first = breaker.acquire()
    clock.advance(-5.0)
    second = breaker.try_acquire()
    assert second is not None
    first.succeeded()
    second.succeeded()
    assert breaker.state is CLOSED
    assert breaker.try_acquire() is not None


def test_a_listener_hears_that_a_result_is_stale_when_the_breaker_is_closed_again():
    """A reset between call and answer makes the answer one of a generation that is gone."""
    breaker, _, told = heard(CircuitBreakerConfig())
    permit = breaker.acquire()
    breaker.reset()
    permit.succeeded()
    assert told == [transition(100.0, CLOSED, CLOSED, 2), ("stale", "api", 100.0, {"outcome": SUCCESS})]


def test_a_listener_hears_answers_of_a_disabled_breaker_as_such():
    """With the state that it is in."""
    breaker, _, told = heard(CircuitBreakerConfig())
    breaker.disable()
    breaker.acquire().succeeded()
    assert told[1:] == [outcome(100.0, SUCCESS, CircuitState.DISABLED)]


def test_a_result_that_is_a_failure_is_named_where_it_opens_the_breaker():
    """By what the classifier said; the break is as long as configured."""
    classifier = ErrorClassifier(results=lambda value: Outcome.OVERLOAD if value == 503 else None)
    breaker = CircuitBreaker("api", CircuitBreakerConfig(1, 0.5), classifier=classifier, clock=VirtualClock())
    assert breaker.call(lambda: 200) == 200
    assert breaker.state is CLOSED
    assert breaker.call(lambda: 503) == 503
    seen = breaker.snapshot()
    assert (seen.state, seen.last_failure, seen.retry_after) == (OPEN, "result overload", 0.5)


@pytest.mark.parametrize(("asked", "open_for"), [(0.75, 0.75), (30.0, 30.0), (float("inf"), 0.5), (-1.0, 0.5), ("soon", 0.5)])
def test_a_breaker_stays_open_as_long_as_it_was_asked_to(asked, open_for):
    """Any number of seconds that ends; what is none was not asked."""
    error = ConnectionError()
    error.retry_after = asked
    breaker = CircuitBreaker("api", CircuitBreakerConfig(1, 0.5), clock=VirtualClock())
    breaker.acquire().failed(error)
    assert breaker.snapshot().retry_after == open_for


def test_the_jitter_of_a_break_is_drawn_from_the_generator_that_was_given():
    """With the highest draw and half a jitter the time open is half as long."""
    breaker = CircuitBreaker("api", CircuitBreakerConfig(1, 10.0, break_jitter=0.5), clock=VirtualClock(), random=lambda: 1.0)
    breaker.acquire().failed(ConnectionError())
    assert breaker.snapshot().retry_after == 5.0


def test_a_failure_that_cannot_say_what_it_is_is_named_by_its_type():
    """An error whose text raises is no reason to lose the call's own error."""

    class WordlessError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    breaker = CircuitBreaker("api", CircuitBreakerConfig(1, 10.0), clock=VirtualClock())
    breaker.acquire().failed(WordlessError())
    assert breaker.snapshot().last_failure == "WordlessError"


def test_a_breaker_needs_no_name_and_an_outcome_no_explanation():
    """What is left out is empty, and asks for nothing."""
    breaker = CircuitBreaker(config=CircuitBreakerConfig(1, 0.5), clock=VirtualClock())
    breaker.told(breaker.admit(), RETRYABLE)
    seen = breaker.snapshot()
    assert (breaker.name, seen.state, seen.last_failure, seen.retry_after) == ("", OPEN, "", 0.5)
