"""The rate limiter and the adaptive limit."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gates.recovery import AdaptiveLimit, Overloaded, RateLimiter, Timeout, priority
from gates.recovery.testing import VirtualClock, run


@settings(max_examples=40, derandomize=True, database=None, deadline=None)
@given(
    rate=st.sampled_from([0.3, 3.0, 10.0]),
    burst=st.integers(1, 5),
    gaps=st.lists(st.sampled_from([0.0, 0.01, 0.1, 0.34, 2.0]), max_size=60),
)
def test_any_time_t_admits_at_most_burst_and_rate_times_t(rate, burst, gaps):
    """Checked for every pair of admissions of a random history."""
    clock = VirtualClock(0.0)
    limiter = RateLimiter(rate, burst, clock=clock)
    admitted = []
    for gap in gaps:
        clock.advance(gap)
        if limiter.try_acquire():
            admitted.append(clock.now)
    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            assert last - first + 1 <= burst + rate * (admitted[last] - admitted[first]) + 1e-9


def test_many_calls_do_not_drift(in_full):
    """Twenty thousand calls at 3/s, a million in full, each admitted as soon as it may be, take exactly their time."""
    clock = VirtualClock(0.0)
    limiter = RateLimiter(3.0, clock=clock, max_wait=10, sleep=clock.sleep)
    calls = 1_000_001 if in_full else 20_001
    for _ in range(calls):
        limiter.enter()
    assert clock.now == pytest.approx((calls - 1) / 3, abs=1e-9)


@pytest.mark.parametrize("start", [1e7, 1.7e9])
def test_a_clock_that_reads_high_does_not_drift_either(start):
    """On a clock whose readings are 2e-9 s or 2e-7 s apart, twenty thousand calls are off by one such step at most."""
    clock = VirtualClock(start)
    limiter = RateLimiter(0.7, clock=clock, max_wait=10, sleep=clock.sleep)
    for _ in range(20_001):
        limiter.enter()
    assert clock.now - start == pytest.approx(20_000 / 0.7, abs=math.ulp(start))


def test_who_comes_late_does_not_get_the_time_back():
    """After a pause the allowance begins anew: lateness beyond a clock's rounding is no credit beyond the burst."""
    clock = VirtualClock(0.0)
    limiter = RateLimiter(10.0, 2, clock=clock)
    assert limiter.try_acquire()
    clock.advance(0.1 + 1e-6)
    assert [limiter.try_acquire() for _ in range(3)] == [True, True, False]
    clock.advance(0.1 - 1e-6)
    assert not limiter.try_acquire()


def test_who_would_wait_too_long_is_told_when_to_come_back():
    """Overloaded carries `retry_after`; nothing is called."""
    clock = VirtualClock(0.0)
    call = RateLimiter(2.0, 1, name="api", clock=clock)(lambda: "answer")
    assert call() == "answer"
    with pytest.raises(Overloaded, match=r"api is full; retry after 0.5 s") as caught:
        call()
    assert caught.value.retry_after == 0.5


def test_tasks_wait_in_their_order_and_a_cancelled_one_gives_its_place_back():
    """Five wait for 1/s; the second is cancelled; the others come out in order, and one second earlier than they would have."""
    clock = VirtualClock(0.0)
    limiter = RateLimiter(1.0, max_wait=100, clock=clock)
    came = []

    @limiter
    async def operation(who: int) -> None:
        came.append((who, round(clock.now)))

    async def scene() -> None:
        tasks = [asyncio.ensure_future(operation(who)) for who in range(5)]
        await asyncio.sleep(0.5)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await operation(9)

    run(scene, clock)
    assert [who for who, _ in came] == [0, 2, 3, 4, 9]
    assert came[-1][1] <= 5


def test_nobody_jumps_the_queue():
    """While somebody waits, allowance that has come since is theirs."""
    clock = VirtualClock(0.0)
    limiter = RateLimiter(1.0, max_wait=10, clock=clock)

    async def scene() -> None:
        await limiter.enter_task()
        waiting = asyncio.ensure_future(limiter.enter_task())
        await asyncio.sleep(0)
        clock.advance(1.0)
        assert not limiter.try_acquire()
        await waiting

    run(scene, clock)


def test_a_clock_that_steps_back_makes_nobody_wait_for_it():
    """After a step back by an hour the wait is at most what the burst costs."""
    clock = VirtualClock(7200.0)
    limiter = RateLimiter(1.0, 2, clock=clock)
    assert limiter.try_acquire()
    clock.advance(-3600)
    assert limiter.try_acquire()
    clock.advance(3)
    assert limiter.try_acquire()


def test_a_step_back_after_a_long_busy_time_costs_nothing_either():
    """A limiter that was never idle counts many calls from one moment; none of them is waited for again."""
    clock = VirtualClock(7200.0)
    limiter = RateLimiter(10.0, 5, max_wait=1, clock=clock, sleep=clock.sleep)
    for _ in range(1005):
        limiter.enter()
    for step in (-50.0, -3600.0):
        clock.advance(step)
        before = clock.now
        limiter.enter()
        assert clock.now - before == pytest.approx(0.1)


def serve(limit, clock, capacity, calls) -> None:
    """So many rounds of a server of *capacity*: as many calls as the limit admits, slower the more there are beyond it."""
    for _ in range(calls):
        started = []
        try:
            while True:
                started.append(limit.enter())
        except Overloaded:
            pass
        clock.advance(0.1 * max(1.0, len(started) / capacity))
        for start in started:
            limit.answered(start)


def test_the_limit_finds_the_capacity():
    """A server that does 20 at once and queues the rest: from 2 the limit grows to it, and from 200 it shrinks to it."""
    for initial in (2, 200):
        clock = VirtualClock(0.0)
        limit = AdaptiveLimit(initial, clock=clock, window=5000)
        limit.answered(limit.enter() - 0.1)
        with priority("critical"):
            serve(limit, clock, 20, 400)
        assert 15 <= limit.limit <= 32
        assert limit.in_flight == 0


def test_a_timeout_takes_a_tenth_off():
    """An overload is believed at once; an ordinary error says nothing about the limit."""
    limit = AdaptiveLimit(100)

    @limit
    def operation(error: Exception) -> None:
        raise error

    for error, expected in ((ValueError(), 100), (Timeout(1.0), 90.0), (Overloaded("db"), 81.0)):
        with pytest.raises(type(error)):
            operation(error)
        assert limit.limit == pytest.approx(expected)
    assert limit.in_flight == 0


def test_the_least_important_is_shed_first():
    """Of ten places five are for background calls, nine for normal ones, and all for critical ones."""
    limit = AdaptiveLimit(10, minimum=10)
    filled = []
    for level in ("background", "normal", "critical"):
        with priority(level):
            while True:
                try:
                    limit.enter()
                except Overloaded:
                    break
        filled.append(limit.in_flight)
    assert filled == [5, 9, 10]
