"""Windows: the call that trips is the one that a list of all outcomes says."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gates.recovery import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitState,
    ConfigurationError,
    CountWindow,
    TimeWindow,
)
from gates.recovery.reference import counted
from gates.recovery.testing import VirtualClock


def tripping_call(breaker, outcomes) -> int | None:
    """The index of the call at which *breaker* opens; its decorated form is called, so this is the woven path."""
    return tripping_call_of(breaker, breaker(answer), outcomes)


def answer(failed) -> None:
    """Fail or not."""
    if failed:
        raise ConnectionError


def tripping_call_of(breaker, operation, outcomes) -> int | None:
    """The index of the call at which *breaker* opens, *operation* being guarded by it."""
    for index, failed in enumerate(outcomes):
        with contextlib.suppress(ConnectionError):
            operation(failed)
        if breaker.state is not CircuitState.CLOSED:
            return index
    return None


@pytest.mark.parametrize(("size", "rate", "minimum"), [(4, 0.5, 4), (5, 0.6, 3), (10, 0.1, 10)])
def test_a_count_window_trips_where_the_list_of_outcomes_says(size, rate, minimum):
    """All 4,096 sequences of 12 outcomes: first call with enough calls and failures >= rate * calls, in whole numbers."""
    config = CircuitBreakerConfig(window=CountWindow(size, rate, minimum))
    thousandths = round(1000 * rate)
    breaker = CircuitBreaker("c", config)
    operation = breaker(answer)
    for outcomes in itertools.product([False, True], repeat=12):
        expected = None
        for index in range(12):
            seen = outcomes[max(0, index + 1 - size) : index + 1]
            if len(seen) >= minimum and 1000 * sum(seen) >= thousandths * len(seen):
                expected = index
                break
        assert tripping_call_of(breaker, operation, outcomes) == expected
        breaker.reset()


def test_one_of_ten_is_ten_percent():
    """No float drift: 0.1 of 10 calls is 1 call."""
    config = CircuitBreakerConfig(window=CountWindow(10, 0.1, 10))
    assert tripping_call(CircuitBreaker("c", config), [True] + [False] * 20) == 9


@settings(max_examples=150, derandomize=True, database=None, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from([0.0, 0.25, 1.0, 2.5, 4.0, 40.0]), st.booleans()), max_size=40),
    buckets=st.sampled_from([1, 4, 10]),
)
def test_a_time_window_trips_where_the_list_of_outcomes_says(steps, buckets):
    """Random gaps between calls: the tripping call is the one of the list over the same buckets."""
    clock = VirtualClock(-15.0)
    window = TimeWindow(10.0, 0.5, 4, buckets=buckets)
    breaker = CircuitBreaker("t", CircuitBreakerConfig(window=window), clock=clock)

    @breaker
    def operation(failed):
        if failed:
            raise ConnectionError

    outcomes = []
    for gap, failed in steps:
        clock.advance(gap)
        outcomes.append((clock.now, failed))
        with contextlib.suppress(ConnectionError):
            operation(failed)
        seen = counted(window, outcomes, clock.now)
        failures = sum(bad for _, bad in seen)
        tripped = len(seen) >= 4 and 2 * failures >= len(seen)
        assert (breaker.state is CircuitState.OPEN) == tripped
        if tripped:
            return
        assert (breaker.snapshot().calls, breaker.snapshot().failures) == (len(seen), failures)


def test_an_outcome_at_a_boundary_belongs_to_one_bucket():
    """At t = k * width the new bucket has begun; ten of them later the outcome is gone, and one instant before it is not."""
    clock = VirtualClock(7.0)
    breaker = CircuitBreaker("t", CircuitBreakerConfig(window=TimeWindow(10.0, 0.5, 50)), clock=clock)
    tripping_call(breaker, [True])
    clock.now = 16.999
    assert (breaker.snapshot().calls, breaker.snapshot().failures) == (1, 1)
    clock.now = 17.0
    assert (breaker.snapshot().calls, breaker.snapshot().failures) == (0, 0)
    assert tripping_call(breaker, [False, False]) is None
    assert breaker.snapshot().calls == 2


def test_a_jump_of_ten_years_clears_the_window_at_once():
    """A suspended machine wakes up: one roll over the buckets, nothing raised, nothing left."""
    clock = VirtualClock(0.0)
    breaker = CircuitBreaker("t", CircuitBreakerConfig(window=TimeWindow(10.0, 0.5, 50)), clock=clock)
    tripping_call(breaker, [True] * 10)
    clock.advance(10 * 365 * 86400)
    assert breaker.snapshot().failures == 0
    tripping_call(breaker, [True])
    assert (breaker.snapshot().calls, breaker.snapshot().failures) == (1, 1)


def test_a_clock_that_steps_back_neither_raises_nor_counts_below_nothing():
    """What happens in the past counts into the newest bucket."""
    clock = VirtualClock(1000.0)
    breaker = CircuitBreaker("t", CircuitBreakerConfig(window=TimeWindow(10.0, 0.5, 50)), clock=clock)
    tripping_call(breaker, [True, False])
    clock.advance(-500)
    tripping_call(breaker, [True, False])
    assert (breaker.snapshot().calls, breaker.snapshot().failures) == (4, 2)
    clock.advance(520)
    assert breaker.snapshot().calls == 0


@pytest.mark.parametrize("window", [CountWindow(10, 0.5, 4), TimeWindow(10.0, 0.5, 4)])
def test_a_breaker_that_is_listened_to_counts_the_same(window):
    """Two good calls and two bad ones open it at the fourth, whether anybody listens or not."""
    for listen in (False, True):
        breaker = CircuitBreaker("w", CircuitBreakerConfig(window=window), clock=VirtualClock())
        if listen:
            breaker.listen(lambda event: None)
        assert tripping_call(breaker, [False, False, True, True]) == 3


@pytest.mark.parametrize("window", [CountWindow, TimeWindow])
def test_slow_calls_open_it(window):
    """Calls that answer, but late: at the slow-call rate the breaker opens and says why."""
    clock = VirtualClock(0.0)
    shape = window(failure_rate=1.0, minimum_calls=4, slow_call_duration=1.0, slow_call_rate=0.5)
    breaker = CircuitBreaker("s", CircuitBreakerConfig(window=shape), clock=clock)

    @breaker
    def operation(seconds):
        clock.advance(seconds)

    for seconds in (0.5, 1.0, 0.999):
        operation(seconds)
    assert breaker.state is CircuitState.CLOSED
    assert breaker.snapshot().slow_calls == 1
    operation(1.5)
    assert breaker.state is CircuitState.OPEN
    assert breaker.snapshot().last_failure == "slow calls"


def test_a_slow_probe_opens_it_again():
    """Half-open, an answer that comes late is no sign of health."""
    clock = VirtualClock(0.0)
    shape = CountWindow(10, 1.0, 1, slow_call_duration=1.0)
    breaker = CircuitBreaker("s", CircuitBreakerConfig(recovery_timeout=5.0, success_threshold=1, window=shape), clock=clock)
    tripping_call(breaker, [True])
    clock.advance(5)
    breaker(lambda: clock.advance(2))()
    assert breaker.state is CircuitState.OPEN


def test_a_late_result_is_not_counted_in_the_window_of_the_next_generation():
    """A call that began before a reset leaves the new window empty, success or failure."""
    for make in (CountWindow(10, 0.5, 5), TimeWindow(10.0, 0.5, 5)):
        breaker = CircuitBreaker("w", CircuitBreakerConfig(window=make))

        @breaker
        def operation(failed, breaker=breaker):
            breaker.reset()
            if failed:
                raise ConnectionError

        operation(False)
        assert breaker.snapshot().calls == 0
        with pytest.raises(ConnectionError):
            operation(True)
        assert (breaker.snapshot().calls, breaker.snapshot().failures) == (0, 0)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: CountWindow(0), "CountWindow.size is 0; allowed: a whole number at least 1 and at most 100000"),
        (
            lambda: CountWindow(5, minimum_calls=6),
            "CountWindow.minimum_calls is 6; allowed: a whole number at least 1 and at most 5",
        ),
        (lambda: CountWindow(5, 0.0, 1), "CountWindow.failure_rate is 0.0; allowed: a number above 0 and at most 1"),
        (lambda: CountWindow(10, 1.5), "failure_rate is 1.5"),
        (lambda: TimeWindow(0), "TimeWindow.seconds is 0"),
        (lambda: TimeWindow(60, buckets=0), "TimeWindow.buckets is 0"),
        (lambda: TimeWindow(60, slow_call_duration=-1), "TimeWindow.slow_call_duration is -1"),
        (lambda: TimeWindow(60, slow_call_rate=0.5), "TimeWindow.slow_call_rate is 0.5; allowed: 1 unless"),
        (lambda: CircuitBreakerConfig(window=100), "window is 100; allowed: a CountWindow, a TimeWindow or None"),
    ],
)
def test_a_wrong_window_is_refused_at_construction(make, text):
    """With field, value and what would be accepted."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: CountWindow(minimum_calls=0), "CountWindow.minimum_calls is 0; allowed: a whole number at least 1"),
        (lambda: CountWindow(slow_call_rate=0), "CountWindow.slow_call_rate is 0; allowed: a number above 0 and at most 1"),
        (lambda: CountWindow(slow_call_rate=1.5), "CountWindow.slow_call_rate is 1.5; allowed: a number above 0 and at most 1"),
        (
            lambda: TimeWindow(slow_call_duration=0),
            "TimeWindow.slow_call_duration is 0; allowed: a number above 0 and at most 1e+09",
        ),
        (lambda: TimeWindow(seconds=0), "TimeWindow.seconds is 0; allowed: a number at least 1e-06 and at most 1e+09"),
        (lambda: TimeWindow(buckets=1001), "TimeWindow.buckets is 1001; allowed: a whole number at least 1 and at most 1000"),
    ],
)
def test_a_wrong_window_is_refused_by_the_name_of_its_setting(make, text):
    """Field, value and range, at the edges of each."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert str(caught.value) == text


def test_the_windows_at_first_are_a_hundred_calls_and_a_minute():
    """Ten calls at least, half of them failed; half a second is a window, too."""
    counted, timed = CountWindow(), TimeWindow()
    assert (counted.size, counted.minimum_calls, counted.failure_rate, counted.slow_call_rate) == (100, 10, 0.5, 1.0)
    assert (timed.seconds, timed.minimum_calls, timed.failure_rate, timed.buckets) == (60.0, 10, 0.5, 10)
    assert TimeWindow(0.5).seconds == 0.5


def test_a_time_window_is_watched_until_it_has_its_minimum():
    """A success may open the breaker only as the call that makes the minimum; without a failure it never does."""
    tally = TimeWindow(10.0, 0.5, 4, buckets=10).start()
    assert not tally.watchful()
    tally.record(0.5, False, False)
    assert not tally.watchful()
    tally.record(1.5, True, False)
    tally.record(2.5, False, False)
    assert tally.watchful()
    tally.record(3.5, False, False)
    assert not tally.watchful()


def test_an_empty_time_window_has_no_calls_whenever_it_is_looked_at():
    """At zero, later and before zero."""
    for now in (0.0, 1000.0, -1000.0):
        assert TimeWindow(10.0).start().totals(now) == (0, 0, 0)
